"""What each source makes of what it reads: captured outputs, outputs after the documented formats, and broken ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from faulty_pool import until
from migd_agent.health import Finding, Found, HealthUnreadable, Source, edac, hwmon, ipmi, nics, smart
from migd_agent.health.growth import Growth
from migd_core.health import HealthState

FIXTURES = Path(__file__).parent / "fixtures"
DEGRADED, FAILING = HealthState.DEGRADED, HealthState.FAILING
SDA = smart.Disk(name="/dev/sda", info_name="/dev/sda", type="scsi")
DAY_S = 86400.0


def read(source: Source, at_s: float = 0.0) -> Found:
    """Return what a source finds, however many ticks that takes."""
    source.begin()
    return until(lambda: source.take(at_s))


def said(found: Found) -> dict[str, str]:
    """Return the reasons that were found, and how bad each is."""
    return {finding.reason: finding.state.value for finding in found.findings}


def smart_fixture(name: str) -> bytes:
    return (FIXTURES / "smart" / f"{name}.json").read_bytes()


def changed(name: str, **values: Any) -> bytes:
    return json.dumps({**json.loads(smart_fixture(name)), **values}).encode()


def test_sensors_near_their_critical_temperature_and_slow_fans_are_found() -> None:
    found = read(hwmon.Hwmon(30.0, FIXTURES / "hwmon" / "server"))
    assert said(found) == {
        "temperature of coretemp Package id 0 is 97 °C (critical 100 °C)": "degraded",
        "temperature of drivetemp temp1 of hwmon4 is 71 °C (critical 70 °C)": "failing",
        "fan nct6779 fan2 turns at 320 RPM (at least 600 RPM)": "degraded",
    }
    assert found.judged == 9  # not the three that are not wired up


def test_a_captured_nvme_sensor_is_well() -> None:
    assert read(hwmon.Hwmon(30.0, FIXTURES / "hwmon" / "nvme-qemu")) == Found(judged=1)


@pytest.mark.parametrize("value", ["nan", "inf", "1e3", "-1000000000", "1000000000", "9" * 400, "", "\x00\xff", "-5 C"])
def test_a_temperature_that_cannot_be_is_left_out(tmp_path: Path, value: str) -> None:
    chip = tmp_path / "hwmon0"
    chip.mkdir()
    for file, text in {"name": "chip", "temp1_input": value, "temp1_crit": "90000", "temp2_input": "20000"}.items():
        (chip / file).write_bytes(text.encode("latin-1") + b"\n")
    found = read(hwmon.Hwmon(30.0, tmp_path))
    assert found == Found(judged=1)


def test_a_critical_temperature_that_cannot_be_is_no_limit(tmp_path: Path) -> None:
    (tmp_path / "hwmon0").mkdir()
    for critical in ("-1", "0", "nan", "1000000000"):
        (tmp_path / "hwmon0" / "temp1_input").write_text("90000\n")
        (tmp_path / "hwmon0" / "temp1_crit").write_text(f"{critical}\n")
        assert read(hwmon.Hwmon(30.0, tmp_path)) == Found(judged=1)


def test_dozens_of_sensors_are_read_and_one_that_gives_an_error_is_left_out(tmp_path: Path) -> None:
    for chip in range(40):
        folder = tmp_path / f"hwmon{chip}"
        folder.mkdir()
        (folder / "name").write_text("many\n")
        for sensor in range(1, 9):
            (folder / f"temp{sensor}_input").write_text(f"{(30 + chip) * 1000}\n")
            (folder / f"temp{sensor}_crit").write_text("69000\n")
    (tmp_path / "hwmon0" / "temp1_input").unlink()
    (tmp_path / "hwmon0" / "temp1_input").mkdir()  # to read it is an error, as for a sensor that is not wired up
    found = read(hwmon.Hwmon(30.0, tmp_path))
    assert found.judged == 40 * 8 - 1
    assert [finding.state for finding in found.findings] == [*[DEGRADED] * 40, *[FAILING] * 8]
    assert len({finding.what for finding in found.findings}) == 48


def test_a_label_of_hardware_becomes_one_short_printable_line(tmp_path: Path) -> None:
    (tmp_path / "hwmon0").mkdir()
    for file, text in {
        "name": "x\x1b[2J",
        "temp1_label": "y" * 500,
        "temp1_input": "95000",
        "temp1_crit": "90000",
    }.items():
        (tmp_path / "hwmon0" / file).write_text(f"{text}\n")
    ((reason, _),) = said(read(hwmon.Hwmon(30.0, tmp_path))).items()
    assert reason.isprintable()
    assert len(reason) < 200


def test_a_host_without_sensors_has_no_hwmon(tmp_path: Path) -> None:
    assert not hwmon.Hwmon(30.0, tmp_path).is_here()
    assert not hwmon.Hwmon(30.0, tmp_path / "missing").is_here()


def test_what_a_boards_controller_calls_critical_is_found() -> None:
    found = ipmi.parse((FIXTURES / "ipmi" / "server.txt").read_bytes())
    assert said(found) == {
        "temperature of CPU1 Temp is 92 °C, which its controller calls critical": "failing",
        "temperature of CPU2 Temp is 84 °C, which its controller calls non-critical": "degraded",
        "fan FAN2 turns at 0 RPM, which its controller calls critical": "degraded",
        "fan Fan Block 2 turns at 7 %, which its controller calls non-recoverable": "failing",
    }
    assert found.judged == 8


@pytest.mark.parametrize("name", ["no-sensors-qemu", "watchdog-only-qemu", "no-readings-qemu"])
def test_a_controller_without_temperatures_and_fans_is_no_failure(name: str) -> None:
    assert ipmi.parse((FIXTURES / "ipmi" / f"{name}.txt").read_bytes()) == Found()


def test_a_controllers_impossible_values_are_not_judged() -> None:
    rows = ("-1000000000", "1000000000", "nan", "1e9", "", "99999999999999999999")
    text = "".join(f"T{n} | {value} degrees C | cr\nF{n} | {value} RPM | nr\n" for n, value in enumerate(rows))
    assert ipmi.parse(text.encode()) == Found()


@pytest.mark.parametrize("output", [b"Get SDR 0000 command failed\n", b"\xff\xfe\x00garbage", b"a | b\n"])
def test_text_that_is_no_list_of_sensors_is_refused_by_name(output: bytes) -> None:
    with pytest.raises(HealthUnreadable, match=r"ipmitool sdr: expected lines of name \| reading \| status, found "):
        ipmi.parse(output)


def test_memory_errors_are_found_by_module() -> None:
    found = read(edac.Edac(30.0, FIXTURES / "edac"))
    assert said(found) == {
        "memory CPU_SrcID#0_MC#0_Chan#1_DIMM#0 (mc0 dimm1) had 23 corrected errors in a day (limit 10)": "degraded",
        "memory CPU_SrcID#1_MC#0_Chan#0_DIMM#0 (mc1 dimm0) had 1 uncorrected errors": "failing",
    }
    assert found.judged == 5  # three modules, and what each of two controllers knows no module for


@pytest.mark.parametrize("count", ["nan", "-1", "1000000000000000", "9" * 400, "", "0x10", "\xff"])
def test_a_count_of_memory_errors_that_cannot_be_is_left_out(count: str) -> None:
    assert edac.parse([edac.Files("mc0", "dimm0", "", count, count, "100")]) == []


def test_errors_of_long_ago_are_spread_over_the_time_since() -> None:
    old = edac.parse([edac.Files("mc0", "dimm0", "", "1000000", "0", str(int(1000 * DAY_S)))])
    found = edac.judge(old, Growth(DAY_S), 5.0)
    assert said(found) == {"memory mc0 dimm0 had 1000 corrected errors in a day (limit 10)": "degraded"}
    rare = edac.parse([edac.Files("mc0", "dimm0", "", "1000", "0", str(int(1000 * DAY_S)))])
    assert edac.judge(rare, Growth(DAY_S), 5.0) == Found(judged=1)


def test_a_module_that_stops_erring_is_well_again_a_day_later() -> None:
    grown = Growth(DAY_S)
    module = edac.parse([edac.Files("mc0", "dimm0", "", "50", "0", "3600")])
    hourly = [edac.judge(module, grown, hour * 3600.0) for hour in range(27)]
    is_bad = [bool(found.findings) for found in hourly]
    assert is_bad == [True] * (is_bad.count(True)) + [False] * is_bad.count(False)
    assert 22 <= is_bad.count(True) <= 25


def test_growth_is_what_came_within_the_window_however_often_it_was_read() -> None:
    grown = Growth(100.0)
    assert [grown.within("a", 10 * second, float(second)) for second in range(301)][200:] == [1000.0] * 101
    assert grown.within("a", 5, 301.0) == 0.0  # set back
    assert grown.within("a", 7, 302.0) == 2.0


def test_disks_as_smartctl_told_of_them_under_qemu_are_well() -> None:
    ata, scsi, nvme = smart.parse_scan(smart_fixture("scan-qemu"))
    assert [ata.arguments, nvme.arguments] == [("/dev/sda",), ("-d", "nvme", "/dev/nvme0")]
    for disk, name in ((ata, "ata-qemu"), (scsi, "scsi-qemu"), (nvme, "nvme-qemu")):
        assert smart.parse(smart_fixture(name), disk) == Found(judged=1)


def test_a_failing_disk_is_found_with_each_reason() -> None:
    found = smart.parse(smart_fixture("ata-failing"), SDA)
    assert said(found) == {
        "disk /dev/sda says of itself that it is failing": "failing",
        "disk /dev/sda Reallocated_Sector_Ct is below its threshold": "failing",
        "disk /dev/sda Reallocated_Sector_Ct is 3184 (limit 1)": "degraded",
        "disk /dev/sda Current_Pending_Sector is 8 (limit 1)": "degraded",
        "disk /dev/sda Airflow_Temperature_Cel was once below its threshold": "degraded",
    }
    assert {finding.device for finding in found.findings} == {"/dev/sda"}


def test_an_nvme_disk_that_qemu_lets_warn_is_failing() -> None:
    assert said(smart.parse(smart_fixture("nvme-failing-qemu"), SDA)) == {
        "disk /dev/sda says of itself that it is failing": "failing",
        "disk /dev/sda warns that its spare blocks are used up": "failing",
        "disk /dev/sda warns that its reliability is degraded": "failing",
    }


def test_what_an_nvme_disk_warns_of_is_found() -> None:
    log = {"critical_warning": 0b101, "media_errors": 3, "percentage_used": 104}
    found = smart.parse(changed("nvme-qemu", nvme_smart_health_information_log=log), SDA)
    assert said(found) == {
        "disk /dev/sda warns that its spare blocks are used up": "failing",
        "disk /dev/sda warns that its reliability is degraded": "failing",
        "disk /dev/sda media errors are 3 (limit 1)": "degraded",
        "disk /dev/sda life is used up to 104 %": "degraded",
    }


def test_raw_values_that_pack_several_numbers_are_no_sectors() -> None:
    table = [{"id": 5, "name": "Reallocated_Sector_Ct", "raw": {"value": value}} for value in (2**47, -1)]
    assert smart.parse(changed("ata-qemu", ata_smart_attributes={"table": table}), SDA) == Found(judged=1)


def test_a_disk_that_sleeps_is_not_judged_and_what_was_found_stands() -> None:
    assert smart.parse(smart_fixture("standby"), SDA) == Found(unread=frozenset({"/dev/sda"}))


def test_a_machine_without_disks_has_none_to_ask() -> None:
    assert smart.parse_scan(smart_fixture("scan-none")) == []


def test_disks_behind_a_raid_controller_are_told_apart() -> None:
    disks = smart.parse_scan(smart_fixture("scan-megaraid"))
    assert [disk.arguments for disk in disks][2] == ("-d", "megaraid,2", "/dev/bus/0")
    whats = {finding.what for disk in disks for finding in smart.parse(smart_fixture("ata-failing"), disk).findings}
    assert "disk /dev/bus/0 [megaraid_disk_02]" in whats
    assert len(whats) == 3 * 4


def test_a_disk_that_names_things_in_no_utf8_is_judged_all_the_same() -> None:
    output = smart_fixture("ata-failing").replace(b"Power_On_Hours", b"Power\xffOn")
    assert smart.parse(output, SDA) == smart.parse(smart_fixture("ata-failing"), SDA)


def test_a_device_that_smartctl_cannot_ask_is_told_with_its_words() -> None:
    with pytest.raises(
        HealthUnreadable, match=r"smartctl /dev/sda: exit code 1: /dev/vda: Unable to detect device type"
    ):
        smart.parse(smart_fixture("not-a-disk"), SDA)


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"smartctl: not found",
        b"[]",
        b"{}",
        b'{"smartctl": {}}',
        b'{"smartctl": {"exit_status": "two"}}',
        smart_fixture("ata-qemu")[:900],
        changed("ata-qemu", smart_status={"passed": "perhaps"}),
        changed("nvme-qemu", nvme_smart_health_information_log={"critical_warning": 1e9}),
        changed("ata-qemu", ata_smart_attributes={"table": [{"id": 5}]}),
        b'{"smartctl": ' * 5000,
    ],
)
def test_json_that_is_no_report_is_refused_by_name(output: bytes) -> None:
    with pytest.raises(HealthUnreadable, match="smartctl /dev/sda: expected JSON as smartctl 7 prints it: "):
        smart.parse(output, SDA)


def test_a_list_of_disks_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(HealthUnreadable, match="smartctl --scan: expected JSON"):
        smart.parse_scan(b"[1, 2")


def nic(**differs: Any) -> dict[str, nics.Nic]:
    counted = {"frames": 0, "errors": 0, "carrier_losses": 0, "has_carrier": True}
    return {"eth0": nics.Nic(**(counted | differs))}


def judged(*readings: dict[str, nics.Nic], every_s: float = 30.0) -> list[dict[str, str]]:
    judge = nics.Judge()
    return [said(judge.judge(reading, number * every_s)) for number, reading in enumerate(readings)]


def test_only_nics_that_lead_out_are_read(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "net", tmp_path / "net", symlinks=True)
    assert nics.physical(tmp_path / "net") == ["eth0"]
    (tmp_path / "net" / "vif1.0" / "device").mkdir(parents=True)
    (tmp_path / "net" / "vif1.0" / "device" / "subsystem").symlink_to("../../../../bus/xen-backend")
    assert nics.physical(tmp_path / "net") == ["eth0"]
    assert read(nics.Nics(30.0, tmp_path / "net")) == Found(judged=1)


def test_a_nic_is_judged_by_the_errors_since_it_was_read_last() -> None:
    assert judged(
        nic(frames=10**9, errors=10**6),  # of what was before, nobody knows when
        nic(frames=10**9 + 100_000, errors=10**6 + 50),
        nic(frames=10**9 + 200_000, errors=10**6 + 250),
        nic(frames=10**9 + 300_000, errors=10**6 + 2250),
        nic(frames=10**9 + 300_000, errors=10**6 + 2255),
    ) == [
        {},
        {},
        {"NIC eth0 had 200 errors in 100200 frames (0.20%, limit 0.1%)": "degraded"},
        {"NIC eth0 had 2000 errors in 102000 frames (1.96%, limit 0.1%)": "failing"},
        {},
    ]


def test_counters_of_a_nic_that_fall_or_run_away_are_not_judged() -> None:
    assert judged(nic(frames=10**6, errors=10**6), nic(), nic(frames=5, errors=2**63)) == [{}, {}, {}]


def test_a_link_that_is_lost_is_found_and_one_that_nobody_uses_is_not() -> None:
    down = "link of NIC eth0 is down"
    assert judged(nic(has_carrier=False), nic(), nic(has_carrier=False), nic(has_carrier=None), nic()) == [
        {},
        {},
        {down: "degraded"},
        {},
        {},
    ]


def test_a_link_that_goes_down_again_and_again_is_found_for_an_hour() -> None:
    readings = [nic(carrier_losses=losses) for losses in (7, 8, 9, 10, 10)]
    *before, third, last = judged(*readings, every_s=600.0)
    assert before == [{}, {}, {}]
    assert third == {"link of NIC eth0 went down 3 times in an hour (limit 3)": "degraded"}
    assert last == third
    assert judged(*readings, *[readings[-1]] * 6, every_s=600.0)[-1] == {}


@pytest.mark.parametrize("count", ["nan", "-1", "9" * 400, "", "1e3"])
def test_a_nic_whose_counters_are_no_numbers_is_left_out(tmp_path: Path, count: str) -> None:
    shutil.copytree(FIXTURES / "net", tmp_path / "net", symlinks=True)
    (tmp_path / "net" / "eth0" / "statistics" / "rx_errors").write_text(f"{count}\n")
    assert read(nics.Nics(30.0, tmp_path / "net")) == Found()


def test_a_nic_that_vanishes_is_forgotten() -> None:
    judge = nics.Judge()
    judge.judge(nic(), 0.0)
    assert judge.judge({}, 30.0) == Found()
    assert judge.judge(nic(has_carrier=False), 60.0) == Found(judged=1)


def test_findings_say_what_and_where() -> None:
    found = edac.judge(edac.parse([edac.Files("mc0", "", "", "0", "2", "")]), Growth(DAY_S), 0.0)
    what = "memory of mc0, module not known,"
    assert found == Found(judged=1, findings=(Finding(what, FAILING, f"{what} had 2 uncorrected errors"),))
