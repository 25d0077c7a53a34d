"""Controllers that contend for one pool, in virtual time: calls that are slow or lost, processes that stop and die.

The pool is a map of claims and a set of sessions; it refuses a claim whose number is there and a change in a session
that has ended, and does one thing after the other. Everything else is left to chance and to the faults of a test.
"""

import heapq
import itertools
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace as with_fields

from migd_controller.leadership import (
    Add,
    Answer,
    Claim,
    Claims,
    Done,
    EndSession,
    NoAnswer,
    NotDone,
    Read,
    Remove,
    Request,
    Seat,
    Sleep,
    Taken,
)

LEASE_S = 6.0
TIMEOUT_S = 2.0
TYPICAL_S = 0.02
# Within what leadership.py allows for.
RATES = (1.0003, 0.9998, 1.0)


@dataclass(frozen=True)
class Change:
    """Something that only the leader may ask for, in one session."""

    session: str


@dataclass(frozen=True)
class Fault:
    """What happens to one controller (`who`), or to the pool: from `at_s`, for `lasts_s`.

    pause: it does nothing, and goes on where it was. crash: it begins anew after that. cut: its requests get lost.
    deaf: answers to it get lost. slow: its requests and answers take up to that long. before, late: its first request
    of the class `of` is held back so long by a pause of the process, or on its way. restore: the pool is away for that
    long, with the claims it had that long before, and no session.
    """

    kind: str
    who: int
    at_s: float
    lasts_s: float
    of: str = ""


@dataclass
class Pool:
    """What the pool knows, and what it had accepted."""

    claims: dict[int, Claim] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    names: "itertools.count[int]" = field(default_factory=itertools.count)

    def log_in(self) -> str:
        name = f"session {next(self.names)}"
        self.sessions.add(name)
        return name

    def do(self, request: Request | Change, session: str) -> Answer:
        if isinstance(request, EndSession):
            self.sessions.discard(request.session)
            return Done()
        if session not in self.sessions:
            return NotDone()
        match request:
            case Read():
                return Claims(tuple(self.claims.values()))
            case Add(claim=claim):
                if claim.number in self.claims:
                    return Taken()
                self.claims[claim.number] = claim
                return Done()
            case Remove(number=number):
                self.claims.pop(number, None)
                return Done()
            case Change():
                return Done()


@dataclass
class Controller:
    """One controller: its clock, its life, and what it does at the moment."""

    who: int
    seat: Seat
    rate: float
    session: str | None = None
    lives: int = 0
    is_alive: bool = True
    leads: bool = False
    work: "Generator[Request | Change | Sleep, tuple[Answer, float, float], None] | None" = None


