"""XAPI's own measurements become a sample like an agent's, without dirty pages; what is wrong in them is refused."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from migd_controller.rrd import BOOT_ID, RrdError, sample_of
from migd_core.messages import GuestSample, HostSample
from migd_core.units import GIB

HOST, DOM0, RANK = "h", "dom0", "rank0"
VALUES = {
    "AVERAGE:host:h:cpu0": 1.0,
    "AVERAGE:host:h:cpu1": 0.5,
    "AVERAGE:host:h:cpu0-C1": 0.9,
    "AVERAGE:host:h:cpu_avg": 0.75,
    "AVERAGE:host:h:memory_total_kib": 16 * GIB / 1024,
    "AVERAGE:host:h:memory_free_kib": 8 * GIB / 1024,
    "AVERAGE:host:h:pif_eth0_rx": 1000.0,
    "AVERAGE:host:h:pif_eth1_rx": 500.0,
    "AVERAGE:host:h:pif_eth0_tx": 70.0,
    "AVERAGE:host:h:pif_eth0_rx_errors": 9.0,
    "AVERAGE:host:h:pif_aggr_rx": 1500.0,
    "AVERAGE:vm:dom0:cpu0": 0.2,
    "AVERAGE:vm:dom0:memory": 1.0 * GIB,
    "AVERAGE:vm:rank0:cpu0": 1.0,
    "AVERAGE:vm:rank0:cpu1": 0.2,
    "AVERAGE:vm:rank0:cpu_usage": 0.6,
    "AVERAGE:vm:rank0:memory": 2.0 * GIB,
    "AVERAGE:vm:rank0:vif_0_rx": 300.0,
    "AVERAGE:vm:rank0:vif_1_rx": 30.0,
    "AVERAGE:vm:rank0:vif_0_tx": 400.0,
    "AVERAGE:vm:rank0:vif_0_tx_errors": 4.0,
}


def answer(*rows: tuple[int, Mapping[str, Any]], legend: list[str] | None = None) -> bytes:
    columns = legend or list(VALUES)
    data = [{"t": at_s, "values": [str(values.get(column, "NaN")) for column in columns]} for at_s, values in rows]
    meta = {"start": 0, "step": 5, "end": 100, "rows": len(rows), "columns": len(columns), "legend": columns}
    return json.dumps({"meta": meta, "data": data}).encode()


def sample(body: bytes) -> HostSample:
    return sample_of(body, HOST, (DOM0,))


def test_the_newest_step_is_a_sample_of_host_and_guests() -> None:
    assert sample(answer((95, VALUES), (90, {}))) == HostSample(
        host_uuid=HOST,
        boot_id=BOOT_ID,
        sequence=95,
        monotonic_s=95.0,
        interval_s=5.0,
        cpus=2,
        cpu_ratio=0.75,
        dom0_cpu_ratio=0.1,
        memory_bytes=16 * GIB,
        memory_free_bytes=8 * GIB,
        rx_bytes_per_s=1500.0,
        tx_bytes_per_s=70.0,
        guests=(
            GuestSample(
                uuid=RANK,
                vcpus=2,
                cpu_ratio=0.6,
                memory_bytes=2 * GIB,
                rx_bytes_per_s=330.0,
                tx_bytes_per_s=400.0,
            ),
        ),
    )


def test_rows_in_any_order_give_the_newest_that_has_values() -> None:
    assert sample(answer((85, VALUES), (95, {}), (90, VALUES))).sequence == 90


def test_older_toolstacks_with_bare_numbers_and_a_bare_nan_are_read_alike() -> None:
    values = ", ".join(str(VALUES[column]) for column in VALUES)
    nothing = ", ".join("NaN" for _ in VALUES)
    meta = json.dumps({"step": 5, "legend": list(VALUES)})
    body = f'{{"meta": {meta}, "data": [{{"t": 95, "values": [{nothing}]}}, {{"t": 90, "values": [{values}]}}]}}'
    assert sample(body.encode()) == sample(answer((90, VALUES)))


def test_a_guest_that_has_just_come_is_left_out_until_it_is_measured() -> None:
    found = sample(answer((95, {name: value for name, value in VALUES.items() if ":rank0:cpu" not in name})))
    assert found.guests == ()


def test_other_consolidations_do_not_count() -> None:
    doubled = {**VALUES, "MAX:host:h:cpu2": 1.0, "MAX:vm:rank0:cpu2": 1.0}
    assert sample(answer((95, doubled), legend=list(doubled))) == sample(answer((95, VALUES)))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>500</html>", "not what it should be"),
        (b"{}", "not what it should be: KeyError: 'meta'"),
        (answer((95, {})), "no whole step of 5 s yet"),
        (answer(), "no whole step of 5 s yet"),
        (
            answer((95, VALUES)).replace(b'"step": 5', b'"step": 60'),
            "asked for steps of 5 s, its RRDs answer with steps of 60",
        ),
        (b'{"meta": {"step": 5, "legend": ["AVERAGE:host"]}, "data": []}', "not what it should be: ValueError"),
        (
            b'{"meta": {"step": 5, "legend": ["AVERAGE:host:h:cpu0"]}, "data": [{"t": 5, "values": []}]}',
            "0 values, the legend 1",
        ),
        (answer((95, {"AVERAGE:host:h:cpu0": 0.5})), "lack cpu0, memory_total_kib or memory_free_kib"),
        (answer((95, {**VALUES, "AVERAGE:host:h:cpu0": 0.0, "AVERAGE:host:h:cpu1": 0.0})), "guests use 1.2 CPUs"),
        (answer((95, {**VALUES, "AVERAGE:host:h:memory_free_kib": 1e9})), "free memory"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, message: str) -> None:
    with pytest.raises(RrdError, match=message):
        sample(body)
