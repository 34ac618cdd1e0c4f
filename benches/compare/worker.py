"""Client of a program that times itself: it sends a request line over a pipe and reads an answer line."""

import subprocess
import sys
import time
from pathlib import Path

import memory


class Worker:
    """A running program that answers `ok SECONDS` or `error REASON` to each line."""

    def __init__(self, command: list[str], cwd: Path) -> None:
        self._process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line: str) -> float:
        """Requests one run and returns its time in seconds."""
        print(line, file=self._process.stdin, flush=True)
        answer, _, rest = self._process.stdout.readline().strip().partition(" ")
        if answer != "ok":
            raise RuntimeError(f"{line}: expected ok, found {answer or 'the end of the pipe'} {rest}")
        return float(rest)

    def cpu(self) -> float | None:
        """Returns the processor seconds of the program's threads, or None where the system does not report them."""
        # The kernel updates a thread's count when the thread leaves its processor, which it does soon after an answer.
        time.sleep(0.001)
        return memory.processor_seconds(self._process.pid)


def last_line(done: subprocess.CalledProcessError) -> str:
    """Returns the line of a failed build's output that gives the reason."""
    text = "\n".join(stream for stream in (done.stdout, done.stderr) if stream)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else str(done))


def build(command: list[str | Path], cwd: Path, **more) -> None:
    """Runs a build. Its output is shown only on failure, in the exception."""
    subprocess.run([str(word) for word in command], cwd=cwd, check=True, capture_output=True, text=True, **more)


def note(text: str) -> None:
    """Shows the current step on the terminal, on one line that the next note replaces."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text and not text.startswith("turn"):
        print(text, file=sys.stderr, flush=True)
