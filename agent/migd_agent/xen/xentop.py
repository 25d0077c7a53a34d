"""Where libxenstat is not installed: the text of `xentop -b`, which runs along and prints a block a second.

Its CPU times are whole seconds, its CPU shares are exact. So rates are taken from it, held until the next block, and
added up to counters again: what comes out only rises. Uuids come from `xl vm-list`, the host's memory from `xl info`.
"""

import contextlib
import itertools
import os
import pty
import re
import select
import subprocess
import time
from dataclasses import dataclass, replace
from typing import Final

from migd_agent.xen.reading import SECTOR_BYTES, Domain, XenReading, XenUnreadable
from migd_core.units import MIB

XENTOP: Final = ("xentop", "-b", "-f", "-d", "1")
TOOL_TIMEOUT_S: Final = 5.0
# Memory of the host changes when guests come and go, and then seldom.
HOST_PERIOD_S: Final = 30.0
_KIB: Final = 1024
_HEADER: Final = re.compile(r"^.*NAME +STATE", re.MULTILINE)
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_COLUMNS: Final = ("NAME", "STATE", "CPU(%)", "MEM(k)", "VCPUS", "NETTX(k)", "NETRX(k)", "VBD_RSECT", "VBD_WSECT")


@dataclass(frozen=True, slots=True)
class Line:
    """One domain in one block of xentop. `cpu_ratio` is its CPU share of one CPU, so 2 vCPUs may show 2."""

    name: str
    state: str
    cpu_ratio: float
    memory_bytes: int
    vcpus: int
    rx_bytes: int
    tx_bytes: int
    read_bytes: int
    written_bytes: int

    @property
    def is_paused(self) -> bool:
        return "p" in self.state

    @property
    def is_ending(self) -> bool:
        return "s" in self.state or "d" in self.state


def blocks(text: str) -> tuple[list[str], str]:
    """Return the blocks in `text` that are complete (another one has begun), and what is left of it."""
    starts = [header.start() for header in _HEADER.finditer(text)]
    if not starts:
        return [], text
    return [text[a:b] for a, b in itertools.pairwise(starts)], text[starts[-1] :]


def parse_block(block: str) -> tuple[Line, ...]:
    """Return the domains of one block. Raises XenUnreadable.

    A name may hold spaces and a column may say `no limit` or `n/a`, so a line is read from its end.
    """
    header, *lines = block.replace("\r", "").splitlines() or [""]
    columns = header.split()
    if missing := [name for name in _COLUMNS if name not in columns]:
        raise XenUnreadable(f"xentop: expected a column {missing[0]}, found {header.strip()[:120]!r}")
    return tuple(_line(line, columns) for line in lines if line.strip())


def _line(line: str, columns: list[str]) -> Line:
    words = line.replace("no limit", "no-limit").split()
    surplus = len(words) - len(columns)
    if surplus < 0:
        raise XenUnreadable(f"xentop: expected {len(columns)} columns, found {line.strip()[:120]!r}")
    values = dict(zip(columns, [" ".join(words[: surplus + 1]), *words[surplus + 1 :]], strict=True))
    try:
        return Line(
            name=values["NAME"],
            state=values["STATE"],
            cpu_ratio=float(values["CPU(%)"]) / 100,
            memory_bytes=int(values["MEM(k)"]) * _KIB,
            vcpus=int(values["VCPUS"]),
            # As in libxenstat: what Dom0's end of the wire sends, the guest receives.
            rx_bytes=int(values["NETTX(k)"]) * _KIB,
            tx_bytes=int(values["NETRX(k)"]) * _KIB,
            read_bytes=int(values["VBD_RSECT"]) * SECTOR_BYTES,
            written_bytes=int(values["VBD_WSECT"]) * SECTOR_BYTES,
        )
    except ValueError as error:
        raise XenUnreadable(f"xentop: expected numbers, found {line.strip()[:120]!r}: {error}") from error


def parse_vm_list(text: str) -> dict[str, tuple[int, str]]:
    """Return domid and uuid by name from `xl vm-list`; Dom0 has no uuid. Raises XenUnreadable."""
    found = {}
    for line in text.splitlines()[1:]:
        words = line.split(maxsplit=2)
        if len(words) != 3 or not _NUMBER.fullmatch(words[1]):
            raise XenUnreadable(f"xl vm-list: expected a uuid, a number and a name, found {line.strip()[:120]!r}")
        uuid, domid, name = words
        found[name.strip()] = int(domid), "" if domid == "0" else uuid
    return found


def parse_info(text: str) -> tuple[int, int, int]:
    """Return CPUs, memory and free memory in bytes from `xl info`. Raises XenUnreadable."""
    pairs = (line.partition(":") for line in text.splitlines())
    values = {name.strip(): value.strip() for name, _, value in pairs}
    try:
        return int(values["nr_cpus"]), int(values["total_memory"]) * MIB, int(values["free_memory"]) * MIB
    except (KeyError, ValueError) as error:
        raise XenUnreadable(f"xl info: expected numbers nr_cpus, total_memory and free_memory: {error}") from error


@dataclass(slots=True)
class _Held:
    """One domain's counters as added up so far, and the rates that are held until the next block.

    The lists are bytes received, sent, read and written: per second, as xentop showed them last, and added up.
    """

    domain: Domain
    cpu_ratio: float
    bytes_per_s: list[float]
    seen: list[int]
    total: list[float]


