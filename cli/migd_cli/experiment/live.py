"""The runs on a real cluster: the application is started here, and migd migrates the guest, with all its gates."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from migd_cli.experiment.application import Application
from migd_cli.experiment.runs import Arm, Held, Moved, Plan, Record, Released, Run
from migd_cli.experiment.silence import Silence
from migd_cli.experiment.site import Moment, Site
from migd_cli.failures import Failure, RequestFailed, Unreachable
from migd_core.api import MigrationView
from migd_core.automation import Automation
from migd_core.units import format_duration

POLL_S: Final = 0.1
LOOK_EVERY_S: Final = 0.5
# A request is refused while the guest's dirty pages are counted, which the request itself ends; or telemetry is late.
ASK_AGAIN_S: Final = 0.5
LATE_AT_MOST_S: Final = 15.0
HOME_WITHIN_S: Final = 120.0
HOME_TRIES: Final = 3
QUIET_WITHIN_S: Final = 3600.0
FAILURES_IN_A_ROW: Final = 3
# Silence is listened for from so long before the migration until so long after it.
AROUND_S: Final = 2.0
NOWHERE: Final = "nowhere"

Tell = Callable[[str], None]


class Experiment:
    """Makes the runs that a record still lacks.

    `settle_s` is let pass before each; one that is not over after `limit_s` is ended; `ping` is the guest's address.
    """

    def __init__(self, site: Site, record: Record, settle_s: float, limit_s: float, ping: str, tell: Tell) -> None:
        self._site, self._record, self._ping, self._tell = site, record, ping, tell
        self._settle_s, self._limit_s = settle_s, limit_s
        self._under_way: MigrationView | None = None

    @property
    def _plan(self) -> Plan:
        return self._record.plan

    def make_runs(self) -> None:
        """Make every run that is left, and bring the guest home. Raises Failure, and Interrupted on the way."""
        failed_in_a_row = 0
        for number, arm, is_warm_up in self._record.left():
            self._await_quiet()  # first: after a crash the guest may be leaving home at the moment
            self._go_home()
            self._site.wait(self._settle_s)
            run = self._run(number, arm, is_warm_up)
            self._record.add(run)
            self._tell(told(run, self._plan))
            failed_in_a_row = failed_in_a_row + 1 if run.failed else 0
            if failed_in_a_row == FAILURES_IN_A_ROW:
                raise Failure(f"{FAILURES_IN_A_ROW} runs in a row failed, the last one because {run.failed}")
        self._go_home()

    def let_go(self) -> None:
        """Leave the guest where it was at first, as far as it can be: what is under way is cancelled or awaited."""
        if self._under_way is not None:
            self._tell(f"ending the migration of {self._plan.guest} ({self._under_way.cause})")
            self._site.cancel(self._under_way.cause)
        self._go_home()

    def _run(self, number: int, arm: Arm, is_warm_up: bool) -> Run:
        before, at = self._site.moment(self._plan.guest), time.time()
        application = Application(self._plan.command, self._log("application", number))
        move: Moved | None = None
        failed = ""
        try:
            if arm is Arm.WITH:
                move, failed = self._migrate_at(application, number)
            if not failed and self._goes_on(application, until_s=self._limit_s):
                failed = f"the application was not over after {format_duration(self._limit_s)}; --limit allows more"
        finally:
            application.end()
        if self._under_way is not None:
            self._await_end(self._under_way)
        failed = failed or application.failure
        disturbed = disturbance(before, self._site.moment(self._plan.guest), self._plan, move)
        return Run(
            number=number,
            arm=arm,
            at=at,
            took_s=application.ran_for_s,
            is_warm_up=is_warm_up,
            failed=failed,
            disturbed=disturbed,
            move=move,
        )

    def _migrate_at(self, application: Application, number: int) -> tuple[Moved | None, str]:
        """Migrate the guest at its time; return what came of it, and what was wrong with that."""
        at_s = self._plan.at_s
        if not self._goes_on(application, until_s=at_s - AROUND_S):
            return None, _too_short(application, at_s)
        silence = Silence(self._ping, self._log("ping", number)) if self._ping else None
        try:
            if not self._goes_on(application, until_s=at_s):
                return None, _too_short(application, at_s)
            migration, asked_after_s, refused = self._ask(application)
            if migration is None:
                return None, refused
            ended = self._await_end(migration)
            heard_until_s = time.monotonic() + AROUND_S
            while silence is not None and time.monotonic() < heard_until_s:
                self._site.wait(POLL_S)
        finally:
            if silence is not None:
                silence.end()
        pause_s, deaf = _pause(silence)
        move = Moved(
            cause=migration.cause,
            asked_after_s=asked_after_s,
            took_s=ended.actual_s if ended.ok else None,
            pause_s=pause_s,
            predicted_s=migration.predicted_s,
            predicted_pause_s=migration.predicted_pause_s,
        )
        if not ended.ok:
            return move, f"migration {ended.cause} {ended.state}: {ended.text or 'the pool did not say why'}"
        outlasted_s = asked_after_s + (ended.actual_s or 0.0) - application.ran_for_s
        if application.is_over() and outlasted_s > 0:
            return move, (
                f"the application was over {outlasted_s:.1f} s before the migration; "
                "let it run longer, or migrate earlier"
            )
        return move, deaf

    def _goes_on(self, application: Application, until_s: float) -> bool:
        """Wait until the application has run for so long; False if it ends before."""
        while not application.is_over():
            if (left_s := until_s - application.ran_for_s) <= 0:
                return True
            self._site.wait(min(POLL_S, left_s))
        return False

    def _ask(self, application: Application) -> tuple[MigrationView | None, float, str]:
        """Ask for the migration, again while it is refused; return it, when that was, and why it was not begun."""
        while True:
            after_s = application.ran_for_s
            try:
                self._under_way = self._site.migrate(self._plan.guest, self._plan.target)
            except RequestFailed as error:
                if after_s - self._plan.at_s > LATE_AT_MOST_S:
                    return None, after_s, f"the migration was refused: {error.message}"
            except Unreachable as error:
                return None, after_s, f"the controller did not answer when it was asked to migrate: {error.message}"
            else:
                return self._under_way, after_s, ""
            self._site.wait(ASK_AGAIN_S)

    def _await_end(self, migration: MigrationView) -> MigrationView:
        """Return a migration once it is over."""
        while (now := self._site.migration(migration.cause)).ok is None:
            self._site.wait(LOOK_EVERY_S)
        self._under_way = None
        return now

    def _go_home(self) -> None:
        """Bring the guest back to its first host, unless it is there. Raises Failure."""
        home, tries, until_s = self._plan.home, 0, time.monotonic() + HOME_WITHIN_S
        while True:
            moment = self._site.moment(self._plan.guest)
            # Also one that somebody else has begun, or whose begin this has never heard of.
            if moving := [each for each in moment.of_guest() if each.ok is None]:
                self._await_end(moving[0])
                continue
            if (guest := moment.guest).host_name == home:
                return
            try:
                self._under_way = self._site.migrate(self._plan.guest, home)
                ended = self._await_end(self._under_way)
                tries += 1
                why = "" if ended.ok else f"migration {ended.cause} {ended.state}: {ended.text}"
            except (RequestFailed, Unreachable) as error:
                why = error.message
            if why and (tries == HOME_TRIES or time.monotonic() > until_s):
                raise Failure(
                    f"guest {guest.name} is on {guest.host_name} and cannot go back to {home}: {why}; once it can, "
                    "--resume goes on"
                )
            if why:
                self._site.wait(ASK_AGAIN_S)

    def _await_quiet(self) -> None:
        """Wait until nothing that would disturb a run is under way. Raises Failure."""
        until_s = time.monotonic() + QUIET_WITHIN_S
        while moving := _concerned(self._site.moment(self._plan.guest), self._plan, lambda each: each.ok is None):
            if time.monotonic() > until_s:
                raise Failure(
                    f"migration {moving[0].cause} of {moving[0].guest_name} has been under way for "
                    f"{format_duration(QUIET_WITHIN_S)}; `migctl cancel {moving[0].cause}` ends it"
                )
            self._site.wait(LOOK_EVERY_S)

    def _log(self, what: str, number: int) -> Path:
        return self._record.folder / f"{what}-{number:03d}.log"


def disturbance(before: Moment, after: Moment, plan: Plan, move: Moved | None) -> str:
    """Say what else moved during a run, empty if nothing did that concerns the job or its hosts.

    By what the controller knew before and after it, so that no two clocks are compared.
    """
    own = move.cause if move is not None else ""

    def is_new(each: MigrationView) -> bool:
        known = before.migrations.get(each.cause)
        return each.cause != own and (known is None or known.ok is None)

    others = _concerned(after, plan, is_new)
    if others:
        named = ", ".join(f"{each.cause} of {each.guest_name} ({each.requested_by})" for each in others)
        return f"another migration took place meanwhile: {named}"
    expected = dict(before.places)
    if move is not None and move.took_s is not None:
        expected[before.guest.name] = plan.target
    ways = [(name, place, after.places.get(name, NOWHERE)) for name, place in expected.items()]
    ways += _passers_by(before, after, {plan.home, plan.target, *before.places.values()})
    strayed = [f"{name} went from {was} to {is_}" for name, was, is_ in sorted(ways) if was != is_]
    return f"not by migd: {', '.join(strayed)}" if strayed else ""


def _passers_by(before: Moment, after: Moment, hosts: set[str]) -> list[tuple[str, str, str]]:
    """Return name, host before and host after of each guest that is not of the job and was or is on such a host."""
    found = []
    for uuid in before.others.keys() | after.others.keys():
        name, _ = after.others.get(uuid) or before.others[uuid]
        was, is_ = (moment.others.get(uuid, (name, NOWHERE))[1] for moment in (before, after))
        if {was, is_} & hosts:
            found.append((name, was, is_))
    return found


def _concerned(moment: Moment, plan: Plan, wanted: Callable[[MigrationView], bool]) -> list[MigrationView]:
    """Return the migrations that are wanted and have to do with the job's guests or with a host of the run."""
    hosts = {plan.home, plan.target, *moment.places.values()}
    return [
        each
        for each in moment.migrations.values()
        if wanted(each) and (each.guest_name in moment.places or {each.source_name, each.target_name} & hosts)
    ]


