"""What lies on the wire, byte for byte, and what is refused there."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migd_core.errors import FrameError
from migd_core.frames import (
    MAX_MESSAGE_BYTES,
    PROTOCOL_VERSION,
    decode_request,
    decode_sample,
    encode_request,
    encode_sample,
)
from migd_core.health import UNKNOWN, HealthState, HostHealth
from migd_core.messages import DirtyCurve, FlowSample, GuestSample, HostSample, ProbeLease, ProbeReport, ProbeRevoked
from migd_core.progress import Progress

SAMPLE = HostSample(
    host_uuid="h1",
    boot_id="b1",
    sequence=7,
    monotonic_s=12.5,
    interval_s=1.0,
    cpus=4,
    cpu_ratio=0.5,
    dom0_cpu_ratio=0.125,
    memory_bytes=1024,
    memory_free_bytes=512,
    rx_bytes_per_s=1.0,
    tx_bytes_per_s=2.0,
    link_bytes_per_s=3.0,
    guests=(
        GuestSample(
            uuid="g1",
            vcpus=2,
            cpu_ratio=0.25,
            memory_bytes=256,
            rx_bytes_per_s=4.0,
            tx_bytes_per_s=5.0,
            read_bytes_per_s=8.0,
            written_bytes_per_s=9.0,
            progress=Progress(120.0, 5000.0),
            dirty_curve=DirtyCurve(ages_s=(0.5, 1.0), unique_pages=(10, 15), measured_s=12.0),
        ),
    ),
    flows=(FlowSample("00:16:3e:00:00:01", "00:16:3e:00:00:02", 6.0),),
    health=HostHealth(state=HealthState.DEGRADED, reasons=("fan 1 stands still",), watched=("ipmi",)),
    failed_collectors=("flows",),
    failed_because=("nft cannot be run",),
    version="0.1.0",
    clock_s=1.5e9,
)
GOLDEN = bytes.fromhex(
    "de0018a474797065ab686f73742d73616d706c65a9686f73745f75756964a26831a7626f6f745f6964a26231a87365717565"
    "6e636507ab6d6f6e6f746f6e69635f73cb4029000000000000aa696e74657276616c5f73cb3ff0000000000000a463707573"
    "04a96370755f726174696fcb3fe0000000000000ae646f6d305f6370755f726174696fcb3fc0000000000000ac6d656d6f72"
    "795f6279746573cd0400b16d656d6f72795f667265655f6279746573cd0200ae72785f62797465735f7065725f73cb3ff000"
    "0000000000ae74785f62797465735f7065725f73cb4000000000000000b06c696e6b5f62797465735f7065725f73cb400800"
    "0000000000a6677565737473918aa475756964a26731a5766370757302a96370755f726174696fcb3fd0000000000000ac6d"
    "656d6f72795f6279746573cd0100ae72785f62797465735f7065725f73cb4010000000000000ae74785f62797465735f7065"
    "725f73cb4014000000000000ab64697274795f637572766583a6616765735f7392cb3fe0000000000000cb3ff00000000000"
    "00ac756e697175655f7061676573920a0faa6d656173757265645f73cb4028000000000000b0726561645f62797465735f70"
    "65725f73cb4020000000000000b37772697474656e5f62797465735f7065725f73cb4022000000000000a870726f67726573"
    "7382a4646f6e65cb405e000000000000a5746f74616ccb40b3880000000000a5666c6f77739193b130303a31363a33653a30"
    "303a30303a3031b130303a31363a33653a30303a30303a3032cb4018000000000000af73616d706c65735f64726f70706564"
    "00b16661696c65645f636f6c6c6563746f727391a5666c6f7773a570726f6265c0aa666c6f77735f68656c64c2a66865616c"
    "746884a474797065ab686f73742d6865616c7468a57374617465a86465677261646564a7726561736f6e7391b266616e2031"
    "207374616e6473207374696c6ca77761746368656491a469706d69ae6661696c65645f6265636175736591b16e6674206361"
    "6e6e6f742062652072756ea776657273696f6ea5302e312e30a7636c6f636b5f73cb41d65a0bc0000000"
)
# What an agent sends that knows nothing of disks, of progress, nor of health.
OF_AN_OLDER_AGENT = bytes.fromhex(
    "de0012a474797065ab686f73742d73616d706c65a9686f73745f75756964a26831a7626f6f745f6964a26231a87365717565"
    "6e636507ab6d6f6e6f746f6e69635f73cb4029000000000000aa696e74657276616c5f73cb3ff0000000000000a463707573"
    "04a96370755f726174696fcb3fe0000000000000ae646f6d305f6370755f726174696fcb3fc0000000000000ac6d656d6f72"
    "795f6279746573cd0400b16d656d6f72795f667265655f6279746573cd0200ae72785f62797465735f7065725f73cb3ff000"
    "0000000000ae74785f62797465735f7065725f73cb4000000000000000b06c696e6b5f62797465735f7065725f73cb400800"
    "0000000000a66775657374739187a475756964a26731a5766370757302a96370755f726174696fcb3fd0000000000000ac6d"
    "656d6f72795f6279746573cd0100ae72785f62797465735f7065725f73cb4010000000000000ae74785f62797465735f7065"
    "725f73cb4014000000000000ab64697274795f637572766583a6616765735f7392cb3fe0000000000000cb3ff00000000000"
    "00ac756e697175655f7061676573920a0faa6d656173757265645f73cb4028000000000000a5666c6f77739193b130303a31"
    "363a33653a30303a30303a3031b130303a31363a33653a30303a30303a3032cb4018000000000000af73616d706c65735f64"
    "726f7070656400b16661696c65645f636f6c6c6563746f727390"
)


def changed(**values: object) -> list[bytes]:
    raw = msgspec.to_builtins(SAMPLE)
    raw.update(values)
    return [b"h1", PROTOCOL_VERSION, msgspec.msgpack.encode(raw)]


def test_host_sample_has_these_bytes() -> None:
    assert encode_sample(SAMPLE) == [b"h1", b"1", GOLDEN]


def test_golden_bytes_decode_to_the_sample() -> None:
    assert decode_sample([b"h1", b"1", GOLDEN]) == SAMPLE


def test_a_sample_of_an_older_agent_decodes_with_defaults() -> None:
    sample = decode_sample([b"h1", b"1", OF_AN_OLDER_AGENT])
    (guest,) = sample.guests
    assert sample.health == UNKNOWN
    assert (sample.failed_because, sample.version, sample.clock_s) == ((), "", 0.0)
    assert guest == msgspec.structs.replace(
        SAMPLE.guests[0], read_bytes_per_s=0.0, written_bytes_per_s=0.0, progress=None
    )


def test_a_field_of_a_newer_agent_is_ignored() -> None:
    assert decode_sample(changed(fans=[1200])) == SAMPLE
    health = {**msgspec.to_builtins(SAMPLE.health), "since_s": 5}
    assert decode_sample(changed(health=health)) == SAMPLE


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([b"h1", b"1"], "expected 3 frames"),
        ([b"h1", b"2", GOLDEN], "expected protocol version 1, found b'2'"),
        ([b"h2", b"1", GOLDEN], "topic h2 carries a message of host h1"),
        ([b"h1", b"1", b"\xc1garbage"], "host h1: message refused"),
        ([b"h1", b"1", b""], "host h1: message refused"),
        ([b"h1", b"1", b"\x00" * (MAX_MESSAGE_BYTES + 1)], "expected at most"),
        (changed(cpu_ratio=1.5), r"cpu_ratio"),
        (changed(cpu_ratio=-0.1), r"cpu_ratio"),
        (changed(cpu_ratio=float("nan")), r"cpu_ratio"),
        (changed(rx_bytes_per_s=float("inf")), r"rx_bytes_per_s"),
        (changed(cpus=0), r"cpus"),
        (changed(interval_s=0.0), r"interval_s"),
        (changed(type="something-else"), "message refused"),
        (changed(health={"type": "host-health", "state": "splendid"}), r"splendid.*health\.state"),
        (changed(health={"type": "host-health", "reasons": ["x"] * 17}), r"health\.reasons"),
        (changed(health={"type": "host-health", "reasons": ["x" * 257]}), r"health\.reasons"),
        (changed(memory_free_bytes=2048), "free memory 2048 is more than all memory 1024"),
        (changed(link_bytes_per_s=5e-324), "a link of 4.94066e-324 bytes/s"),
        (
            changed(cpu_ratio=0.0, guests=[{**msgspec.to_builtins(SAMPLE.guests[0]), "cpu_ratio": 1.0}]),
            "guests use 2.0 CPUs",
        ),
        (changed(guests=[msgspec.to_builtins(SAMPLE.guests[0])] * 2), "a guest is listed twice"),
    ],
)
def test_what_is_not_possible_is_refused_by_name(frames: list[bytes], why: str) -> None:
    with pytest.raises(FrameError, match=why):
        decode_sample(frames)


@pytest.mark.parametrize(
    ("ages_s", "unique_pages", "why"),
    [
        ((0.5, 0.5), (1, 2), "ages do not rise"),
        ((0.5, 1.0), (2, 1), "unique pages fall with age"),
        ((0.5, 1.0), (2,), "2 ages but 1 counts"),
    ],
)
def test_impossible_dirty_curve_is_refused(ages_s: tuple[float, ...], unique_pages: tuple[int, ...], why: str) -> None:
    guest = msgspec.structs.replace(SAMPLE.guests[0], dirty_curve=DirtyCurve(ages_s, unique_pages))
    with pytest.raises(FrameError, match=why):
        decode_sample(encode_sample(msgspec.structs.replace(SAMPLE, guests=(guest,))))


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_garbage_never_gets_past_as_anything_but_a_frame_error(frames: list[bytes]) -> None:
    with pytest.raises(FrameError):
        decode_sample(frames)


@given(st.binary(max_size=300))
def test_garbage_payload_is_a_frame_error(payload: bytes) -> None:
    with pytest.raises(FrameError):
        decode_sample([b"h1", PROTOCOL_VERSION, payload])


LEASE = ProbeLease(
    lease="d7", host_uuid="h1", guest_uuid="g1", boot_id="b1", until_s=42.5, ages_s=(0.5, 4.0), sessions=2
)
GOLDEN_LEASE = bytes.fromhex(
    "88a474797065ab70726f62652d6c65617365a56c65617365a26437a9686f73745f75756964a26831aa67756573745f757569"
    "64a26731a7626f6f745f6964a26231a7756e74696c5f73cb4045400000000000a6616765735f7392cb3fe0000000000000cb"
    "4010000000000000a873657373696f6e7302"
)
GOLDEN_REVOKED = bytes.fromhex("83a474797065ad70726f62652d7265766f6b6564a56c65617365a26437a9686f73745f75756964a26831")


def test_a_lease_and_its_revocation_have_these_bytes() -> None:
    revoked = ProbeRevoked(lease="d7", host_uuid="h1")
    assert encode_request(LEASE) == [b"h1", PROTOCOL_VERSION, GOLDEN_LEASE]
    assert encode_request(revoked) == [b"h1", PROTOCOL_VERSION, GOLDEN_REVOKED]
    assert decode_request([b"h1", PROTOCOL_VERSION, GOLDEN_LEASE]) == LEASE
    assert decode_request([b"h1", PROTOCOL_VERSION, GOLDEN_REVOKED]) == revoked


def test_a_report_travels_in_the_sample() -> None:
    report = ProbeReport(lease="d7", guest_uuid="g1", state="stood-back", text="guest g1: it is being migrated")
    sample = msgspec.structs.replace(SAMPLE, probe=report)
    assert decode_sample(encode_sample(sample)) == sample


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ages_s": (4.0, 0.5)}, "ages do not rise"),
        ({"ages_s": (0.5, 41.0)}, "<= 40.0"),
        ({"ages_s": ()}, "length >= 1"),
        ({"sessions": 4}, "<= 3"),
    ],
)
def test_an_impossible_lease_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(FrameError, match=why):
        decode_request(encode_request(msgspec.structs.replace(LEASE, **change)))


def test_a_lease_for_another_host_is_refused() -> None:
    _, version, payload = encode_request(LEASE)
    with pytest.raises(FrameError, match="topic h2 carries a message of host h1"):
        decode_request([b"h2", version, payload])


def test_a_sample_is_no_request() -> None:
    with pytest.raises(FrameError, match="host-sample"):
        decode_request(encode_sample(SAMPLE))
