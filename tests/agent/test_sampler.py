"""What goes out when all collectors work, and what when some do not."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace
from readings import busy_host, flow, guest, host
from structlog.testing import capture_logs

from migd_agent.failures import MAX_NAMES, Failures
from migd_agent.probing import Probed
from migd_agent.sampler import HOLD_S, TELL_FLOWS_EVERY_S, Sampler
from migd_core.counters import HostCounters
from migd_core.errors import MigdError
from migd_core.messages import DirtyCurve, FlowSample, HostSample, ProbeReport

DOWN = MigdError("the pool is down")


class Readings:
    """A collector that reads what it was given, one a tick; an exception is raised."""

    def __init__(self, readings: Iterable[HostCounters | Exception], *supplies: str) -> None:
        self._readings = iter(readings)
        self.supplies = supplies or ("dom0", "guests")

    def collect(self, so_far: HostCounters | None) -> HostCounters:
        match next(self._readings):
            case Exception() as error:
                raise error
            case HostCounters() as counters:
                return counters if so_far is None else replace(so_far, guests=counters.guests)


def ticks(*readings: HostCounters | Exception) -> list[HostSample | None]:
    """Return what each tick made of its reading, one a second."""
    sampler = Sampler([Readings(readings)], Failures())
    return [sampler.tick(float(number)) for number in range(len(readings))]


def test_the_first_reading_gives_no_sample_and_each_later_one_does() -> None:
    none, first, second = ticks(busy_host(1.0), busy_host(2.0), busy_host(3.0))
    assert none is None
    assert first is not None
    assert second is not None
    assert (first.sequence, second.sequence) == (0, 1)
    assert first.boot_id == second.boot_id
    assert second.monotonic_s == 2.0


def test_two_runs_of_an_agent_are_told_apart() -> None:
    one, other = (ticks(busy_host(1.0), busy_host(2.0))[1] for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.boot_id != other.boot_id


def test_when_all_fails_the_hosts_last_figures_go_out_marked_as_missing() -> None:
    _, measured, held, again = ticks(busy_host(1.0), busy_host(2.0), DOWN, busy_host(4.0))
    assert measured is not None
    assert held == replace(
        measured,
        sequence=1,
        monotonic_s=2.0,
        guests=(),
        flows_held=True,
        failed_collectors=("dom0", "guests"),
        failed_because=(str(DOWN), str(DOWN)),
    )
    assert again is not None
    assert (again.interval_s, len(again.guests), again.failed_collectors) == (2.0, 3, ())


def test_figures_are_held_for_a_while_and_then_the_agent_falls_silent() -> None:
    ticked = ticks(busy_host(1.0), busy_host(2.0), *[DOWN] * 15)
    assert [sample is not None for sample in ticked] == [False] + [True] * (int(HOLD_S) + 1) + [False] * 5


def test_nothing_goes_out_before_anything_was_measured() -> None:
    assert ticks(DOWN, DOWN, busy_host(1.0)) == [None, None, None]


def test_one_collector_that_fails_leaves_the_others_alone() -> None:
    own = Readings([replace(busy_host(at_s), guests=()) for at_s in (1.0, 2.0, 3.0)], "dom0")
    guests = Readings([busy_host(1.0), ZeroDivisionError("bug"), busy_host(3.0)], "guests")
    sampler = Sampler([own, guests], Failures())
    with capture_logs() as lines:
        found = [sampler.tick(float(number)) for number in range(3)]
    sample = found[1]
    assert sample is not None
    assert (sample.cpu_ratio, sample.guests, sample.failed_collectors) == (0.375, (), ("guests",))
    assert [(line["event"], line["what"]) for line in lines] == [
        ("measurement missing", "guests"),
        ("measurement no longer missing", "guests"),
    ]
    assert lines[0]["why"] == "ZeroDivisionError: bug"


def test_a_failure_is_logged_once_however_long_it_lasts() -> None:
    with capture_logs() as lines:
        ticks(busy_host(1.0), *[DOWN] * 5, busy_host(8.0), busy_host(9.0), DOWN)
    said = [line["event"] for line in lines if line["what"] == "guests"]
    assert said == ["measurement missing", "measurement no longer missing", "measurement missing"]


def test_an_impossible_guest_is_named_in_the_sample_and_logged_once() -> None:
    with capture_logs() as lines:
        _, first, second, third = ticks(
            host(0.0, guest("bad"), guest("good")),
            host(1.0, guest("bad", cpu_s=9.0), guest("good"), cpu_s=1.0),
            host(2.0, guest("bad", cpu_s=99.0), guest("good"), cpu_s=2.0),
            host(3.0, guest("bad", cpu_s=99.5), guest("good"), cpu_s=3.0),
        )
    for sample in (first, second):
        assert sample is not None
        assert [found.uuid for found in sample.guests] == ["good"]
        assert sample.failed_collectors == ("guest:bad",)
    assert third is not None
    assert third.failed_collectors == ()
    assert [(line["event"], line["what"]) for line in lines] == [
        ("measurement missing", "guest:bad"),
        ("measurement no longer missing", "guest:bad"),
    ]
    assert lines[0]["why"] == "impossible: 9.00 s of CPU used in 1.00 s on 1 CPUs"


def test_an_impossible_host_is_held_and_named() -> None:
    _, measured, held = ticks(host(0.0), host(1.0, cpu_s=1.0), host(2.0, cpu_s=100.0))
    assert measured is not None
    why = "impossible: 99.00 s of CPU used in 1.00 s on 4 CPUs"
    held_back = {"failed_collectors": ("dom0",), "failed_because": (why,)}
    assert held == replace(measured, sequence=1, monotonic_s=2.0, flows_held=True, **held_back)


def test_guests_that_contradict_their_host_are_left_out_and_named() -> None:
    _, sample = ticks(host(0.0, guest("a")), host(1.0, guest("a", cpu_s=1.0), cpu_s=0.0))
    assert sample is not None
    assert (sample.guests, sample.failed_collectors) == ((), ("guests",))


def test_flows_are_told_when_they_were_read_and_again_after_a_while() -> None:
    read_s = [0.0] * 3 + [3.0] * 22 + [25.0] * 2
    counts = [replace(busy_host(float(at_s)), flows=(flow("a", "b", int(1000 * read)),), flows_at_s=read)
              for at_s, read in enumerate(read_s)]  # fmt: skip
    told = [(index, sample.flows) for index, sample in enumerate(ticks(*counts)) if sample and not sample.flows_held]
    rate = (FlowSample("a", "b", 1000.0),)
    assert told == [(3, rate), (3 + int(TELL_FLOWS_EVERY_S), rate), (3 + 2 * int(TELL_FLOWS_EVERY_S), rate), (25, rate)]


def test_curves_go_along() -> None:
    sampler = Sampler([Readings([busy_host(1.0), busy_host(2.0)])], Failures())
    curves: Mapping[str, DirtyCurve] = {"g1": DirtyCurve((1.0,), (5,))}
    report = ProbeReport(lease="P1", guest_uuid="g1", state="done")
    sampler.tick(0.0)
    sample = sampler.tick(1.0, Probed(curves, report))
    assert sample is not None
    assert [found.dirty_curve for found in sample.guests] == [None, curves["g1"], None]
    assert sample.probe == report
    assert sampler.guests == {"g0": 1, "g1": 1, "g2": 1}


def test_a_sample_names_collectors_first_and_no_more_than_it_may() -> None:
    failures = Failures()
    failures.report("tick", {f"guest:{number:03}": "broken" for number in range(100)} | {"guests": DOWN})
    failures.report("dirty-curve", {"dirty-curve": DOWN})
    names = failures.names()
    assert names[:3] == ("dirty-curve", "guests", "guest:000")
    assert len(names) == MAX_NAMES
