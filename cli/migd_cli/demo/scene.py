"""Everything that is on show at one moment of the demo, and what has changed since the moment before."""

from dataclasses import dataclass

from migd_cli.demo.story import Act, Story
from migd_core.api import GuestView, HostView, MigrationView, StatusView
from migd_core.units import format_duration


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays: the job, its guests by name, and the guest that hogs CPUs."""

    job: str
    ranks: frozenset[str]
    hog: str
    hog_vcpus: int


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment. Hosts and guests as the controller sees them; the speeds as the emulated job really ran."""

    cast: Cast
    story: Story
    status: StatusView
    hosts: tuple[HostView, ...]
    guests: tuple[GuestView, ...]
    migrations: tuple[MigrationView, ...]
    speeds: tuple[float, ...]

    @property
    def at_s(self) -> float:
        return self.story.last.at_s

    @property
    def hog_host(self) -> str:
        """Return the name of the host that the hog is on."""
        return next((guest.host_name for guest in self.guests if guest.name == self.cast.hog), "its host")

    @property
    def caption(self) -> str:
        """Say what is going on."""
        story = self.story
        match story.act:
            case Act.BASELINE:
                left_s = max(0.0, story.limits.baseline_s - story.window_s)
                return f"All is well. Measuring the job for another {left_s:.0f} s."
            case Act.OVERLOAD:
                return (
                    f"{self.cast.hog} hogs {self.cast.hog_vcpus} CPUs of {self.hog_host}; "
                    f"{self.cast.job} waits for the ranks beside it."
                )
            case Act.RELIEF if self.status.migrations:
                return f"migd moves ranks away from {self.hog_host}, while the job goes on."
            case Act.RELIEF:
                left_s = max(0.0, story.limits.relief_s - story.window_s)
                return f"No guest is being moved. Measuring the job for another {left_s:.0f} s."
            case Act.DONE:
                return "Done."
            case Act.FAILED:
                return f"This did not go as it should: {story.why}."


def happened(before: Scene | None, now: Scene) -> list[str]:
    """Return what is new in `now`, a sentence each."""
    lines = []
    if before is None or before.story.act is not now.story.act:
        lines += _act_lines(now)
    known = {migration.cause: migration for migration in before.migrations} if before is not None else {}
    for migration in reversed(now.migrations):
        if migration.cause not in known:
            lines.append(_started(migration))
        if migration.ok is not None and (migration.cause not in known or known[migration.cause].ok is None):
            lines.append(_ended(migration))
    return lines


def _act_lines(now: Scene) -> list[str]:
    story = now.story
    match story.act:
        case Act.BASELINE:
            return [
                f"up: {len(now.hosts)} hosts, {len(now.guests)} guests, "
                f"job {now.cast.job} of {len(now.cast.ranks)} ranks, policy {now.status.policy}"
            ]
        case Act.OVERLOAD:
            return [f"{now.cast.job} makes {story.before or 0:.1f} steps/s undisturbed", now.caption]
        case Act.RELIEF:
            return [f"{now.cast.job} makes {story.hog or 0:.1f} steps/s beside the hog"]
        case Act.DONE:
            return [f"{now.cast.job} makes {story.after or 0:.1f} steps/s after the moves"]
        case Act.FAILED:
            return [now.caption]


def _started(migration: MigrationView) -> str:
    expected = "" if migration.predicted_s is None else f", expected to take {format_duration(migration.predicted_s)}"
    return (
        f"{migration.cause}: migd moves {migration.guest_name} from {migration.source_name} to "
        f"{migration.target_name}{expected}"
    )


def _ended(migration: MigrationView) -> str:
    took = "" if migration.actual_s is None else f" after {format_duration(migration.actual_s)}"
    if migration.ok:
        return f"{migration.cause}: {migration.guest_name} is on {migration.target_name}{took}"
    return f"{migration.cause}: {migration.guest_name} was not moved{took}: {migration.text}"
