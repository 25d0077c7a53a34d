"""The decision log: cycles in a row that came to the same are one line."""

from cluster_of_events import Cluster, pool_guest, pool_host

from migd_controller.decision import Candidate, Decision, Gate
from migd_controller.decision_log import lines
from migd_core.world import Reason


def decision(number: int, code: str = "within-threshold", *moves: tuple[str, bool]) -> Decision:
    """Decision D<number>, made 5 s after the one before; `moves` are guests, and whether their move was made."""
    return Decision(
        cause=f"D{number}",
        at=5.0 * number,
        policy="balance",
        reason=Reason(code, f"because of {number}"),
        candidates=tuple(
            Candidate(guest=guest, source="a", target="b", why="", gates=(Gate(name="gain", passed=ok, text=""),))
            for guest, ok in moves
        ),
    )


def log(*decisions: Decision) -> list[tuple[str, float, float, int, int, int]]:
    inventory = Cluster([pool_host("a"), pool_host("b")], [pool_guest("rank0", "a")]).core.inventory
    return [
        (each.cause, each.first_at, each.at, each.cycles, each.proposed, each.accepted)
        for each in lines(reversed(decisions), inventory)
    ]


def test_cycles_that_came_to_the_same_are_one_line() -> None:
    assert log(decision(1), decision(2), decision(3)) == [("D3", 5.0, 15.0, 3, 0, 0)]


def test_another_reason_or_another_move_is_another_line() -> None:
    found = log(
        decision(1),
        decision(2, "refused", ("rank0", False)),
        decision(3, "refused", ("rank0", False)),
        decision(4, "refused", ("rank1", False)),
        decision(5),
    )
    assert found == [
        ("D5", 25.0, 25.0, 1, 0, 0),
        ("D4", 20.0, 20.0, 1, 1, 0),
        ("D3", 10.0, 15.0, 2, 1, 0),
        ("D1", 5.0, 5.0, 1, 0, 0),
    ]


def test_every_move_that_was_made_has_a_line() -> None:
    made = ("rank0", True)
    assert log(decision(1, "move", made), decision(2, "move", made)) == [
        ("D2", 10.0, 10.0, 1, 1, 1),
        ("D1", 5.0, 5.0, 1, 1, 1),
    ]
