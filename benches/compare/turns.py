"""Timed tasks, and the order in which the programs take turns."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

# In its turn a program runs until this many seconds have passed, and at most this often.
TURN_SECONDS = 0.3
TURN_RUNS = 6


class Unavailable(Exception):
    """A peer cannot be built or used on this machine. The message gives the reason."""


@dataclass
class Task:
    """One operation of one program, and the seconds that its runs took."""

    peer: str
    operation: str
    format: str
    profile: str
    cores: str  # `one` or `all`
    once: Callable[[], float]  # one run, in seconds as the program itself counts them
    cpu: Callable[[], float | None]  # seconds that the program has spent on processors so far, where the system says
    bytes: int  # of the side that is not packed: read by encoding, written by decoding
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    error: float | None = None  # relative RMSE of what it encodes

    @property
    def least(self) -> float:
        """Seconds of the fastest run."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """Median seconds of the runs."""
        return statistics.median(self.seconds)

    @property
    def least_cpu(self) -> float | None:
        """Least processor time of a run, in seconds. The work of other programs does not count."""
        return min(self.cpu_seconds, default=None)

    def turn(self) -> None:
        """Runs a few times.

        The first run of a turn brings the buffers into the caches, and counts only if it takes long.
        """
        started = time.perf_counter()
        if self._run() > TURN_SECONDS:
            return
        self.seconds.pop()
        del self.cpu_seconds[len(self.seconds) :]
        for _ in range(TURN_RUNS):
            self._run()
            if time.perf_counter() - started > TURN_SECONDS:
                return

    def _run(self) -> float:
        before = self.cpu()
        self.seconds.append(self.once())
        after = self.cpu()
        if before is not None and after is not None:
            self.cpu_seconds.append(after - before)
        return self.seconds[-1]


def take_turns(tasks: list[Task], turns: int, progress: Callable[[str], None]) -> None:
    """Runs all tasks in turn, `turns` times: A B C A B C. A task that is listed twice has two turns."""
    for turn in range(turns):
        for task in tasks:
            progress(f"turn {turn + 1} of {turns}: {task.peer} {task.operation} {task.format}")
            task.turn()
    progress("")


def timed(work: Callable[[], object]) -> float:
    """Runs `work` and returns its time in seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
