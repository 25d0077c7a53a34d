"""What was found and still stands. A host gets worse at once, and better only after a while. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from migd_agent.health import Finding, Found
from migd_core.health import MAX_REASON_CHARACTERS, MAX_REASONS, HealthState, HostHealth, worst

MORE: Final = "and {} more"


@dataclass(slots=True)
class _Standing:
    """A finding, and since when it is no longer found (None: it is)."""

    finding: Finding
    gone_s: float | None = None


class Held:
    """The findings of all sources. One that is no longer found stands for `recover_s` more."""

    def __init__(self, recover_s: float) -> None:
        self._recover_s = recover_s
        self._standing: dict[str, dict[tuple[str, HealthState], _Standing]] = {}
        self._watched: set[str] = set()
        self.health = HostHealth()

    def take(self, source: str, found: Found, at_s: float) -> None:
        """Take in what was found at a source at the monotonic time `at_s`."""
        standing = self._standing.setdefault(source, {})
        now = {(finding.what, finding.state): finding for finding in found.findings}
        for key, held in standing.items():
            if key not in now and held.finding.device not in found.unread and held.gone_s is None:
                held.gone_s = at_s
        standing.update((key, _Standing(finding)) for key, finding in now.items())
        for findings in self._standing.values():
            for key in [key for key, held in findings.items() if self._is_over(held, at_s)]:
                del findings[key]
        if found.judged:
            self._watched.add(source)
        elif not found.unread:
            self._watched.discard(source)
        self.health = self._judged()

    def _is_over(self, held: _Standing, at_s: float) -> bool:
        return held.gone_s is not None and at_s - held.gone_s >= self._recover_s

    def _judged(self) -> HostHealth:
        """Return the health that all findings amount to; of each thing the worst counts."""
        of_thing: dict[tuple[str, str], Finding] = {}
        for source, standing in self._standing.items():
            for held in standing.values():
                key, finding = (source, held.finding.what), held.finding
                if key not in of_thing or of_thing[key].state.badness < finding.state.badness:
                    of_thing[key] = finding
        findings = sorted(of_thing.values(), key=lambda finding: (-finding.state.badness, finding.reason))
        if not findings and not self._watched:
            return HostHealth()
        return HostHealth(
            state=worst(finding.state for finding in findings),
            reasons=_reasons(findings),
            watched=tuple(sorted(self._watched)),
        )


def _reasons(findings: Sequence[Finding]) -> tuple[str, ...]:
    texts = [finding.reason[:MAX_REASON_CHARACTERS] for finding in findings]
    if len(texts) <= MAX_REASONS:
        return tuple(texts)
    kept = texts[: MAX_REASONS - 1]
    return (*kept, MORE.format(len(texts) - len(kept)))
