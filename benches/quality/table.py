#!/usr/bin/env python3
"""Measures what each type, profile and policy costs two real models, and writes the table of crates/run/docs/quality.md.

    python3 benches/quality/table.py                      # both models, all rows that have no result yet: hours on two cores
    python3 benches/quality/table.py --model smollm2 --row int4-plus --row int4-best
    python3 benches/quality/table.py --page               # only the page, from the recorded results

It fetches two published GGUF files, takes their weights off the grid of their codes (offgrid.py), stores them as F16, imports
that model once for each row, and lets `longshore perplexity` compare each with the floats on the exact path. Results are
kept in record.json after each batch of rows on each part of the text, so that an interrupted run goes on where it was. All rows
are measured on the first part before any is on the second. Models and statistics lie in target/quality. It needs Python 3.10,
Rust and the network.
"""

import argparse
import json
import lzma
import shlex
import subprocess
import sys
import time
from pathlib import Path

import page
import rows

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HOME = ROOT / "target" / "quality"
RECORD = HERE / "record.json"
sys.path[:0] = [str(ROOT / "benches" / "compare" / "peers"), str(ROOT / "benches" / "python")]

import environment  # noqa: E402
import published  # noqa: E402

MODELS = {
    "smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "gemma3": "gemma-3-270m-q4_k_m.gguf",
}
BATCH = 5
# Parts of the test text, which are measured one by one. Each fills five windows of 512 tokens.
PARTS = 8


