"""The system's cache of files: bringing one in, dropping it, seeing how much of it is there, and writing all of it to the disk."""

import ctypes
import mmap
import os
import sys
from collections.abc import Iterable
from pathlib import Path

PIECE = 8 << 20


def can_drop() -> bool:
    """Whether this system lets a program drop a file from the cache and look."""
    return sys.platform == "linux"


def bring_in(paths: Iterable[Path]) -> None:
    """Reads every file once."""
    buffer = bytearray(PIECE)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def drop(paths: Iterable[Path]) -> None:
    """Drops every file from the cache, after what was written of it has reached the disk."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def settle(path: Path) -> None:
    """Makes everything durable that was written to the file system on which a directory lies."""
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
    """The share of the files' pages that lie in memory, from 0 to 1."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    there = pages = 0
    for path in paths:
        size = path.stat().st_size
        if not size:
            continue
        # A private mapping may be written, which ctypes asks for, even of a file that may not.
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