class Contention:
    """A run of some controllers under some faults. `problems` says what must not have happened."""

    def __init__(self, controllers: int, faults: Sequence[Fault], seed: int, seat: type[Seat] = Seat) -> None:
        self._seat = seat
        self.pool, self.now_s = Pool(), 0.0
        self.random = random.Random(seed)
        self.faults = faults
        self.controllers = [self._born(who) for who in range(controllers)]
        self.problems: list[str] = []
        self.accepted: list[tuple[float, str]] = []
        self.changes_of_leader = 0
        self._life_of_term = ""
        self._to_come = [fault for fault in faults if fault.kind in ("before", "late")]
        self._pauses: list[Fault] = []
        self._history: list[tuple[float, dict[int, Claim]]] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        for controller in self.controllers:
            self._go_on(controller, controller.lives, None, at_s=0.5 * controller.who)  # so the first leads first
        for fault in faults:
            if fault.kind == "crash":
                self._at(fault.at_s, lambda fault=fault: self._crash(self.controllers[fault.who % controllers], fault))
            if fault.kind == "restore":
                self._at(fault.at_s, lambda fault=fault: self._restore(fault))

    def run_until(self, end_s: float, watch: Callable[[], None] = lambda: None) -> None:
        while self._queue and self._queue[0][0] <= end_s:
            self.now_s, _, step = heapq.heappop(self._queue)
            step()
            self._check_clocks()
            watch()
        self.now_s = end_s

    def calm_from_s(self) -> float:
        """Let no fault begin any more, and return when those that have begun are over."""
        self._to_come.clear()
        return max([self.now_s, *(fault.at_s + fault.lasts_s for fault in (*self.faults, *self._pauses))])

    def leaders(self) -> list[int]:
        """Return who leads by its own clock. Who is paused does nothing, and so is not asked."""
        return [
            each.who
            for each in self.controllers
            if each.is_alive and not self._fault("pause", each) and each.seat.leads(self._clock(each))
        ]

    def _born(self, who: int) -> Controller:
        return Controller(who, self._seat(f"seat {who}", f"life {who}.0", LEASE_S), RATES[who])

    def _clock(self, controller: Controller) -> float:
        return 1000.0 * controller.who + controller.rate * self.now_s

    def _at(self, at_s: float, step: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (at_s, next(self._order), step))

    def _fault(self, kind: str, controller: Controller | None, at_s: float | None = None) -> Fault | None:
        at_s = self.now_s if at_s is None else at_s
        for fault in (*self.faults, *self._pauses):
            is_meant = controller is None or fault.who % len(self.controllers) == controller.who
            if fault.kind == kind and is_meant and fault.at_s <= at_s < fault.at_s + fault.lasts_s:
                return fault
        return None

    def _go_on(
        self, controller: Controller, life: int, told: tuple[Answer, float, float] | None, at_s: float = 0.0
    ) -> None:
        """Let a controller do its next step, once it is not paused, unless it has died meanwhile."""
        self._at(max(at_s, self.now_s), lambda: self._step(controller, life, told))

    def _step(self, controller: Controller, life: int, told: tuple[Answer, float, float] | None) -> None:
        if life != controller.lives or not controller.is_alive:
            return
        if (pause := self._fault("pause", controller)) is not None:
            self._go_on(controller, life, told, pause.at_s + pause.lasts_s)
            return
        if controller.work is None:
            controller.work = self._life(controller)
            wish = next(controller.work)
        else:
            assert told is not None
            wish = controller.work.send((told[0], told[1], self._clock(controller)))
        self._note_term(controller)
        if isinstance(wish, Sleep):
            wait_s = min(1.0, max(0.001, (wish.until_s - self._clock(controller)) / controller.rate))
            self._go_on(controller, life, (Done(), 0.0, 0.0), self.now_s + wait_s)
            return
        sent_s = self._clock(controller)
        if (held := self._takes_place("before", controller, wish)) is not None:
            self._pauses.append(Fault("pause", controller.who, self.now_s, held.lasts_s))
        self._at(self.now_s + 0.0005, lambda: self._send(controller, life, wish, sent_s))

    def _send(self, controller: Controller, life: int, request: Request | Change, sent_s: float) -> None:
        if life != controller.lives or not controller.is_alive:
            return
        if (pause := self._fault("pause", controller)) is not None:
            self._at(pause.at_s + pause.lasts_s, lambda: self._send(controller, life, request, sent_s))
            return
        is_answered = False

        def answered(answer: Answer) -> None:
            nonlocal is_answered
            if not is_answered:
                is_answered = True
                self._go_on(controller, life, (answer, sent_s, 0.0))

        def arrived() -> None:
            if self._fault("restore", None) is not None:
                return
            answer = self._do(controller, life, request, session)
            if self._fault("deaf", controller) is None and self._fault("cut", controller) is None:
                self._at(self.now_s + self._delay(controller), lambda: answered(answer))

        if isinstance(request, Change):
            session = request.session
        else:
            if controller.session not in self.pool.sessions:
                controller.session = None  # the pool says so at the next call, which is then made in a new one
            session = controller.session or ""
        if self._fault("cut", controller) is None:
            if not session and self._fault("restore", None) is None:
                session = controller.session = self.pool.log_in()
            if isinstance(request, Add):
                inherited = tuple(each for each in request.claim.sessions if each != session)
                request = Add(with_fields(request.claim, sessions=(session, *inherited)))
            late = self._takes_place("late", controller, request)
            self._at(self.now_s + self._delay(controller) + (late.lasts_s if late is not None else 0.0), arrived)
        self._at(self.now_s + TIMEOUT_S, lambda: answered(NoAnswer()))

    def _takes_place(self, kind: str, controller: Controller, request: Request | Change) -> Fault | None:
        """Return the fault that is meant for this request; it happens once."""
        for fault in self._to_come:
            is_meant = fault.kind == kind and fault.who % len(self.controllers) == controller.who
            if is_meant and fault.at_s <= self.now_s and fault.of == type(request).__name__:
                self._to_come.remove(fault)
                return fault
        return None

    def _delay(self, controller: Controller) -> float:
        slow = self._fault("slow", controller)
        return self.random.uniform(0.0, slow.lasts_s if slow is not None else TYPICAL_S)

    def _do(self, controller: Controller, life: int, request: Request | Change, session: str) -> Answer:
        answer = self.pool.do(request, session)
        self._history.append((self.now_s, dict(self.pool.claims)))
        if isinstance(request, Change) and isinstance(answer, Done):
            name = f"life {controller.who}.{life}"
            self.accepted.append((self.now_s, name))
            if name != self._life_of_term:
                self.problems.append(
                    f"at {self.now_s:.3f} s the pool took a change of {name}, after {self._life_of_term} had begun to lead"
                )
        return answer

    def _life(self, controller: Controller) -> Generator[Request | Change | Sleep, tuple[Answer, float, float], None]:
        """What migd_controller.leader does, and changes as often as chance has it."""
        while True:
            now_s = self._clock(controller)
            if controller.seat.leads(now_s) and self.random.random() < 0.4:
                attempts = controller.seat.attempts
                controller.seat = controller.seat.hurried()
                for _ in range(2):  # the renewal, and its being read back
                    wish = controller.seat.next(self._clock(controller))
                    if isinstance(wish, Sleep):
                        break
                    answer, sent_s, now_s = yield wish
                    controller.seat = controller.seat.after(wish, answer, sent_s, now_s)
                held = controller.seat.held
                if controller.seat.leads(self._clock(controller)) and held is not None and held.attempt > attempts:
                    yield Change(held.sessions[0])
                continue
            wish = controller.seat.next(now_s)
            told = yield wish
            if not isinstance(wish, Sleep):
                controller.seat = controller.seat.after(wish, *told)

    def _note_term(self, controller: Controller) -> None:
        """Note who began to lead last: from then on nobody else may."""
        leads = controller.seat.leads(self._clock(controller))
        if leads and not controller.leads:
            self.changes_of_leader += controller.seat.life != self._life_of_term
            self._life_of_term = controller.seat.life
        controller.leads = leads

    def _check_clocks(self) -> None:
        if len(leaders := self.leaders()) > 1 and not any(fault.kind == "restore" for fault in self.faults):
            self.problems.append(f"at {self.now_s:.3f} s {leaders} take themselves for the leader")

    def _crash(self, controller: Controller, fault: Fault) -> None:
        if not controller.is_alive:
            return
        controller.is_alive = False
        controller.lives += 1

        def begin() -> None:
            life = f"life {controller.who}.{controller.lives}"
            controller.seat = self._seat(controller.seat.seat, life, LEASE_S)
            controller.session, controller.work, controller.is_alive = None, None, True
            controller.leads = False
            self._go_on(controller, controller.lives, None)

        self._at(fault.at_s + fault.lasts_s, begin)

    def _restore(self, fault: Fault) -> None:
        older = [claims for at_s, claims in self._history if at_s <= fault.at_s - fault.lasts_s]
        self.pool.claims = dict(older[-1]) if older else {}
        self.pool.sessions.clear()
