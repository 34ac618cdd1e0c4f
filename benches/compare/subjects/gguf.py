"""GGUF files: to MLX and from a checkpoint, beside gguf2mlx, llama.cpp's converter and its Python package.

To MLX both programs keep the codes of a file's blocks where they can. The values of what they write are compared with the file's own, as
gguf's decoder gives them. From a checkpoint all programs write Q8_0, whose blocks are compared byte for byte.
"""

import argparse
import shlex
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import contest
import inputs
import jobs
from contest import CORES, PROGRAMS
from inputs import Model
from jobs import Failed, Job
from ledger import Ledger
from peers import ggml, longshore, published
from worker import last_line, note

TURNS = 3
PUBLISHED = "SmolLM2-135M-Instruct.Q4_1.gguf"
# The types of the files that Longshore makes of the synthetic model: those of whose codes gguf2mlx keeps all.
TYPES = ["Q8_0", "Q4_K"]
# What rounding a scale, a bias and a value to F16 may change, over the largest value of a tensor. A step of a code is more.
ROUNDING = 2**-9
# What the converter is made of, in llama.cpp's source.
PARTS = "convert_hf_to_gguf.py", "conversion/", "gguf-py/"
WANTS_TORCH = (
    "its converter needs PyTorch; for Linux PyPI has only the build for CUDA, about 5 GB with its dependencies: `--torch install`, or `--torch PYTHON` for "
    "an interpreter with the packages of benches/python/requirements/torch.txt"
)


@dataclass
class File(Model):
    """A GGUF file."""

    tokenizer: bool

    @property
    def files(self) -> list[Path]:
        """The file."""
        return [self.path]

    def describe(self) -> str:
        """Describes the file for the head of a table."""
        origin = "as published" if self.tokenizer else "made by longshore, without a tokenizer"
        return f"{self.name}: a GGUF file of {self.bytes / 1e9:.3f} GB, {origin}"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this subject, besides the number of turns."""
    contest.arguments(parser)
    help_ = "`install` PyTorch for llama.cpp's converter, or the path of a Python interpreter that has it"
    parser.add_argument("--torch", metavar="PYTHON", help=help_)


def run(args: argparse.Namespace) -> Ledger:
    """Checks the answers, and times the jobs if all answers are right."""
    checkpoint = inputs.model("llama", args.bytes)
    ledger = Ledger("gguf", "GGUF files: to MLX and from a checkpoint", [checkpoint.describe()], {})
    ledger.versions["longshore"] = longshore.version()
    made = [_made(checkpoint, name) for name in TYPES]

    def install() -> None:
        ledger.versions["gguf2mlx"] = contest.version(contest.interpreter("gguf2mlx"), "gguf2mlx")

    installed = contest.attempt(ledger, "gguf2mlx", install)
    for file in [*made, *_published(ledger)]:
        note(f"checking {file.name}, to MLX")
        ledger.input.append(file.describe())
        _to_mlx(ledger, file)
        if installed:
            contest.attempt(ledger, f"gguf2mlx, {file.name}", partial(_gguf2mlx, ledger, file))
        ledger.jobs += contest.limits(file, "read", "sha256 all", "write")
    note(f"checking {checkpoint.name}, to {TYPES[0]}")
    _from_checkpoint(ledger, checkpoint, made[0], args.torch)
    contest.measure(ledger, args.turns)
    ledger.notes = [
        "GB/S counts the bytes of the file or checkpoint over WALL + SYNC. SYNC is the time of one syncfs afterwards, for the bytes that the program had not synced: only",
        "longshore's import syncs and hashes. Times of Python programs leave out Python's imports; those of longshore are whole. Of an import and an export LEAVES counts the store too.",
        "gguf2mlx keeps the codes of Q4_K, Q8_0 and some of Q6_K. Other matrices become F16, so that what it leaves of Q4_1 is larger. Scales, biases and vectors become F16.",
        "longshore keeps them exactly: F16 scales and biases for Q4_1 and Q8_0, F32 for Q4_K, whose scales are products of two numbers, and F32 vectors.",
        "gguf2mlx decodes the file again and compares what it wrote, and cannot leave that out: --no-weight-audit ends in an error where codes are kept. Its second row leaves out that time.",
        "Files without a tokenizer, and the checkpoint, are converted without one: gguf2mlx and llama.cpp's converter ask for one, and are told to do without.",
    ]
    return ledger


def _made(checkpoint: Model, name: str) -> File:
    """Exports a checkpoint as a GGUF file whose matrices have one type."""
    store, out = contest.fresh("store"), contest.fresh(f"file-{name}")
    contest.ask("import", checkpoint.path, "m", store=store)
    contest.ask("export", "m", out, "--format", "gguf", "--type", name.lower(), "--no-tokenizer", store=store)
    return File(f"{checkpoint.name} {name}", next(out.glob("*.gguf")), tokenizer=False)


def _published(ledger: Ledger) -> Iterator[File]:
    """Yields the published file, if it can be had."""
    name = "SmolLM2 Q4_1"
    try:
        yield File(name, published.real(PUBLISHED), tokenizer=True)
    except published.NoFile as why:
        ledger.unavailable[name] = str(why)


def _to_mlx(ledger: Ledger, file: File) -> None:
    """Adds Longshore's jobs that make an mlx-lm directory of a file."""
    begin, end = ["import", file.path, "m", "--quantize", "mlx"], ["--format", "mlx"]
    out = _ours(ledger, file, "to MLX", begin, end)
    answer = _compared(file.path, out)
    ledger.say(_right(answer), f"{file.name}: longshore, {_words(answer)}")


