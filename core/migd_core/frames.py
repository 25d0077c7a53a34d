"""How a message lies on the wire: three ZeroMQ frames `[topic, version, msgpack]`.

The topic is the host's uuid; the version is the protocol's, in ASCII. A frame of another version is refused by name,
because a field whose meaning changed is worse than one that is missing.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from migd_core.errors import FrameError
from migd_core.messages import HostSample

PROTOCOL_VERSION: Final = b"1"
MAX_MESSAGE_BYTES: Final = 1024 * 1024

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(HostSample)


def encode_sample(sample: HostSample) -> list[bytes]:
    """Return the three frames that carry `sample`."""
    return [sample.host_uuid.encode(), PROTOCOL_VERSION, _encoder.encode(sample)]


def decode_sample(frames: Sequence[bytes]) -> HostSample:
    """Return the sample that `frames` carry.

    Raises FrameError saying what was expected and what was found; the caller drops the message and counts it.
    """
    if len(frames) != 3:
        raise FrameError(f"expected 3 frames [topic, version, message], found {len(frames)}")
    topic, version, payload = frames
    if version != PROTOCOL_VERSION:
        raise FrameError(
            f"expected protocol version {PROTOCOL_VERSION.decode()}, found {version[:16]!r}; "
            "install the same migd release on agents and controller"
        )
    if len(payload) > MAX_MESSAGE_BYTES:
        raise FrameError(f"expected at most {MAX_MESSAGE_BYTES} bytes, found {len(payload)}")
    try:
        sample = _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise FrameError(f"host {_printable(topic)}: message refused: {error}") from error
    if topic != sample.host_uuid.encode():
        raise FrameError(f"topic {_printable(topic)} carries a sample of host {sample.host_uuid}")
    if (why := sample.contradiction()) is not None:
        raise FrameError(f"host {sample.host_uuid}: impossible sample {sample.sequence}: {why}")
    return sample


def _printable(topic: bytes) -> str:
    return topic[:64].decode("ascii", errors="backslashreplace")
