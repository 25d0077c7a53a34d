"""Reads a record: its parts, and the frames of each up to its end or to where it was cut off."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from migd_controller.record.format import (
    FORMAT,
    LENGTH_BYTES,
    LONGEST_FRAME_BYTES,
    MAGIC,
    EmptyPart,
    Frame,
    Header,
    RecordError,
    decode_frame,
    decode_header,
)
from migd_controller.record.parts import part_files
from migd_core import __version__
from migd_core.decoding import UNDECODABLE

# What is read at once: of a damaged file, so much before the damage cannot be made out.
READ_BYTES: Final = 1 << 12
LONGEST_LINE_BYTES: Final = 64


@dataclass(slots=True)
class Part:
    """One part of a record. `cut` says that it ends in mid-stream, once all of its frames were read."""

    path: Path
    header: Header
    frames: Iterator[Frame]
    cut: str = field(default="", init=False)


def parts_of(run: Path) -> list[Path]:
    """Return the part files of a record: a folder, or one of its files. Raises RecordError."""
    try:
        if not run.is_dir():
            run.stat()
            return [run]
        found = part_files(run)
    except OSError as error:
        raise RecordError(
            f"{run}: cannot be read: {error.strerror}; name a record's folder or one of its files"
        ) from error
    if not found:
        raise RecordError(
            f"{run}: expected part files (000001.record and up), found none; "
            "the controller writes them to `[record] folder`"
        )
    return found


def read(path: Path) -> Part:
    """Open one part file and read its header. Raises RecordError, also while the frames are gone through.

    EmptyPart is raised for a file that holds nothing at all.
    """
    chunks = _unpacked(path)
    try:
        header = decode_header(next(chunks))
    except (_Cut, StopIteration) as error:
        raise EmptyPart(f"{path}: was cut off or damaged before anything was recorded in it") from error
    except (*UNDECODABLE, TypeError) as error:
        raise RecordError(
            f"{path}: its beginning cannot be read: {error}; it was written by another release of migd, or is damaged"
        ) from error
    part = Part(path, header, iter(()))
    part.frames = _frames(part, chunks)
    return part


def _frames(part: Part, chunks: Iterator[bytes]) -> Iterator[Frame]:
    number = 0
    try:
        for chunk in chunks:
            number += 1
            yield decode_frame(chunk)
    except _Cut as cut:
        part.cut = f"{part.path}: {cut}; {number} events can be read"
    except UNDECODABLE as error:
        raise RecordError(
            f"{part.path}: event {number} cannot be read: {error}; "
            f"it was recorded by migd {part.header.release}, this is {__version__}"
        ) from error


class _Cut(Exception):
    """The file ends, or is damaged, before the stream does."""


def _unpacked(path: Path) -> Iterator[bytes]:
    """Yield what the frames of a file hold; raises _Cut after the last that is whole."""
    try:
        with path.open("rb") as file:
            _check_first_line(path, file.readline(LONGEST_LINE_BYTES))
            held = bytearray()
            for unpacked in _inflated(file):
                held += unpacked
                at = 0
                while len(held) - at >= LENGTH_BYTES:
                    length = int.from_bytes(held[at : at + LENGTH_BYTES])
                    if length > LONGEST_FRAME_BYTES:
                        raise _Cut("is damaged")
                    if len(held) - at - LENGTH_BYTES < length:
                        break
                    yield bytes(held[at + LENGTH_BYTES : at + LENGTH_BYTES + length])
                    at += LENGTH_BYTES + length
                del held[:at]
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    """Yield what a compressed stream holds; raises _Cut after the last that can be made out."""
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    while packed := file.read(READ_BYTES):
        try:
            yield unpacker.decompress(packed)
        except zstandard.ZstdError:
            raise _Cut("is damaged") from None
        if unpacker.eof:
            return
    raise _Cut("was cut off, or is being written")


def _check_first_line(path: Path, line: bytes) -> None:
    if not line:
        raise _Cut("is empty")
    if not line.startswith(MAGIC):
        raise RecordError(f"{path}: is no record of migd: expected its first line to be {MAGIC.decode()}{FORMAT}")
    version = line.removeprefix(MAGIC).strip()
    if version != str(FORMAT).encode():
        raise RecordError(
            f"{path}: is a record of format {version.decode('ascii', 'replace')}, and migd {__version__} reads format "
            f"{FORMAT}; replay it with the release that wrote it"
        )
