"""What guests write of their jobs' progress into XenStore."""

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from test_xen_source import DOM0, HOST, RANK, ScriptedXen

from migd_agent.collectors.xen import XenHost
from migd_agent.xen.guest_progress import ASKED_A_TICK, GuestProgress
from migd_core.progress import Progress


class Store:
    """XenStore with the values that a test puts into it, which remembers what it was asked."""

    def __init__(self, values: Mapping[int, str]) -> None:
        self.values = dict(values)
        self.asked: list[int] = []

    def read(self, path: str) -> str | None:
        _, _, _, domid, *rest = path.split("/")
        assert rest == ["data", "migd", "progress"]
        self.asked.append(int(domid))
        return self.values.get(int(domid))


def test_a_guest_that_writes_its_progress_is_heard_and_one_that_does_not_says_nothing() -> None:
    store = Store({3: "120/5000"})
    progress = GuestProgress(store.read)
    assert progress.of([3, 4]) == {3: Progress(120, 5000)}
    store.values = {3: "121/5000", 4: "7"}
    assert progress.of([3, 4]) == {3: Progress(121, 5000), 4: Progress(7)}


def test_a_tick_asks_a_few_guests_and_all_have_their_turn() -> None:
    domids = range(1, 65)
    store = Store({domid: f"{domid}/100" for domid in domids})
    progress = GuestProgress(store.read)
    for _ in range(len(domids) // ASKED_A_TICK):
        before = len(store.asked)
        told = progress.of(domids)
        assert len(store.asked) - before == ASKED_A_TICK
    assert told == {domid: Progress(domid, 100) for domid in domids}
    assert sorted(store.asked) == list(domids)


def test_a_guest_that_is_gone_is_forgotten() -> None:
    progress = GuestProgress(Store({3: "1/5"}).read)
    progress.of([3])
    assert progress.of([]) == {}


def test_hostile_text_is_refused_with_one_line_for_the_guest() -> None:
    store = Store({3: "9" * 4000, 4: "1/5"})
    progress = GuestProgress(store.read)
    with capture_logs() as logs:
        assert progress.of([3, 4]) == {4: Progress(1, 5)}
        store.values[3] = "; rm -rf /"
        assert progress.of([3, 4]) == {4: Progress(1, 5)}
    (line,) = logs
    assert (line["event"], line["domid"], len(line["why"]) < 200) == ("progress of a guest refused", 3, True)


@given(st.dictionaries(st.integers(1, 9), st.text(max_size=100)))
def test_whatever_guests_write_something_possible_comes_of_it(values: dict[int, str]) -> None:
    told = GuestProgress(Store(values).read).of(range(1, 10))
    assert all(each.total is None or 0 <= each.done <= each.total for each in told.values())


def test_progress_goes_along_with_the_guests_counters() -> None:
    counters = XenHost(ScriptedXen(DOM0, replace(RANK, progress=Progress(2, 9))), HOST).collect(None)
    assert [guest.progress for guest in counters.guests] == [Progress(2, 9)]
