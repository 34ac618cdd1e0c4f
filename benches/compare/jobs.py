"""Runs whole programs and measures the cost of each run: wall time, processor time, memory, and time to sync."""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import memory
import pages
from turns import Unavailable

# A job whose first run takes longer than this is not run again.
LONG_SECONDS = 20.0
# Share of the pages of dropped files that may stay in memory, because other programs map them too.
FEW = 0.01


class Failed(Exception):
    """A program failed. The message has its name and the last line of its output."""


@dataclass
class Run:
    """Cost of one run."""

    seconds: float
    cpu: float
    rss: int  # bytes: the largest resident set of any of its processes, mapped files included
    private: (
        int | None
    )  # bytes: the most that its processes held at once and that no file backs; unknown where the system does not say
    sync: float = 0.0  # seconds that making everything durable took afterwards
    open: float | None = None  # seconds until the program had tensors, before their bytes were read
    answer: dict = field(default_factory=dict)  # what the program printed, if that is JSON
    printed: str = ""


@dataclass
class Job:
    """One operation of one program.

    A program may print a line of JSON. Its `seconds` and `cpu` then replace those of the process, so a Python program
    does not pay for its imports.
    """

    peer: str
    operation: str
    detail: str  # what it does, in a few words
    threads: str  # `1`, or how many
    command: list[str | Path]
    bytes: int  # of the input: what rates are counted in
    reads: list[Path] = field(default_factory=list)  # files that are warm or cold
    writes: Path | None = None  # a directory that it makes; removed before each run
    model: str = ""
    starts: tuple[str, ...] = ("warm",)
    environment: dict[str, str] = field(default_factory=dict)
    verdict: Callable[[dict], str | None] = lambda _: None  # what is wrong with the answer of a run, if anything is
    left: int = 0  # bytes on disk after the last run
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def run(self, start: str) -> Run:
        """Runs the program once, with its files in memory or not, and stores the result."""
        self.prepare()
        if start == "cold":
            pages.drop(self.reads)
            if pages.resident(self.reads) > FEW:
                raise Unavailable("the files stay in memory, so only warm runs are measured")
        else:
            pages.bring_in(self.reads)
        run = execute(self.command, self.environment)
        wrong = self.verdict(run.answer)
        if wrong:
            raise Failed(f"{self.peer}, {self.operation}: {wrong}")
        if self.writes:
            started = time.perf_counter()
            pages.settle(self.writes)
            run.sync, self.left = time.perf_counter() - started, _size(self.writes)
        self.runs.setdefault(start, []).append(run)
        return run

    def prepare(self) -> None:
        """Removes the output of an earlier run, and waits until the disk has done so too."""
        if self.writes:
            shutil.rmtree(self.writes, ignore_errors=True)
            pages.settle(self.writes.parent)

    def clear(self) -> None:
        """Removes the output of the last run."""
        if self.writes:
            shutil.rmtree(self.writes, ignore_errors=True)


def take_turns(jobs: list[Job], turns: int, progress: Callable[[str], None]) -> dict[str, str]:
    """Runs every job once cold and then warm, and repeats that `turns` times. Before, files that were just written are read as often.

    Returns the jobs that could not start cold, with the reasons.
    """
    refused = {}
    # A file that was dropped is never again as it was written.
    order = [(turn, "written") for turn in range(turns)]
    order += [(turn, start) for turn in range(turns) for start in ("cold", "warm")]
    for turn, start in order:
        for job in jobs:
            if start not in job.starts or job.peer in refused and start == "cold":
                continue
            if turn and _long(job.runs.get(start, [])):
                continue
            progress(f"turn {turn + 1} of {turns}: {job.peer}, {job.operation} {job.model}, {start}")
            try:
                job.run(start)
            except Unavailable as why:
                refused[job.peer] = str(why)
            job.clear()
    progress("")
    return refused


def _long(runs: list[Run]) -> bool:
    return any(run.seconds > LONG_SECONDS for run in runs)


def least(runs: Iterable[Run]) -> Run:
    """Returns the fastest run, syncing included."""
    return min(runs, key=lambda run: run.seconds + run.sync)


def median(runs: Iterable[Run]) -> float:
    """Returns the median time in seconds, syncing included."""
    return statistics.median(run.seconds + run.sync for run in runs)


def execute(command: list[str | Path], environment: dict[str, str] | None = None) -> Run:
    """Runs a program to its end and measures it. A failure has the last line of the program's output."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(words, stdout=out, stderr=err, env={**os.environ, **(environment or {})})
        watch = _Watch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        watch.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        printed, said = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    if process.returncode:
        lines = [line for line in (said or printed).splitlines() if line.strip()] or ["no output"]
        reason = next((line for line in lines if line.startswith("error:")), lines[-1])
        raise Failed(f"{Path(words[0]).name} ended with {process.returncode}: {reason.strip()}")
    # The kernel's figure includes the memory of this process before the other program replaced it, so it is used only
    # where no other figure exists.
    largest = watch.rss or memory.largest(usage.ru_maxrss)
    answer = _json(printed)
    times = (answer.get("seconds"), answer.get("cpu"))
    own, cpu = (value if isinstance(value, float) else None for value in times)
    return Run(
        seconds if own is None else own,
        usage.ru_utime + usage.ru_stime if cpu is None else cpu,
        largest,
        watch.private,
        open=answer.get("open"),
        answer=answer,
        printed=printed,
    )


def _json(printed: str) -> dict:
    for text in (printed, *reversed(printed.splitlines())):
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def _size(path: Path) -> int:
    """Returns the total bytes of all files below a directory."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


class _Watch:
    """Samples the memory of a program, and of the programs that it starts, every few milliseconds."""

    def __init__(self, pid: int) -> None:
        self.rss: int | None = None  # largest memory of a single process, in bytes
        self.private: int | None = None  # bytes: the most that all held at once and that no file backs
        self._pid, self._stop = pid, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops sampling."""
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.005):
            seen = list(memory.of_tree(self._pid))
            if seen:
                self.rss = max(self.rss or 0, *(rss for rss, _ in seen))
                self.private = max(self.private or 0, sum(private for _, private in seen))