class Bench:
    """The files of one model, each made when it is first needed."""

    def __init__(self, model: str, options: argparse.Namespace) -> None:
        self.model, self.options = model, options
        self.home = HOME / model
        self.home.mkdir(parents=True, exist_ok=True)
        self.longshore = [*options.longshore, "--quiet", "--store", str(self.home / "store")]

    def file(self) -> Path:
        """The published file."""
        return published.real(MODELS[self.model])

    def floats(self, kind: str = "floats") -> Path:
        """The checkpoint of the float row, the same as BF16 (`bf16`), or that of the file's decoded weights (`as-is`)."""
        directory = self.home / kind
        if not (directory / "model.safetensors").exists():
            python = str(environment.interpreter("gguf"))
            made = [python, str(HERE / "offgrid.py"), str(self.file()), str(directory)]
            kinds = {"floats": [], "bf16": ["--dtype", "BF16"], "as-is": ["--as-is"]}
            self.run([*made, *kinds[kind], "--longshore", *self.options.longshore])
        return directory

    def text(self, name: str) -> Path:
        """A text of the repository, unpacked."""
        path = HOME / f"{name}.txt"
        path.write_bytes(unpacked(name))
        return path

    def part(self, at: int) -> Path:
        """A part of the test text."""
        text = unpacked("test")
        cuts = [0, *(text.rindex(b"\n", 0, len(text) * cut // PARTS) + 1 for cut in range(1, PARTS)), len(text)]
        path = HOME / f"test-{at + 1}.txt"
        path.write_bytes(text[cuts[at] : cuts[at + 1]])
        return path

    def statistics(self) -> Path:
        """Statistics of the inputs of the floats' linear layers, on the calibration text."""
        path = self.home / "statistics.safetensors"
        if not path.exists():
            part = path.with_suffix(".part")
            part.unlink(missing_ok=True)
            self.run([*self.longshore, "calibrate", str(self.floats()), "--text", str(self.text("calibration")), str(part)])
            part.rename(path)
        return path

    def policy(self, name: str) -> str:
        """A policy by its name: a built-in one, or `default` with a rule before its own."""
        if name not in rows.POLICIES:
            return name
        shown = subprocess.run([*self.longshore, "policy", "show", "default"], check=True, stdout=subprocess.PIPE, text=True)
        before, rule, after = shown.stdout.partition("[[rule]]")
        path = self.home / f"{name}.toml"
        path.write_text(f"{before}{rows.POLICIES[name]}\n{rule}{after}")
        return str(path)

    def target(self, row: rows.Row) -> str:
        """The model of a row, as `longshore perplexity` takes it."""
        if row.quantize is None:
            return str(self.file())
        name = f"{self.model}:{row.name}"
        if (self.home / "store" / "manifests").exists() and list(
            (self.home / "store" / "manifests").glob(f"*/*/{self.model}/{row.name}")
        ):
            return name
        importing = ["import", str(self.floats(row.floats)), name, "--quantize", row.quantize, "--profile", row.profile]
        importing += ["--policy", self.policy(row.policy)]
        if row.importance:
            importing += ["--importance", str(self.statistics())]
        self.run([*self.longshore, *importing], stdout=subprocess.DEVNULL)
        return name

    def measure(self, batch: list[rows.Row], part: int) -> list[dict]:
        """Measures the floats, and rows against them, on a part of the text."""
        targets = [str(self.floats()), *(self.target(row) for row in batch)]
        command = [*self.longshore, "perplexity", *targets, "--text", str(self.part(part)), "--json"]
        report = json.loads(self.run(command, stdout=subprocess.PIPE).stdout)
        members = ["bits_per_weight", "perplexity", "kl", "top1", "delta_nll", "delta_standard_error"]
        shared = {"tokens": report["tokens"], "window": report["window"]}
        return [{**shared, **{member: found[member] for member in members}} for found in report["models"]]

    def run(self, command: list[str], **more) -> subprocess.CompletedProcess:
        """Runs a command, and prints it and the time that it took."""
        print(f"$ {shlex.join(command)}", file=sys.stderr, flush=True)
        start = time.monotonic()
        done = subprocess.run(command, check=True, text=True, cwd=ROOT, **more)
        print(f"  {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, action="append", help="only this model; may be given several times")
    names = [row.name for row in rows.ROWS]
    parser.add_argument("--row", choices=names, action="append", metavar="ROW", help=f"only this row: {', '.join(names)}")
    parser.add_argument("--parts", type=int, default=PARTS, help="only so many parts of the text (%(default)s)")
    parser.add_argument("--batch", type=int, default=BATCH, help="rows that share one pass of the floats (%(default)s)")
    default = ["cargo", "run", "--quiet", "--release", "--"]
    parser.add_argument("--longshore", nargs="+", default=default, help="the command that runs longshore")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page")
    options = parser.parse_args()
    for part in [] if options.page else range(options.parts):
        for model in options.model or list(MODELS):
            measure(Bench(model, options), part, [row for row in rows.ROWS if row.name in (options.row or names)])
    page.write(recorded())
    return 0


def measure(bench: Bench, part: int, wanted: list[rows.Row]) -> None:
    """Measures the rows that have no result on a part of the text yet, and keeps the results."""
    known = recorded().get(bench.model, {}).get(str(part + 1), {})
    missing = [row for row in wanted if row.name not in known]
    for start in range(0, len(missing), bench.options.batch):
        batch = missing[start : start + bench.options.batch]
        done = f"{len(wanted) - len(missing) + start} of {len(wanted)} rows done"
        print(f"{bench.model}: part {part + 1} of {PARTS}, {done}", file=sys.stderr, flush=True)
        found = bench.measure(batch, part)
        # Another run may have measured something else meanwhile.
        record = recorded()
        kept = record.setdefault(bench.model, {}).setdefault(str(part + 1), {})
        kept |= dict(zip(["floats", *(row.name for row in batch)], found))
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def unpacked(name: str) -> bytes:
    """Returns a text of the repository."""
    return lzma.decompress((HERE / "text" / f"{name}.txt.xz").read_bytes())


def recorded() -> dict:
    """Returns the recorded results, by model."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (published.NoFile, environment.EnvironmentFailure) as reason:
        sys.exit(f"error: {reason}")
    except subprocess.CalledProcessError as failure:
        sys.exit(f"error: status {failure.returncode} of {shlex.join(failure.cmd)}")
