"""Linux bridges: the kernel counts the frames that it forwards, in a set of an nftables table of our own.

The table is in the family `bridge`, so it sees what goes between guests and what leaves the host; what Dom0 itself
sends or receives is not forwarded, and not counted. Other tables are not touched.
"""

import socket
from collections.abc import Mapping
from typing import Final

import msgspec

from migd_agent.command import Command, run, start_of
from migd_agent.flows import FlowsUnreadable, Pair

TABLE: Final = "migd"
MAX_PAIRS: Final = 8192
# A pair is forgotten this long after its last frame; past MAX_PAIRS, the kernel counts no new ones.
FORGET_AFTER: Final = "10m"
# `typeof` came with nftables 0.9.4, the counters of a set with Linux 5.7; nothing older than Debian 12's 1.0 was tried.
_NEEDED: Final = "nftables 1.0 and Linux 5.7 or newer are needed"
# Bound for as long as this agent lives, in this network namespace, as the table is; the kernel ends it with the agent.
_MARK: Final = "\0migd-agent-flows"
# A frame to many stations (the lowest bit of the first octet) belongs to no pair.
# To add a table that is there is no error, and to delete one that is not would be: somebody may have flushed them all.
_NO_TABLE: Final = f"add table bridge {TABLE}\ndelete table bridge {TABLE}\n"
_RULES: Final = f"""
table bridge {TABLE} {{
  set pairs {{
    typeof ether saddr . ether daddr
    size {MAX_PAIRS}
    flags dynamic,timeout
    timeout {FORGET_AFTER}
    counter
  }}
  chain count_pairs {{
    type filter hook forward priority 0; policy accept;
    ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 update @pairs {{ ether saddr . ether daddr }}
  }}
}}
"""


class Bridge:
    """The counting on this host's Linux bridges."""

    def __init__(self) -> None:
        """Begin to count. A table that a killed agent left is replaced. Raises FlowsUnreadable."""
        self._mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._mark.bind(_MARK)
        except OSError as error:
            self._mark.close()
            raise FlowsUnreadable("another migd-agent counts this host's flows already; end one of the two") from error
        try:
            run(("nft", "-f", "-"), _NO_TABLE + _RULES, failure=FlowsUnreadable)
        except FlowsUnreadable as error:
            self._mark.close()
            raise FlowsUnreadable(f"{error} ({_NEEDED})") from error
        self._list = Command("nft", "-j", "list", "set", "bridge", TABLE, "pairs", failure=FlowsUnreadable)
        # For when somebody has flushed all tables, as the reload of a firewall does.
        self._count_anew = Command("nft", _NO_TABLE + _RULES, failure=FlowsUnreadable)
        self._is_lost = False

    @property
    def is_reading(self) -> bool:
        return self._list.is_running or self._count_anew.is_running

    def begin(self) -> None:
        (self._count_anew if self._is_lost else self._list).begin()

    def take(self) -> Mapping[Pair, int] | None:
        asked = self._count_anew if self._count_anew.is_running else self._list
        try:
            output = asked.take()
        except FlowsUnreadable:
            self._is_lost = True
            raise
        if output is None:
            return None
        self._is_lost = False
        return parse(output) if asked is self._list else {}

    def close(self) -> None:
        self._list.close()
        self._count_anew.close()
        try:
            run(("nft", "-f", "-"), _NO_TABLE, failure=FlowsUnreadable)
        finally:
            self._mark.close()


class _Pair(msgspec.Struct, gc=False):
    concat: tuple[str, str]


class _Count(msgspec.Struct, gc=False):
    bytes: int


class _Counted(msgspec.Struct, gc=False):
    val: _Pair
    counter: _Count


class _Element(msgspec.Struct, gc=False):
    elem: _Counted


class _Set(msgspec.Struct):
    elem: list[_Element] = []


class _Part(msgspec.Struct):
    set: _Set | None = None


class _Answer(msgspec.Struct):
    nftables: list[_Part]


_decode: Final = msgspec.json.Decoder(_Answer).decode


def parse(output: bytes) -> dict[Pair, int]:
    """Return bytes by pair of MAC addresses in the JSON of `nft -j list set`. Raises FlowsUnreadable."""
    try:
        (found,) = (part.set for part in _decode(output).nftables if part.set is not None)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise FlowsUnreadable(
            f"nft: expected a set of MAC pairs with counters as JSON, found {start_of(output)}: "
            f"{type(error).__name__} {error}; {_NEEDED}"
        ) from error
    return {element.elem.val.concat: element.elem.counter.bytes for element in found.elem}
