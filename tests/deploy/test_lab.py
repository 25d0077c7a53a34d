"""The lab's parts that need neither root nor Xen."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from migd_lab import cache, payload
from migd_lab.__main__ import use
from migd_lab.debian import sources
from migd_lab.errors import LabError
from migd_lab.guest import Guest, figures
from migd_lab.lab import Lab
from migd_lab.network import inside
from migd_lab.ping import longest_silence_s
from migd_lab.processes import Daemon


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIGD_LAB_CACHE", str(tmp_path))
    return tmp_path


def test_a_step_is_made_once_for_the_same_ingredients(kept: Path) -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("built")

    first, again, other = (cache.step("part", [text], make) for text in ("a", "a", "b"))
    assert (first, len(made)) == (again, 2)
    assert other != first
    assert (first / "file").read_text() == (other / "file").read_text() == "built"


def test_a_step_that_failed_is_made_anew(kept: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise LabError("the archive is away")

    with pytest.raises(LabError, match="the archive is away"):
        cache.step("part", [], fail)
    assert list(cache.step("part", [], lambda folder: None).iterdir()) == []


def test_results_of_long_ago_are_let_go_but_never_the_newest(kept: Path) -> None:
    made = [cache.step("part", [str(number)], lambda folder: None) for number in range(5)]
    assert [path.exists() for path in made] == [False, False, True, True, True]


def test_what_goes_in_is_told_apart_by_content_name_and_border(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    digests = {cache.digest(["ab", "c"]), cache.digest(["a", "bc"]), cache.digest([tmp_path])}
    (tmp_path / "a").write_text("2")
    digests.add(cache.digest([tmp_path]))
    (tmp_path / "a").rename(tmp_path / "b")
    digests.add(cache.digest([tmp_path]))
    assert len(digests) == 5


def test_the_lab_is_built_from_the_archives_that_this_machine_uses(tmp_path: Path) -> None:
    (tmp_path / "sources.list").touch()
    (tmp_path / "sources.list.d").mkdir()
    with pytest.raises(LabError, match="no file names an archive"):
        sources(tmp_path)
    (tmp_path / "sources.list.d/a.sources").write_text("Types: deb\n")
    (tmp_path / "sources.list.d/b.list.disabled").write_text("deb http://example.org x y\n")
    assert sources(tmp_path) == [tmp_path / "sources.list.d/a.sources"]


def test_a_guest_is_told_who_and_where_it_is() -> None:
    text = Guest("rank0", 7, ("spin 0.5",), image="mpi").configuration("pvh", {"rank1": "192.168.77.108"})
    assert 'type = "pvh"' in text
    assert 'ramdisk = "/lab/mpi.cpio"' in text
    assert "lab.ip=192.168.77.107 lab.hosts=127.0.0.1:localhost,192.168.77.108:rank1" in text


def test_only_whole_lines_of_a_program_are_figures() -> None:
    said = "WRITE 1 t=1.5 bad=0\nSPIN 1 t=1.6 cpu=0.2\nWRITE 2 t=2.5 bad=1\nWRITE 3 t="
    assert figures(said, "WRITE") == [{"line": 1, "t": 1.5, "bad": 0}, {"line": 2, "t": 2.5, "bad": 1}]


def test_the_longest_silence_is_that_between_two_answers() -> None:
    said = "".join(f"[{at:.6f}] 64 bytes from 192.168.77.101: icmp_seq=1\n" for at in (10.0, 10.1, 13.6, 13.7))
    assert longest_silence_s(said) == pytest.approx(3.5)
    with pytest.raises(LabError, match="two answers"):
        longest_silence_s("[10.0] 64 bytes from 192.168.77.101: icmp_seq=1\n")


def test_a_dom0_gets_what_the_agent_needs_and_secrets_for_root_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "msgspec").mkdir()
    monkeypatch.setattr(payload, "dependencies", lambda: tmp_path)
    payload.write(tmp_path / "node.tar", {"etc/migd/agent.key_secret": "secret"})
    with tarfile.open(tmp_path / "node.tar") as tar:
        names = tar.getnames()
        assert {"opt/migd/msgspec", "opt/migd/migd_core/__init__.py", "opt/migd/migd_agent/__main__.py"} <= set(names)
        assert not [name for name in names if name.endswith(".pyc")]
        assert (tar.getmember("etc/migd/agent.key_secret").mode, tar.getmember("opt/migd/msgspec").uid) == (0o600, 0)


def test_a_process_that_came_later_is_not_taken_for_the_daemon(tmp_path: Path) -> None:
    daemon = Daemon("migd-controller", tmp_path, "none")
    assert not daemon.is_alive()
    (tmp_path / "migd-controller.pid").write_text(f"{os.getpid()} 1")
    assert not daemon.is_alive()


def test_a_lab_that_does_not_run_is_said_to_be_none() -> None:
    lab = Lab("of-nobody")
    assert lab.nodes == []
    with pytest.raises(LabError, match="`make lab` starts one"), inside(lab.namespace):
        pass


def test_what_is_said_of_a_labs_use_can_be_typed_in_any_folder(tmp_path: Path) -> None:
    commands = [line.strip() for line in use(Lab("of-nobody")).splitlines() if line.startswith("  ")]
    assert len(commands) == 5
    for command in commands:
        asked = subprocess.run(
            f"{command} --help" if "migctl" in command else command,
            shell=True,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        expected = (1, "migd_lab: no node 1: the lab of-nobody has 0 nodes\n") if " ssh " in command else (0, "")
        assert (asked.returncode, asked.stderr) == expected
