"""The hub client's verification of its cache, through a program in ../programs that needs no network."""

from pathlib import Path

import contest
import inputs
import jobs
import tensors
from inputs import Model
from jobs import Job
from ledger import Ledger

NAME = "huggingface_hub"


def verify(ledger: Ledger, model: Model, starts: tuple[str, ...]) -> Job:
    """Adds the hub client's job, after checking that the client accepts the checkpoint's files."""
    sums: Path = contest.write_json(inputs.home() / "scratch" / f"{model.name}-sums.json", tensors.digests(model.path))
    python = contest.interpreter("peers")
    ledger.versions[NAME] = contest.version(python, NAME)
    job = Job(
        NAME,
        "verify the cache",
        "hashes the checkpoint's files in place; checksums from a file",
        "1",
        [python, contest.PROGRAMS / "hub_verify.py", model.path, sums],
        model.bytes,
        model.files,
        model=model.name,
        starts=starts,
        verdict=lambda answer: f"the hub client finds {answer['bad'][0]} bad" if answer["bad"] else None,
    )
    found = jobs.execute(job.command).answer
    right = not found["bad"] and found["checked"] == len(model.files)
    ledger.say(right, f"{model.name}: {NAME} finds {found['checked']} files and none of them bad")
    ledger.jobs.append(job)
    return job
