"""Loading into host memory, beside the safetensors library, MLX and the loaders that need PyTorch.

OPEN is the time until a program has its tensors. A loader that maps files has read nothing by then, so every program
then reads all bytes once, on one thread. WALL is both together. There is no table unless the bytes of every run have
the same sum.
"""

import argparse
import subprocess
from functools import partial
from pathlib import Path

import contest
import inputs
import jobs
import pages
import tensors
from contest import PROGRAMS
from inputs import Model
from jobs import Failed, Job
from ledger import Ledger
from peers import longshore
from worker import note

TURNS = 5
# For each kind of programs/loaders.py: its name in the table, its threads, and its method.
LOADERS = {
    "numpy": ("safetensors numpy", "1", "copies each tensor"),
    "mlx": ("mlx", "up to 4", "mx.load and mx.eval: reads each file into memory"),
}
TORCH = {
    "torch-mmap": ("torch", "1", "torch.load(mmap=True) of a file of its own: maps it"),
    "torch-safetensors": ("safetensors torch", "1", "maps the files"),
    "torch-safetensors-pread": ("safetensors torch, pread", "1", "reads into memory"),
    "flashpack": ("flashpack", "1", "maps a file of its own"),
    "runai": ("run:ai streamer", "up to 16", "reads into memory "),
    "tensorizer": ("tensorizer", "1", "reads a file of its own into memory"),
    "fastsafetensors": ("fastsafetensors", "up to 16", "reads into memory, without GPUDirect"),
}
WANTS_TORCH = (
    "they need PyTorch; for Linux PyPI has only the build for CUDA, about 5 GB with its dependencies: `--torch install`, or "
    "`--torch PYTHON` for an interpreter with PyTorch and the packages of benches/python/requirements/torch.txt"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this subject, besides the number of turns."""
    contest.arguments(parser)
    torch(parser)


def torch(parser: argparse.ArgumentParser) -> None:
    """Adds the option that gives the interpreter for the loaders that need PyTorch."""
    help_ = "`install` PyTorch and the loaders that need it, or the path of a Python interpreter that has them"
    parser.add_argument("--torch", metavar="PYTHON", help=help_)


def run(args: argparse.Namespace) -> Ledger:
    """Checks the answers, and times the jobs if all answers are right."""
    models = [inputs.model(name, args.bytes) for name in inputs.LIKE]
    ledger = Ledger("load", "Loading into host memory", [model.describe() for model in models], {})
    ledger.versions["longshore"] = longshore.version()
    for model, quantize in ((models[0], None), (models[0], "int4"), (models[1], None)):
        _model(ledger, args, model, quantize)
    contest.measure(ledger, args.turns)
    ledger.notes = [
        "GB/S counts the bytes of all tensors over WALL, the time until every byte was read once. Where OPEN is a small part of WALL, reading dominates.",
        "RSS includes the pages of mapped files, which other processes share; PRIVATE is memory that no file backs: a copy of the weights, where there is one, and the memory of Python and PyTorch themselves.",
        "fastsafetensors, flashpack, run:ai's streamer and tensorizer are made to fill a GPU; here they bring tensors to host memory, without one.",
        "They load only the first model, because each takes seconds to start. MLX runs on its CPU backend where there is no Metal: its version says which.",
        "Python's imports and start are in neither time; a program starts anew for each run.",
        f"cold: {contest.DRIVES}.",
        "written: as the import and the export left them, and the checkpoint in pieces of 1 MiB. warm: once they were read cold.",
    ]
    return ledger


def stored(ledger: Ledger, model: Model, quantize: str | None) -> tuple["Race", Model, Path]:
    """Imports a model, and returns the race of its loaders, the model whose files have the same tensors, and the store."""
    name = f"{model.name} {quantize or 'BF16'}"
    note(f"checking {name}")
    store = contest.fresh(f"kept-{model.name}-{quantize}")
    how = ["--quantize", quantize, "--policy", "uniform"] if quantize else []
    contest.ask("import", model.path, "m", *how, store=store)
    if quantize:
        out = contest.fresh(f"export-{model.name}")
        contest.ask("export", "m", out, "--format", "mlx", store=store)
        model = Model(name, out)
        ledger.input.append(f"{name}: {quantize} of every matrix, and what longshore exports of it for mlx-lm")
    else:
        out = contest.fresh(f"written-{model.name}")
        pages.rewrite(model.path, out)
        model = Model(model.name, out)
    size = sum(tensor.end - tensor.start for tensor in tensors.every(model.path))
    return Race(ledger, name, size, tensors.total(model.path), tensors.hashes(model.path)), model, store


def _model(ledger: Ledger, args: argparse.Namespace, model: Model, quantize: str | None) -> None:
    """Compares the loaders on one stored model, and on files with the same tensors."""
    race, model, store = stored(ledger, model, quantize)
    name, files = race.name, tensors.files(model.path)
    blobs = sorted((store / "blobs").iterdir())
    program = longshore.example("load")
    stacked = any(".experts." in name for name in race.hashes)
    race.enter(
        "longshore", "maps each blob", [program], ["longshore", str(store), "m"], blobs, named=not (quantize or stacked)
    )
    race.enter(
        "safetensors Rust", "maps the files and parses them", [program], ["safetensors", *map(str, files)], files
    )
    race.enter(
        contest.LIMIT,
        "map: maps the files and knows nothing of them",
        [program],
        ["map", *map(str, files)],
        files,
        plain=True,
    )
    race.enter(
        contest.LIMIT,
        "read into fresh memory: reads the files as a whole",
        [program],
        ["read", *map(str, files)],
        files,
        plain=True,
    )
    mlx(ledger, race, store, blobs)
    python(race, "peers", LOADERS, files)
    # Each of these loaders takes seconds to start, so they load only the first model.
    if name == ledger.jobs[0].model:
        if args.torch is None:
            ledger.unavailable[", ".join(peer for peer, _, _ in TORCH.values())] = WANTS_TORCH
        else:
            python(race, args.torch, TORCH, files)
    ledger.jobs += contest.limits(model, "memcpy", "read")
    for job in ledger.jobs[-2:]:
        job.model = name


def python(race: "Race", where: str, kinds: dict[str, tuple[str, str, str]], files: list[Path]) -> None:
    """Adds the loaders of one environment, or of an interpreter that has them."""
    for kind, (peer, threads, how) in kinds.items():
        enter = partial(_enter, race, {"install": "torch"}.get(where, where), kind, peer, how, threads, files)
        contest.attempt(race.ledger, peer, enter)


def _enter(race: "Race", where: str, kind: str, peer: str, how: str, threads: str, files: list[Path]) -> None:
    interpreter = contest.interpreter(where) if where in ("peers", "torch") else where
    begin = [interpreter, PROGRAMS / "loaders.py", kind]
    race.ledger.versions[peer] = jobs.execute([*begin, "--version"]).answer["version"]
    if kind == "mlx":
        race.ledger.versions[peer] += f" on {contest.mlx_device(Path(interpreter))}"
    out = contest.fresh(f"files-{kind}-{race.name.replace(' ', '-')}")
    made = [Path(path) for path in jobs.execute([*begin, "--prepare", out, *files]).answer["files"]]
    race.enter(peer, how, begin, list(map(str, made)), made, threads=threads)


def mlx(ledger: Ledger, race: "Race", store: Path, blobs: list[Path], *, peer: str = "longshore to MLX", memory: str = "") -> None:
    """Adds Longshore's loader of MLX arrays, where it is built."""

    def enter() -> None:
        program = longshore.example("load_mlx")
        how = {
            "": "maps each blob and gives MLX its memory, where MLX takes it",
            "copied": "reads each blob into MLX's own memory",
        }[memory]
        words = [str(store), "m", *([memory] if memory else [])]
        race.enter(peer, how, [program], words, blobs, threads="all", named=False)

    contest.attempt(ledger, peer, enter)


class Race:
    """The loaders of one model. All of them must load the same bytes."""

    def __init__(self, ledger: Ledger, name: str, size: int, total: str, hashes: dict[str, str]) -> None:
        self.ledger, self.name, self.size, self.total = ledger, name, size, total
        self.hashes = {tensor: text.rpartition(" ")[2] for tensor, text in hashes.items()}

    def enter(
        self,
        peer: str,
        how: str,
        begin: list[str | Path],
        rest: list[str],
        reads: list[Path],
        *,
        threads: str = "1",
        named: bool = True,
        plain: bool = False,
    ) -> None:
        """Checks a program and adds its job.

        A `plain` program reads files including their headers. Tensors that are not `named` as in the files, or are cut
        in another way, are compared by their sum.
        """
        command = [*begin, *rest]
        if plain:
            what, wrong = "reads all bytes", None
        else:
            wrong = self._wrong(jobs.execute(command).answer)
            what = "has the tensors' bytes by their sum"
            if named and not wrong:
                what = f"has {len(self.hashes)} tensors by their SHA-256"
                wrong = self._differs([*begin, "--hashes", *rest])
        if not plain:
            self.ledger.say(not wrong, f"{self.name}: {peer} {what}{': ' + wrong if wrong else ''}")
        self.ledger.jobs.append(
            Job(
                peer,
                how.partition(":")[0] if plain else "load",
                how.partition(": ")[2] if plain else how,
                threads,
                command,
                self.size,
                reads,
                model=self.name,
                starts=contest.histories(),
                verdict=(lambda _: None) if plain else self._wrong,
            )
        )

    def _wrong(self, answer: dict) -> str | None:
        found = answer.get("sum")
        return None if found == self.total else f"expected bytes whose sum is {self.total}, found {found}"

    def _differs(self, command: list) -> str | None:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(done.stderr.strip().splitlines()[-1])
        found = dict(line.replace(" sha256:", " ").rsplit(" ", 1) for line in done.stdout.splitlines())
        return tensors.different(found, self.hashes)
