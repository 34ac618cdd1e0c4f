"""Time and memory against size, at 1 and 2 threads, of each journey: import, quantize, load, pull and run.

    python3 benches/compare/scaling.py [--longshore PROGRAM] [--sizes 25 50 100 200] [--turns 3] [--record]

Checkpoints of a few sizes in megabytes are made up: Llama's names, BF16, finite values. Each is imported as it is, quantized to int4, loaded,
and pulled from a server on this machine that answers as Ollama's registry; `run` continues a prompt with mixtures of experts of the same
sizes, Q4_0. A process may use as many processors as it has threads. The best of the turns, and the most memory that no file backs. `--record`
writes `scaling.csv` and a picture of each journey into the record. It needs Linux, where a process can be given processors and says its memory.
"""

import argparse
import csv
import json
import os
import random
import shutil
import struct
import sys
import threading
from datetime import date
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jobs
import machine
import plot
from experts.model import Sizes, write
from peers import longshore

MB, HIDDEN, INNER = 1_000_000, 1024, 2816
RECORD = Path(__file__).resolve().parents[1] / "record"
JOURNEYS = {
    "import": "Importing a checkpoint as it is",
    "quantize": "Importing a checkpoint as int4",
    "load": "Loading a stored model, and touching its pages",
    "pull": "Pulling a model from this machine",
    "run": "Running a mixture of experts, 32 tokens",
}


def main() -> None:
    """Runs all journeys and prints a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longshore", type=Path, help="the program; built if not given")
    parser.add_argument("--scratch", type=Path, default=longshore.ROOT / "target" / "compare" / "scaling")
    parser.add_argument("--sizes", type=int, nargs="+", default=[25, 50, 100, 200], help="megabytes")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    shutil.rmtree(options.scratch, ignore_errors=True)
    options.scratch.mkdir(parents=True)
    program = options.longshore or longshore.program()
    models = {size: Journeys(program, options.scratch / str(size), size) for size in options.sizes}
    rows = []
    for journey in JOURNEYS:
        for size, model in models.items():
            for threads in options.threads:
                runs = [model.go(journey, threads) for _ in range(options.turns)]
                best, most = min(run.seconds for run in runs), max(run.private or 0 for run in runs)
                row = {"journey": journey, "bytes": model.bytes[journey], "threads": threads, "seconds": round(best, 4), "private": most}
                rows.append(row)
                print(f"{journey} {row['bytes'] / MB:.0f} MB, {threads} threads: {best:.3f} s, {most / MB:.1f} MB", flush=True)
    shutil.rmtree(options.scratch)
    print(f"load average {Path('/proc/loadavg').read_text().split()[:3]}" if Path("/proc/loadavg").exists() else "")
    if options.record:
        _record(rows)


class Journeys:
    """A model of one size, and the programs that work on it."""

    def __init__(self, program: Path, scratch: Path, size: int) -> None:
        self._program, self._scratch = program, scratch
        scratch.mkdir()
        self._checkpoint = scratch / "checkpoint"
        length = _checkpoint(self._checkpoint, size * MB)
        self._store = scratch / "store"
        self._ask(self._store, "import", self._checkpoint, "m")
        sizes = Sizes(layers=2, experts=8)
        of_layer = sizes.experts * sizes.unit
        sizes = Sizes(layers=max(1, round(size * MB / of_layer)), experts=8, top_k=2)
        self._gguf = scratch / sizes.name
        write(self._gguf, sizes)
        self.bytes = dict.fromkeys(JOURNEYS, length) | {"run": self._gguf.stat().st_size}

    def go(self, journey: str, threads: int) -> jobs.Run:
        """Runs a journey once."""
        fresh = self._scratch / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        ask = partial(self._ask, threads=threads)
        if journey == "import":
            return ask(fresh, "import", self._checkpoint, "m")
        if journey == "quantize":
            return ask(fresh, "import", self._checkpoint, "m", "--quantize", "int4", "--policy", "uniform")
        if journey == "load":
            return ask(self._store, "load", "m")
        if journey == "run":
            return ask(fresh, "run", self._gguf, "The ship", "--max-tokens", 32, "--max-seq", 128, "--temperature", 1, "--seed", 7)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Registry, self._store))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            return ask(fresh, "pull", f"ollama:localhost:{server.server_port}/library/m:latest", "m")
        finally:
            server.shutdown()
            server.server_close()

    def _ask(self, store: Path, *words: object, threads: int = 2) -> jobs.Run:
        processors = ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))
        return jobs.execute(["taskset", "-c", processors, self._program, "--quiet", "--store", store, *words])


class _Registry(BaseHTTPRequestHandler):
    """Answers as Ollama's registry, out of a store."""

    protocol_version = "HTTP/1.1"

    def __init__(self, store: Path, *rest: object) -> None:
        self._store = store
        super().__init__(*rest)

    def do_GET(self) -> None:  # noqa: N802
        """Sends a manifest or a blob, or the part of it that was asked for."""
        kind, what = self.path.split("/")[-2:]
        if kind == "manifests":
            path = next(path for path in (self._store / "manifests").rglob("*") if path.is_file())
        else:
            path = self._store / "blobs" / what.replace(":", "-")
        content = path.read_bytes()
        asked = self.headers.get("Range")
        start, _, end = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        part = content[int(start) : int(end) + 1 if end else None]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{int(start) + len(part) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _checkpoint(path: Path, size: int) -> int:
    """Writes a checkpoint of about so many bytes, and returns the bytes of its tensors."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "hidden_size": HIDDEN}))
    parts = [("self_attn.q_proj", HIDDEN, HIDDEN), ("self_attn.o_proj", HIDDEN, HIDDEN)]
    parts += [(f"mlp.{part}_proj", INNER, HIDDEN) for part in ("gate", "up")] + [("mlp.down_proj", HIDDEN, INNER)]
    of_layer = sum(2 * rows * columns for _, rows, columns in parts)
    tensors = [
        (f"model.layers.{layer}.{name}.weight", rows, columns)
        for layer in range(max(1, round(size / of_layer)))
        for name, rows, columns in parts
    ]
    header, at = {}, 0
    for name, rows, columns in tensors:
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [at, at + 2 * rows * columns]}
        at += 2 * rows * columns
    text = json.dumps(header).encode()
    # Bytes of this range make finite values, in either half.
    table, source = bytes(0x38 | byte & 0x87 for byte in range(256)), random.Random(7)
    with (path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, rows, columns in tensors:
            file.write(source.randbytes(2 * rows * columns).translate(table))
    return at


def _record(rows: list[dict]) -> None:
    folder = RECORD / machine.name() / date.today().isoformat()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "scaling.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    for journey, title in JOURNEYS.items():
        lines = {"seconds": {}, "MB of private memory": {}}
        for row in (row for row in rows if row["journey"] == journey):
            name = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
            lines["seconds"].setdefault(name, []).append((row["bytes"] / MB, row["seconds"]))
            lines["MB of private memory"].setdefault(name, []).append((row["bytes"] / MB, row["private"] / MB))
        (folder / f"scaling-{journey}.svg").write_text(plot.lines(title, "MB", lines))


if __name__ == "__main__":
    sys.exit(main())
