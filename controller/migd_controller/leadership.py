"""Who leads of several controllers of one pool, as a state machine without clock or I/O.

Claims are numbered keys of one map in the pool's database, and the holder of the highest number leads. The one thing
that the pool does atomically is to refuse a key that exists (MAP_DUPLICATE_KEY), so *every* step is to add the next
number: a renewal and a takeover are the same request for the same key, and one of two gets it. Nothing is taken away
to make room, so no two can believe that they removed the same claim.

A claim counts once it was read back, highest of all and right above the claim that it was made upon (its base). That
read is what a late request fails: a number that was passed long ago can be added again, but not read back so.

Two things keep an earlier leader from acting, and neither asks a clock. It asks for each change in the session that its
claim names, and only once a renewal was read back; and whoever comes after it ends that session, and all sessions that
were not known to be ended, before it acts itself. So what a paused leader still sends is refused by the pool, and what
it had sent in time is there to be seen.

Clocks say only *when* to claim, so an error of one costs a change of leaders, not more. An observer waits for a lease
since it saw the claim on its own clock, which began after the claim was made; the holder counts from before it asked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

# How often a lease is renewed, and looked at by who stands by.
RENEWALS: Final = 3
LOOKS: Final = 6
# After an answer that did not come, in leases.
PAUSE: Final = 1 / 12
# After the pool was out of reach its leader gets so many leases to say that it is there still.
GRACE: Final = 0.5
# Two clocks that count seconds differ by less: NTP slews by 500 ppm at most, oscillators are better than 200.
DRIFT_RATIO: Final = 0.001


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim says of its holder, for people and for who comes after it. `at` and `since` are Unix time.

    `name` is the holder's, `api` says how it is reached, `stream` where its memory is heard of. `memory` is what must
    not be lost of it, `revision` counts its changes in the life of the holder.
    """

    name: str = ""
    api: str = ""
    stream: str = ""
    at: float = 0.0
    since: float = 0.0
    revision: int = 0
    memory: str = ""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One claim. `seat` is the controller, `life` one run of its process; `attempt` tells claims of one life apart.

    `base` is the `id` of the claim that it was made upon, empty where there was none.
    `sessions` are those in which changes may still be asked for, sealed: the holder's own, then those of earlier
    holders that it had not ended when it made the claim. `is_released` where the holder has ended by itself.
    """

    number: int
    seat: str
    life: str
    attempt: int
    lease_s: float
    base: str = ""
    sessions: tuple[str, ...] = ()
    is_released: bool = False
    told: Told = Told()

    @property
    def id(self) -> str:
        """What no other claim is called."""
        return f"{self.number} {self.life} {self.attempt}"


@dataclass(frozen=True, slots=True)
class Read:
    """Ask for all claims."""


@dataclass(frozen=True, slots=True)
class Add:
    """Ask for a claim of one's own; who asks puts its own session first, and adds what it tells."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class EndSession:
    """Ask for the end of a session of an earlier holder."""

    session: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Ask for the removal of a claim that counts no more."""

    number: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """There is nothing to ask before then, on the clock of `now_s`."""

    until_s: float


@dataclass(frozen=True, slots=True)
class Claims:
    """The answer to Read."""

    claims: Sequence[Claim]


@dataclass(frozen=True, slots=True)
class Done:
    """It was done, or had been before."""


@dataclass(frozen=True, slots=True)
class Taken:
    """There is a claim of that number."""


@dataclass(frozen=True, slots=True)
class NotDone:
    """It was refused for another reason."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nobody knows whether it was done, or will be."""


Request = Read | Add | EndSession | Remove
Answer = Claims | Done | Taken | NotDone | NoAnswer


@dataclass(frozen=True, slots=True)
class Bid:
    """A claim of one's own that was asked for and not read back. `sent_s` is before the first request for it."""

    number: int
    sent_s: float


