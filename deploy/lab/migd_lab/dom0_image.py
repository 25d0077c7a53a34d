"""The disk that every Dom0 starts from, and the archive that mounts it."""

import shutil
from pathlib import Path
from typing import Final

from migd_lab import cache, debian, initramfs
from migd_lab.commands import run
from migd_lab.guest_images import GuestImages
from migd_lab.hypervisor import DOM0_MODULES, INITRAMFS_MODULES, Kernel

FILES: Final = Path(__file__).parent.parent / "dom0"
PACKAGES: Final = (
    *("xen-utils-4.17", "xen-utils-common", "python3", "openssh-server", "openssh-client", "iproute2", "bridge-utils"),
    *("nftables", "iputils-ping", "busybox", "kmod", "udev", "procps", "openvswitch-switch"),
)
DISK_MIB: Final = 800
# Never used in the lab, and a third of the disk.
_TRIMMED: Final = (
    *("usr/lib/udev/hwdb.d", "usr/lib/udev/hwdb.bin", "usr/share/perl", "usr/share/zoneinfo", "usr/share/gdb"),
    *("var/lib/dpkg/info", "var/cache", "var/lib/apt", "usr/lib/x86_64-linux-gnu/gconv"),
    *("usr/lib/python3.11/test", "usr/lib/python3.11/lib2to3", "usr/lib/python3.11/idlelib"),
)
_XL_CONF: Final = """\
autoballoon="off"
vif.default.script="vif-bridge"
vif.default.bridge="xenbr0"
"""
_SSHD_CONFIG: Final = """\
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
PrintMotd no
MaxSessions 100
MaxStartups 100
Subsystem sftp internal-sftp
"""
# Under emulation a handshake costs seconds; AES is what QEMU does fastest.
_SSH_CONFIG: Final = """\
Host *
 StrictHostKeyChecking no
 UserKnownHostsFile /dev/null
 LogLevel ERROR
 Ciphers aes128-gcm@openssh.com
"""


def build(kernel: Kernel, guests: GuestImages) -> Path:
    """Return the folder with `dom0.ext4` and `initrd.cpio`."""
    system = _system()

    def make(folder: Path) -> None:
        root = folder / "root"
        run("cp", "-a", system, root, timeout_s=300)
        _settings(root)
        _modules(root, kernel)
        for source in (*FILES.glob("lab/*"), kernel.image, *guests.files):
            target = root / "lab" / source.name
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
        _disk(root, folder / "dom0.ext4")
        shutil.rmtree(root)
        initramfs.begin(folder / "initrd", FILES / "initramfs-init", kernel, INITRAMFS_MODULES)
        initramfs.pack(folder / "initrd", folder / "initrd.cpio")
        shutil.rmtree(folder / "initrd")

    ingredients: list[str | Path] = [
        Path(__file__),
        Path(initramfs.__file__),
        FILES,
        system.name,
        kernel.release,
        guests.digest,
    ]
    return cache.step("dom0", ingredients, make)


def _system() -> Path:
    """Return a Debian tree with Xen's tools; made anew when a package in it has a new version."""
    versions = debian.candidates(PACKAGES)

    def make(folder: Path) -> None:
        debian.tree(PACKAGES, folder / "tree")
        for name in _TRIMMED:
            path = folder / "tree" / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    return cache.step("dom0-tree", [repr(sorted(versions.items())), *_TRIMMED], make) / "tree"


def _settings(root: Path) -> None:
    shutil.copy(FILES / "init", root / "sbin/lab-init")
    (root / "sbin/lab-init").chmod(0o755)
    shutil.copy(FILES / "inittab", root / "etc/inittab")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()  # each lab brings its own
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    for name, text in {
        "etc/xen/xl.conf": _XL_CONF,
        "etc/ssh/sshd_config": _SSHD_CONFIG,
        "root/.ssh/config": _SSH_CONFIG,
        "etc/machine-id": "",
    }.items():
        (root / name).unlink(missing_ok=True)
        (root / name).write_text(text)


def _modules(root: Path, kernel: Kernel) -> None:
    for source in kernel.modules(DOM0_MODULES):
        target = (
            root / "lib/modules" / kernel.release / source.relative_to(kernel.root / "lib/modules" / kernel.release)
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        run("strip", "--strip-debug", "-o", target, source)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copy(kernel.root / "lib/modules" / kernel.release / name, root / "lib/modules" / kernel.release)
    run("depmod", "-b", root, kernel.release)


def _disk(root: Path, disk: Path) -> None:
    with disk.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    run(
        *("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal,^metadata_csum", "-m", "0"),
        *("-E", "lazy_itable_init=1,nodiscard", "-d", root, disk),
        timeout_s=300,
    )
