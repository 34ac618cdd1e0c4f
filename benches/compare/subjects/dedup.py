"""Variants and fine-tunes of one model in one store: their size together, against their sum and against 64 KiB chunks.

The store has one model unquantized and quantized in five schemes, and two fine-tunes that changed some of its tensors.
Longshore stores each tensor once. For comparison, the same models as files (the checkpoints, and exports of the
quantized models) are cut into content-defined chunks, as Hugging Face's Xet cuts them.
"""

import argparse
import csv
import datetime
import json
from dataclasses import dataclass, field
from pathlib import Path

import contest
import inputs
import jobs
import machine
import plot
import tensors
from inputs import Model
from peers import longshore
from report import aligned, source
from worker import note

TURNS = 1
arguments = contest.arguments

SCHEMES = ["int8", "int4", "nvfp4", "mxfp4", "mxfp8"]
# The fine-tunes, and words in the names of the tensors that each has changed.
TUNED = {"tuned-attention": ("self_attn.q_proj", "self_attn.v_proj"), "tuned-head": ("lm_head", "model.norm")}
COLUMNS = "model,files_bytes,size_bytes,unique_bytes,new_bytes,blobs,new_blobs,chunks,new_chunk_bytes".split(",")


@dataclass
class Shares:
    """The stored models, in the order in which they were added, with their sizes."""

    input: list[str]
    rows: list[dict[str, int | str]] = field(default_factory=list)
    shared: list[tuple[int, int, str]] = field(default_factory=list)  # models, bytes, which
    checks: list[str] = field(default_factory=list)
    wrong: bool = False
    disk: int = 0
    source: str = field(default_factory=source)
    command: str = ""
    subject: str = "dedup"

    def say(self, right: bool, line: str) -> None:
        """Records whether an answer is right."""
        self.wrong |= not right
        self.checks.append(f"{'right' if right else 'WRONG'}  {line}")

    def total(self, column: str) -> int:
        """Returns the sum of a column."""
        return sum(int(row[column]) for row in self.rows)

    def savings(self) -> dict[str, float]:
        """Returns the share of the input's bytes that each method saves, from 0 to 1."""
        return {
            "tensors kept once": 1 - self.total("new_bytes") / self.total("size_bytes"),
            "64 KiB chunks": 1 - self.total("new_chunk_bytes") / self.total("files_bytes"),
        }

    def text(self) -> str:
        """Formats all results for a terminal."""
        parts = ["\n".join([f"$ {self.command}", machine.describe(), self.source, *self.input])]
        parts.append("Answers\n" + "\n".join(f"  {line}" for line in self.checks))
        if self.wrong:
            return "\n\n".join(parts)
        head = "MODEL FILES SIZE UNIQUE NEW BLOBS NEW-BLOBS CHUNKS IN-NEW-CHUNKS".split()
        table = [head, *([str(row["model"]), *map(_cell, list(row.items())[1:])] for row in self.rows)]
        table.append(["together", *(_cell((column, self.total(column))) for column in COLUMNS[1:])])
        table[-1][3] = ""
        parts.append(aligned(table))
        ways = [f"{way}: {saved * 100:.1f} % of their sum is saved" for way, saved in self.savings().items()]
        parts.append("\n".join([*ways, f"on disk, with manifests and companion files: {self.disk / 1e6:.1f} MB"]))
        shown = [["BYTES", "SHARED BY"], *([_cell(("bytes", size)), names] for _, size, names in self.shared)]
        parts.append(aligned(shown))
        parts.append(
            "SIZE and UNIQUE are those of `longshore list`; UNIQUE bytes belong to no other model. NEW bytes are in no model above.\n"
            "A rolling hash cuts the model's files, FILES bytes, into CHUNKS of 8 to 128 KiB, expected every 64 KiB.\n"
            "Chunks can also share a part of a tensor, where a fine-tune changed a few rows; here each changed whole tensors."
        )
        return "\n\n".join(parts)

    def record(self, home: Path) -> list[Path]:
        """Writes the rows, the picture and the terminal's text. Files of the same machine and day are replaced."""
        folder = home / machine.name() / datetime.date.today().isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        rows, shown, picture = (folder / f"{self.subject}.{end}" for end in ("csv", "txt", "svg"))
        with rows.open("w", newline="") as file:
            out = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            out.writeheader()
            out.writerows(self.rows)
        shown.write_text(self.text() + "\n")
        picture.write_text(plot.bars("Eight models that share tensors, MB", {"": bars(self.rows)}))
        return [rows, shown, picture]


def bars(rows: list[dict[str, int | str]]) -> list[plot.Bar]:
    """Returns bars of the total size under each method."""
    sums = {column: sum(int(row[column]) for row in rows) / 1e6 for column in COLUMNS[1:]}
    lines = [
        ("each by itself, as files", "files_bytes", "peer"),
        ("files, in chunks of 64 KiB", "new_chunk_bytes", "peer"),
        ("each by itself, in a store", "size_bytes", "peer"),
        ("together in one store", "new_bytes", "ours"),
    ]
    return [plot.Bar(label, sums[column], f"{sums[column]:.0f} MB", kind) for label, column, kind in lines]


