"""Products with stored weights, y = x Wᵀ: ggml's CPU backend and candle's QMatMul beside Longshore.

Weights are normal, quantized by each project for itself: Longshore's schemes by its own encoder, ggml's blocks by ggml.
candle and Longshore multiply ggml's bytes too. Every program repeats a product for some time and reports the fastest
and the median run, and the programs take turns. `plain` is ggml on the bytes as they are in a file, and the other
kinds are its buffers that repack them at load. Before anything is timed, every product is compared with one in F64.
"""

import argparse
import csv
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import machine
import numpy as np
from peers import candle, ggml, longshore, products
from report import aligned, source
from turns import Unavailable
from worker import note

TURNS = 5
SEED = 5
SIGMA = 0.02
# Bytes of the weights that are streamed from memory: more than any cache.
STREAMED = 1_000_000_000
SHAPES = {"4096×4096": (4096, 4096), "1536×576": (1536, 576), "576×576": (576, 576)}
SCHEMES = ["int4", "int8"]
# ggml's types, and candle's names of those that it has fast kernels for.
TYPES = {"Q4_0": "", "Q4_1": "", "Q5_0": "", "Q5_1": "", "Q8_0": "Q8_0", "Q4_K": "Q4K", "Q5_K": "", "Q6_K": ""}
BLOCKS = ["Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q4_K", "Q6_K"]
KINDS = ["plain", "CPU_REPACK", "AMX"]
# Largest error, L2, relative to a product with the weights before they were quantized: only nonsense fails.
ERROR = 0.15


@dataclass(frozen=True)
class Task:
    """One product of one program."""

    peer: str
    kind: str  # scheme or type
    how: str  # `fast`, `exact`, `plain` or a buffer type; `read` reads the bytes
    shape: str
    inputs: int

    @property
    def matrix(self) -> str:
        """Name of the weights in their program."""
        return f"{self.kind}/{'fast' if self.how == 'read' else self.how}/{self.shape}"


