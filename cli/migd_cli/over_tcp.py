"""The controller's API over TCP: TLS, a token from a file, and why there was no answer."""

import http.client
import ssl
import stat
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from migd_cli.client import TIMEOUT_S, Client
from migd_cli.failures import Failure

_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED of openssl
_NOT_YET: Final = 9
_OTHER_NAME: Final = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
MAX_TOKEN_BYTES: Final = 256


class TcpClient(Client):
    """Asks the controller at a URL, as whom the token in a file stands for."""

    def __init__(self, url: str, token_file: str, ca_file: str, timeout_s: float = TIMEOUT_S) -> None:
        """Raises Failure where the URL, the token's file or the authorities cannot be used."""
        self._url, self._timeout_s = url, timeout_s
        self._scheme, self._host, self._port = _parts(url)
        self._token = _token(token_file)
        self._context = _trust(ca_file) if self._scheme == "https" else None

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._context)

    def _credentials(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _why(self, error: Exception) -> str:
        url = self._url
        match error:
            case ssl.SSLCertVerificationError(verify_code=code) if code == _EXPIRED:
                return (
                    f"the certificate of {url} has expired; renew the one in http.certificate_file of the controller, "
                    "which takes up the new file by itself"
                )
            case ssl.SSLCertVerificationError(verify_code=code) if code == _NOT_YET:
                return f"the certificate of {url} is not valid yet; is the clock of this machine right?"
            case ssl.SSLCertVerificationError(verify_code=code) if code in _OTHER_NAME:
                return f"the certificate of {url} is for another name; go by the name that stands in it"
            case ssl.SSLCertVerificationError(verify_message=words):
                return (
                    f"the certificate of {url} is not vouched for: {words}; name who vouches for it with --ca-file or "
                    "MIGD_CA_FILE (of a self-signed one: the certificate itself)"
                )
            case ssl.SSLError():
                return f"{url} does not speak TLS as it should ({error.reason or error}); is it the controller's https?"
            case ConnectionRefusedError():
                return (
                    f"nobody listens on {url}: is the controller running, and is http.listen in its configuration that "
                    "address?"
                )
            case TimeoutError():
                return f"the controller did not answer on {url} within {self._timeout_s:g} s; is a firewall between?"
            case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
                return f"{url} closed the connection without an answer; does the controller speak https there?"
            case http.client.HTTPException():
                return f"what answers on {url} does not speak HTTP; is it the controller's address?"
            case OSError(strerror=words):
                return f"{url} cannot be reached: {words or error}"
            case _:
                return f"{url} cannot be reached: {error}"


def _parts(url: str) -> tuple[str, str, int]:
    expected = "expected https://HOST:PORT (http:// for this machine only)"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Failure(f"--url {url!r}: {error}; {expected}") from error
    if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/") or parts.query:
        raise Failure(f"--url {url!r}: {expected}")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise Failure(f"--url {url!r}: the token would be sent for all to read; use https://")
    return parts.scheme, host, port or (443 if parts.scheme == "https" else 80)


def _token(token_file: str) -> str:
    if not token_file:
        raise Failure(
            "over TCP a token is needed: name its file with --token-file or MIGD_TOKEN_FILE; "
            "`migctl token new NAME --role viewer` on the controller's machine makes one"
        )
    path = Path(token_file)
    try:
        mode = path.stat().st_mode
        read = path.read_bytes()[: MAX_TOKEN_BYTES + 1]
    except OSError as error:
        raise Failure(f"--token-file {path}: cannot be read: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Failure(f"--token-file {path}: others may read it (mode {stat.S_IMODE(mode):04o}); `chmod 600 {path}`")
    token = read.decode("ascii", errors="replace").strip()
    if not token or len(token) > MAX_TOKEN_BYTES or not token.isprintable() or " " in token:
        raise Failure(f"--token-file {path}: expected one token, as `migctl token new` printed it, and nothing else")
    return token


def _trust(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise Failure(f"--ca-file {ca_file}: expected certificates in PEM, found: {error.strerror or error}") from error
