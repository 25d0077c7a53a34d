"""The decision log as people read it: cycles in a row that came to the same are one line. Pure."""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from migd_controller.decision import Decision
from migd_controller.inventory import Inventory
from migd_core.api import DecisionLineView

GUESTS_NAMED: Final = 16


def lines(decisions: Iterable[Decision], inventory: Inventory) -> list[DecisionLineView]:
    """Return the lines of `decisions`, newest first as they are.

    Two cycles came to the same where the same policy gave the same reason for the same moves and made none of them.
    """
    found: list[DecisionLineView] = []
    last: tuple[object, ...] | None = None
    for decision in decisions:
        accepted = sum(candidate.is_accepted for candidate in decision.candidates)
        moves = frozenset((each.guest, each.target) for each in decision.candidates)
        same = (decision.policy, decision.reason.code, moves) if not accepted else None
        if same is not None and same == last:
            found[-1] = replace(found[-1], first_at=decision.at, cycles=found[-1].cycles + 1)
            continue
        last = same
        guests = dict.fromkeys(candidate.guest for candidate in decision.candidates)
        found.append(
            DecisionLineView(
                cause=decision.cause,
                at=decision.at,
                first_at=decision.at,
                cycles=1,
                policy=decision.policy,
                code=decision.reason.code,
                text=decision.reason.text,
                proposed=len(decision.candidates),
                accepted=accepted,
                guests=[inventory.guest_name(uuid) for uuid in guests][:GUESTS_NAMED],
            )
        )
    return found
