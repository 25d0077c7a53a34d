"""What a node is given at boot besides its disk: its keys and configuration, and migd itself, as one tar archive."""

import io
import sys
import tarfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from migd_lab import cache
from migd_lab.commands import run

PROJECT: Final = Path(__file__).parents[3]
_PACKAGES: Final = (PROJECT / "core/migd_core", PROJECT / "agent/migd_agent")
INSTALLED: Final = "opt/migd"


def dependencies() -> Path:
    """Return a folder with what migd's agent imports that is not migd, for the Python of Debian 12."""
    wanted = (PROJECT / "pyproject.toml", PROJECT / "constraints.txt")
    requirements = tomllib.loads(wanted[0].read_text())["project"]["dependencies"]

    def make(folder: Path) -> None:
        run(
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
            *("--target", folder / "tree", "--constraint", wanted[1], "--only-binary", ":all:"),
            *("--python-version", "3.11", "--implementation", "cp", *requirements),
            timeout_s=300,
        )

    return cache.step("agent-dependencies", wanted, make) / "tree"


def write(archive: Path, files: Mapping[str, str]) -> None:
    """Write the archive of one node: migd's agent, and `files` (path from the root: text), none of them public."""
    with tarfile.open(archive, "w") as tar:
        for source in (*sorted(dependencies().iterdir()), *_PACKAGES):
            tar.add(source, f"{INSTALLED}/{source.name}", filter=_of_root)
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.mode, member.size = 0o600, len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if member.name.endswith((".pyc", "__pycache__")):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
