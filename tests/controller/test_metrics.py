"""What Prometheus scrapes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from certificates import pair
from cluster_of_events import pool_guest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from served import WANTS, OverTcp

from migd_controller.events import (
    AutomationSet,
    MigrationAccepted,
    MigrationEnded,
    Paused,
    PolicySet,
    PoolReachability,
    Tick,
)
from migd_core.api import Role
from migd_core.automation import Automation


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[OverTcp]:
    served = OverTcp(tmp_path, pair(tmp_path).section)
    async with served.answering():
        yield served


async def scraped(served: OverTcp) -> dict[str, Metric]:
    """Return what a scrape over the socket finds, by the name of the family."""
    async with served.on_socket.get("http://localhost/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return {family.name: family for family in text_string_to_metric_families(await answer.text())}


def values(family: Metric) -> dict[tuple[str, ...], float]:
    """Return the values of a family by the values of their labels, in the order of the labels' names."""
    return {tuple(value for _, value in sorted(each.labels.items())): each.value for each in family.samples}


async def test_what_waits_for_an_operators_word_is_told(served: OverTcp) -> None:
    assert values((await scraped(served))["migd_recommendations"]) == {("false",): 0.0, ("true",): 0.0}
    served.control.dispatch(AutomationSet(level=Automation.RECOMMEND))
    served.control.dispatch(PolicySet(name="least-loaded", config={"sustained_periods": 1}))
    served.cluster.run(3, WANTS)
    assert values((await scraped(served))["migd_recommendations"]) == {("false",): 1.0, ("true",): 0.0}
    served.control.dispatch(PolicySet(name="evacuate", config={"hosts": "a"}))
    served.cluster.run(3, WANTS)
    assert values((await scraped(served))["migd_recommendations"]) == {("false",): 0.0, ("true",): 1.0}


async def test_the_state_of_the_cluster_is_told(served: OverTcp) -> None:
    found = await scraped(served)
    assert values(found["migd_host_load_ratio"]).keys() == {("a",), ("b",)}
    assert values(found["migd_host_load_ratio"])["a",] > 0.9
    assert values(found["migd_host_guests"]) == {("a",): 3.0, ("b",): 0.0}
    assert values(found["migd_guests"]) == {(): 3.0}
    assert values(found["migd_paused"]) == {(): 0.0}
    assert values(found["migd_pool_reachable"]) == {(): 1.0}
    assert values(found["migd_policy_info"]) == {("observe",): 1.0}
    assert values(found["migd_guests_held"]) == {("retry-later",): 0.0, ("never",): 0.0, ("needs-a-human",): 0.0}
    assert values(found["migd_state_dir_free_bytes"])[()] > 0
    assert served.service.certificate is not None
    assert values(found["migd_http_certificate_expiry_timestamp_seconds"]) == {
        (): served.service.certificate.expires_at
    }
    served.control.dispatch(Paused())
    served.control.dispatch(PoolReachability(is_reachable=False, problem="gone"))
    served.cluster.now_s += 60.0
    found = await scraped(served)
    assert values(found["migd_paused"]) == {(): 1.0}
    assert values(found["migd_pool_reachable"]) == {(): 0.0}
    assert values(found["migd_host_frozen"]) == {("a",): 1.0, ("b",): 1.0}
    assert values(found["migd_host_sample_age_seconds"]) == {("a",): 60.0, ("b",): 60.0}
    assert values(found["migd_host_load_ratio"]) == {}


async def test_what_happens_is_counted(served: OverTcp) -> None:
    operator = served.token(Role.OPERATOR)
    served.control.dispatch(Tick())
    for guest, host_now, code in (("rank0", "b", ""), ("rank1", "a", "HOST_DISABLED")):
        async with served.on_socket.post("http://localhost/v1/migrations", json={"guest": guest, "host": "b"}) as asked:
            cause = (await asked.json())["cause"]
        served.control.dispatch(MigrationAccepted(cause=cause, task="t"))
        served.cluster.now_s += 30.0
        served.control.dispatch(MigrationEnded(cause=cause, host_now=host_now, code=code, text=code))
        served.cluster.guests[guest] = pool_guest(guest, host_now)
        served.cluster.run(1, WANTS)
    async with served.on_socket.post("http://localhost/v1/pause") as answer:
        assert answer.status == 200
    async with served.on_socket.post("http://localhost/v1/migrations", json={"guest": "hog", "host": "b"}) as answer:
        assert answer.status == 409
    found = await scraped(served)
    assert values(found["migd_migrations"]) == {("by hand", "moved"): 1.0, ("by hand", "stayed"): 1.0}
    assert values(found["migd_moves_proposed"]) == {("true", "by hand"): 2.0, ("false", "by hand"): 1.0}
    assert values(found["migd_moves_refused"])["pause",] == 1.0
    took = {
        sample.name: sample.value for sample in found["migd_migration_duration_seconds"].samples if not sample.labels
    }
    assert (took["migd_migration_duration_seconds_count"], took["migd_migration_duration_seconds_sum"]) == (1.0, 30.0)
    cycles = {sample.name: sample.value for sample in found["migd_control_cycle_duration_seconds"].samples}
    assert cycles["migd_control_cycle_duration_seconds_count"] == 1.0
    assert values(found["migd_guests_held"])["retry-later",] == 1.0
    assert values(found["migd_http_requests"])["socket", "POST", "202"] == 2.0
    assert operator not in str(found)


async def test_names_are_by_the_conventions_of_prometheus(served: OverTcp) -> None:
    for family in (await scraped(served)).values():
        assert family.documentation.endswith("."), family.name
        assert not any(f"_{unit}" in family.name for unit in ("ms", "kb", "mib", "percent", "minutes")), family.name
        if family.name.startswith("migd_") and family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples), family.name
