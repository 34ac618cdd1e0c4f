"""Quantizing a matrix and decoding it: MLX, candle, ggml and memcpy beside Longshore.

Weights are BF16, normally distributed, and in memory. MLX and Longshore read BF16. candle and ggml read the same
weights widened to F32, their input type; the widening is not timed. Their formats are different ones of a similar size.
The programs are therefore compared in weights per second. Bytes are compared only with memcpy, on the same buffers.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import machine
import numpy as np
from peers import candle, ggml, longshore, mlx
from report import Figure, Report
from turns import Task, Unavailable, take_turns
from worker import note

TURNS = 7
SEED = 3
SIGMA = 0.02
SCHEMES = list(mlx.FORMATS)
PROFILES = ["mlx", "plus"]
CORES = ["one", "all"]
# Level whose decoding is timed beside that of the machine's best, and the schemes for which it is.
OLDER, AFFINE = "avx2", ["int4", "int8"]
# Least ratio to memcpy of the bytes that decoding writes, by scheme and level. Of the others 0.5 is asked.
DECODING = {("int4", "avx512"): 1.2, ("int8", "avx512"): 0.8, ("int4", OLDER): 1.1, ("int8", OLDER): 0.6}
# Range of the relative RMSE of normal weights in each format, wide enough that only nonsense fails.
ERRORS = {
    "int4": (0.06, 0.11), "int8": (0.003, 0.01), "nvfp4": (0.07, 0.12), "mxfp4": (0.09, 0.14), "mxfp8": (0.015, 0.04),
    "Q4_0": (0.06, 0.11), "Q4_1": (0.05, 0.10), "Q8_0": (0.003, 0.01), "Q4K": (0.05, 0.10), "MXFP4": (0.09, 0.17),
}  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this subject, besides the number of turns."""
    parser.add_argument("--rows", type=int, default=4096, help="(%(default)s)")
    parser.add_argument("--columns", type=int, default=14336, help="a multiple of 256 (%(default)s)")


def run(args: argparse.Namespace) -> Report:
    """Checks the answers, and times the tasks if all answers are right."""
    scratch = longshore.target() / "compare"
    scratch.mkdir(parents=True, exist_ok=True)
    shape = (args.rows, args.columns)
    bits = _weights(shape)
    source = scratch / "weights.bf16"
    bits.tofile(source)
    versions = {"longshore": longshore.version(), "memcpy": "of Rust's standard library"}
    versions |= {"mlx": mlx.version(), "candle": candle.version(), "ggml": ggml.version()}
    about = f"BF16 weights of {shape[0]} × {shape[1]}, normal with σ = {SIGMA}, seed {SEED}"
    contest = Contest(Report("quantize", about, bits.size, versions), bits, source, scratch)
    contest.check()
    if not contest.report.wrong:
        take_turns(contest.order(), args.turns, note)
        contest.compare()
    return contest.report


def _weights(shape: tuple[int, int]) -> np.ndarray:
    """Returns the bits of normal weights, rounded to the nearest BF16, ties to even."""
    words = (np.random.default_rng(SEED).standard_normal(shape, np.float32) * np.float32(SIGMA)).view(np.uint32)
    return ((words + np.uint32(0x7FFF) + ((words >> 16) & 1)) >> 16).astype(np.uint16)


def _cores(cores: str) -> str:
    return {"one": "one core", "all": "all cores", "gpu": "Metal"}[cores]


