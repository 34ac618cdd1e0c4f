"""Importing a checkpoint unquantized, beside copying and hashing it, and beside the hub client's verification.

An import stores every tensor in a file of its own, hashed, synced and named by its hash. The peers do parts of that. cp
and sha256sum make a second copy of the bytes and hash it, without syncing. The hub client reads the existing files and
compares.
"""

import argparse
import shutil
import sys
from functools import partial

import contest
import inputs
import tensors
from contest import CORES
from inputs import Model
from jobs import Job
from ledger import Ledger
from peers import hub, longshore
from worker import note

TURNS = 3
arguments = contest.arguments


def run(args: argparse.Namespace) -> Ledger:
    """Checks the answers, and times the jobs if all answers are right."""
    models = [inputs.model(name, args.bytes) for name in inputs.LIKE]
    ledger = Ledger("import", "Importing a checkpoint as it is", [model.describe() for model in models], {})
    ledger.versions["longshore"] = longshore.version()
    for model in models:
        note(f"checking {model.name}")
        _ours(ledger, model)
        _copies(ledger, model)
        contest.attempt(ledger, hub.NAME, partial(hub.verify, ledger, model, contest.starts(cold=False)))
        ledger.jobs += contest.limits(model, "memcpy", "read", "sha256", "sha256 all", "write")
    contest.measure(ledger, args.turns)
    ledger.notes = [
        "GB/S counts the checkpoint's bytes over WALL + SYNC, of the fastest run. SYNC is the time of one syncfs afterwards, for the bytes that the program had not synced;",
        "syncs of the program itself are in WALL. RSS includes mapped files; PRIVATE is memory that no file backs. CPU is the least of any run.",
        f"cold: {contest.DRIVES}.",
        "`hf cache verify` asks the hub for the checksums; here the function that it calls gets them from a file.",
    ]
    return ledger


def _ours(ledger: Ledger, model: Model) -> None:
    store, kept, back = (contest.fresh(name) for name in ("store", f"kept-{model.name}", "export"))
    contest.ask("import", model.path, "m", store=kept)
    found = contest.ask("verify", store=kept)
    ledger.say(not found["bad"], f"{model.name}: longshore verify finds {found['blobs']} blobs and none of them bad")
    contest.ask("export", "m", back, store=kept)
    problem = tensors.different(tensors.hashes(back), tensors.hashes(model.path))
    count = len(list(tensors.every(model.path)))
    ledger.say(
        not problem, f"{model.name}: {count} tensors exported again are the source's, {problem or 'byte for byte'}"
    )
    shutil.rmtree(back)
    about = {"threads": str(CORES), "bytes": model.bytes, "model": model.name}
    ledger.jobs.append(
        Job(
            "longshore",
            "import",
            "a file for each tensor, hashed, synced and renamed",
            command=contest.ours("import", model.path, "m", store=store),
            reads=model.files,
            writes=store,
            starts=contest.starts(),
            **about,
        )
    )
    ledger.jobs.append(
        Job(
            "longshore",
            "import again",
            "all blobs are there: reads and hashes, writes a manifest",
            command=contest.ours("import", model.path, "m", store=kept),
            reads=model.files,
            **about,
        )
    )


def _copies(ledger: Ledger, model: Model) -> None:
    missing = [tool for tool in ("cp", "sha256sum", "xargs") if not shutil.which(tool)]
    if missing:
        ledger.unavailable["cp and sha256sum"] = f"this system has no {missing[0]}"
        return
    ledger.versions["cp + sha256sum"] = contest.coreutils()
    out = contest.fresh("copy")
    # Only GNU's cp would share blocks by itself.
    option = "--reflink=never" if sys.platform == "linux" else ""
    copy = f'mkdir -p "$2" && cp -r {option} "$1"/. "$2" && cd "$2"'
    for threads, hash in (("1", "sha256sum *"), (str(CORES), f"ls | xargs -P {CORES} -n 1 sha256sum")):
        job = Job(
            "cp + sha256sum",
            "copy and hash",
            "the same files again; nothing is synced" if threads == "1" else "xargs -P, a file to each",
            threads,
            ["sh", "-c", f"{copy} && {hash} > ../sums", "sh", model.path, out],
            model.bytes,
            model.files,
            out,
            model=model.name,
            starts=contest.starts(threads == "1"),
        )
        job.run("warm")
        sums = dict(reversed(line.split()) for line in (out.parent / "sums").read_text().splitlines())
        right = sums == tensors.digests(model.path) and tensors.hashes(out) == tensors.hashes(model.path)
        ledger.say(right, f"{model.name}: cp and sha256sum, {threads} at a time: the files and their sums")
        job.runs.clear()
        ledger.jobs.append(job)
    shutil.rmtree(out)