class Xentop:
    """Asks Xen through xentop. Its first block has no rates yet, so those begin with the second."""

    def __init__(self) -> None:
        """Raises XenUnreadable where xentop cannot be run."""
        self._process: subprocess.Popen[bytes] | None = None
        self._text, self._held = "", dict[str, _Held]()
        self._block_s = self._read_s = self._host_s = -HOST_PERIOD_S
        self._names: dict[str, tuple[int, str]] = {}
        self._host = (0, 0, 0)
        self._start()
        until_s = time.monotonic() + TOOL_TIMEOUT_S
        while not self._held and time.monotonic() < until_s:
            select.select([self._screen], [], [], 0.1)
            self._advance(time.monotonic())

    def read(self) -> XenReading:
        """Return the counters as of now. Raises XenUnreadable; one that has ended is started anew next time."""
        if self._process is None:
            self._start()
        now_s = time.monotonic()
        self._advance(now_s)
        if not self._held:
            raise XenUnreadable("xentop has shown no domain yet")
        if now_s - self._host_s >= HOST_PERIOD_S:
            self._host, self._host_s = parse_info(_output_of("xl", "info")), now_s
        cpus, memory_bytes, free_bytes = self._host
        return XenReading(cpus, memory_bytes, free_bytes, tuple(each.domain for each in self._held.values()))

    def close(self) -> None:
        """End xentop."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(TOOL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        os.close(self._screen)

    def _advance(self, now_s: float) -> None:
        self._grow(now_s)
        whole, self._text = blocks(self._text + self._output())
        if whole:
            self._take(parse_block(whole[-1]), now_s)

    def _start(self) -> None:
        # On a terminal it writes line by line; into a pipe it would write 4 KiB at a time, seconds late.
        self._screen, theirs = pty.openpty()
        os.set_blocking(self._screen, False)
        try:
            self._process = subprocess.Popen(
                XENTOP, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env={**os.environ, "LC_ALL": "C"}
            )
        except OSError as error:
            os.close(self._screen)
            raise XenUnreadable(f"xentop cannot be run: {error.strerror}; install libxenstat or xen-utils") from error
        finally:
            os.close(theirs)

    def _output(self) -> str:
        assert self._process is not None, "whoever reads has started it"
        found = b""
        with contextlib.suppress(OSError):  # nothing more yet, or it has ended: the next line asks
            while chunk := os.read(self._screen, 65536):
                found += chunk
        text = found.decode(errors="backslashreplace")
        if self._process.poll() is not None:
            said, code = (self._text + text).strip()[-120:], self._process.returncode
            self._text, self._held = "", {}
            self.close()
            raise XenUnreadable(f"xentop ended with exit code {code}; its last words: {said!r}")
        return text

    def _grow(self, now_s: float) -> None:
        """Add to every counter what its rate gives since the last reading."""
        for held in self._held.values():
            went_s = now_s - self._read_s
            held.total = [n + rate * went_s for n, rate in zip(held.total, held.bytes_per_s, strict=True)]
            rx, tx, read, written = (int(n) for n in held.total)
            held.domain = replace(
                held.domain,
                cpu_s=held.domain.cpu_s + held.cpu_ratio * went_s,
                rx_bytes=rx,
                tx_bytes=tx,
                read_bytes=read,
                written_bytes=written,
            )
        self._read_s = now_s

    def _take(self, lines: tuple[Line, ...], now_s: float) -> None:
        if {line.name for line in lines} - self._names.keys() or len(lines) != len(self._held):
            self._names = parse_vm_list(_output_of("xl", "vm-list"))
        before, since_s = self._held, now_s - self._block_s
        self._held = {}
        for line in lines:
            if line.name not in self._names:
                continue  # it has come or gone between the two commands
            domid, uuid = self._names[line.name]
            seen = [line.rx_bytes, line.tx_bytes, line.read_bytes, line.written_bytes]
            held = before.get(line.name)
            if held is None or held.domain.domid != domid:
                held = _Held(_domain(line, domid, uuid), 0.0, [0.0] * len(seen), seen, [float(n) for n in seen])
            else:
                held.bytes_per_s = [max(0, now - then) / since_s for now, then in zip(seen, held.seen, strict=True)]
                held.seen = seen
                held.domain = replace(
                    held.domain,
                    memory_bytes=line.memory_bytes,
                    vcpus=line.vcpus,
                    is_paused=line.is_paused,
                    is_ending=line.is_ending,
                )
            held.cpu_ratio = line.cpu_ratio
            self._held[line.name] = held
        self._block_s = now_s


def _domain(line: Line, domid: int, uuid: str) -> Domain:
    return Domain(
        domid=domid,
        name=line.name,
        uuid=uuid,
        vcpus=line.vcpus,
        cpu_s=0.0,
        memory_bytes=line.memory_bytes,
        is_paused=line.is_paused,
        is_ending=line.is_ending,
    )


def _output_of(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",  # a guest's name may be anything
            timeout=TOOL_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise XenUnreadable(f"{' '.join(command)}: {error}; it is needed beside xentop") from error
    return done.stdout
