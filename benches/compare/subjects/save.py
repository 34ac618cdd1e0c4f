"""Quantizing a checkpoint and saving it, beside mlx-lm's convert, gguf's quantizer and candle's.

Under the profile `mlx`, Longshore and mlx-lm write the same codes and scales, which is checked tensor by tensor. candle
and gguf write other formats of a similar size. gguf's decoder measures the error of these.
"""

import argparse
import shutil
from pathlib import Path

import contest
import inputs
import jobs
import tensors
from contest import CORES, PROGRAMS
from inputs import Model
from jobs import Failed, Job
from ledger import Ledger
from peers import candle, longshore
from turns import Unavailable
from worker import note

TURNS = 3
FORMATS = ["int4", "int8", "nvfp4", "mxfp4", "mxfp8"]
# The only format that is measured on the model with experts. The others compare there as they do on the other model.
EXPERTS = "int4"
# Range of the relative RMSE of normal weights, wide enough that only nonsense fails.
ERRORS = {"Q4_0": (0.06, 0.11), "Q8_0": (0.003, 0.01)}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this subject, besides the number of turns."""
    contest.arguments(parser)
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=["int4", "int8", "nvfp4"], help="(%(default)s)"
    )


def run(args: argparse.Namespace) -> Ledger:
    """Checks the answers, and times the jobs if all answers are right."""
    models = [inputs.model(name, args.bytes) for name in inputs.LIKE]
    ledger = Ledger("save", "Quantizing a checkpoint and saving it", [model.describe() for model in models], {})
    ledger.versions["longshore"] = longshore.version()
    for model in models:
        for name in args.formats if model.name == "llama" else [EXPERTS]:
            note(f"checking {model.name}, {name}")
            _ours(ledger, model, name)
            _mlx(ledger, model, name)
        if model.name == "llama":
            _gguf(ledger, model)
            _candle(ledger, model)
        ledger.jobs += contest.limits(model, "memcpy", "read", "sha256 all", "write")
    contest.measure(ledger, args.turns)
    ledger.notes = [
        "GB/S counts the checkpoint's bytes over WALL + SYNC. SYNC is the time of one syncfs afterwards, for the bytes that the program had not synced: only longshore",
        "syncs, and only longshore hashes its output. Times of mlx-lm and gguf leave out Python's imports; those of longshore and candle are whole.",
        "mlx-lm runs on Metal where there is one, and else on MLX's CPU backend, on one core; the versions above say which. gguf and candle run on one core too; longshore uses all.",
        "All quantize every matrix, the embeddings and routers included (--policy uniform); vectors stay as they are.",
        f"A program whose first run takes more than {jobs.LONG_SECONDS:.0f} s is not run again.",
    ]
    return ledger


def _ours(ledger: Ledger, model: Model, name: str) -> None:
    for profile in ("mlx", "plus"):
        store = contest.fresh("store")
        how = "--quantize", name, "--policy", "uniform", "--profile", profile
        ledger.jobs.append(
            Job(
                "longshore",
                f"{name}, profile {profile}",
                "blobs, hashed, synced and renamed",
                str(CORES),
                contest.ours("import", model.path, "m", *how, store=store),
                model.bytes,
                model.files,
                store,
                model=model.name,
                starts=contest.starts(name == EXPERTS and profile == "plus"),
            )
        )


def _mlx(ledger: Ledger, model: Model, name: str) -> None:
    out = contest.fresh("mlx-lm")

    def check() -> None:
        python = contest.interpreter("mlx-lm")
        ledger.versions["mlx-lm"] = f"{contest.version(python, 'mlx-lm')} on mlx {contest.version(python, 'mlx')} on {contest.mlx_device(python)}"
        job = Job(
            "mlx-lm",
            name,
            "lazily loaded, quantized on MLX's device, saved in shards; nothing is synced",
            "1",
            [python, PROGRAMS / "mlx_convert.py", model.path, out, name],
            model.bytes,
            model.files,
            out,
            model=model.name,
        )
        job.prepare()
        # Of the CPU backend, whose bits the profile `mlx` has.
        jobs.execute(job.command, {"LONGSHORE_BENCH_MLX": "cpu"})
        ledger.jobs.append(job)
        _same(ledger, model, name, out)
        job.clear()

    contest.attempt(ledger, "mlx-lm", check)


def _same(ledger: Ledger, model: Model, name: str, theirs: Path) -> None:
    """Compares Longshore's export for mlx-lm with the arrays that mlx-lm saved."""
    store, out = contest.fresh("store"), contest.fresh("export")
    how = "--quantize", name, "--policy", "uniform", "--profile", "mlx"
    contest.ask("import", model.path, "m", *how, store=store)
    contest.ask("export", "m", out, "--format", "mlx", store=store)
    expected = tensors.hashes(theirs)
    problem = tensors.different(tensors.hashes(out), expected)
    count = len(expected)
    ledger.say(not problem, f"{model.name}, {name}: {count} arrays as mlx-lm saves them, {problem or 'to the bit'}")
    shutil.rmtree(store)
    shutil.rmtree(out)


def _gguf(ledger: Ledger, model: Model) -> None:
    def check() -> None:
        python = contest.interpreter("peers")
        ledger.versions["gguf"] = contest.version(python, "gguf")
        for name in ERRORS:
            out = contest.fresh("gguf")
            command = [python, PROGRAMS / "gguf_convert.py", model.path, out, name]
            how = "numpy on one core; nothing is synced"
            _ggml(ledger, Job("gguf", name, how, "1", command, model.bytes, model.files, out, model=model.name))

    contest.attempt(ledger, "gguf", check)


def _candle(ledger: Ledger, model: Model) -> None:
    def check() -> None:
        ledger.versions["candle"] = candle.version()
        try:
            program = candle.program(inputs.home())
        except Unavailable as why:
            raise Failed(str(why)) from why
        for name in ERRORS:
            out = contest.fresh("candle")
            command = [program, "convert", out, name, *tensors.files(model.path)]
            how = "widened to F32, quantized, kept in memory, then written; nothing is synced"
            _ggml(ledger, Job("candle", name, how, "1", command, model.bytes, model.files, out, model=model.name))

    contest.attempt(ledger, "candle", check)


def _ggml(ledger: Ledger, job: Job) -> None:
    """Adds a job that writes a GGUF file, provided that the error of the file is as expected."""
    name, out = job.operation, job.writes
    job.prepare()
    jobs.execute(job.command)
    look = [
        contest.interpreter("peers"),
        PROGRAMS / "gguf_convert.py",
        job.reads[0].parent,
        out / "model.gguf",
        "--error",
    ]
    error = jobs.execute(look).answer["error"]
    low, high = ERRORS[name]
    expected = f"expected {low * 100:g} to {high * 100:g} %"
    ledger.say(low < error < high, f"{job.model}, {job.peer} {name}: relative RMSE {error * 100:.3f} %, {expected}")
    job.clear()
    ledger.jobs.append(job)
