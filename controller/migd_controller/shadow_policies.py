"""The policies of shadows, each made once, and what each decided last: made anew after a restart."""

from collections.abc import Callable, Mapping

from migd_controller.contest import Contender
from migd_controller.decision import Decision
from migd_policies.policy import Policy
from migd_policies.registry import configure


class ShadowPolicies:
    """By label; a label that is given to another policy or other settings gets a new one."""

    def __init__(self, make: Callable[[str, Mapping[str, object]], Policy] = configure) -> None:
        """`make` returns the policy of a name with settings; see `registry.configure`."""
        self._make = make
        self._made: dict[str, tuple[str, dict[str, object], Policy]] = {}
        self.decided: dict[str, Decision] = {}

    def of(self, label: str, shadow: Contender) -> Policy:
        """Return the shadow's policy. Raises UnknownName or ConfigError where it can no longer be made."""
        made = self._made.get(label)
        if made is None or made[:2] != (shadow.policy, shadow.config):
            made = (shadow.policy, shadow.config, self._make(shadow.policy, shadow.config))
            self._made[label] = made
            self.decided.pop(label, None)
        return made[2]