@dataclass(frozen=True, slots=True)
class Seat:
    """One controller's part. Times are on its own clock, which never jumps and counts while it is suspended.

    `seen` is the highest claim, first read at `since_s`; `held` one's own that was read back, asked for at `sent_s`.
    """

    seat: str
    life: str
    lease_s: float
    is_known: bool = False
    is_lost: bool = False
    seen: Claim | None = None
    since_s: float = -math.inf
    grace_s: float = -math.inf
    is_founded: bool = False
    must_read: bool = True
    read_at_s: float = -math.inf
    pause_s: float = -math.inf
    bid: Bid | None = None
    held: Claim | None = None
    sent_s: float = -math.inf
    is_hurried: bool = False
    ended: frozenset[str] = frozenset()
    litter: tuple[int, ...] = ()
    attempts: int = 0

    def leads(self, now_s: float) -> bool:
        """Whether the lease is this controller's, and no earlier leader can act any more."""
        return self.held is not None and not self._unfenced and now_s < self.valid_until_s

    @property
    def valid_until_s(self) -> float:
        """When the lease that is held ends, if it is not renewed."""
        return self.sent_s + self.lease_s * (1 - DRIFT_RATIO)

    @property
    def takes_over_at_s(self) -> float:
        """When the next number may be claimed, if nothing is heard of the holder."""
        if not self.is_known:
            return math.inf
        if self.seen is not None and (self.seen.is_released or self._is_of_earlier_life):
            return -math.inf
        lease_s = max(self.lease_s, self.seen.lease_s if self.seen is not None else 0.0)
        return max(self.since_s + lease_s * (1 + DRIFT_RATIO), self.grace_s)

    @property
    def _is_of_earlier_life(self) -> bool:
        """Whether the holder was an earlier life of this controller, which has ended: of two one could not start."""
        return self.seen is not None and self.seen.seat == self.seat and self.seen.life != self.life and self.is_founded

    @property
    def _unfenced(self) -> tuple[str, ...]:
        assert self.held is not None
        return tuple(session for session in self.held.sessions[1:] if session not in self.ended)

    def hurried(self) -> "Seat":
        """Return the seat with its next renewal due now."""
        return replace(self, is_hurried=True)

    def next(self, now_s: float) -> Request | Sleep:
        """Return what to ask the pool now."""
        if now_s < self.pause_s:
            return Sleep(self.pause_s)
        if self.must_read:
            return Read()
        if self.held is not None:
            if self._unfenced:
                return EndSession(self._unfenced[0])
            if self.is_hurried or now_s >= self._renews_at_s:
                return self._add(self.held)
            return Remove(self.litter[0]) if self.litter else Sleep(self._renews_at_s)
        if now_s >= self.read_at_s:
            return Read()  # also before a claim, after a sleep that was longer than meant
        if now_s >= self.takes_over_at_s:
            return self._add(self.seen)
        return Sleep(min(self.read_at_s, self.takes_over_at_s))

    def release(self) -> Add | None:
        """Return what gives the lease back, None where it is not held: nothing may be asked for after it."""
        if self.held is None:
            return None
        return Add(msgspec.structs.replace(self._add(self.held).claim, is_released=True))

    def after(self, request: Request, answer: Answer, sent_s: float, now_s: float) -> "Seat":
        """Return the seat once a request that was sent at `sent_s` has this answer, or none."""
        if isinstance(answer, NoAnswer):
            self = replace(self, must_read=True, pause_s=now_s + PAUSE * self.lease_s)
        match request, answer:
            case Read(), Claims(claims=claims):
                return self._has_read(sorted(claims, key=lambda claim: claim.number), now_s)
            case Read(), _:
                return replace(self, is_lost=True, must_read=True, pause_s=now_s + PAUSE * self.lease_s)
            case Add(claim=claim), Done() | NoAnswer():
                earlier = self.bid if self.bid is not None and self.bid.number == claim.number else None
                bid = Bid(claim.number, sent_s if earlier is None else min(earlier.sent_s, sent_s))
                return replace(self, bid=bid, must_read=True, is_hurried=False, attempts=claim.attempt)
            case Add(claim=claim), NotDone():
                pause_s = now_s + PAUSE * self.lease_s
                return replace(self, must_read=True, pause_s=pause_s, is_hurried=False, attempts=claim.attempt)
            case Add(claim=claim), _:
                return replace(self, must_read=True, attempts=claim.attempt)
            case EndSession(session=session), Done():
                return replace(self, ended=self.ended | {session})
            case EndSession(), NotDone():
                return replace(self, must_read=True, pause_s=now_s + PAUSE * self.lease_s)
            case Remove(number=number), Done() | NotDone():
                return replace(self, litter=tuple(each for each in self.litter if each != number))
        return self

    @property
    def _renews_at_s(self) -> float:
        return self.sent_s + self.lease_s / RENEWALS

    def _add(self, base: Claim | None) -> Add:
        inherited = base.sessions if base is not None else ()
        return Add(
            Claim(
                number=base.number + 1 if base is not None else 1,
                seat=self.seat,
                life=self.life,
                attempt=self.attempts + 1,
                lease_s=self.lease_s,
                base=_id(base),
                sessions=tuple(session for session in inherited if session not in self.ended),
            )
        )

    def _has_read(self, claims: Sequence[Claim], now_s: float) -> "Seat":
        top, below = (claims[-1] if claims else None), (claims[-2] if len(claims) > 1 else None)
        if self.is_lost:
            self = replace(self, is_lost=False, grace_s=now_s + GRACE * self.lease_s)
        self = replace(self, is_known=True, must_read=False, read_at_s=now_s + self.lease_s / LOOKS)
        # Where there is nothing below any more, the holder has read it back and cleared up.
        self = replace(self, is_founded=top is not None and (below is None or top.base == below.id))
        if self.bid is not None and top is not None and (top.number, top.life) == (self.bid.number, self.life):
            if top.base == _id(below):
                ended = self.ended & set(top.sessions)
                litter = tuple(claim.number for claim in claims[:-1])
                self = replace(self, held=top, sent_s=self.bid.sent_s, ended=ended, litter=litter)
                return replace(self, bid=None, seen=top, since_s=now_s)
            # The claim that it was made upon is gone: the pool's database is an older one, or somebody was in it.
            return replace(self, held=None, bid=None, seen=top, since_s=now_s)
        if self.held is not None and self.held.id != _id(top):
            self = replace(self, held=None, bid=None)
        if _id(top) != _id(self.seen):
            self = replace(self, seen=top, since_s=now_s, bid=None)
        elif self.since_s == -math.inf:
            self = replace(self, since_s=now_s)
        return self


def _id(claim: Claim | None) -> str:
    return claim.id if claim is not None else ""
