"""The Debian packages of this checkout, built once for what is in it, and one release later."""

import os
import re
import sys
from pathlib import Path

from migd_lab import cache
from migd_lab.commands import run

PROJECT = Path(__file__).parents[2]
NAMES = ("migd-agent", "migd-controller", "migctl")
NEXT = "9.9.9"
_SOURCES = (
    "pyproject.toml",
    "constraints.txt",
    "core",
    "agent",
    "policies",
    "controller",
    "sim",
    "xapi",
    "cli",
    "systemd",
)
_SOURCES += ("deploy/debian", "deploy/packages.sh", "docs/dom0.md")


def packages() -> Path:
    """Return the folder of the packages; what `make packages` runs has built them."""

    def make(folder: Path) -> None:
        env = {**os.environ, "PIP": f"{Path(sys.executable).parent}/pip"}
        run(PROJECT / "deploy/packages.sh", folder, env=env, timeout_s=900)

    return cache.step("packages", [PROJECT / each for each in _SOURCES], make)


def next_release(folder: Path) -> None:
    """Put into `folder` the same packages as a release that is newer, and that has another default in its conffile."""
    for package in packages().glob("*.deb"):
        tree = folder / "tree"
        run("dpkg-deb", "--raw-extract", package, tree, timeout_s=300)
        control = tree / "DEBIAN/control"
        text = control.read_text()
        version = re.search(r"^Version: (.*)$", text, re.MULTILINE)
        assert version is not None
        control.write_text(text.replace(version[1], NEXT))
        conffile = tree / "etc/migd/controller.toml"
        if conffile.exists():
            conffile.write_text(conffile.read_text() + "\n# This release explains more.\n")
        name = package.name.partition("_")[0]
        run("dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, folder / f"{name}_{NEXT}.deb", timeout_s=300)
        run("rm", "-r", tree)