def _widened(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Contest:
    """The programs, and the tasks of each."""

    def __init__(self, report: Report, bits: np.ndarray, source: Path, scratch: Path) -> None:
        self.report, self.scratch, self.weights = report, scratch / "answer", _widened(bits)
        self.norm = float(np.sqrt(np.mean(np.square(self.weights, dtype=np.float64))))
        note("building")
        self.mlx = mlx.Mlx(bits)
        self.ours = longshore.Longshore(source, bits.nbytes)
        self.candle = self._peer(candle.NAME, lambda: candle.Candle(source, bits.shape, scratch))
        self.ggml = self._peer(ggml.NAME, lambda: ggml.Ggml(self.weights, machine.cores(), scratch))
        self.tasks: dict[tuple[str, ...], Task] = {}
        for task in self._all():
            self.tasks[task.peer, task.operation, task.format, task.profile, task.cores] = task
        report.tasks = list(self.tasks.values())

    def _peer(self, name: str, make):
        try:
            return make()
        except Unavailable as why:
            self.report.unavailable[name] = str(why)
            return None

    def _all(self) -> Iterator[Task]:
        """Yields all tasks in the order of the table."""
        yield from (self.ours.memcpy(cores) for cores in CORES)
        for scheme in SCHEMES:
            yield from (self.mlx.encode(scheme, place) for place in mlx.places())
            yield from (self.ours.encode(scheme, profile, cores) for cores in CORES for profile in PROFILES)
            if scheme == "int4":
                yield self.ours.encode(scheme, "best", "one")
        for scheme in SCHEMES:
            yield from (self.mlx.decode(scheme, place) for place in mlx.places())
            yield from (self.ours.decode(scheme, cores) for cores in CORES)
            if scheme in AFFINE and self.ours.has(OLDER):
                yield from (self.ours.decode(scheme, cores, OLDER) for cores in CORES)
        if self.ggml:
            yield from (self.ggml.encode(name, cores) for name in ggml.FORMATS for cores in CORES)
            yield from (self.ggml.decode(name) for name in ggml.FORMATS)
        if self.candle:
            yield from (self.candle.encode(name) for name in candle.FORMATS)
            yield from (self.candle.decode(name) for name in candle.FORMATS)

    def order(self) -> list[Task]:
        """Returns the tasks of one turn. memcpy comes before each scheme, because most figures are relative to it."""
        copies = [self.tasks["memcpy", "copy", "bytes", "", cores] for cores in CORES]
        others = [task for task in self.tasks.values() if task not in copies]
        order = []
        for scheme in dict.fromkeys(task.format for task in others):
            order += [*copies, *(task for task in others if task.format == scheme)]
        return order

    # Answers

    def check(self) -> None:
        """Checks every answer, before anything is timed."""
        for scheme in SCHEMES:
            note(f"checking {scheme}")
            self._check_scheme(scheme)
        decoders = {}
        if self.ggml:
            decoders[ggml.NAME] = self.ggml.decoded
        if self.candle:
            decoders[candle.NAME] = lambda name: self.candle.decoded(name, self.scratch)
        # The bits of Metal are not those of the CPU backend, so only their error is checked.
        for task in [t for t in self.tasks.values() if t.cores == "gpu" and t.operation == "encode"]:
            task.once()
            self._check_error(task, _widened(self.mlx.decoded(task.format)))
        for task in [t for t in self.tasks.values() if t.peer in decoders and t.operation == "encode"]:
            note(f"checking {task.peer} {task.format}")
            task.once()
            self._check_error(task, decoders[task.peer](task.format))

    def _check_scheme(self, scheme: str) -> None:
        theirs = self.tasks["mlx", "encode", scheme, "", "one"]
        theirs.once()
        expected = self.mlx.parts(scheme)
        self._check_error(theirs, _widened(self.mlx.decoded(scheme)))
        right = True
        for task in [t for t in self.tasks.values() if t.peer == "longshore" and t.format == scheme]:
            if task.operation == "decode":
                continue
            task.once()
            parts = self.ours.parts(scheme, self.scratch)
            found = [np.frombuffer(p, e.dtype).reshape(e.shape) for p, e in zip(parts, expected)]
            if task.profile == "mlx":
                same = all(np.array_equal(f, e) for f, e in zip(found, expected))
                self._say(same, f"{scheme} encode, profile mlx, {_cores(task.cores)}: the bits of mx.quantize")
            restored = self.mlx.decoded(scheme, found)
            for decoding in self._decodings(scheme):
                # memcpy writes to the same buffer, so nothing of the previous decoding is left in it.
                self.tasks["memcpy", "copy", "bytes", "", "one"].once()
                decoding.once()
                decoded = np.frombuffer(self.ours.output(self.scratch), np.uint16)
                if not np.array_equal(decoded, restored.ravel()):
                    what = f"{scheme} decode {decoding.profile}, {_cores(decoding.cores)}, of profile {task.profile}"
                    self._say(False, f"{what}: the bits of mx.dequantize")
                    right = False
            self._check_error(task, _widened(restored))
        if right:
            self._say(True, f"{scheme} decode, one core and all, of every profile: the bits of mx.dequantize")

    def _decodings(self, scheme: str) -> list[Task]:
        """Returns the tasks of Longshore that decode a scheme."""
        ours = [task for task in self.tasks.values() if (task.peer, task.operation) == ("longshore", "decode")]
        return [task for task in ours if task.format == scheme]

    def _check_error(self, task: Task, restored: np.ndarray) -> None:
        difference = restored.ravel() - self.weights.ravel()
        task.error = float(np.sqrt(np.mean(np.square(difference, dtype=np.float64)))) / self.norm
        low, high = ERRORS[task.format]
        who = " ".join(word for word in (task.peer, task.format, task.profile) if word)
        expected = f"expected {low * 100:g} to {high * 100:g} %"
        self._say(
            low < task.error < high, f"{who}, {_cores(task.cores)}: relative RMSE {task.error * 100:.3f} %, {expected}"
        )

    def _say(self, right: bool, line: str) -> None:
        text = f"{'right' if right else 'WRONG'}  {line}"
        self.report.wrong |= not right
        self.report.checks.append(text)

    # Figures

    def compare(self) -> None:
        """Computes the figures that have a target."""
        for schemes, target in ((["int4", "int8"], 12), (["nvfp4", "mxfp4"], 250), (["mxfp8"], 20)):
            for scheme in schemes:
                theirs = ("mlx", "encode", scheme, "", "one")
                for profile in PROFILES:
                    ours = ("longshore", "encode", scheme, profile, "one")
                    self._figure(f"{scheme} encode, {profile}, one core, against mx.quantize", target, ours, theirs)
        for name in ("Q4_1", "Q4_0"):
            for profile in PROFILES:
                ours = ("longshore", "encode", "int4", profile, "all")
                what = f"int4 encode, {profile}, all cores, against ggml's {name} on all cores"
                self._figure(what, 4, ours, ("ggml", "encode", name, "", "all"))
        for scheme in SCHEMES:
            for profile in PROFILES:
                ours = ("longshore", "encode", scheme, profile, "all")
                what = f"{scheme} encode, {profile}, all cores, bytes read, against memcpy on all cores"
                self._figure(
                    what, 0.47 if scheme.startswith("int") else 0.3, ours, ("memcpy", "copy", "bytes", "", "all")
                )
        for scheme in SCHEMES:
            for task in self._decodings(scheme):
                level = task.profile or next((best for best in ("avx512", OLDER) if self.ours.has(best)), "")
                alone = f", {task.profile} alone" if task.profile else ""
                what = f"{scheme} decode{alone}, {_cores(task.cores)}, bytes written, against memcpy on {_cores(task.cores)}"
                ours, copy = ("longshore", "decode", scheme, task.profile, task.cores), ("memcpy", "copy", "bytes", "", task.cores)
                self._figure(what, DECODING.get((scheme, level), 0.5), ours, copy)
        best, plus = (("longshore", "encode", "int4", profile, "one") for profile in ("best", "plus"))
        self._figure("int4 encode, one core, time of best over that of plus", 30, plus, best, at_most=True)
        self.report.notes = [
            "Ratios are of weights per second, or of the bytes of the BF16 side against memcpy of the same number of bytes.",
            "candle and ggml read F32, widened beforehand: BYTES/S counts the bytes that they read, twice as many per weight.",
            "MIN is the fastest of RUNS, taken in turns with all the others; BY MIN and BY MEDIAN compare like with like.",
            "CPU is the least processor time of a run: on a machine that is not quiet, a long run never has a processor to itself,",
            "so MIN flatters fast programs. Figures on one core are judged by CPU, the others by MIN.",
        ]

    def _figure(self, what: str, target: float, ours: tuple, theirs: tuple, *, at_most: bool = False) -> None:
        if ours in self.tasks and theirs in self.tasks:
            mine, other = self.tasks[ours], self.tasks[theirs]
            ratios = (other.least / mine.least, other.median / mine.median)
            known = ours[-1] == theirs[-1] == "one" and mine.least_cpu and other.least_cpu
            cpu = other.least_cpu / mine.least_cpu if known else None
            self.report.figures.append(Figure(what, target, *ratios, cpu, at_most=at_most))
