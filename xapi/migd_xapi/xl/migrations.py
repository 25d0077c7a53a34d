"""`xl migrate` on the source, detached from the connection that began it, and followed by looking at its files.

The source keeps a folder for each: `request` (which guest goes where), `pid`, `output`, and `code` once it has ended.
So a broken connection ends nothing, and a server that was restarted finds what is under way. A lock for each guest
keeps two servers from moving it at once.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from migd_xapi.xl.text import ACKNOWLEDGED

# /run is empty after a boot, as no migration outlives one.
_BASE: Final = 'base="${MIGD_XAPI_STATE:-/run/migd-xapi}"'
KEPT_MINUTES: Final = 24 * 60
ALREADY_MOVING: Final = "another migd-xapi is migrating this guest"
_OUTPUT_TAIL_BYTES: Final = 4096
NOT_YET: Final = "not-yet"  # what a cancel answers while there is no transport to end


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One migration, as it stands on the source."""

    id: str
    guest_uuid: str
    domid: int
    target_uuid: str


@dataclass(frozen=True, slots=True)
class Look:
    """How a migration is: `code` is its exit code, "lost" where nobody can tell any more, None while it goes on."""

    code: str | None
    output: str

    @property
    def is_acknowledged(self) -> bool:
        """Return whether the target has all of the guest."""
        return ACKNOWLEDGED in self.output


def begin(request: Request, command: Sequence[str]) -> str:
    """Return the script that begins it."""
    runner = f"""\
cd "$1" || exit
exec 9>"$2"
if flock -n 9; then
  {shlex.join(command)} >output 2>&1 </dev/null &
  echo $! >pid
  wait $!
  code=$?
else
  echo {shlex.quote(ALREADY_MOVING)} >output
  code=75
fi
echo $code >code.new
mv code.new code
"""
    return f"""\
umask 077
{_BASE}
mkdir -p "$base/{request.id}" || exit 4
find "$base" -mindepth 1 -maxdepth 1 -type d -mmin +{KEPT_MINUTES} -exec rm -rf {{}} +
printf %s {shlex.quote(msgspec.json.encode(request).decode())} >"$base/{request.id}/request" || exit 4
setsid sh -c {shlex.quote(runner)} migd "$base/{request.id}" "$base/{request.guest_uuid}.lock" \
</dev/null >/dev/null 2>&1 &
"""


def look(request: Request) -> str:
    """Return the script whose output `parse_look` reads; it waits a while for the end, which costs less than asking."""
    return f"""\
{_BASE}
cd "$base/{request.id}" 2>/dev/null || {{ echo lost; exit 0; }}
is_over() {{
  if [ -f pid ]; then ! kill -0 "$(cat pid)" 2>/dev/null; else [ -n "$(find request -mmin +1)" ]; fi
}}
for pause in 0.1 0.2 0.3 0.4 0.5 0.5; do
  [ -f code ] && break
  sleep $pause
done
if [ ! -f code ] && is_over; then sleep 1; [ -f code ] || echo lost >code; fi
if [ -f code ]; then cat code; else echo going; fi
tail -c {_OUTPUT_TAIL_BYTES} output 2>/dev/null || true
"""


def parse_look(text: str) -> Look:
    """Return what `look` found."""
    state, _, output = text.partition("\n")
    return Look(None if state == "going" else state or "lost", output)


def unfinished() -> str:
    """Return the script that writes the requests of what has not ended, one a line."""
    return f"""\
{_BASE}
for folder in "$base"/*/; do
  if [ -f "$folder/request" ] && [ ! -f "$folder/code" ]; then cat "$folder/request"; echo; fi
done
"""


def parse_unfinished(text: str) -> list[Request]:
    """Return the requests; one that was cut short stands for a migration that was never begun."""
    found: list[Request] = []
    for line in text.splitlines():
        try:
            found.append(msgspec.json.decode(line, type=Request))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
    return found


def cancel(request: Request) -> str:
    """Return the script that ends it, unless the guest stands still for its last pages: then it is too late.

    The transport is ended, never `xl`: only `xl` lets the guest go on. While `xl` is stopped the guest cannot be
    suspended, so that nothing changes between the check and the deed.
    """
    return f"""\
{_BASE}
cd "$base/{request.id}" 2>/dev/null && pid=$(cat pid 2>/dev/null) || {{ echo {NOT_YET}; exit 0; }}
kill -STOP "$pid" || {{ echo late; exit 0; }}
said={NOT_YET}
if grep -q {shlex.quote(ACKNOWLEDGED)} output || xl list {request.domid} | grep -q ' [r-][b-][p-]s[c-][d-] '; then
  said=late
else
  for child in $(cat "/proc/$pid/task/$pid/children"); do
    case $(cat "/proc/$child/comm") in xl | libxl-save-*) ;; *) kill "$child" && said=cancelled ;; esac
  done
fi
kill -CONT "$pid"
echo $said
"""
