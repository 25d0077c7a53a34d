"""A socket's connection to the controller, which comes back by itself, also after the controller had refused it."""

import math
import sys
from typing import Any, Final

import zmq

from migd_agent.identity import Keys
from migd_core.errors import ConfigError
from migd_core.tcp import notice_silence

RECONNECT_MS: Final = 100
RECONNECT_MAX_MS: Final = 2000
# libzmq gives up for good once a peer refuses the handshake (seen with 4.3.5, status 400), but an operator may let the
# key in at any time.
RETRY_REFUSED_S: Final = 2.0

_REFUSALS: Final[dict[int, str]] = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "the controller does not know this agent's key; authorise it there: `migctl keys`",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "the peer does not speak as a controller; check the endpoint and both keys",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "the handshake broke off; check the endpoint and the controller's public key",
}


class Connection:
    """Connects `socket`, whose own options are set, to `endpoint`. Poll `sockets`, and call `follow` by `due_s`."""

    def __init__(self, socket: zmq.Socket[Any], endpoint: str, key: str, keys: Keys) -> None:
        """Raises ConfigError, naming the `key` of the configuration that `endpoint` is from, and closes `socket`."""
        self._socket, self._endpoint = socket, endpoint
        self.due_s = math.inf
        socket.curve_serverkey = keys.controller_public
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
        socket.reconnect_ivl, socket.reconnect_ivl_max = RECONNECT_MS, RECONNECT_MAX_MS
        notice_silence(socket)
        self._monitor = socket.get_monitor_socket(sum(_REFUSALS))
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(
                f"{key}: expected a host and a port like tcp://controller.example.org:7201, found {endpoint!r}: {error}"
            ) from error

    @property
    def sockets(self) -> tuple[zmq.Socket[Any], ...]:
        """What to poll for reading."""
        return self._socket, self._monitor

    def follow(self, now_s: float) -> str | None:
        """Try again where it is time to; return why the controller has refused the connection, None if it has not."""
        refused = None
        while self._monitor.poll(0):
            # zmq_socket_monitor(3): 16 bits, the event. (pyzmq's function for it loads asyncio.)
            event, _ = self._monitor.recv_multipart()
            refused = _REFUSALS[int.from_bytes(event[:2], sys.byteorder)]
            self.due_s = now_s + RETRY_REFUSED_S
        if now_s >= self.due_s:
            self.due_s = math.inf
            self._socket.disconnect(self._endpoint)
            self._socket.connect(self._endpoint)
        return refused

    def stands(self) -> None:
        """Note that the controller has answered: there is nothing to try again."""
        self.due_s = math.inf

    def close(self) -> None:
        """Close the connection and the socket."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close()
