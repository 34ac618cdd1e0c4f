"""Runs of a program within a limit of memory, and with its files dropped from the page cache."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Done:
    """A run that ended."""

    stdout: str
    stderr: str
    seconds: float
    read: int  # bytes that a disk was asked for
    faults: int  # page faults that waited for a disk
    peak: int | None  # most bytes that the group had, where there was one


class Group:
    """A control group whose memory is bounded, of either version. The group is removed with the object's context."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._path: Path | None = None

    def __enter__(self) -> "Group":
        self._path, limit, self._peak = self._make()
        (self._path / limit).write_text(str(self._limit))
        return self

    def __exit__(self, *_: object) -> None:
        for _ in range(50):
            try:
                os.rmdir(self._path)
                return
            except OSError:
                time.sleep(0.1)

    def join(self) -> None:
        """Puts the calling process into the group."""
        (self._path / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self) -> int | None:
        """Returns the most bytes that the group had."""
        try:
            return int((self._path / self._peak).read_text())
        except (OSError, ValueError):
            return None

    def _make(self) -> tuple[Path, str, str]:
        name = f"longshore-experts-{os.getpid()}"
        failed = []
        for root, limit, peak in (
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
            ("/sys/fs/cgroup", "memory.max", "memory.peak"),
            ("/sys/fs/cgroup/unified", "memory.max", "memory.peak"),
        ):
            path = Path(root) / name
            try:
                path.mkdir()
            except OSError as error:
                failed.append(str(error))
                continue
            if (path / limit).exists():
                return path, limit, peak
            path.rmdir()
            failed.append(f"{path} has no {limit}")
        raise NoGroup("; ".join(failed))


class NoGroup(Exception):
    """No group can be made here."""


def drop(*files: Path) -> None:
    """Drops files from the page cache."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def run(command: list[object], group: Group | None = None, timeout: float = 600.0) -> Done:
    """Runs a command, within the group if there is one. A command that fails ends the program."""
    words = [str(word) for word in command]
    started = time.perf_counter()
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=group.join if group else None
    )
    before = _usage()
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        sys.exit(f"{' '.join(words)}: not done in {timeout} s")
    seconds, after = time.perf_counter() - started, _usage()
    if process.returncode != 0:
        sys.exit(f"{' '.join(words)} ends with {process.returncode}:\n{stderr[-2000:]}")
    peak = group.peak() if group else None
    return Done(stdout, stderr, seconds, (after[0] - before[0]) * 512, after[1] - before[1], peak)


def _usage() -> tuple[int, int]:
    import resource

    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_inblock, found.ru_majflt
