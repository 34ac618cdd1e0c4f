"""Loading as MLX arrays, beside MLX's own loader: on Metal on a Mac, on the CPU backend elsewhere.

OPEN is the time until all arrays are evaluated. Every program then reads all bytes once, on one thread, since an array that
was mapped has not been read by then. WALL is both together. There is no table unless the bytes of every run have the same sum.
"""

import argparse

import contest
import inputs
import tensors
from inputs import Model
from ledger import Ledger
from peers import longshore
from subjects import load

TURNS = 5
arguments = contest.arguments


def run(args: argparse.Namespace) -> Ledger:
    """Checks the answers, and times the jobs if all answers are right."""
    models = [inputs.model(name, args.bytes) for name in inputs.LIKE]
    ledger = Ledger("mlx", "Loading as MLX arrays", [model.describe() for model in models], {})
    ledger.versions["longshore"] = longshore.version()
    for model, quantize in ((models[0], None), (models[0], "int4"), (models[1], None)):
        _model(ledger, model, quantize)
    contest.measure(ledger, args.turns)
    ledger.notes = [
        "GB/S counts the bytes of all tensors over WALL, the time until every byte was read once. OPEN is the time until MLX has evaluated all arrays.",
        "RSS includes the pages of mapped files, which other processes share; PRIVATE is memory that no file backs: a copy of the weights, where there is one.",
        "What MLX computes on is said with its version. Python's imports and start are in neither time; a program starts anew for each run.",
        f"cold: {contest.DRIVES}.",
    ]
    return ledger


def _model(ledger: Ledger, model: Model, quantize: str | None) -> None:
    """Compares the loaders on one stored model, and on files with the same tensors."""
    race, model, store = load.stored(ledger, model, quantize)
    files, blobs = tensors.files(model.path), sorted((store / "blobs").iterdir())
    load.mlx(ledger, race, store, blobs, peer="longshore")
    load.mlx(ledger, race, store, blobs, peer="longshore, copied", memory="copied")
    load.python(race, "peers", {"mlx": load.LOADERS["mlx"]}, files)
    ledger.jobs += contest.limits(model, "memcpy", "read")
    for job in ledger.jobs[-2:]:
        job.model = race.name
