"""What a policy is: its own configuration section, and a function from a `World` to a `Plan`."""

from typing import ClassVar, Protocol

from migd_core.world import Plan, World


class Policy(Protocol):
    """A policy is a frozen msgspec Struct whose fields, each with a default, are its configuration section.

    `name` is what an operator types, `summary` one line for `migctl policy list`. Declare the Struct with
    `frozen=True, forbid_unknown_fields=True`, so that a mistyped key is an error.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def propose(self, world: World) -> Plan:
        """Return what should move in `world`, in order, and why; an empty plan says why nothing should.

        Pure: no I/O, no clock, no random numbers, and the same world gives the same plan. What the plan costs and
        whether it is safe is not the policy's concern: the ledger prices each move and the guards have the last word.
        """
        ...
