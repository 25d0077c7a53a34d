"""What a control cycle takes grows with the cluster, not with its square, by the calls that it makes."""

import sys

from cluster_of_events import Cluster, pool_guest, pool_host

from migd_controller.events import AgentListens, PolicySet, Tick

GUESTS_OF_EACH = 5


def calls_of_a_tick(hosts: int) -> int:
    """Return how many calls, of Python and of C, a tick makes where every agent listens and some guests have rules."""
    names = [f"h{number:04d}" for number in range(hosts)]
    guests = [
        pool_guest(f"g{number}-{name}", name, tags=("migd:apart=db",) if name < "h0010" and number == 0 else ())
        for name in names
        for number in range(GUESTS_OF_EACH)
    ]
    cluster = Cluster([pool_host(name) for name in names], guests)
    for name in names:
        cluster.tell(AgentListens(host=name, listens=True))
    cluster.tell(PolicySet(name="least-loaded", config={}))
    cluster.run(2, {})
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        cluster.core.handle(Tick(), cluster.now_s)
    finally:
        sys.setprofile(None)
    return calls


def test_four_times_the_hosts_take_a_tick_no_more_than_about_four_times_the_calls() -> None:
    assert calls_of_a_tick(120) < 4.8 * calls_of_a_tick(30)
