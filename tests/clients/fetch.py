"""Bring the files of two clients that are not installed whole: `python tests/clients/fetch.py FOLDER`.

Ansible's wheel unpacks to 210 MB, of which one collection of 10 MB is kept. Debian's fence-agents would pull 29 packages;
fence_xenapi needs only its own files, and what the extra `clients` of pyproject.toml installs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final
from zipfile import ZipFile

COLLECTION: Final = "ansible_collections/community/general/"
CONSTRAINTS: Final = Path(__file__).parents[2] / "constraints.txt"


def main(folder: Path) -> None:
    """Put everything into `folder`, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with tempfile.TemporaryDirectory() as downloads:
        fetch_collection(folder, Path(downloads))
        if shutil.which("apt-get") is None:
            sys.stderr.write("there is no apt-get: tests of Debian's fence_xenapi will be skipped\n")
        else:
            fetch_fence_agents(folder, Path(downloads))


def fetch_collection(folder: Path, downloads: Path) -> None:
    """Put the collection community.general where Ansible finds it."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
    subprocess.run([*command, "--constraint", CONSTRAINTS, "--dest", downloads, "ansible"], check=True)
    (wheel,) = downloads.glob("ansible-*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(COLLECTION)])


def fetch_fence_agents(folder: Path, downloads: Path) -> None:
    """Unpack Debian's package. A new Debian has no package lists yet; only root can fetch them."""
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "fence-agents"]
    if subprocess.run(command, cwd=downloads, check=False).returncode != 0 and os.getuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(command, cwd=downloads, check=True)
    packages = list(downloads.glob("fence-agents_*.deb"))
    if not packages:
        raise SystemExit("fence-agents cannot be downloaded; as root, first: apt-get update")
    subprocess.run(["dpkg-deb", "--extract", packages[0], folder], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
