"""Open vSwitch, which XCP-ng and XenServer use: the datapath's own flow statistics, added up by pair of MAC addresses.

A datapath flow lives for seconds and its statistics with it, so what each has counted since it was last seen is added.
A pair that is silent is forgotten only where there are too many: its count goes on when it talks again.
"""

import re
from collections.abc import Mapping
from typing import Final

from migd_agent.command import Command, start_of
from migd_agent.flows import FlowsUnreadable, Pair, went

MAX_PAIRS: Final = 8192
_MAC: Final = r"([0-9a-f]{2}(?::[0-9a-f]{2}){5})"
_ADDRESSES: Final = re.compile(rf"\beth\(src={_MAC},dst={_MAC}\)")
_BYTES: Final = re.compile(r", packets:([0-9]{1,20}), bytes:([0-9]{1,20}),")


class OpenVSwitch:
    """The counts of this host's Open vSwitch."""

    def __init__(self) -> None:
        self._dump = Command("ovs-appctl", "dpctl/dump-flows", failure=FlowsUnreadable)
        self._flows: dict[str, int] = {}
        self._pairs: dict[Pair, int] = {}

    @property
    def is_reading(self) -> bool:
        return self._dump.is_running

    def begin(self) -> None:
        self._dump.begin()

    def take(self) -> Mapping[Pair, int] | None:
        output = self._dump.take()
        if output is None:
            return None
        flows = parse(output)
        if len(self._pairs) >= MAX_PAIRS:
            talking = {pair for pair, _ in flows.values()}
            self._pairs = {pair: count for pair, count in self._pairs.items() if pair in talking}
        for match, (pair, count) in flows.items():
            if pair in self._pairs or len(self._pairs) < MAX_PAIRS:
                self._pairs[pair] = self._pairs.get(pair, 0) + went(self._flows.get(match, 0), count)
        self._flows = {match: count for match, (_, count) in flows.items()}
        return self._pairs

    def close(self) -> None:
        self._dump.close()


def parse(output: bytes) -> dict[str, tuple[Pair, int]]:
    """Return pair and bytes of each flow in the text of `dpctl/dump-flows`, by what the flow matches.

    Flows that match no single pair of stations are left out. Raises FlowsUnreadable where the text is none of flows.
    """
    found = {}
    for line in output.decode(errors="backslashreplace").splitlines():
        if not line.strip() or line.startswith("flow-dump from"):
            continue
        if (counted := _BYTES.search(line)) is None:
            raise FlowsUnreadable(f"ovs-appctl: expected a flow and its bytes, found {start_of(line.encode())}")
        addresses = _ADDRESSES.search(line)
        if addresses is None or int(addresses[2][:2], 16) & 1:
            continue
        found[line[: counted.start()]] = (addresses[1], addresses[2]), int(counted[2])
    return found
