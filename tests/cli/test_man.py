"""Manual pages: one for each command, of what its help says."""

import shutil
import subprocess
from pathlib import Path

import pytest

from migd_cli.app import COMMANDS
from migd_cli.man import pages, write


def test_every_command_has_a_page():
    names = {name for section in COMMANDS.values() for name in section}
    assert {"migctl.1", "migctl-policy-shadow-add.1", *(f"migctl-{name}.1" for name in names)} <= pages().keys()


def test_a_page_says_what_the_help_says():
    lines = pages()["migctl-history.1"].splitlines()
    assert lines[0].startswith('.TH "MIGCTL-HISTORY" 1')
    assert r"migctl\-history \- List the migrations, newest first" in lines
    assert r"\fB\-\-limit INTEGER RANGE\fR" in lines
    assert r"\fBmigctl\fR(1)" in lines
    assert r"\fBmigctl\-policy\-set\fR(1)" in pages()["migctl-policy.1"].splitlines()
    assert "  3  the controller cannot be reached" in pages()["migctl.1"].splitlines()


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff here that could read them")
def test_groff_reads_every_page_without_a_warning(tmp_path: Path):
    for path in write(tmp_path / "man"):
        ended = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-K", "utf8", "-z", str(path)],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (ended.returncode, ended.stderr) == (0, ""), path.name
