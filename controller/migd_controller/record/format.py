"""What a record looks like on disk.

A record is a folder of part files, `000001.record` and up. A part is the line `migd-record 2`, then one Zstandard
stream of frames, each its length in four bytes (big-endian) and a value in MessagePack: a `Header` with the state that
the core had as the part began, then a `Frame` for each event in its order, with what was commanded for it, byte for
byte. So each part can be replayed alone. The stream is flushed once a control period: a file that was cut off, by a
power cut or a killed process, is good up to there.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from migd_controller.commands import AnyCommand
from migd_controller.config import ControllerConfig, RecordSection, TelemetrySection, XapiSection
from migd_controller.events import AnyEvent
from migd_core.errors import MigdError

FORMAT: Final = 3
MAGIC: Final = b"migd-record "
FIRST_LINE: Final = MAGIC + b"%d\n" % FORMAT
SUFFIX: Final = ".record"
LENGTH_BYTES: Final = 4
# A frame is an event and its commands; an inventory of ten thousand guests is some ten megabytes.
LONGEST_FRAME_BYTES: Final = 1 << 30


class RecordError(MigdError):
    """A record cannot be read, or not by this release."""


class EmptyPart(RecordError):
    """A part was cut off before anything was recorded in it: its writer was killed just then."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a part begins with. `run` is one life of a core, `part` counts from 1 in it; `at` is Unix time.

    `release` is migd's. `state` is an encoded `CoreState`. `wants` is what a scenario wanted in place of a policy.
    """

    release: str
    run: str
    part: int
    at: float
    config: ControllerConfig
    state: msgspec.Raw
    wants: dict[str, str] | None = None


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One event at `at` (Unix time; None: the core's start, `Core.adopt`) and the commands that it led to.

    `failure` says how the core failed where it did; then there are no commands and the run ends.
    """

    at: float
    event: AnyEvent | None
    commands: msgspec.Raw
    failure: str = ""


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a record cannot hold a {type(value).__name__}")


def _typed(type_: type, value: Any) -> object:
    if type_ is Path:
        return Path(value)
    raise TypeError(f"a record holds no {type_.__name__}")


encode: Final = msgspec.msgpack.Encoder(enc_hook=_plain).encode
decode_header: Final = msgspec.msgpack.Decoder(Header, dec_hook=_typed).decode
decode_frame: Final = msgspec.msgpack.Decoder(Frame).decode
decode_commands: Final = msgspec.msgpack.Decoder(list[AnyCommand]).decode


def without_secrets(config: ControllerConfig) -> ControllerConfig:
    """Return the configuration without what the core does not read: addresses, names of files and of who logs in."""
    nothing = Path("unused")
    return replace(
        config,
        telemetry=TelemetrySection(
            secret_key_file=nothing,
            agents_file=nothing,
            stale_after_s=config.telemetry.stale_after_s,
            rrd_period_s=config.telemetry.rrd_period_s,
            rrd_stale_after_s=config.telemetry.rrd_stale_after_s,
        ),
        xapi=XapiSection(url="unused", username="unused", password_file=nothing),
        state_dir=nothing,
        socket=nothing,
        http=None,
        webhooks=(),
        slurm=None,
        record=RecordSection(),
    )


def failure_text(error: Exception) -> str:
    """Say how a core failed in words that a record can hold."""
    return f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()
