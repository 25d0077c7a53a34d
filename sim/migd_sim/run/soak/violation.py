"""What must not be, and was."""

import msgspec


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """An invariant (by its name in docs/soak.md) that did not hold at a virtual time, and how it did not."""

    invariant: str
    at_s: float
    text: str


class Violated(Exception):
    """Something is wrong; the run ends here. `invariant` names what did not hold."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant, self.text = invariant, text

    def at(self, at_s: float) -> Violation:
        return Violation(invariant=self.invariant, at_s=at_s, text=self.text)


def expect(holds: bool, invariant: str, text: str) -> None:
    """Raise Violated where an invariant does not hold."""
    if not holds:
        raise Violated(invariant, text)
