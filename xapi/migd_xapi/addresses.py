"""Where servers listen."""

import ipaddress
import re
import socket

from migd_core.errors import ConfigError, MigdError


def parse(text: str, option: str) -> tuple[str, int]:
    """Return address and port of `127.0.0.1:80`. Raises ConfigError."""
    address, _, port = text.rpartition(":")
    if not address or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ConfigError(f"{option}: expected ADDRESS:PORT like 127.0.0.1:8080, found {text!r}")
    return address, int(port)


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach the address; a name is looked up first."""
    try:
        return ipaddress.ip_address(socket.gethostbyname(address)).is_loopback
    except OSError:
        return False


def bound_socket(address: str, port: int, what: str) -> socket.socket:
    """Return a socket bound to the address; port 0 takes any that is free. Raises MigdError naming `what`."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise MigdError(
            f"{what} cannot listen at {address}:{port}: {error.strerror}; "
            "does another process listen there? Choose another address or port"
        ) from error
    return bound
