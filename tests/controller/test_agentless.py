"""A host where no agent can run takes part all the same, by what its XAPI measures."""

import signal
import time
from collections.abc import Iterator

import pytest
from live_cluster import LiveCluster, LiveController, until

from migd_cli.demo.children import brood


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveCluster, LiveController]]:
    """A controller over two hosts, of which the second has an agent. XAPI measures in steps of 5 s of real time."""
    folder = tmp_path_factory.mktemp("agentless")
    with brood(folder) as children:
        cluster = LiveCluster(folder, children, agents=("host-2",))
        controller = cluster.controller()
        text = controller.config.read_text()
        controller.config.write_text(text.replace("[telemetry]", "[telemetry]\nrrd_period_s = 0.5"))
        controller.start()
        cluster.start_agents(controller)
        yield cluster, controller
        controller.end(signal.SIGKILL)


@pytest.fixture
def controller(live: tuple[LiveCluster, LiveController]) -> LiveController:
    return live[1]


def test_each_host_names_what_feeds_it(controller: LiveController) -> None:
    controller.sees_everything()
    hosts = {view.name: view for view in controller.ask("GET", "/v1/hosts")}
    assert {name: view.source for name, view in hosts.items()} == {"xen1": "rrd", "xen2": "agent"}
    assert hosts["xen1"].load_ratio == pytest.approx(1.25, abs=0.3)  # one vCPU each of two guests, half of a third one
    guests = {view.name: view for view in controller.ask("GET", "/v1/guests")}
    assert guests["rank0"].cpu_used_vcpus > 0.3
    assert {view.dirty_pages_per_s for view in guests.values()} == {None}


@pytest.mark.parametrize("by_s", [86400.0, -172800.0])
def test_a_clock_that_jumps_changes_nothing(live: tuple[LiveCluster, LiveController], by_s: float) -> None:
    cluster, controller = live
    controller.sees_everything()
    cluster.pool.fault("clock-jumps", by_s=by_s)
    jumped_s = time.monotonic()

    def is_measured_anew() -> bool:
        (xen1,) = [view for view in controller.ask("GET", "/v1/hosts") if view.name == "xen1"]
        return xen1.sample_age_s is not None and xen1.sample_age_s < time.monotonic() - jumped_s

    until(is_measured_anew)
    assert controller.sees_everything().hosts_frozen == 0


def test_a_guest_is_moved_off_it_and_the_price_is_a_range(controller: LiveController) -> None:
    controller.sees_everything()
    controller.ask("PUT", "/v1/policy", name="least-loaded", config={"sustained_periods": 3})
    (moved,) = controller.history(lambda views: [view for view in views if view.ok])[:1]
    assert (moved.source_name, moved.target_name) == ("xen1", "xen2")
    (candidate,) = [c for c in controller.explain(moved.cause).decisions[0].candidates if c.accepted]
    assert candidate.least is not None
    assert candidate.most is not None
    assert candidate.predicted_s is not None
    assert candidate.least.total_s < candidate.predicted_s < candidate.most.total_s
    assert candidate.least.cost_s < candidate.most.cost_s
