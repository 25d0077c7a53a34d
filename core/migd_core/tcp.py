"""How a ZeroMQ connection notices that its other end is gone: by TCP's own means.

Not by ZMTP's heartbeats. libzmq 4.3.5 ends the process that is asked for one over a connection which broke while more
messages waited than its queue takes ("Assertion failed: !_io_error"): a controller that stood still for a quarter of a
minute, and whose agents came anew, was gone.
"""

from typing import Any, Final

import zmq

# A machine that dies closes no connection; this notices within seconds, whether data is under way or not.
IDLE_S: Final = 2
PROBE_EVERY_S: Final = 2
PROBES: Final = 3
UNACKNOWLEDGED_MS: Final = 6000


def notice_silence(socket: zmq.Socket[Any]) -> None:
    """Let connections of this socket break whose other end's kernel says nothing for 8 s; before it binds or connects.

    Who stands still on a machine that lives keeps its connections.
    """
    socket.tcp_keepalive, socket.tcp_keepalive_idle = 1, IDLE_S
    socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt = PROBE_EVERY_S, PROBES
    socket.setsockopt(zmq.TCP_MAXRT, UNACKNOWLEDGED_MS)
