"""Sockets that agents connect to: CURVE on the controller's key pair, bound where the configuration says."""

from pathlib import Path
from typing import Any, Final

import zmq

from migd_controller import keys
from migd_core.errors import MigdError

ZAP_DOMAIN: Final = b"migd"


def bind(socket: zmq.Socket[Any], key: str, address: str, secret_key_file: Path) -> None:
    """Make `socket`, whose own options are set, a server at `address`, which the configuration's `key` names.

    Raises ConfigError for bad keys, MigdError where the address cannot be had; the caller closes the socket then.
    """
    socket.zap_domain, socket.curve_server = ZAP_DOMAIN, True
    socket.curve_publickey, socket.curve_secretkey = keys.read_secret(secret_key_file)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise MigdError(f"{key} = {address}: cannot be bound: {error}; is another controller running?") from error


def endpoint_of(socket: zmq.Socket[Any]) -> str:
    """Return the address that agents connect to, with the actual port."""
    endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.decode()
