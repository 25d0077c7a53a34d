"""Debian packages, by the apt configuration of this machine: installed here, unpacked, or made a tree of."""

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from migd_lab.commands import run
from migd_lab.errors import LabError

SUITE: Final = "bookworm"  # the release of Xen 4.17
# A command, and the package that brings it.
TOOLS: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "cpio": "cpio",
    "busybox": "busybox-static",
    "modprobe": "kmod",
    "ssh": "openssh-client",
    "strip": "binutils",
    "gcc": "gcc",
    "ip": "iproute2",
    "ping": "iputils-ping",
}
LISTS_S: Final = 300.0  # apt reads its lists anew where nothing keeps them, and waits for whoever writes them
_LIBC: Final = Path("/usr/include/stdio.h")
# Of these, only what fetches: everything else of the host's apt is the host's own.
_FETCHING: Final = re.compile(r"^Acquire::(https?|Retries|Check-Valid-Until|ForceIPv4)\b.*\"[^\"]+\";$")
_SOURCES: Final = Path("/etc/apt")
_LEFT_OUT: Final = ("man", "doc", "locale", "info", "lintian", "bug")
_NO_QUESTIONS: Final = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def install_tools() -> None:
    """Install whatever the lab needs on this machine and does not find. Raises LabError."""
    missing = {package for command, package in TOOLS.items() if shutil.which(command) is None}
    if not _LIBC.exists():
        missing.add("libc6-dev")
    if not missing:
        return
    if os.geteuid() != 0:
        raise LabError(f"packages are missing here: {' '.join(sorted(missing))}; run this as root, or install them")
    refresh()
    _apt("install", "-y", "--no-install-recommends", *sorted(missing))


def refresh() -> None:
    """Fetch the lists of packages anew."""
    _apt("update")


def candidates(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of each package that apt would install; packages that it does not know are left out."""
    said = run("apt-cache", "policy", *packages, timeout_s=LISTS_S)
    found = re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (\S+)", said, re.MULTILINE)
    return {package: version for package, version in found if version != "(none)"}


def kernel_package() -> str:
    """Return the name of the package that holds today's Debian kernel. Raises LabError."""
    if match := re.search(r"Depends: (linux-image-\d\S+)", run("apt-cache", "depends", "linux-image-amd64")):
        return match[1]
    raise LabError("apt knows no linux-image-amd64; add Debian's main archive to the apt configuration")


def unpack(package: str, version: str, folder: Path) -> bool:
    """Download one package and unpack it into `folder`; False where the archive no longer has this version."""
    debs = folder.with_suffix(".deb.d")
    debs.mkdir()
    try:
        _apt("download", f"{package}={version}", folder=debs)
    except LabError:
        return False
    (deb,) = debs.glob("*.deb")
    run("dpkg-deb", "-x", deb, folder)
    shutil.rmtree(debs)
    return True


def tree(
    packages: Sequence[str], folder: Path, at_hand: Sequence[str] = (), left_out: Sequence[str] = _LEFT_OUT
) -> None:
    """Make a minimal Debian system with these packages in `folder`, without some folders of /usr/share.

    Packages `at_hand` are not installed, but apt has them and what they need, and installs them without a network.
    """
    fetch = f"apt-get -qq install --download-only {' '.join(at_hand)}"
    run(
        "mmdebstrap",
        *("--variant=minbase", "--mode=root", f"--include={','.join(packages)}"),
        *('--aptopt=APT::Install-Recommends "false"', *(f"--aptopt={line}" for line in _fetching())),
        *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in left_out),
        *(("--skip=cleanup/apt", f'--customize-hook=chroot "$1" {fetch}') if at_hand else ()),
        *(SUITE, folder),
        *sources(_SOURCES),
        timeout_s=900,
        env={**os.environ, **_NO_QUESTIONS},
    )


def sources(etc_apt: Path) -> list[Path]:
    """Return the files in which this machine's apt finds its archives. Raises LabError where there are none."""
    parts = etc_apt / "sources.list.d"
    files = [etc_apt / "sources.list", *sorted((*parts.glob("*.list"), *parts.glob("*.sources")))]
    if found := [each for each in files if each.exists() and each.read_text().strip()]:
        return found
    raise LabError(f"{etc_apt}: no file names an archive; the lab is built from this machine's apt configuration")


def _fetching() -> list[str]:
    return [line for line in run("apt-config", "dump").splitlines() if _FETCHING.match(line)]


def _apt(*arguments: str, folder: Path | None = None) -> None:
    run(
        *("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments),
        timeout_s=900,
        env={**os.environ, **_NO_QUESTIONS},
        folder=folder,
    )
