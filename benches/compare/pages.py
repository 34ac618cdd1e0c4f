"""The system's page cache: load files, drop them, measure their share in it, and write it to disk."""

import ctypes
import mmap
import os
import sys
from collections.abc import Iterable
from pathlib import Path

PIECE = 8 << 20


def can_drop() -> bool:
    """Returns true where a program can drop a file from the cache and check the result."""
    return sys.platform == "linux"


def bring_in(paths: Iterable[Path]) -> None:
    """Reads every file once, so that it is in the cache."""
    buffer = bytearray(PIECE)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def rewrite(directory: Path, out: Path) -> None:
    """Writes the files of a directory into a new one, in pieces of 1 MiB, as a program writes what it downloads."""
    out.mkdir()
    for path in sorted(directory.iterdir()):
        if path.is_file():
            with path.open("rb") as source, (out / path.name).open("wb", buffering=0) as target:
                while piece := source.read(1 << 20):
                    target.write(piece)


def drop(paths: Iterable[Path]) -> None:
    """Drops every file from the cache, after its written bytes have reached the disk."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def settle(path: Path) -> None:
    """Makes everything durable that was written to the file system of a directory."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY)
    failed = syncfs(descriptor)
    os.close(descriptor)
    if failed:
        raise OSError(ctypes.get_errno(), f"syncfs of {path}")


def resident(paths: Iterable[Path]) -> float:
    """Returns the share of the files' pages that are in memory, from 0 to 1."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    there = pages = 0
    for path in paths:
        size = path.stat().st_size
        if not size:
            continue
        # ctypes requires a writable mapping. A private mapping is writable even where the file is not.
        with path.open("rb") as file, mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE) as mapped:
            seen = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
            view = (ctypes.c_char * size).from_buffer(mapped)
            failed = libc.mincore(ctypes.addressof(view), size, seen)
            del view
            if failed:
                raise OSError(ctypes.get_errno(), f"mincore of {path}")
            there += sum(byte & 1 for byte in seen.raw[: len(seen)])
            pages += len(seen)
    return there / pages if pages else 0.0
