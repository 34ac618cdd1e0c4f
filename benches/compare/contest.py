"""Functions shared by the subjects whose jobs are whole programs."""

import argparse
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import environment
import inputs
import jobs
import machine
import pages
from inputs import Model
from jobs import Failed, Job
from ledger import Ledger
from peers import longshore
from worker import note

PROGRAMS = Path(__file__).resolve().parent / "programs"
CORES = machine.cores()
# Peer name of the rows that show the limits of the machine.
LIMIT = "limit"
DRIVES = "the guest's cache was empty; a host below it may still hold the bytes, which is why reading them cold stands beside"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of these subjects, besides the number of turns."""
    size = {"type": lambda text: int(float(text)), "default": 700_000_000, "metavar": "N"}
    parser.add_argument("--bytes", help="of each checkpoint (%(default)s)", **size)


def interpreter(name: str) -> Path:
    """Returns the Python of an environment. A failed installation makes the peers that need it unavailable."""
    try:
        return environment.interpreter(name)
    except environment.EnvironmentFailure as failure:
        raise Failed(str(failure)) from failure


def version(python: Path, package: str) -> str:
    """Returns the version of a package in an environment."""
    asked = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


def mlx_device(python: Path) -> str:
    """Returns what MLX computes on in an environment: `Metal` or `the CPU`."""
    asked = [str(python), str(PROGRAMS / "mlx_device.py")]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def ours(*words: str | Path, store: Path) -> list[str | Path]:
    """Builds a command line of longshore."""
    return [longshore.program(), "--quiet", "--json", "--store", store, *words]


def ask(*words: str | Path, store: Path) -> dict:
    """Runs a command of longshore and returns its JSON."""
    return jobs.execute(ours(*words, store=store)).answer


def fresh(name: str) -> Path:
    """Returns the path of a scratch directory, after removing its earlier contents. The directory does not exist."""
    path = inputs.home() / "scratch" / name
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def starts(cold: bool = True) -> tuple[str, ...]:
    """Returns the states from which a job starts: files in memory, and files that are not in memory."""
    return ("warm", "cold") if cold and pages.can_drop() else ("warm",)


def histories() -> tuple[str, ...]:
    """Returns these states, and that of files that were just written, which decides about the units in which they are mapped."""
    return ("written", *starts()) if pages.can_drop() else starts()


def limits(model: Model, *verbs: str) -> Iterator[Job]:
    """Yields the jobs that measure limits of the machine on a model's files.

    Verbs are `read`, `sha256`, `sha256 all`, `memcpy` and `write`.
    """
    python = interpreter("compare")
    for verb in verbs:
        word, _, many = verb.partition(" ")
        threads = str(CORES if many else 1)
        command = [python, PROGRAMS / "limits.py", word, threads]
        reads, writes, begin = [], None, ("warm",)
        if word in ("memcpy", "write"):
            command.append(str(model.bytes))
        else:
            command += model.files
            reads, begin = model.files, starts(word == "read")
        if word == "write":
            writes = inputs.home() / "scratch" / "written"
            command.append(writes)
        what = {"write": "write + sync", "memcpy": "memcpy"}.get(word, word)
        how = {
            "read": "into one reused buffer",
            "sha256": "OpenSSL's, on pieces that are read into one buffer",
            "memcpy": "between two buffers of 16 MiB",
            "write": "files of 16 MiB, then one syncfs",
        }[word]
        yield Job(LIMIT, what, how, threads, command, model.bytes, reads, writes, model=model.name, starts=begin)


def measure(ledger: Ledger, turns: int) -> None:
    """Times all jobs, provided that all answers are right."""
    if ledger.wrong:
        return
    ledger.unavailable |= jobs.take_turns(ledger.jobs, turns, note)
    ledger.jobs = [job for job in ledger.jobs if job.runs]


def attempt(ledger: Ledger, peer: str, work: Callable[[], None]) -> bool:
    """Runs the preparation or the check of a peer. A peer that fails is not measured; a row gives the reason."""
    try:
        work()
    except (Failed, OSError, subprocess.CalledProcessError) as failure:
        ledger.unavailable[peer] = str(failure)
        return False
    return True


def coreutils() -> str:
    """Returns the version of the system's sha256sum."""
    asked = subprocess.run(["sha256sum", "--version"], capture_output=True, text=True, check=True)
    return asked.stdout.splitlines()[0].removeprefix("sha256sum ")


def write_json(path: Path, value: object) -> Path:
    """Writes `value` as a JSON file for a program to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path
