"""Running models: llama.cpp and candle, built for this machine, beside Longshore.

Decoding begins with an empty sequence, as `llama-bench` does. Programs take turns, start anew for each, and run once before they are
timed. A first token is timed from the start of Longshore's process, and from the call with which llama.cpp or candle loads the model.
Before anything is timed, Longshore and llama.cpp have to find the same token after a prompt, with the same file. Where candle finds another
one, the report says so, and its times are in no verdict.
"""

import argparse
import csv
import datetime
import json
import os
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import inputs
import machine
from peers import candle, llama_native, longshore, published
from report import aligned, source
from turns import Unavailable
from worker import build, note

TURNS = 5
# Any few tokens, which both vocabularies have.
PROMPT = [504, 3575, 282, 4649, 314]
SMOL, GEMMA = "SmolLM2-135M-Instruct.Q4_1", "gemma-3-270m-q4_k_m"
HEAD = """description = "8 bits for the embedding, which is the head too, and the requested type for every other weight"

[[rule]]
name = "*embed_tokens.weight"
action = "int8"

[[rule]]
name = "*.weight"
action = "request"
"""


@dataclass(frozen=True)
class Run:
    """A model in one program."""

    peer: str
    model: str
    kind: str
    how: str = ""

    def __str__(self) -> str:
        """Names it for a table."""
        return f"{self.model} {self.kind}{' ' if self.how else ''}{self.how}"


@dataclass
class Rates:
    """What the turns found: tokens a second, seconds to the first token, and what is said of the bytes."""

    prefill: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    bytes: int = 0


