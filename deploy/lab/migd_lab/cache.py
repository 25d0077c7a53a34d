"""Build steps whose results are kept, each in a folder named after what went into it."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_KEPT: Final = 3  # results of one step: other checkouts, the other hypervisor


def folder() -> Path:
    """Return where results are kept: `MIGD_LAB_CACHE`, else `~/.cache/migd-lab`."""
    return Path(os.environ.get("MIGD_LAB_CACHE") or Path.home() / ".cache" / "migd-lab")


def digest(ingredients: Iterable[str | Path]) -> str:
    """Return one short name for texts and for the contents of files and folders."""
    total = hashlib.sha256()
    for ingredient in ingredients:
        if isinstance(ingredient, str):
            parts = [ingredient.encode()]
        elif ingredient.is_dir():
            files = sorted(f for f in ingredient.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
            parts = [part for f in files for part in (str(f.relative_to(ingredient)).encode(), f.read_bytes())]
        else:
            parts = [ingredient.name.encode(), ingredient.read_bytes()]
        for part in parts:
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()[:16]


def step(name: str, ingredients: Iterable[str | Path], make: Callable[[Path], None]) -> Path:
    """Return the folder that `make` filled from these ingredients, made now only where it was not made before."""
    with _one_at_a_time(name):
        done = folder() / f"{name}-{digest(ingredients)}"
        if not done.exists():
            begun = folder() / f"{name}.begun"
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir()
            make(begun)
            begun.rename(done)
        os.utime(done)
        made = sorted(folder().glob(f"{name}-" + "[0-9a-f]" * 16), key=lambda each: each.stat().st_mtime)
        for old in made[:-_KEPT]:
            shutil.rmtree(old)
    return done


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
