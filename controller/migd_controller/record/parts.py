"""The part files of a record: written one after the other, and the oldest taken away once all are too large."""

import os
import re
from pathlib import Path
from typing import Final

import zstandard

from migd_controller.record.format import FIRST_LINE, LENGTH_BYTES, SUFFIX

PART_BYTES: Final = 64 << 20
# Of samples that never repeat, level 1 leaves a tenth more in half of the time, zlib's fastest 80 % more in thrice it.
LEVEL: Final = 3
_NAME: Final = re.compile(r"\d{6,}" + re.escape(SUFFIX))


def part_files(folder: Path) -> list[Path]:
    """Return the part files in a folder, in their order."""
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=lambda path: int(path.stem))


def _packer() -> "zstandard.ZstdCompressionObj":
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()


class Parts:
    """Writes the parts of one record. OSError means that the folder or its disk takes no more."""

    def __init__(self, folder: Path, part_bytes: int = PART_BYTES, keep_bytes: int | None = None) -> None:
        """Go on after what is in the folder, which is made if need be.

        Of all parts `keep_bytes` are kept, the newest; None: everything.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        self.folder, self._part_bytes, self._keep_bytes = folder, part_bytes, keep_bytes
        self._file = -1
        self._written_bytes = 0
        self._packer = _packer()

    @property
    def is_full(self) -> bool:
        return self._written_bytes >= self._part_bytes

    def begin(self, header: bytes) -> None:
        self.close()
        self._make_room(len(header))
        files = part_files(self.folder)
        number = int(files[-1].stem) + 1 if files else 1
        path = self.folder / f"{number:06d}{SUFFIX}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        self._packer = _packer()
        self._write(FIRST_LINE)
        self.add(header, flush=True)
        self._written_bytes = 0  # what a part begins with makes it no fuller: it may be as large as all that follows

    def add(self, frame: bytes, *, flush: bool) -> None:
        packed = self._packer.compress(len(frame).to_bytes(LENGTH_BYTES) + frame)
        if flush:
            packed += self._packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        self._write(packed)

    def close(self) -> None:
        """End the part at hand, if there is one."""
        if self._file < 0:
            return
        try:
            self._write(self._packer.flush())
        finally:
            os.close(self._file)
            self._file = -1

    def _write(self, packed: bytes) -> None:
        while packed:
            done = os.write(self._file, packed)
            self._written_bytes += done
            packed = packed[done:]

    def _make_room(self, header_bytes: int) -> None:
        """Take the oldest parts away, so that with one more there are no more than `keep_bytes`."""
        if self._keep_bytes is None:
            return
        files = [(path, path.stat().st_size) for path in part_files(self.folder)]
        total_bytes = sum(size for _, size in files) + self._part_bytes + header_bytes
        for path, size in files:
            if total_bytes <= self._keep_bytes:
                return
            path.unlink()
            total_bytes -= size
