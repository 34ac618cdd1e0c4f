#!/usr/bin/env python3
"""Measures what each type, profile and policy costs two real models, and writes the table of crates/run/docs/quality.md.

    python3 benches/quality/table.py                      # both models, all rows that have no result yet: hours on two cores
    python3 benches/quality/table.py --model smollm2 --row int4-plus --row int4-best
    python3 benches/quality/table.py --draws 8            # the rows that are close, for floats made with eight seeds
    python3 benches/quality/table.py --page               # only the page, from the recorded results

It fetches two published GGUF files, takes their weights off the grid of their codes (offgrid.py), stores them as F16, imports
that model once for each row, and lets `longshore perplexity` compare each with the floats on the exact path. Results are
kept in record.json after each batch of rows on each part of the text, so that an interrupted run goes on where it was. All rows
are measured on the first part before any is on the second. Models and statistics lie in target/quality. It needs Python 3.10,
Rust and the network.

The floats are one draw of many that compute the same. Two ways to round that are equally good differ on one draw by luck,
and no length of text tells luck from merit. So `--draws` measures the rows that are close on the first part of the text for as many
draws, and keeps the results in draws.json.
"""

import argparse
import json
import lzma
import shlex
import shutil
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
DRAWS = HERE / "draws.json"
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

    def __init__(self, model: str, options: argparse.Namespace, seed: int | None = None) -> None:
        self.model, self.options, self.seed = model, options, seed
        self.home = HOME / (model if seed is None else f"{model}-{seed}")
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
            drawn = [] if self.seed is None else ["--seed", str(self.seed)]
            self.run([*made, *kinds[kind], *drawn, "--longshore", *self.options.longshore])
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

    def rotated(self, seed: int) -> str:
        """The floats with a rotated residual stream, a model of the store."""
        name = f"{self.model}:rotated-{seed}"
        if not self.is_stored(name):
            importing = ["import", str(self.floats()), name, "--rotate", str(seed)]
            self.run([*self.longshore, *importing], stdout=subprocess.DEVNULL)
        return name

    def hessians(self, text: str, rotate: int | None) -> Path:
        """Products of the inputs of the floats' linear layers, rotated or not, on a text: `calibration`, or `held`."""
        floats, of = (str(self.floats()), "") if rotate is None else (self.rotated(rotate), f"-rotated-{rotate}")
        path = self.home / f"hessians-{text}{of}.safetensors"
        if not path.exists():
            part = path.with_suffix(".part")
            part.unlink(missing_ok=True)
            recording = ["calibrate", floats, "--text", str(self.share(text)), str(part), "--hessians"]
            self.run([*self.longshore, *recording])
            part.rename(path)
        return path

    def share(self, text: str) -> Path:
        """The first nine tenths of the calibration text, or the rest, by which codes are compared."""
        whole = unpacked("calibration")
        cut = whole.rindex(b"\n", 0, len(whole) * 9 // 10) + 1
        path = HOME / f"calibration-{text}.txt"
        path.write_bytes(whole[:cut] if text == "calibration" else whole[cut:])
        return path

    def fitted(self, row: rows.Row) -> str:
        """A policy that is fitted to the bits of a row."""
        path = self.home / f"{row.name}.toml"
        if not path.exists():
            stored = f"{self.model}:floats"
            if not self.is_stored(stored):
                self.run([*self.longshore, "import", str(self.floats()), stored], stdout=subprocess.DEVNULL)
            bits = row.fit if isinstance(row.fit, float) else self.bits(row.fit)
            fitting = ["policy", "fit", stored, "--bits", str(bits), "--stats", str(self.statistics()), "--output", str(path)]
            self.run([*self.longshore, *fitting], stdout=subprocess.DEVNULL)
        return str(path)

    def bits(self, name: str) -> float:
        """Bits for each weight of a row that was measured."""
        parts = recorded().get(self.model, {}).values()
        found = next((part[name]["bits_per_weight"] for part in parts if name in part), None)
        if found is None:
            sys.exit(f"error: {self.model} has no row {name} yet, whose bits are to be kept: measure it first")
        return found

    def policy(self, row: rows.Row) -> str:
        """The policy of a row: a built-in one, `default` with a rule before its own, or one that is fitted."""
        name = row.policy
        if row.fit is not None:
            return self.fitted(row)
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
        if row.quantize == "q4_k_m":
            return str(self.of_llama_cpp())
        name = f"{self.model}:{row.name}"
        if self.is_stored(name):
            return name
        floats = self.floats(row.floats)
        if row.rotate is not None and row.hessians:
            # Hessians are of the rotated model, which is stored before it is quantized.
            floats = self.manifest(self.rotated(row.rotate))
        importing = ["import", str(floats), name, "--quantize", row.quantize, "--profile", row.profile]
        importing += ["--policy", self.policy(row)]
        if row.importance:
            importing += ["--importance", str(self.statistics())]
        if row.hessians:
            importing += ["--hessians", str(self.hessians("calibration", row.rotate)), "--held", str(self.hessians("held", row.rotate))]
        if row.awq is not None:
            importing += [f"--awq={row.awq}"]
        if row.rotate is not None and not row.hessians:
            importing += ["--rotate", str(row.rotate)]
        self.run([*self.longshore, *importing], stdout=subprocess.DEVNULL)
        return name

    def manifest(self, name: str) -> Path | None:
        """The manifest of a model of the store, if it is there."""
        model, tag = name.split(":")
        return next((self.home / "store" / "manifests").glob(f"*/*/{model}/{tag}"), None)

    def is_stored(self, name: str) -> bool:
        """Whether the store has a model of this name."""
        return self.manifest(name) is not None

    def of_llama_cpp(self) -> Path:
        """The decoded weights of llama.cpp's Q4_K_M of the floats."""
        directory = self.home / "q4_k_m"
        if not (directory / "bits.json").exists():
            python = str(environment.interpreter("gguf"))
            self.run([python, str(HERE / "q4_k_m.py"), str(self.floats()), str(self.statistics()), str(directory)])
        return directory

    def measure(self, batch: list[rows.Row], part: int) -> list[dict]:
        """Measures the floats, and rows against them, on a part of the text."""
        targets = [str(self.floats()), *(self.target(row) for row in batch)]
        command = [*self.longshore, "perplexity", *targets, "--text", str(self.part(part)), "--json"]
        report = json.loads(self.run(command, stdout=subprocess.PIPE).stdout)
        members = ["bits_per_weight", "perplexity", "kl", "top1", "delta_nll", "delta_standard_error"]
        shared = {"tokens": report["tokens"], "window": report["window"]}
        measured = [{**shared, **{member: found[member] for member in members}} for found in report["models"]]
        for row, found in zip(batch, measured[1:]):
            if row.quantize == "q4_k_m":
                # The checkpoint holds the decoded weights.
                found["bits_per_weight"] = json.loads((self.of_llama_cpp() / "bits.json").read_text())
        return measured

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
    parser.add_argument("--draws", type=int, metavar="N", help="measure the rows that are close for N draws of the floats")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page")
    options = parser.parse_args()
    if options.draws:
        for seed in range(1, options.draws + 1):
            for model in options.model or list(MODELS):
                draw(model, options, seed)
        page.write(recorded(), recorded(DRAWS))
        return 0
    for part in [] if options.page else range(options.parts):
        for model in options.model or list(MODELS):
            wanted = [row for row in rows.ROWS if row.name in (options.row or names) and model in (row.models or MODELS)]
            measure(Bench(model, options), part, wanted)
    page.write(recorded(), recorded(DRAWS))
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
        keep(RECORD, record)


def draw(model: str, options: argparse.Namespace, seed: int) -> None:
    """Measures the rows that are close for one draw of the floats, keeps the results and deletes the models."""
    if str(seed) in recorded(DRAWS).get(model, {}):
        return
    bench = Bench(model, options, seed)
    wanted = [row for row in rows.ROWS if row.name in rows.DRAWN]
    found = bench.measure(wanted, 0)
    record = recorded(DRAWS)
    record.setdefault(model, {})[str(seed)] = dict(zip(["floats", *(row.name for row in wanted)], found))
    keep(DRAWS, record)
    shutil.rmtree(bench.home)


def unpacked(name: str) -> bytes:
    """Returns a text of the repository."""
    return lzma.decompress((HERE / "text" / f"{name}.txt.xz").read_bytes())


def recorded(path: Path = RECORD) -> dict:
    """Returns recorded results, by model."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep(path: Path, record: dict) -> None:
    """Writes results."""
    path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (published.NoFile, environment.EnvironmentFailure) as reason:
        sys.exit(f"error: {reason}")
    except subprocess.CalledProcessError as failure:
        sys.exit(f"error: status {failure.returncode} of {shlex.join(failure.cmd)}")