@dataclass
class Times:
    """Fastest and median runs of a task, one of each for every turn."""

    best: list[float] = field(default_factory=list)
    median: list[float] = field(default_factory=list)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this subject, besides the number of turns."""
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.1, help="of each product in a turn (%(default)s)")
    parts = ["cache", "small", "rows", "blocks", "candle", "memory", "edges"]
    parser.add_argument("--part", nargs="+", choices=parts, default=parts, help="(all)")


def run(args: argparse.Namespace) -> "Report":
    """Checks the answers, and times the products if all answers are right."""
    scratch = longshore.target() / "compare"
    (scratch / "products").mkdir(parents=True, exist_ok=True)
    report = Report(args)
    contest = Contest(report, args, scratch)
    contest.check()
    if not report.wrong:
        contest.measure()
    return report


class Contest:
    """The programs, the weights that each holds, and the tasks."""

    def __init__(self, report: "Report", args: argparse.Namespace, scratch: Path) -> None:
        self.report, self.args, self.home = report, args, scratch / "products"
        note("building")
        self.programs = {"longshore": products.ours(args.threads)}
        for name, start in (("ggml", products.of_ggml), ("candle", products.of_candle)):
            if name == "candle" and not {"candle"} & set(args.part):
                continue
            try:
                self.programs[name] = start(scratch, args.threads)
            except Unavailable as why:
                report.unavailable[name] = str(why)
        self.kinds = KINDS
        self.held: set[tuple[str, str]] = set()
        self.missing: set[tuple[str, str]] = set()
        self.weights = {name: self._weights(shape) for name, shape in SHAPES.items()}
        if "ggml" in self.programs and not self._has_tiles(scratch):
            self.kinds = [kind for kind in KINDS if kind != "AMX"]
            report.unavailable["ggml's AMX buffers"] = "a product with many rows ends the program on this machine"

    def groups(self) -> list[list[Task]]:
        """Returns the tasks, in groups that take turns."""
        fast = lambda kind, shape, inputs: Task("longshore", kind, "fast", shape, inputs)  # noqa: E731
        theirs = lambda kind, shape, inputs: [Task("ggml", kind, how, shape, inputs) for how in self.kinds]  # noqa: E731
        part, large = set(self.args.part), "4096×4096"
        groups = []
        for shape in [large] * ("cache" in part) + ["1536×576", "576×576"] * ("small" in part):
            groups.append([fast("int4", shape, 1), fast("int8", shape, 1), Task("longshore", "int4", "exact", shape, 1)])
            groups[-1] += [task for kind in ("Q4_0", "Q4_K", "Q8_0") for task in theirs(kind, shape, 1)]
        for inputs in [32, 256] * ("rows" in part):
            groups.append([fast("int4", large, inputs), fast("int8", large, inputs)])
            groups[-1] += [Task("longshore", "int4", "exact", large, inputs)]
            groups[-1] += [task for kind in ("Q4_0", "Q4_K", "Q8_0") for task in theirs(kind, large, inputs)]
        for inputs in [1, 32] * ("blocks" in part):
            for kind in BLOCKS:
                groups.append([fast(kind, large, inputs), *theirs(kind, large, inputs)])
        if "candle" in part:
            groups.append([fast("int4", large, 1), *(Task("candle", k, "plain", large, 1) for k in ("Q4_K", "Q8_0"))])
        if "memory" in part:
            for kind in SCHEMES:
                groups.append([Task("longshore", kind, "read", "streamed", 1), fast(kind, "streamed", 1)])
                groups[-1].append(Task("longshore", kind, "exact", "streamed", 1))
                for peer in ("Q4_0", "Q4_K") if kind == "int4" else ("Q8_0",):
                    groups[-1] += theirs(peer, "streamed", 1)
        if "edges" in part:
            groups += [[fast(kind, large, inputs) for inputs in EDGES] for kind in (*SCHEMES, "Q4_K")]
        return groups

    def check(self) -> None:
        """Compares the values of every product of a shape and a number of input rows with those in F64."""
        note("checking")
        seen = set()
        for task in (task for group in self.groups() for task in group):
            key = (task.peer, task.matrix, task.inputs)
            if task.how == "read" or task.shape == "streamed" or key in seen or not self._load(task):
                continue
            seen.add(key)
            source, weights = self.weights[task.shape]
            x = np.random.default_rng(SEED + 1).standard_normal((task.inputs, weights.shape[1]), np.float32)
            given, found = self.home / "x", self.home / "y"
            x.tofile(given)
            self.programs[task.peer].ask("values", task.matrix, task.inputs, given, found)
            y = np.fromfile(found, np.float32).reshape(task.inputs, -1).astype(np.float64)
            expected = x.astype(np.float64) @ weights.astype(np.float64).T
            error = float(np.linalg.norm(y - expected) / np.linalg.norm(expected))
            self.report.errors.setdefault((task.peer, task.kind, task.how), []).append(error)
            self.report.wrong |= not error < ERROR
            self._free_others(task)
        self._free_others(None)

    def measure(self) -> None:
        """Times all groups."""
        for number, group in enumerate(self.groups()):
            tasks = [task for task in group if self._load(task)]
            kept = {task: Times() for task in tasks}
            self.report.groups.append(kept)
            for turn in range(self.args.turns):
                note(f"turn {turn + 1} of {self.args.turns}, group {number + 1}")
                for task in tasks:
                    words = ["read", task.matrix] if task.how == "read" else ["time", task.matrix, task.inputs]
                    times = self.programs[task.peer].ask(*words, self.args.seconds)
                    kept[task].best.append(times["best"])
                    kept[task].median.append(times["median"])
            self.report.loads.append(os.getloadavg()[0])
            self._free_others(None)
        note("")

    def _weights(self, shape: tuple[int, int]) -> tuple[Path, np.ndarray]:
        """Returns normal weights, and the file that has them as F32."""
        weights = np.random.default_rng(SEED).standard_normal(shape, np.float32) * np.float32(SIGMA)
        path = self.home / f"{shape[0]}x{shape[1]}.f32"
        weights.tofile(path)
        return path, weights

    def _has_tiles(self, scratch: Path) -> bool:
        """Returns whether ggml's AMX kernels run: some virtual machines report the instructions and fault on them."""
        blocks = self._packed("Q4_0", SHAPES["576×576"])
        probe = products.of_ggml(scratch, self.args.threads)
        try:
            probe.ask("load", "probe", "Q4_0", "AMX", *SHAPES["576×576"], 1, blocks)
            probe.ask("time", "probe", 32, 0)
        except Unavailable:
            return False
        return True

    def _load(self, task: Task) -> bool:
        """Brings a task's weights into its program. Returns whether the program has such a product."""
        key = (task.peer, task.matrix)
        if key in self.held:
            return True
        if task.peer not in self.programs or key in self.missing:
            return False
        shape = SHAPES["4096×4096" if task.shape == "streamed" else task.shape]
        if task.kind[0] == "Q" and shape[1] % 256 and task.kind.endswith("_K"):
            return False
        blocks = self._packed(task.kind, shape)
        copies = -(-STREAMED // blocks.stat().st_size) if task.shape == "streamed" else 1
        kind = TYPES[task.kind] if task.peer == "candle" else task.kind
        how = [] if task.peer == "candle" else ["fast" if task.how == "read" else task.how]
        try:
            self.programs[task.peer].ask("load", task.matrix, kind, *how, *shape, copies, blocks)
        except Unavailable:
            if task.how in ("plain", "fast"):
                raise
            self.missing.add(key)
            return False
        self.held.add(key)
        return True

    def _packed(self, kind: str, shape: tuple[int, int]) -> Path:
        """Returns the file of quantized weights, which the project that defines the format writes."""
        path = self.home / f"{shape[0]}x{shape[1]}.{kind}"
        if not path.exists():
            source = self.home / f"{shape[0]}x{shape[1]}.f32"
            by = self.programs["ggml" if kind in TYPES else "longshore"]
            by.ask("quantize", kind, *shape, source, path)
        return path

    def _free_others(self, but: Task | None) -> None:
        """Frees large weights: all, or those of other tasks."""
        for peer, matrix in list(self.held):
            if but is None or (peer, matrix) != (but.peer, but.matrix):
                self.programs[peer].ask("free", matrix)
                self.held.remove((peer, matrix))


EDGES = [1, 2, 3, 4, 5, 6, 8, 12, 15, 16, 17, 20, 24, 31, 32, 33, 48, 63, 64]


class Report:
    """Answers, times and figures."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.errors: dict[tuple[str, str, str], list[float]] = {}
        # Tasks that took turns, and how long they took.
        self.groups: list[dict[Task, Times]] = []
        self.unavailable: dict[str, str] = {}
        self.loads: list[float] = []
        self.wrong = False
        self.command = ""
        self.versions = {"longshore": longshore.version(), "ggml": ggml.version(), "candle": candle.version()}
        self.start = machine.load()

    def text(self) -> str:
        """Formats all results for a terminal."""
        head = [
            f"$ {self.command}",
            f"{machine.describe()}; {self.start}, {max(self.loads, default=0):.1f} at most; {self.args.threads} threads",
            source(),
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        ]
        worst = sorted((key, max(errors)) for key, errors in self.errors.items())
        lines = [f"  {peer} {kind} {how}: {error * 100:.3f} %" for (peer, kind, how), error in worst]
        parts = ["\n".join(head), "Answers, against F64 products with the weights before quantization\n" + "\n".join(lines)]
        if self.wrong:
            parts.append("At least one answer is wrong, so nothing was timed.")
        if self.unavailable:
            parts.append("Not measured\n" + "\n".join(f"  {peer}: {why}" for peer, why in self.unavailable.items()))
        if self.groups:
            parts += [aligned(self._measured()), aligned(self._figures()), NOTES]
        return "\n\n".join(parts)

    def record(self, home: Path) -> list[Path]:
        """Writes the rows and the terminal's text. Files of the same machine and day are replaced."""
        folder = home / machine.name() / datetime.date.today().isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        rows, shown = folder / "products.csv", folder / "products.txt"
        with rows.open("w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow("peer version kind how shape inputs threads turns best_s median_s".split())
            for task, times in self._rows():
                about = [task.peer, self.versions[task.peer], task.kind, task.how, task.shape, task.inputs]
                least = [f"{min(times.best):.9f}", f"{min(times.median):.9f}"]
                out.writerow([*about, self.args.threads, len(times.best), *least])
        shown.write_text(self.text() + "\n")
        return [rows, shown]

    def _rows(self) -> Iterator[tuple[Task, Times]]:
        for group in self.groups:
            yield from group.items()

    def _measured(self) -> list[list[str]]:
        rows = ["PEER KIND HOW WEIGHTS INPUTS BEST MEDIAN GMAC/S GB/S".split()]
        for task, times in self._rows():
            best, median = min(times.best), min(times.median)
            total = _elements(task)
            speed = f"{total * task.inputs / best / 1e9:.1f}" if task.how != "read" else ""
            rate = f"{total * BITS[task.kind] / 8 / best / 1e9:.1f}"
            about = [task.peer, task.kind, task.how, task.shape, str(task.inputs)]
            rows.append([*about, f"{best * 1e6:.1f} µs", f"{median * 1e6:.1f} µs", speed, rate])
        return rows

    def _figures(self) -> list[list[str]]:
        rows = ["FIGURE|AT LEAST|BY BEST|BY MEDIAN|".split("|")]
        for what, target, ours, theirs in FIGURES:
            for group in self.groups:
                mine = [times for task, times in group.items() if ours(task)]
                others = [times for task, times in group.items() if theirs(task)]
                if not mine or not others:
                    continue
                best = min(min(times.best) for times in others) / min(mine[0].best)
                median = min(min(times.median) for times in others) / min(mine[0].median)
                verdict = "met" if best >= target else "missed"
                rows.append([what, f"{target:g}", f"{best:.2f}", f"{median:.2f}", verdict])
                break
        return rows


# Bits of a weight, with its scales.
BITS = {"int4": 4.5, "int8": 8.5, "Q4_0": 4.5, "Q4_1": 5, "Q5_0": 5.5, "Q5_1": 6, "Q8_0": 8.5, "Q4_K": 4.5, "Q5_K": 5.5,
        "Q6_K": 6.5625}  # fmt: skip
NOTES = """BEST and MEDIAN are those of the best turn. Ratios are of the times of one run: the fastest of the programs that the figure names, over ours.
GB/S counts the bytes of the weights. The streamed weights are the larger matrix many times over, more than 1 GB."""


def _elements(task: Task) -> int:
    rows, columns = SHAPES["4096×4096" if task.shape == "streamed" else task.shape]
    if task.shape != "streamed":
        return rows * columns
    packed = rows * columns * BITS[task.kind] / 8
    return rows * columns * -(-STREAMED // int(packed))


def _is(peer: str, kinds: str, how: str, shape: str, inputs: int):
    """Returns a test for tasks of a peer: kinds and ways are lists of words, and no way means any."""
    return lambda task: (
        task.peer == peer
        and task.kind in kinds.split()
        and (not how or task.how in how.split())
        and (task.shape, task.inputs) == (shape, inputs)
    )


def _figure(what: str, target: float, ours: tuple[str, str], theirs: tuple[str, str, str], shape: str, inputs: int):
    mine, others = _is("longshore", *ours, shape, inputs), _is(*theirs, shape, inputs)
    rows = "one row" if inputs == 1 else f"{inputs} rows"
    return f"{shape}, {rows}, {what}", target, mine, others


FIGURES = [
    *(
        _figure(f"{kind}, against reading", 0.8, (kind, "fast"), ("longshore", kind, "read"), "streamed", 1)
        for kind in SCHEMES
    ),
    _figure("int4 against ggml Q4_0, repacked", 1.8, ("int4", "fast"), ("ggml", "Q4_0", "CPU_REPACK"), "4096×4096", 1),
    _figure("int4 against ggml Q4_K", 1.8, ("int4", "fast"), ("ggml", "Q4_K", "plain CPU_REPACK"), "4096×4096", 1),
    *(
        _figure("int4 against ggml Q4_0, repacked", 1.6, ("int4", "fast"), ("ggml", "Q4_0", "CPU_REPACK"), shape, 1)
        for shape in ("1536×576", "576×576")
    ),
    *(
        _figure("int4 against the best of ggml Q4_0, Q4_K", target, ("int4", "fast"), ("ggml", "Q4_0 Q4_K", how), "4096×4096", rows)
        for rows, target, how in ((32, 1.3, "plain CPU_REPACK"), (256, 1.8, "plain CPU_REPACK"))
    ),
    _figure("int8 against ggml Q8_0", 1.2, ("int8", "fast"), ("ggml", "Q8_0", "plain CPU_REPACK"), "4096×4096", 1),
    _figure("int8 against ggml Q8_0", 1.5, ("int8", "fast"), ("ggml", "Q8_0", "plain CPU_REPACK"), "4096×4096", 256),
    *(
        _figure(f"{kind} against ggml on the same bytes", 1, (kind, "fast"), ("ggml", kind, "plain"), "4096×4096", rows)
        for rows in (1, 32)
        for kind in BLOCKS
    ),
    _figure("int4 against candle Q4K and Q8_0", 1.4, ("int4", "fast"), ("candle", "Q4_K Q8_0", "plain"), "4096×4096", 1),
    _figure("int4 exact against ggml Q4_0", 0.8, ("int4", "exact"), ("ggml", "Q4_0", "plain CPU_REPACK"), "4096×4096", 256),
]
