"""Archives that the kernel unpacks into memory: busybox, modules, and whatever is put beside them."""

import shutil
from pathlib import Path

from migd_lab.commands import run
from migd_lab.hypervisor import Kernel

_FOLDERS = ("bin", "proc", "sys", "dev", "tmp", "root", "etc", "mods")


def begin(root: Path, init: Path, kernel: Kernel, modules: tuple[str, ...]) -> None:
    """Fill `root` with busybox, the modules in the order in which they load (`mods/order`), and `init`."""
    for name in _FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    busybox = root / "bin/busybox"
    shutil.copy(shutil.which("busybox") or "busybox", busybox)
    for name in run(busybox, "--list").split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    names = []
    for module in kernel.modules(modules):
        run("strip", "--strip-debug", "-o", root / "mods" / module.name, module)
        names.append(module.name)
    (root / "mods/order").write_text("".join(f"{name}\n" for name in names))
    shutil.copy(init, root / "init")
    (root / "init").chmod(0o755)


def pack(root: Path, archive: Path) -> None:
    """Write everything in `root` to `archive`."""
    run("sh", "-c", 'find . | cpio -o -H newc -R 0:0 --quiet >"$0"', archive.absolute(), folder=root, timeout_s=120)