INT4, INT8 = Run("longshore", "SmolLM2", "int4", "head int8"), Run("longshore", "SmolLM2", "int8")
Q4_0, Q8_0 = Run("llama.cpp", "SmolLM2", "Q4_0", "head Q8_0"), Run("llama.cpp", "SmolLM2", "Q8_0")
PEERS = ("longshore", "llama.cpp", "candle")
FILES = [[Run(peer, name, "as published") for peer in PEERS] for name in ("SmolLM2 Q4_1", "Gemma 3 270M")]
BIG4, BIG8 = Run("longshore", "1B", "int4"), Run("longshore", "1B", "int8")
BIG_Q4, BIG_Q8 = Run("llama.cpp", "1B", "Q4_0"), Run("llama.cpp", "1B", "Q8_0")
BIG_K = Run("llama.cpp", "1B", "Q4_K_M", "--repack 0")
CANDLE_Q4, CANDLE_Q8 = Run("candle", "1B", "Q4_0"), Run("candle", "1B", "Q8_0")
GROUPS = {
    "small": [[INT4, Q4_0], [INT8, Q8_0]],
    "files": FILES,
    "large": [[BIG4, BIG_Q4, BIG_K, CANDLE_Q4], [BIG8, BIG_Q8, CANDLE_Q8]],
}
# What is compared, at least how many times as fast, ours, theirs (none: reading the same bytes).
FIGURES = [
    ("decode", 2.0, INT4, Q4_0),
    ("prefill", 2.0, INT4, Q4_0),
    ("decode", 1.2, INT8, Q8_0),
    ("prefill", 1.5, INT8, Q8_0),
    *((what, 1.0, ours, theirs) for ours, *others in FILES for theirs in others for what in ("decode", "prefill")),
    ("decode", 0.8, BIG4, None),
    ("decode", 1.8, BIG4, BIG_Q4),
    ("prefill", 2.5, BIG4, BIG_Q4),
    ("prefill", 1.2, BIG4, BIG_K),
    ("first", 2.0, BIG4, BIG_Q4),
    ("first", 1.2, BIG8, BIG_Q8),
]
NAMES = {"decode": "tokens generated", "prefill": "tokens of a prompt", "first": "first token"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this subject, besides the number of turns."""
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--prompt", type=int, default=256, help="tokens (%(default)s)")
    parser.add_argument("--generate", type=int, default=64, help="tokens (%(default)s)")
    parser.add_argument("--repeat", type=int, default=2, help="runs in a turn (%(default)s)")
    parser.add_argument("--part", nargs="+", choices=list(GROUPS), default=list(GROUPS), help="(all)")


def run(args: argparse.Namespace) -> "Report":
    """Checks the answers, and times the models if they are right."""
    report = Report(args)
    contest = Contest(report, args)
    contest.check()
    if not report.wrong:
        contest.measure()
    return report


class Contest:
    """The programs, and the files of the models."""

    def __init__(self, report: "Report", args: argparse.Namespace) -> None:
        self.report, self.args = report, args
        self.home = inputs.home() / "llama"
        self.home.mkdir(parents=True, exist_ok=True)
        self.store = self.home / "store"
        note("building")
        build(["cargo", "build", "--release", "-p", "longshore-run", "--example", "speed"], longshore.ROOT)
        self.speed = longshore.target() / "release" / "examples" / "speed"
        self.native: llama_native.Native | None = None
        self.candle: candle.Models | None = None
        try:
            self.native = llama_native.Native(inputs.home())
        except Unavailable as why:
            report.unavailable["llama.cpp"] = str(why)
        try:
            self.candle = candle.Models(inputs.home())
        except Unavailable as why:
            report.unavailable["candle"] = str(why)

    def check(self) -> None:
        """Compares the tokens after a prompt: with the published files, and with every file that candle runs."""
        for part in self.args.part:
            for group in GROUPS[part]:
                published, others = group in FILES, {run.peer: run for run in group[1:] if self._there(run)}
                theirs = others.get("candle") or (others.get("llama.cpp") if published else None)
                if theirs:
                    self._check(group[0], theirs, with_native=published and "llama.cpp" in others)

    def _check(self, ours: Run, theirs: Run, *, with_native: bool) -> None:
        """Compares what Longshore finds after the prompt, with the file of another program's run, with what that program finds."""
        path = self._path(theirs)
        note(f"checking {path.name}")
        found = int(self._ours(ours, "--first", ",".join(map(str, PROMPT)), file=path))
        line = f"{path.name}: token {found} after a prompt"
        if with_native:
            expected = self.native.first(path, self.args.threads, PROMPT)["token"]
            line += f", llama.cpp's is {expected}"
            self.report.wrong |= found != expected
        if theirs.peer == "candle":
            try:
                expected = self.candle.first(path, self.args.threads, PROMPT)["token"]
            except Unavailable as why:
                self.report.unavailable[_whose(theirs)] = str(why)
            else:
                line += f", candle's is {expected}"
                if found != expected:
                    line += ", which is another one: its times are in no verdict"
                    self.report.apart.add(theirs)
        self.report.checks.append(line)

    def _there(self, run: Run) -> bool:
        """Tells whether the program of a run is there, and has run its file so far."""
        programs = {"longshore": self.speed, "llama.cpp": self.native, "candle": self.candle}
        return programs[run.peer] is not None and _whose(run) not in self.report.unavailable

    def measure(self) -> None:
        """Times all groups."""
        for part in self.args.part:
            for group in GROUPS[part]:
                runs = [run for run in group if self._there(run)]
                kept = {run: self.report.rates.setdefault(run, Rates()) for run in runs}
                for run in runs:
                    self._prepare(run)
                for turn in range(self.args.turns):
                    note(f"turn {turn + 1} of {self.args.turns}, {group[0]}")
                    for run, rates in kept.items():
                        if self._there(run):
                            self._try(run, rates)
                self.report.loads.append(os.getloadavg()[0])
        note("")

    def _try(self, run: Run, rates: Rates) -> None:
        """Times a run, unless its program cannot: then the report says why, and has no times of it."""
        try:
            self._turn(run, rates)
        except Unavailable as why:
            self.report.unavailable[_whose(run)] = str(why)
            del self.report.rates[run]

    def _turn(self, run: Run, rates: Rates) -> None:
        sizes = {"prompt": self.args.prompt, "generate": self.args.generate, "repeat": self.args.repeat}
        large = run.model == "1B"
        if run.peer == "longshore":
            words = [word for name, option in NAMED.items() for word in (option, sizes[name])]
            found = json.loads(self._ours(run, *words, "--json", *(["--read"] if large else [])))
            rates.bytes = found["bytes"]
            if large:
                rates.read.append(found["read_bytes_per_second"])
                rates.first.append(self._first(run))
        elif run.peer == "candle":
            path = self._path(run)
            rates.bytes = path.stat().st_size
            found = self.candle.bench(path, self.args.threads, **sizes)
            if large:
                rates.first.append(self.candle.first(path, self.args.threads, PROMPT)["seconds"])
        else:
            repack = not run.how.startswith("--repack")
            path = self._path(run)
            rates.bytes = path.stat().st_size
            found = self.native.bench(path, self.args.threads, **sizes, repack=repack)
            if large:
                rates.first.append(self.native.first(path, self.args.threads, PROMPT, repack=repack)["seconds"])
        rates.prefill += found["prefill"]
        rates.decode += found["decode"]

    def _first(self, run: Run) -> float:
        """Returns the seconds from the start of a process until it prints the token after the prompt."""
        started = time.perf_counter()
        with subprocess.Popen(self._command(run, "--first", ",".join(map(str, PROMPT))), stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            return time.perf_counter() - started

    def _ours(self, run: Run, *words: object, file: Path | None = None) -> str:
        command = self._command(run, *words, file=file)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def _command(self, run: Run, *words: object, file: Path | None = None) -> list[str]:
        file = file or (self._path(run) if run.kind == "as published" else None)
        name = [file] if file else [self._stored(run), "--store", self.store]
        return [str(word) for word in (self.speed, *name, "--threads", self.args.threads, *words)]

    def _prepare(self, run: Run) -> None:
        self._stored(run) if run.peer == "longshore" and run.kind != "as published" else self._path(run)

    def _stored(self, run: Run) -> str:
        """Returns the name of a stored model, imported if it is missing."""
        name = f"{run.model.lower()}:{run.kind}"
        done = self.home / f"{name.replace(':', '-')}.done"
        if not done.exists():
            note(f"importing {name}")
            policy = self.home / "head.toml"
            policy.write_text(HEAD)
            source = [self._checkpoint()] if run.model == "1B" else [_published(SMOL), "--requantize"]
            how = ["--policy", "uniform" if run.model == "1B" else policy, "--quantize", run.kind]
            build([longshore.program(), "--store", self.store, "import", *source, name, *how], longshore.ROOT)
            done.touch()
        return name

    def _path(self, run: Run) -> Path:
        """Returns the GGUF file of a model, made if it is missing."""
        if run.kind == "as published":
            return _published(GEMMA if run.model.startswith("Gemma") else SMOL)
        path = self.home / f"{run.model.lower()}-{run.kind.lower()}.gguf"
        if run.model == "1B" and run.kind != "Q4_K_M":
            self._export(path, run.kind.lower())
        else:
            origin = self._path(BIG_Q8) if run.model == "1B" else _published(SMOL)
            self.native.quantize(origin, path, run.kind, self.args.threads)
        return path

    def _export(self, path: Path, kind: str) -> None:
        if path.exists():
            return
        name, partial = "1b:float", self.home / "partial"
        ours = [longshore.program(), "--store", self.store]
        build([*ours, "import", self._checkpoint(), name], longshore.ROOT)
        out = ["export", name, partial, "--format", "gguf", "--type", kind, "--no-tokenizer"]
        build([*ours, *out], longshore.ROOT)
        next(partial.glob("*.gguf")).rename(path)
        partial.rmdir()
        build([*ours, "rm", name], longshore.ROOT)

    def _checkpoint(self) -> Path:
        return inputs.model("llama-1b", 0).path


def _whose(run: Run) -> str:
    """Names a run and its program."""
    return f"{run.peer}'s {run}"


def _published(name: str) -> Path:
    """Returns the path of a published file."""
    try:
        return published.real(f"{name}.gguf")
    except published.NoFile as why:
        raise Unavailable(str(why)) from why


NAMED = {"prompt": "--prefill", "generate": "--decode", "repeat": "--repeat"}


class Report:
    """Answers, times and figures."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.rates: dict[Run, Rates] = {}
        self.checks: list[str] = []
        self.unavailable: dict[str, str] = {}
        # What finds another token than Longshore.
        self.apart: set[Run] = set()
        self.loads: list[float] = []
        self.wrong = False
        self.command = ""
        self.versions = {"longshore": longshore.version(), "llama.cpp": llama_native.version(), "candle": candle.version()}
        self.start = machine.load()

    def text(self) -> str:
        """Formats all results for a terminal."""
        head = [
            f"$ {self.command}",
            f"{machine.describe()}; {self.start}, {max(self.loads, default=0):.1f} at most; {self.args.threads} threads",
            source(),
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        ]
        parts = ["\n".join(head)]
        if self.checks:
            parts.append("Answers\n" + "\n".join(f"  {line}" for line in self.checks))
        if self.unavailable:
            parts.append("Not measured\n" + "\n".join(f"  {peer}: {why}" for peer, why in self.unavailable.items()))
        if not self.wrong:
            parts += [aligned(self._measured()), aligned(self._figures()), NOTES]
        return "\n\n".join(parts)

    def record(self, home: Path) -> list[Path]:
        """Writes the rows and the terminal's text. Files of the same machine and day are replaced."""
        folder = home / machine.name() / datetime.date.today().isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        rows, shown = folder / "llama.csv", folder / "llama.txt"
        with rows.open("w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow("peer version model kind how threads bytes what runs best median".split())
            for run, rates in self.rates.items():
                for what, found in (("prefill", rates.prefill), ("decode", rates.decode), ("first", rates.first)):
                    about = [run.peer, self.versions[run.peer], run.model, run.kind, run.how, self.args.threads]
                    if found:
                        values = [f"{value:.6g}" for value in (_best(what, found), statistics.median(found))]
                        out.writerow([*about, rates.bytes, what, len(found), *values])
        shown.write_text(self.text() + "\n")
        return [rows, shown]

    def _measured(self) -> list[list[str]]:
        rows = [["PROGRAM", "MODEL", "MB", "PROMPT/S", "MEDIAN", "TOKENS/S", "MEDIAN", "GB/S", "FIRST", "MEDIAN"]]
        for run, rates in self.rates.items():
            cells = [run.peer, str(run), f"{rates.bytes / 1e6:.1f}"]
            for what, found in (("prefill", rates.prefill), ("decode", rates.decode)):
                cells += [f"{_best(what, found):.1f}", f"{statistics.median(found):.1f}"]
            cells.append(f"{max(rates.decode) * rates.bytes / 1e9:.1f}")
            if rates.first:
                cells += [f"{seconds * 1e3:.0f} ms" for seconds in (min(rates.first), statistics.median(rates.first))]
            rows.append(cells + [""] * (len(rows[0]) - len(cells)))
        return rows

    def _figures(self) -> list[list[str]]:
        rows = ["FIGURE|AT LEAST|BY BEST|BY MEDIAN|".split("|")]
        for what, target, ours, theirs in FIGURES:
            mine, others = self.rates.get(ours), self.rates.get(theirs) if theirs else None
            if mine is None or (theirs and others is None) or theirs in self.apart:
                continue
            if others is None:
                rates = [rate * mine.bytes for rate in mine.decode]
                ratios = [max(rates) / max(mine.read), statistics.median(rates) / statistics.median(mine.read)]
                against = "reading the same bytes"
            else:
                pairs = [(_best(what, found), statistics.median(found)) for found in (vars(mine)[what], vars(others)[what])]
                ratios = [one / other for one, other in zip(*pairs)]
                ratios = [1 / ratio for ratio in ratios] if what == "first" else ratios
                against = _whose(theirs)
            verdict = "met" if ratios[0] >= target else "missed"
            name = f"{ours}, {NAMES[what]}, against {against}"
            rows.append([name, f"{target:g}", *(f"{ratio:.2f}" for ratio in ratios), verdict])
        return rows


def _best(what: str, found: list[float]) -> float:
    return min(found) if what == "first" else max(found)


NOTES = """Tokens a second: PROMPT/S of a prompt, TOKENS/S generated from an empty sequence. MB are the bytes that a generated token reads: all weights, as the
embedding is the head. llama.cpp's and candle's are those of the file. FIRST is a prompt of five tokens until the token after it, files in memory.
candle multiplies Q4_1, Q5_0 and Q5_1 by generic code: it has kernels of its own for Q4_0, Q8_0 and Q2_K to Q6_K."""
