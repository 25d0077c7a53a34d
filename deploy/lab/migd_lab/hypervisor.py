"""The hypervisors and the kernel, from Debian's packages: files that QEMU boots."""

import gzip
import lzma
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from migd_lab import cache, debian
from migd_lab.commands import run
from migd_lab.errors import LabError, Unavailable

Xen = Literal["current", "shadow"]
Domain = Literal["pvh", "pv"]
PACKAGE: Final = "xen-hypervisor-4.17-amd64"
# The last one of this release that was built with shadow paging, without which a PV guest can be neither watched for
# dirty pages nor migrated alive (`xl migrate`: "Failed to enable logdirty: 95,22,0").
SHADOW_VERSION: Final = "4.17.5+72-g01140da4e8-1"
# What Dom0 and guests need of the kernel's modules beyond what is built in.
DOM0_MODULES: Final = (
    *("virtio_pci", "virtio_blk", "virtio_net", "ext4", "crc32c_generic", "bridge", "br_netfilter", "tun", "loop"),
    *("xenfs", "xen-privcmd", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-netback", "xen-blkback"),
    *("nf_tables", "nft_meta_bridge", "nf_conntrack_bridge", "openvswitch", "sch_netem", "sch_tbf"),
)
INITRAMFS_MODULES: Final = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
GUEST_MODULES: Final = ("xen-netfront",)


@dataclass(frozen=True, slots=True)
class Kernel:
    """Debian's kernel, unpacked: its release, the folder that holds its `lib/modules`, and its ELF image."""

    release: str
    root: Path
    image: Path

    def modules(self, names: tuple[str, ...]) -> list[Path]:
        """Return the files of these modules and of all that they need, in the order in which they load."""
        files: dict[Path, None] = {}
        for name in names:
            try:
                text = run("modprobe", "-d", self.root, "-S", self.release, "--show-depends", name)
            except LabError as error:
                raise LabError(f"kernel {self.release} has no module {name}: {error}") from error
            files |= dict.fromkeys(
                Path(words[1]) for line in text.splitlines() if (words := line.split())[0] == "insmod"
            )
        return list(files)


def xen(which: Xen) -> Path:
    """Return the hypervisor's file. Raises LabError where the archive no longer has the one asked for."""
    candidate = debian.candidates([PACKAGE]).get(PACKAGE)
    if candidate is None:
        raise LabError(f"apt knows no {PACKAGE}; the lab needs Debian {debian.SUITE}'s archives")
    version = candidate if which == "current" else SHADOW_VERSION

    def make(folder: Path) -> None:
        if not debian.unpack(PACKAGE, version, folder / "package"):
            raise Unavailable(f"{PACKAGE} {version}: no longer in the archive; use the current one, with PVH guests")
        (packed,) = (folder / "package/boot").glob("xen-*.gz")
        (folder / "xen").write_bytes(gzip.decompress(packed.read_bytes()))
        shutil.rmtree(folder / "package")

    return cache.step(f"xen-{which}", [version], make) / "xen"


def kernel() -> Kernel:
    """Return Debian's current kernel; the one for clouds cannot be a Dom0."""
    package = debian.kernel_package()
    version = debian.candidates([package])[package]

    def make(folder: Path) -> None:
        if not debian.unpack(package, version, folder / "package"):
            raise LabError(f"{package} {version}: cannot be downloaded; run apt-get update")
        (packed,) = (folder / "package/boot").glob("vmlinuz-*")
        (folder / "vmlinux").write_bytes(elf_image(packed.read_bytes()))
        run("depmod", "-b", folder / "package", packed.name.removeprefix("vmlinuz-"))

    made = cache.step("kernel", [package, version], make)
    return Kernel(package.removeprefix("linux-image-"), made / "package", made / "vmlinux")


def elf_image(bzimage: bytes) -> bytes:
    """Return the kernel in a bzImage, unpacked: under emulation the guest's own unpacking takes too long.

    Offsets: Documentation/x86/boot.rst, `setup_sects`, `payload_offset`, `payload_length`.
    """
    begin = ((bzimage[0x1F1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    try:
        return lzma.LZMADecompressor().decompress(bzimage[begin + offset : begin + offset + length])
    except lzma.LZMAError as error:
        raise LabError(f"the kernel is not packed by xz: {error}; look at its CONFIG_KERNEL_XZ") from error