def _gguf2mlx(ledger: Ledger, file: File) -> None:
    """Adds the jobs of gguf2mlx for a file."""
    out = contest.fresh("gguf2mlx")
    command = [contest.interpreter("gguf2mlx"), PROGRAMS / "gguf2mlx_convert.py", file.path, out]
    command += [] if file.tokenizer else ["--no-tokenizer"]
    how = "numpy; decodes the file again and compares; nothing is synced"
    about = {"bytes": file.bytes, "reads": file.files, "writes": out, "model": file.name}
    job = Job("gguf2mlx", "to MLX", how, "1", command, **about)
    job.prepare()
    jobs.execute(job.command)
    answer = _compared(file.path, out)
    job.clear()
    ledger.say(_right(answer, ROUNDING), f"{file.name}: gguf2mlx, {_words(answer)}")
    how = "the same without the time of its audit"
    ledger.jobs += [job, Job("gguf2mlx", "to MLX, no audit", how, "1", [*command, "--no-audit"], **about)]


def _from_checkpoint(ledger: Ledger, checkpoint: Model, file: File, torch: str | None) -> None:
    """Adds the jobs that make a GGUF file of a checkpoint. `file` is Longshore's."""
    name = TYPES[0]
    end = ["--format", "gguf", "--type", name.lower(), "--no-tokenizer"]
    _ours(ledger, checkpoint, f"to {name}", ["import", checkpoint.path, "m"], end)

    def add(peer: str, how: str, threads: str, command: list[str | Path], out: Path) -> None:
        job = Job(peer, f"to {name}", how, threads, command, checkpoint.bytes, checkpoint.files, out, model=checkpoint.name)
        job.prepare()
        jobs.execute(job.command)
        answer = _compared(file.path, out / "model.gguf")
        job.clear()
        ledger.say(_right(answer), f"{checkpoint.name}: {peer}, {_words(answer)}")
        ledger.jobs.append(job)

    def package() -> None:
        python = contest.interpreter("gguf")
        ledger.versions["gguf"] = contest.version(python, "gguf")
        out = contest.fresh("gguf")
        how = "the quantizer of the converter, numpy; no metadata; nothing is synced"
        add("gguf", how, "1", [python, PROGRAMS / "gguf_convert.py", checkpoint.path, out, name], out)

    def converter() -> None:
        python = contest.interpreter("torch") if torch == "install" else Path(torch)
        llama = _llama()
        out = contest.fresh("converter")
        command = [python, PROGRAMS / "llama_convert.py", llama, checkpoint.path, out / "model.gguf", name.lower()]
        add("llama.cpp", "convert_hf_to_gguf.py: torch and numpy; nothing is synced", f"up to {CORES}", command, out)
        ledger.versions["llama.cpp"] = f"{ggml.version()} on torch {contest.version(python, 'torch')}"

    contest.attempt(ledger, "gguf", package)
    if torch is None:
        ledger.unavailable["llama.cpp"] = WANTS_TORCH
    else:
        contest.attempt(ledger, "llama.cpp", converter)
    ledger.jobs += contest.limits(checkpoint, "memcpy", "read", "sha256 all", "write")


