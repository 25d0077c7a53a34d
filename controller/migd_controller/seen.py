"""The cluster at one moment, and its rules: resolved once, applied where they are asked for."""

from dataclasses import dataclass
from functools import cached_property

from migd_core.world import World
from migd_policies.rules import Rules


@dataclass(frozen=True)
class Seen:
    """The cluster at one moment as nobody's rules see it, and its rules."""

    bare: World
    rules: Rules

    @cached_property
    def world(self) -> World:
        """The world with what the rules forbid, for moves that are made together."""
        return self.rules.applied(self.bare)

    @cached_property
    def singly(self) -> World:
        """The world with what the rules forbid, for moves that are made one by one."""
        return self.rules.applied(self.bare, singly=True)
