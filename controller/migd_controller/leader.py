"""One controller's part in who leads: asks the pool what `leadership` wants to have asked, in one thread of its own.

That thread has one session, and in it the pool is asked for every change that only the leader may ask for: migrations,
and blocks of guests that are to be probed. Each is preceded by a renewal that was read back.
"""

import asyncio
import contextlib
import os
import re
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import structlog
from msgspec.structs import replace as with_fields

from migd_controller.config import LeaderSection, XapiSection
from migd_controller.leader_claims import Seal, claims_in, key_of, text_of
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
    Told,
)
from migd_controller.xapi import Pool, PoolRefusal, PoolUnreachable
from migd_core.errors import MigdError

log = structlog.get_logger()
RELEASE_WITHIN_S: Final = 5.0
_SEAT: Final = re.compile(rb"[0-9a-f]{32}")


class Deposed(MigdError):
    """Another controller leads now. What this one knows is of no use any more: it begins anew, and stands by."""


class NotLeading(MigdError):
    """The pool was not asked, for it is not certain that this controller leads."""


class Leader:
    """Holds the lease, or waits for it. Every method belongs to the event loop.

    `tell` says what the next claim is to tell, without `memory`, which `leave` returns; `addresses` are the pool's.
    `heard` is called after each of its answers. `section` has the controller's name.
    """

    def __init__(
        self,
        section: LeaderSection,
        xapi: XapiSection,
        seal: Seal,
        state_dir: Path,
        tell: Callable[[], Told],
        leave: Callable[[], bytes],
        addresses: Callable[[], Sequence[str]],
        heard: Callable[[], None],
    ) -> None:
        """Raises ConfigError, MigdError."""
        # An answer that takes longer than a lease comes too late in any case.
        self._pool = Pool(with_fields(xapi, timeout_s=min(xapi.timeout_s, section.lease_s)))
        self._seal, self._tell, self._leave, self._addresses, self._heard = seal, tell, leave, addresses, heard
        # With its name, for who was cloned with its state is another one.
        self._seat = Seat(f"{_seat_of(state_dir)} {section.name}", uuid.uuid4().hex, section.lease_s)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="leader")
        self._turn = asyncio.Lock()
        self._wakes = asyncio.Event()
        self._begins = asyncio.Event()
        self._is_leaving = False
        self._wishes = 0
        self._sealed: dict[str, str] = {}
        self._ref = ""
        self.predecessor: Claim | None = None  # whose claim this controller's first one is, or would be, made upon
        self.since = 0.0
        self.problem = ""
        self.fence_problem = ""

    @property
    def leads(self) -> bool:
        """Whether the lease is held at this moment."""
        return not self._is_leaving and self._seat.leads(clock_s())

    @property
    def holder(self) -> Claim | None:
        """The claim of who leads, as far as is known."""
        return self._seat.held or self._seat.seen

    @property
    def life(self) -> str:
        """The name of this life of this controller, in its claims."""
        return self._seat.life

    @property
    def heard_s(self) -> float:
        """How long ago the holder's claim was first seen."""
        return clock_s() - self._seat.since_s

    @property
    def lasts_s(self) -> float:
        """How long the lease lasts if it is not renewed any more, 0 where it is not held."""
        return max(0.0, self._seat.valid_until_s - clock_s()) if self.leads else 0.0

    async def begins(self) -> Claim | None:
        """Return once this controller has begun to lead, with the claim of who led before; None where nobody did."""
        await self._begins.wait()
        return self.predecessor

    def was_here(self, claim: Claim) -> bool:
        """Whether an earlier life of this controller made a claim."""
        return claim.seat == self._seat.seat

    def left_by(self, claim: Claim) -> bytes | None:
        """Return what the holder of a claim has left in it, None where that cannot be opened."""
        return self._seal.opened(claim.told.memory)

    def hurry(self) -> None:
        """Let the next renewal be at once: there is something that must not be lost."""
        self._wishes, self._seat = self._wishes + 1, self._seat.hurried()
        self._wakes.set()

    async def run(self) -> None:
        """See to the lease until `close`. Raises Deposed."""
        while not self._is_leaving:
            async with self._turn:
                request = self._seat.next(clock_s())
                if not isinstance(request, Sleep):
                    await self._ask(request)
                    continue
            self._wakes.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wakes.wait(), max(0.0, request.until_s - clock_s()))

    async def renewed(self) -> None:
        """Return once the lease was renewed by a claim that is made from now on. Raises NotLeading."""
        async with self._turn:
            await self._renew()

    async def change(self, method: str, *args: Any) -> Any:
        """Return the pool's answer to a call that only the leader may make.

        Raises NotLeading where the pool was not asked, PoolRefusal, or PoolUnreachable: then it may have been done.
        """
        async with self._turn:
            handle = self._seal.opened((await self._renew()).sessions[0])
            assert handle is not None  # it was sealed here
            return await self._in_thread(self._change, handle.decode(), method, args)

    async def _renew(self) -> Claim:
        attempts, self._seat = self._seat.attempts, self._seat.hurried()
        while not ((held := self._seat.held) is not None and held.attempt > attempts and self.leads):
            request = self._seat.next(clock_s())
            if held is None or self._is_leaving or isinstance(request, Sleep):
                raise NotLeading(f"the lease could not be renewed: {self.problem or 'another controller leads'}")
            await self._ask(request)
        return held

    async def close(self) -> None:
        """Give the lease back, and let the thread end: nothing is asked for any more."""
        self._is_leaving = True
        self._wakes.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_WITHIN_S), self._turn:
                if (request := self._seat.release()) is not None and not self._seat.must_read:
                    await self._in_thread(self._perform, self._told(request))
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._pool.close()
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _in_thread(self, function: Callable[..., Any], *args: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def _ask(self, request: Request) -> None:
        """Ask the pool and take its answer in. Raises Deposed."""
        wishes, sent_s = self._wishes, clock_s()
        if isinstance(request, Add):
            request = self._told(request)
        answer: Answer = await self._in_thread(self._perform, request)
        self._seat = self._seat.after(request, answer, sent_s, clock_s())
        if self._wishes != wishes:  # what they are for was not in what was sent
            self._seat = self._seat.hurried()
        if self._begins.is_set():
            if self._seat.held is None:
                who = self._seat.seen.told.name if self._seat.seen is not None else "nobody"
                raise Deposed(f"another controller has taken over: {who} leads now")
        elif self._seat.leads(clock_s()):
            self._begins.set()
        elif self._seat.held is None:
            self.predecessor = self._seat.seen
        self._heard()

    def _told(self, add: Add) -> Add:
        told = with_fields(self._tell(), memory=self._seal.closed(self._leave()))
        self.since = self.since if self._begins.is_set() else told.at
        return Add(with_fields(add.claim, told=with_fields(told, since=self.since)))

    def _perform(self, request: Request) -> Answer:
        """Ask the pool; in the thread."""
        try:
            answer = self._asked(request)
        except PoolRefusal as refusal:
            if refusal.code == "MAP_DUPLICATE_KEY":
                return Taken()
            self._ref = ""  # should that be what was wrong
            role = "; its user needs role pool-operator" if refusal.code == "RBAC_PERMISSION_DENIED" else ""
            return self._failed(NotDone(), f"the pool refuses the lease: {refusal}{role}")
        except PoolUnreachable as error:
            return self._failed(NoAnswer(), str(error))
        self.problem = ""
        return answer

    def _failed(self, answer: Answer, problem: str) -> Answer:
        if problem != self.problem:
            self.problem = problem
            log.warning("lease", why=problem)
        return answer

    def _asked(self, request: Request) -> Answer:
        self._pool.remember(self._addresses())
        if not self._ref:
            self._ref = next(iter(self._pool.call("pool.get_all")))
        match request:
            case Read():
                return Claims(claims_in(self._pool.call("pool.get_other_config", self._ref)))
            case Add(claim=claim):
                handle = self._pool.session()
                own = self._sealed[handle] = self._sealed.get(handle) or self._seal.closed(handle.encode())
                claim = with_fields(claim, sessions=(own, *(each for each in claim.sessions if each != own)))
                key, text = key_of(claim.number), text_of(claim)
                self._pool.call("pool.add_to_other_config", self._ref, key, text, only_in=handle)
            case EndSession(session=session):
                if (opened := self._seal.opened(session)) is not None:
                    self._pool.end_session(opened.decode())
                else:
                    self.fence_problem = (
                        "the session of the last leader was sealed with another key, so it was not ended: give both "
                        "controllers the same telemetry.secret_key_file"
                    )
                    log.error("lease", why=self.fence_problem)
            case Remove(number=number):
                self._pool.call("pool.remove_from_other_config", self._ref, key_of(number))
        return Done()

    def _change(self, handle: str, method: str, args: Sequence[Any]) -> Any:
        if not self.leads:  # as late as can be: the thread may have had to wait for its turn
            raise NotLeading("the lease ran out before the pool was asked")
        return self._pool.call(method, *args, only_in=handle)


def clock_s() -> float:
    """Return seconds that also pass while this machine is suspended, and jump with no clock that is set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _seat_of(state_dir: Path) -> str:
    """Return the id of the controller that has this state; one that was lost is made anew. Raises MigdError."""
    path = state_dir / "seat"
    try:
        kept = path.read_bytes().strip() if path.exists() else b""
        if not _SEAT.fullmatch(kept):
            kept = uuid.uuid4().hex.encode()
            fresh = path.with_name("seat.new")
            with fresh.open("wb") as file:
                file.write(kept)
                file.flush()
                os.fsync(file.fileno())  # a power loss after the renaming would leave it empty
            fresh.replace(path)
        return kept.decode()
    except OSError as error:
        raise MigdError(f"{path}: cannot be used: {error.strerror}; check its owner and mode") from error