def run(args: argparse.Namespace) -> Shares:
    """Stores the models, and cuts their files into chunks."""
    base = inputs.model("llama", args.bytes)
    tuned = [
        inputs.tuned(base, contest.fresh(name), words, seed) for seed, (name, words) in enumerate(TUNED.items(), 1)
    ]
    shares = Shares(
        [base.describe(), *(f"{m.name}: the same, values moved in {' and '.join(TUNED[m.name])}" for m in tuned)]
    )
    store = contest.fresh("variants")
    models = [_stored(shares, store, base, "float"), *(_quantized(shares, store, base, scheme) for scheme in SCHEMES)]
    models += [_stored(shares, store, model, model.name) for model in tuned]
    _count(shares, store, models)
    found = contest.ask("verify", store=store)
    shares.say(not found["bad"], f"longshore verify finds {found['blobs']} blobs and none of them bad")
    shares.disk = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    return shares


def _stored(shares: Shares, store: Path, model: Model, name: str) -> Model:
    note(f"importing {name}")
    contest.ask("import", model.path, name, store=store)
    out = contest.fresh("export")
    contest.ask("export", name, out, store=store)
    problem = tensors.different(tensors.hashes(out), tensors.hashes(model.path))
    shares.say(not problem, f"{name}: exported again, its tensors are the source's, {problem or 'byte for byte'}")
    return Model(name, model.path)


def _quantized(shares: Shares, store: Path, model: Model, scheme: str) -> Model:
    note(f"importing {scheme}")
    contest.ask("import", model.path, scheme, "--quantize", scheme, store=store)
    out = contest.fresh(f"export-{scheme}")
    contest.ask("export", scheme, out, "--format", "mlx", store=store)
    found = jobs.execute([longshore.example("load"), "longshore", store, scheme]).answer["sum"]
    right = found == tensors.total(out)
    shares.say(right, f"{scheme}: exported for mlx-lm, its tensors have the bytes that are stored, by their sum")
    return Model(scheme, out)


def _count(shares: Shares, store: Path, models: list[Model]) -> None:
    listed = {entry["name"].partition(":")[0]: entry for entry in contest.ask("list", store=store)["models"]}
    chunks = _chunks(models)
    holders: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for model in models:
        layers = _layers(store, model.name)
        new = {digest: size for digest, size in layers.items() if digest not in sizes}
        sizes |= layers
        for digest in layers:
            holders.setdefault(digest, []).append(model.name)
        entry, cut = listed[model.name], chunks[model.name]
        values = [cut[0], entry["size"], entry["unique_size"], sum(new.values()), len(layers), len(new), cut[2], cut[1]]
        shares.rows.append(dict(zip(COLUMNS, [model.name, *values])))
    groups: dict[tuple[str, ...], int] = {}
    for digest, names in holders.items():
        groups[tuple(names)] = groups.get(tuple(names), 0) + sizes[digest]
    shares.shared = sorted(((len(names), size, ", ".join(names)) for names, size in groups.items()), reverse=True)
    for model in models:
        mine = sum(size for names, size in groups.items() if names == (model.name,))
        right = mine == listed[model.name]["unique_size"]
        shares.say(right, f"{model.name}: {mine} bytes that no other model has, by the manifests and by longshore list")
    blobs = sum(path.stat().st_size for path in (store / "blobs").iterdir())
    counted = shares.total("new_bytes")
    shares.say(blobs == counted, f"the blobs on disk have {blobs} bytes, the manifests name {counted}")


def _layers(store: Path, name: str) -> dict[str, int]:
    """Returns the blobs of a model and their sizes, from its manifest."""
    (path,) = (path for path in (store / "manifests").rglob("latest") if path.parent.name == name)
    manifest = json.loads(path.read_text())
    return {layer["digest"]: layer["size"] for layer in [manifest["config"], *manifest["layers"]]}


def _chunks(models: list[Model]) -> dict[str, tuple[int, int, int]]:
    """Returns per model the bytes of its files, the bytes in chunks of no earlier model, and the chunks' number."""
    note("cutting chunks")
    command = [longshore.example("chunks"), *(model.path for model in models)]
    done = jobs.execute(command)
    lines = [line.split() for line in done.printed.splitlines()]
    return {model.name: tuple(map(int, line[-3:])) for model, line in zip(models, lines, strict=True)}


def _cell(entry: tuple[str, int | str]) -> str:
    column, value = entry
    if not column.endswith("bytes"):
        return str(value)
    return f"{int(value) / 1e6:.1f} MB" if int(value) >= 1e5 else f"{int(value) / 1e3:.1f} kB"
