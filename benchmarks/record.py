"""What a record costs: CPU time, bytes, and how fast it replays. 64 hosts with 1,024 guests.

Every rate of every sample is drawn anew, as no real one comes twice: this is the dear end of what samples pack to.
"""

import shutil
import tempfile
import time
import uuid
from pathlib import Path
from random import Random
from typing import Final, Protocol

from migd_controller.commands import AnyCommand
from migd_controller.config import ControllerConfig, RecordSection, TelemetrySection, XapiSection
from migd_controller.core import Core, first_memory
from migd_controller.events import (
    AnyEvent,
    InventoryChanged,
    PolicySet,
    PoolGuest,
    PoolHost,
    PoolReachability,
    SampleArrived,
    Tick,
)
from migd_controller.record.parts import part_files
from migd_controller.record.recording import Recording
from migd_core.messages import FlowSample, GuestSample, HostSample
from migd_core.units import GIB
from migd_sim.run.replay.replaying import replay

HOSTS: Final = 64
GUESTS_PER_HOST: Final = 16
CPUS: Final = 32
FLOWS_PER_HOST: Final = 16
PERIOD_S: Final = 5
LASTS_S: Final = 60


class Mind(Protocol):
    """A core, recorded or not."""

    def handle(self, event: AnyEvent, now_s: float) -> list[AnyCommand]: ...


def measure(seed: int) -> dict[str, float]:
    """Return CPU seconds a second of the cluster's life, without and with a record, and what the record comes to."""
    folder = Path(tempfile.mkdtemp(prefix="migd-record-"))
    try:
        events = _events(seed)
        config = ControllerConfig(
            telemetry=TelemetrySection(secret_key_file=Path("k"), agents_file=Path("a"), stale_after_s=60.0),
            xapi=XapiSection(url="http://127.0.0.1", username="u", password_file=Path("p")),
            period_s=float(PERIOD_S),
            record=RecordSection(folder=folder / "record"),
        )
        plain_s = _cpu_s(Core(config, first_memory(config)), events)
        recording = Recording(Core(config, first_memory(config)))
        recording.switch_on(0.0)
        begun_s = time.process_time()
        _cpu_s(recording, events)
        recording.close()
        recorded_s = time.process_time() - begun_s
        size_bytes = sum(path.stat().st_size for path in part_files(folder / "record"))
        begun_s = time.process_time()
        found = replay(folder / "record")
        replay_s = time.process_time() - begun_s
        if found.difference is not None:
            raise AssertionError(f"the record does not replay: {found.difference}")
        return {
            "seed": seed,
            "hosts": HOSTS,
            "guests": HOSTS * GUESTS_PER_HOST,
            "core_cores": plain_s / LASTS_S,
            "recorded_cores": recorded_s / LASTS_S,
            "record_share_of_a_core": (recorded_s - plain_s) / LASTS_S,
            "bytes_per_host_hour": size_bytes / HOSTS * 3600 / LASTS_S,
            "replay_faster_than_life": LASTS_S / replay_s,
        }
    finally:
        shutil.rmtree(folder)


def text(figures: dict[str, float]) -> str:
    """Return the figures in a line."""
    return (
        f"recording {figures['hosts']:.0f} hosts with {figures['guests']:.0f} guests "
        f"takes {figures['record_share_of_a_core'] * 100:.1f} % of a core (the core itself "
        f"{figures['core_cores'] * 100:.1f}) and {figures['bytes_per_host_hour'] / 1e6:.1f} MB a host and hour; "
        f"it replays {figures['replay_faster_than_life']:.0f} times as fast as it was"
    )


def _cpu_s(mind: Mind, events: list[tuple[float, AnyEvent]]) -> float:
    begun_s = time.process_time()
    for at, event in events:
        mind.handle(event, at)
    return time.process_time() - begun_s


def _events(seed: int) -> list[tuple[float, AnyEvent]]:
    drawn = Random(seed)

    def name() -> str:
        return str(uuid.UUID(int=drawn.getrandbits(128)))

    hosts = tuple(
        PoolHost(
            uuid=name(), name=f"xen{n}", is_enabled=True, is_live=True, cpus=CPUS, memory_for_guests_bytes=512 * GIB
        )
        for n in range(HOSTS)
    )
    guests = {
        host.uuid: tuple(
            PoolGuest(
                uuid=name(),
                name=f"rank{n}",
                host=host.uuid,
                vcpus=2,
                memory_bytes=8 * GIB,
                macs=(f"{drawn.getrandbits(48):x}",),
            )
            for n in range(GUESTS_PER_HOST)
        )
        for host in hosts
    }
    every = tuple(guest for several in guests.values() for guest in several)
    events: list[tuple[float, AnyEvent]] = [
        (0.0, InventoryChanged(hosts=hosts, guests=every, is_complete=True)),
        (0.0, PoolReachability(is_reachable=True)),
        (0.0, PolicySet(name="least-loaded", config={})),
    ]
    for second in range(1, LASTS_S + 1):
        for host in hosts:
            sample = _sample(host.uuid, guests[host.uuid], every, second, drawn)
            events.append((second + drawn.random(), SampleArrived(sample=sample)))
        if second % PERIOD_S == 0:
            events.append((second + 1.0, Tick()))
    return events


def _sample(
    host: str, guests: tuple[PoolGuest, ...], every: tuple[PoolGuest, ...], second: int, drawn: Random
) -> HostSample:
    measured = tuple(
        GuestSample(
            uuid=guest.uuid,
            vcpus=2,
            cpu_ratio=drawn.uniform(0.3, 0.9),
            memory_bytes=guest.memory_bytes,
            rx_bytes_per_s=drawn.uniform(0, 1e7),
            tx_bytes_per_s=drawn.uniform(0, 1e7),
            read_bytes_per_s=drawn.uniform(0, 1e5),
            written_bytes_per_s=drawn.uniform(0, 1e6),
        )
        for guest in guests
    )
    used = sum(guest.cpu_ratio * guest.vcpus for guest in measured) / CPUS
    flows = tuple(
        FlowSample(guest.macs[0], every[drawn.randrange(len(every))].macs[0], drawn.uniform(0, 1e6))
        for guest in guests[:FLOWS_PER_HOST]
    )
    return HostSample(
        host_uuid=host,
        boot_id=host,
        sequence=second,
        monotonic_s=second + drawn.random() / 1000,
        interval_s=1.0 + drawn.random() / 1000,
        cpus=CPUS,
        cpu_ratio=min(1.0, used + 0.02),
        dom0_cpu_ratio=drawn.uniform(0.01, 0.02),
        memory_bytes=512 * GIB,
        memory_free_bytes=384 * GIB,
        rx_bytes_per_s=drawn.uniform(0, 1e8),
        tx_bytes_per_s=drawn.uniform(0, 1e8),
        link_bytes_per_s=1.25e9,
        guests=measured,
        flows=flows if second % 5 == 1 else (),
        flows_held=second % 5 != 1,
    )
