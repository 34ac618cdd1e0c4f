"""Memory and processor time of other processes: from /proc on Linux, from the kernel's own calls on macOS.

Elsewhere nothing is known, and nothing is said.
"""

import ctypes
import functools
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# `struct rusage_info_v2` of <sys/resource.h>: 16 bytes of UUID, then 64-bit words, and which of them are read.
RUSAGE_INFO_V2, WORDS = 2, 18
USER_TIME, SYSTEM_TIME, RESIDENT, FOOTPRINT = 0, 1, 6, 7
MAX_CHILDREN = 1024


def of_tree(pid: int) -> Iterator[tuple[int, int]]:
    """Yields two numbers of bytes for a process and for each process that it started.

    They are the resident memory, mapped files included, and the memory that no file backs. On Linux the first is the
    largest so far.
    """
    look, children = _SYSTEMS.get(sys.platform, (lambda _: None, lambda _: []))
    found = look(pid)
    if found is not None:
        yield found
    for child in children(pid):
        yield from of_tree(child)


def processor_seconds(pid: int) -> float | None:
    """Returns the processor seconds of a running process so far, or None where the system does not report them."""
    if sys.platform == "darwin":
        usage = _usage(pid)
        return None if usage is None else (usage[USER_TIME] + usage[SYSTEM_TIME]) * _tick()
    try:
        threads = list(Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9 if threads else None
    except (OSError, IndexError):
        return None


def largest(maxrss: int) -> int:
    """Returns the bytes of `ru_maxrss`, which counts in bytes on macOS and in KiB elsewhere."""
    return maxrss * (1 if sys.platform == "darwin" else 1024)


# Linux


def _of_proc(pid: int) -> tuple[int, int] | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    sizes = {key: int(lines[key].split()[0]) * 1024 for key in ("VmHWM", "RssAnon", "RssShmem") if key in lines}
    # Shared memory counts as well, because no file on a disk backs it.
    return (sizes["VmHWM"], sizes.get("RssAnon", 0) + sizes.get("RssShmem", 0)) if "VmHWM" in sizes else None


def _children_of_proc(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


# macOS


def _of_kernel(pid: int) -> tuple[int, int] | None:
    """The footprint counts what no file backs: compressed pages, and what Metal holds for the process, too."""
    usage = _usage(pid)
    return None if usage is None else (usage[RESIDENT], usage[FOOTPRINT])


def _children_of_kernel(pid: int) -> list[int]:
    buffer = (ctypes.c_int * MAX_CHILDREN)()
    count = _libc().proc_listchildpids(pid, buffer, ctypes.sizeof(buffer))
    return list(buffer[: max(0, min(count, MAX_CHILDREN))])


def _usage(pid: int) -> tuple[int, ...] | None:
    buffer = ctypes.create_string_buffer(16 + 8 * WORDS)
    failed = _libc().proc_pid_rusage(pid, RUSAGE_INFO_V2, buffer)
    return None if failed else words_of(buffer.raw)


def words_of(usage: bytes) -> tuple[int, ...]:
    """Returns the 64-bit words of a `rusage_info_v2`."""
    return struct.unpack_from(f"={WORDS}Q", usage, 16)


@functools.cache
def _tick() -> float:
    """The seconds of one unit of the kernel's times."""
    ratio = (ctypes.c_uint32 * 2)()
    _libc().mach_timebase_info(ratio)
    return ratio[0] / (ratio[1] or 1) / 1e9


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


_SYSTEMS: dict[str, tuple[Callable[[int], tuple[int, int] | None], Callable[[int], list[int]]]] = {
    "linux": (_of_proc, _children_of_proc),
    "darwin": (_of_kernel, _children_of_kernel),
}