def told(run: Run, plan: Plan) -> str:
    """Return one line about a run."""
    in_all = plan.warm_up + plan.repeat * len(plan.arms)
    what = "warm-up" if run.is_warm_up else f"{run.arm} migration" if run.arm is not Arm.BASELINE else "baseline"
    text = f"{run.number} of {in_all}, {what}: {run.took_s:.2f} s"
    if run.move is not None and run.move.took_s is not None:
        text += f", migration {run.move.took_s:.2f} s"
        text += f", pause {run.move.pause_s:.2f} s" if run.move.pause_s is not None else ""
    if why := run.failed or run.disturbed:
        text += f"; does not count: {why}"
    return text


def _pause(silence: Silence | None) -> tuple[float | None, str]:
    """Return how long the guest was silent, and what was wrong with listening for that."""
    if silence is None:
        return None, ""
    try:
        return silence.longest_s(), ""
    except Failure as error:
        return None, error.message


def _too_short(application: Application, at_s: float) -> str:
    return application.failure or (
        f"the application was over after {application.ran_for_s:.1f} s, before the migration was due at "
        f"{at_s:g} s; let it run longer, or migrate earlier"
    )


class Hold:
    """Keeps migd from moving guests by itself from `begin` to `end`, if that is wanted.

    What to go back to is in the record before anything is changed, so that a measurement that was killed can.
    """

    def __init__(self, site: Site, record: Record, tell: Tell, *, is_wanted: bool) -> None:
        self._site, self._record, self._tell, self._is_wanted = site, record, tell, is_wanted

    def begin(self) -> None:
        """Turn automation off, unless it is. Raises Failure."""
        now = self._site.automation()
        if not self._is_wanted or now.level is Automation.OFF:
            return
        self._record.add(Held(chosen=now.chosen))
        self._site.set_automation(Automation.OFF)
        self._tell(f"automation is off while this runs; it was {now.level}")

    def end(self) -> None:
        """Let automation be what it was, unless somebody has set it meanwhile. Raises Failure."""
        held = self._record.held
        if held is None:
            return
        if self._site.automation().level is not Automation.OFF:
            self._tell("automation was set by somebody else meanwhile, and is left as it is")
        else:
            self._site.set_automation(held.chosen)
            self._tell(f"automation is again what it was: {self._site.automation().level}")
        self._record.add(Released())