def _ours(ledger: Ledger, model: Model, operation: str, begin: list[str | Path], end: list[str]) -> Path:
    """Adds the jobs of Longshore: an import and an export after it, and the export alone. Returns what the export writes."""
    place = f"{model.name} {operation}".replace(" ", "-")
    kept, checked = contest.fresh(f"kept-{place}"), contest.fresh(f"checked-{place}")
    contest.ask(*begin, store=kept)
    contest.ask("export", "m", checked, *end, store=kept)
    both, out = contest.fresh("both"), contest.fresh("out")
    steps = [contest.ours(*begin, store=both / "store"), contest.ours("export", "m", both / "out", *end, store=both / "store")]
    script = " && ".join(f"{shlex.join(map(str, step))} > {shlex.quote(str(both.parent / 'said'))}" for step in steps)
    about = {"threads": str(CORES), "bytes": model.bytes, "model": model.name}
    ledger.jobs += [
        Job(
            "longshore",
            f"{operation}: import and export",
            "into a store, hashed and synced, then out of it, not synced; one sh runs both",
            command=["sh", "-c", f"mkdir {shlex.quote(str(both))} && {script}"],
            reads=model.files,
            writes=both,
            **about,
        ),
        Job(
            "longshore",
            f"{operation}: export",
            "of what is stored already; not synced",
            command=contest.ours("export", "m", out, *end, store=kept),
            reads=sorted((kept / "blobs").iterdir()),
            writes=out,
            **about,
        ),
    ]
    return checked


def _llama() -> Path:
    """Returns the folder of llama.cpp's source, with the converter."""
    try:
        return ggml.source(inputs.home(), *PARTS)
    except subprocess.CalledProcessError as failure:
        raise Failed(f"its source is not to be had: {last_line(failure)}") from failure
    except tarfile.TarError as failure:
        raise Failed(f"its source cannot be unpacked: {failure}") from failure


def _compared(file: Path, other: Path) -> dict:
    """Compares the tensors of a GGUF file with those of another model."""
    return jobs.execute([contest.interpreter("gguf"), PROGRAMS / "gguf_values.py", file, other]).answer


def _right(answer: dict, share: float = 0.0) -> bool:
    """Says whether all tensors are there, and equal or with differences of at most this share of their largest value."""
    kinds = answer["kinds"].values()
    return not (answer["missing"] or answer["extra"]) and all(kind["equal"] == kind["count"] or kind["share"] < share for kind in kinds)


def _words(answer: dict) -> str:
    """Says what was found of each kind of tensor."""
    said = []
    for name, kind in answer["kinds"].items():
        equal = "all" if kind["equal"] == kind["count"] else kind["equal"] or "none"
        found = f"{kind['count']} {name}, {equal} equal"
        if kind["equal"] < kind["count"]:
            found += f", else at most {kind['difference']:.2g} apart, {kind['share'] * 100:.2g} % of the tensor's largest value"
        said.append(found)
    said += [f"{len(answer[what])} {what}: {answer[what][0]}" for what in ("missing", "extra") if answer[what]]
    return f"{answer['tensors']} tensors: {'; '.join(said)}"
