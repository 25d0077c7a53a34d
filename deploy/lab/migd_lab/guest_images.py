"""What guests start from: a small system with the programs of `guest/`, and a larger one with Open MPI besides."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migd_lab import cache, debian, initramfs
from migd_lab.commands import run
from migd_lab.hypervisor import GUEST_MODULES, Kernel

FILES: Final = Path(__file__).parent.parent / "guest"
PROGRAMS: Final = ("write", "spin", "send")
MPI_PROGRAMS: Final = ("jacobi",)
_MPI_PACKAGES: Final = ("openmpi-bin", "libopenmpi-dev", "gcc", "libc6-dev")
_LIBRARIES: Final = Path("usr/lib/x86_64-linux-gnu")
# Components of Open MPI for networks and schedulers that are not here; each would only be tried and given up.
_UNUSED: Final = re.compile(
    "ofi|openib|psm|ucx|slurm|monitoring|memheap|scoll|spml|sshmem|romio|jsm|flux|libompi_dbg|vprotocol|treematch"
    "|gridengine|mindist|bzip|fcoll|han|adapt|netlink|op_avx"
)


@dataclass(frozen=True, slots=True)
class GuestImages:
    """The archives, and one name for all that went into them."""

    files: tuple[Path, ...]
    digest: str


def build(kernel: Kernel) -> GuestImages:
    """Return `base.cpio` and `mpi.cpio`."""
    tree = _mpi_tree()

    def make(folder: Path) -> None:
        for name, fill in (("base", _base), ("mpi", _mpi)):
            root = folder / name
            initramfs.begin(root, FILES / "init", kernel, GUEST_MODULES)
            fill(root, tree)
            initramfs.pack(root, folder / f"{name}.cpio")
            shutil.rmtree(root)

    ingredients: list[str | Path] = [Path(__file__), Path(initramfs.__file__), FILES, tree.parent.name, kernel.release]
    made = cache.step("guests", ingredients, make)
    return GuestImages((made / "base.cpio", made / "mpi.cpio"), made.name)


def _mpi_tree() -> Path:
    """Return a Debian tree with Open MPI and a compiler."""
    versions = debian.candidates(_MPI_PACKAGES)
    made = cache.step(
        "mpi-tree", [repr(sorted(versions.items()))], lambda folder: debian.tree(_MPI_PACKAGES, folder / "tree")
    )
    return made / "tree"


def _base(root: Path, tree: Path) -> None:
    for name in PROGRAMS:
        run("gcc", "-O2", "-Wall", "-Werror", "-static", "-s", "-o", root / "bin" / name, FILES / f"{name}.c")


def _mpi(root: Path, tree: Path) -> None:
    _base(root, tree)
    (root / "usr/bin").mkdir(parents=True)
    (root / "lib64").mkdir()
    (root / _LIBRARIES).mkdir(parents=True)
    (root / "lib").mkdir()
    (root / "lib/x86_64-linux-gnu").symlink_to("../usr/lib/x86_64-linux-gnu")
    for name in MPI_PROGRAMS:
        shutil.copy(FILES / f"{name}.c", tree / "tmp")
        run("chroot", tree, "mpicc", "-O2", "-o", f"/tmp/{name}", f"/tmp/{name}.c")
        shutil.copy(tree / "tmp" / name, root / "bin")
    shutil.copy(tree / "usr/bin/orterun", root / "usr/bin/mpirun")
    shutil.copy(tree / "usr/bin/orted", root / "usr/bin/orted")
    components = [f for f in (tree / _LIBRARIES / "openmpi/lib/openmpi3").glob("*.so") if not _UNUSED.search(f.name)]
    components += [f for f in (tree / _LIBRARIES / "pmix2/lib").rglob("*.so*") if "slurm" not in f.name]
    for source in components:
        target = root / source.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for name in ("usr/share/openmpi", "usr/share/pmix2", "etc/openmpi"):
        if (tree / name).is_dir():
            shutil.copytree(tree / name, root / name, dirs_exist_ok=True)
    inside = [f"/{f.relative_to(tree)}" for f in components]
    for library in _needed(tree, ["/usr/bin/orterun", "/usr/bin/orted", *(f"/tmp/{n}" for n in MPI_PROGRAMS), *inside]):
        shutil.copy(tree / library, root / _LIBRARIES)
    shutil.copy(tree / _LIBRARIES / "ld-linux-x86-64.so.2", root / "lib64")
    for file in root.rglob("*.so*"):
        if file.is_file() and not file.is_symlink():
            run("strip", "--strip-unneeded", file)
    for name in ("nrsh", "runmpi"):
        shutil.copy(FILES / name, root / "bin")
        (root / "bin" / name).chmod(0o755)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")


def _needed(tree: Path, files: list[str]) -> set[str]:
    """Return the libraries that these files of `tree` load, as paths inside it."""
    text = run("chroot", tree, "ldd", *files)
    return {match[1] for match in re.finditer(r"=> /(\S+)", text)}
