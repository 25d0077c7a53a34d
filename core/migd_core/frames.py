"""How a message lies on the wire: three ZeroMQ frames `[topic, version, msgpack]`.

The topic is the host's uuid; the version is the protocol's, in ASCII. A frame of another version is refused by name,
because a field whose meaning changed is worse than one that is missing.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from migd_core.decoding import UNDECODABLE
from migd_core.errors import FrameError
from migd_core.messages import HostSample, ProbeLease, ProbeRevoked

PROTOCOL_VERSION: Final = b"1"
MAX_MESSAGE_BYTES: Final = 1024 * 1024

_Message = TypeVar("_Message", bound=HostSample | ProbeLease | ProbeRevoked)

_encoder = msgspec.msgpack.Encoder()
_sample_decoder = msgspec.msgpack.Decoder(HostSample)
_request_decoder: Final[msgspec.msgpack.Decoder[ProbeLease | ProbeRevoked]] = msgspec.msgpack.Decoder(
    ProbeLease | ProbeRevoked
)


def encode_sample(sample: HostSample) -> list[bytes]:
    """Return the three frames that carry `sample`."""
    return [sample.host_uuid.encode(), PROTOCOL_VERSION, _encoder.encode(sample)]


def encode_request(request: ProbeLease | ProbeRevoked) -> list[bytes]:
    """Return the three frames that carry `request` to the agent of its host."""
    return [request.host_uuid.encode(), PROTOCOL_VERSION, _encoder.encode(request)]


def decode_sample(frames: Sequence[bytes]) -> HostSample:
    """Return the sample that `frames` carry.

    Raises FrameError saying what was expected and what was found; the caller drops the message and counts it.
    """
    sample = _decode(frames, _sample_decoder)
    if (why := sample.contradiction()) is not None:
        raise FrameError(f"host {sample.host_uuid}: impossible sample {sample.sequence}: {why}")
    return sample


def decode_request(frames: Sequence[bytes]) -> ProbeLease | ProbeRevoked:
    """Return the request that `frames` carry.

    Raises FrameError saying what was expected and what was found; the caller drops the message.
    """
    request: ProbeLease | ProbeRevoked = _decode(frames, _request_decoder)
    if (why := request.contradiction()) is not None:
        raise FrameError(f"host {request.host_uuid}: impossible lease {request.lease}: {why}")
    return request


def _decode(frames: Sequence[bytes], decoder: msgspec.msgpack.Decoder[_Message]) -> _Message:
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
        message = decoder.decode(payload)
    except UNDECODABLE as error:
        raise FrameError(f"host {_printable(topic)}: message refused: {error}") from error
    if topic != message.host_uuid.encode():
        raise FrameError(f"topic {_printable(topic)} carries a message of host {message.host_uuid}")
    return message


def _printable(topic: bytes) -> str:
    return topic[:64].decode("ascii", errors="backslashreplace")
