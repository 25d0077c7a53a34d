"""A live record: it never costs the controller anything but a line in its log."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_of_events import CONFIG, Cluster, pool_guest, pool_host
from live_cluster import until
from msgspec.structs import replace

from migd_controller.commands import AnyCommand
from migd_controller.config import RecordSection, WebhookSection, XapiSection
from migd_controller.events import AnyEvent
from migd_controller.record import recording
from migd_controller.record.format import without_secrets
from migd_controller.record.parts import part_files
from migd_controller.record.recording import RETRY_S, Recording
from migd_sim.run.replay.replaying import replay


class Recorded(Cluster):
    """A cluster whose core is recorded once that is switched on."""

    recording: Recording | None = None

    def tell(self, event: AnyEvent) -> list[AnyCommand]:
        if self.recording is None:
            return super().tell(event)
        return self.recording.handle(event, self.now_s)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Recorded]:
    """Parts of it are as large as a few periods."""
    record = RecordSection(folder=tmp_path / "record", part_bytes=3000, keep_bytes=1_000_000)
    cluster = Recorded([pool_host("a"), pool_host("b")], [pool_guest("g", "a")], replace(CONFIG, record=record))
    cluster.recording = Recording(cluster.core)
    yield cluster
    cluster.recording.close()


def test_a_core_is_recorded_from_the_moment_it_is_switched_on_until_it_is_switched_off(cluster: Recorded) -> None:
    assert cluster.recording is not None
    cluster.run(5)
    begun_s = cluster.now_s
    cluster.recording.switch_on(begun_s)
    decisions = [cluster.run(1) for _ in range(50)]

    def fills_a_part() -> bool:
        """The record is written beside the core, which may be far ahead of it."""
        assert cluster.recording is not None
        decisions.append(cluster.run(1))
        return cluster.recording.view().parts > 1

    until(fills_a_part)
    cluster.recording.close()
    cluster.run(1)
    found = replay(cluster.recording.folder)
    assert (found.difference, found.notes, found.decisions) == (None, [], len(decisions))
    assert (found.from_s, found.until_s) == (begun_s + 1.0, decisions[-1].at)
    view = cluster.recording.view()
    assert (view.is_on, view.since, view.problem) == (False, None, "")
    assert view.parts == len(part_files(cluster.recording.folder)) > 1
    assert view.size_bytes <= view.keep_bytes


def test_a_folder_that_cannot_be_made_is_a_problem_that_is_told_and_tried_again(cluster: Recorded) -> None:
    assert cluster.recording is not None
    folder = cluster.recording.folder
    folder.write_text("in the way")
    cluster.recording.switch_on(cluster.now_s)
    view = cluster.recording.view()
    assert (view.is_on, view.problem) == (False, f"{folder}: File exists")
    folder.unlink()
    cluster.run(int(RETRY_S / CONFIG.period_s) - 1)
    assert not cluster.recording.view().is_on
    cluster.run(1)
    assert (cluster.recording.view().is_on, cluster.recording.view().problem) == (True, "")
    cluster.recording.close()
    assert replay(folder).decisions == 1


def test_a_disk_that_fails_ends_the_record_and_never_the_controller(cluster: Recorded) -> None:
    assert cluster.recording is not None
    on, folder = cluster.recording, cluster.recording.folder
    on.switch_on(cluster.now_s)
    until(lambda: folder.is_dir() and part_files(folder))
    shutil.rmtree(folder)

    def fails() -> bool:
        assert cluster.run(1).reason.text
        return on.view().problem != ""

    until(fails)
    assert on.view().problem == f"{folder}: No such file or directory"
    assert not on.view().is_on
    assert cluster.run(1).reason.text


def test_a_disk_that_takes_less_than_there_is_to_record_ends_the_record(
    cluster: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster.recording is not None
    monkeypatch.setattr(recording, "WAITING_BYTES", 100)
    cluster.recording.switch_on(cluster.now_s)
    assert cluster.run(1).reason.text
    view = cluster.recording.view()
    said = f"{cluster.recording.folder}: the disk takes less than there is to record"
    assert (view.is_on, view.problem) == (False, said)


def test_a_record_holds_no_secret_and_no_address_and_the_core_needs_none() -> None:
    config = replace(
        CONFIG,
        xapi=XapiSection(url="https://pool.example.org", username="anna", password_file=Path("/secret/password")),
        webhooks=(WebhookSection(name="ops", url="https://hooks.example.org/T0KEN"),),
    )
    bare = without_secrets(config)
    assert [each for each in ("pool.example.org", "anna", "/secret", "T0KEN") if each in repr(bare)] == []
    hosts = [pool_host("a"), pool_host("b")]
    guests = [pool_guest("hog", "a", vcpus=4), pool_guest("rank0", "a"), pool_guest("rank1", "a")]
    full = Cluster(hosts, guests, config)
    less = Cluster(hosts, guests, bare)
    for each in (full, less):
        each.set_policy("least-loaded", margin_ratio=0.25)
        each.run(10, {"hog": 4.0})
    assert full.commands == less.commands
    assert full.started
