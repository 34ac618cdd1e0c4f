"""Verifying a store, beside sha256sum over the same blobs, and the hub client over the checkpoint that they came from.

`longshore verify` hashes every blob again and compares headers, tables and manifests. First, each program has to find a
file with one flipped bit.
"""

import argparse
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import contest
import inputs
import jobs
from contest import CORES
from inputs import Model
from jobs import Failed, Job
from ledger import Ledger
from peers import hub, longshore
from worker import note

TURNS = 3
arguments = contest.arguments


def run(args: argparse.Namespace) -> Ledger:
    """Checks the answers, and times the jobs if all answers are right."""
    models = [inputs.model(name, args.bytes) for name in inputs.LIKE]
    ledger = Ledger("verify", "Verifying what is stored", [model.describe() for model in models], {})
    ledger.versions["longshore"] = longshore.version()
    for model in models:
        note(f"checking {model.name}")
        store = contest.fresh(f"kept-{model.name}")
        contest.ask("import", model.path, "m", store=store)
        blobs = Model(model.name, store / "blobs")
        _ours(ledger, blobs, store)
        _sums(ledger, blobs)
        _hub(ledger, model)
        ledger.jobs += contest.limits(blobs, "read", "sha256", "sha256 all")
    contest.measure(ledger, args.turns)
    ledger.notes = [
        "GB/S counts the hashed bytes. All programs but longshore check only that a file has the sum in its name or in a list.",
        f"cold: {contest.DRIVES}.",
    ]
    return ledger


def _ours(ledger: Ledger, blobs: Model, store: Path) -> None:
    found = contest.ask("verify", store=store)
    job = Job(
        "longshore",
        "verify",
        "every blob, its header, the tables and the manifests",
        str(CORES),
        contest.ours("verify", store=store),
        blobs.bytes,
        blobs.files,
        model=blobs.name,
        starts=contest.starts(),
        verdict=lambda answer: f"longshore finds {answer['bad'][0]}" if answer["bad"] else None,
    )
    ledger.say(not found["bad"], f"{blobs.name}: longshore verify finds {found['blobs']} blobs and none of them bad")
    bad = _largest(blobs)
    _notices(ledger, "longshore verify", blobs, bad, lambda: contest.ask("verify", store=store))
    ledger.jobs.append(job)


def _sums(ledger: Ledger, blobs: Model) -> None:
    if not shutil.which("sha256sum"):
        ledger.unavailable["sha256sum"] = "this system has no sha256sum"
        return
    ledger.versions["sha256sum"] = contest.coreutils()
    names = [file.name for file in blobs.files]
    listed = contest.fresh(f"{blobs.name}-sums")
    listed.write_text("".join(f"{name.removeprefix('sha256-')}  {name}\n" for name in names))
    one = 'cd "$1" && sha256sum --check --quiet --strict "$2"'
    many = f'cd "$1" && ls | xargs -P {CORES} -n 4 sha256sum | sort | diff -q - "$2"'
    for threads, script in (("1", one), (str(CORES), many)):
        job = Job(
            "sha256sum",
            "check",
            "every blob" if threads == "1" else "xargs -P, four blobs at a time",
            threads,
            ["sh", "-c", script, "sh", blobs.path, listed],
            blobs.bytes,
            blobs.files,
            model=blobs.name,
            starts=contest.starts(threads == "1"),
        )
        jobs.execute(job.command)
        ledger.say(True, f"{blobs.name}: sha256sum, {threads} at a time, finds no blob bad")
        _notices(ledger, f"sha256sum, {threads} at a time,", blobs, _largest(blobs), partial(jobs.execute, job.command))
        ledger.jobs.append(job)


def _hub(ledger: Ledger, model: Model) -> None:
    def enter() -> None:
        job = hub.verify(ledger, model, contest.starts(cold=False))
        _notices(ledger, hub.NAME, model, _largest(model), lambda: jobs.execute(job.command).answer)

    contest.attempt(ledger, hub.NAME, enter)


def _notices(ledger: Ledger, who: str, model: Model, path: Path, look: Callable[[], object]) -> None:
    """Checks that a program notices a flipped bit in the middle of a file, and accepts the restored file."""
    _flip(path)
    try:
        answer = look()
        noticed = isinstance(answer, dict) and bool(answer.get("bad"))
    except Failed:
        noticed = True
    finally:
        _flip(path)
    ledger.say(noticed, f"{model.name}: {who} notices one bit that is flipped in {path.stat().st_size} bytes")


def _flip(path: Path) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    path.chmod(mode)


def _largest(model: Model) -> Path:
    return max(model.files, key=lambda path: path.stat().st_size)
