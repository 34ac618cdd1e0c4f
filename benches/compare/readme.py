#!/usr/bin/env python3
"""Writes the figures in README.md and benches/README.md from the CSV files under benches/record/.

    python3 benches/compare/readme.py              # between the lines `<!-- begin record -->` and `<!-- end record -->`
    python3 benches/compare/readme.py --check      # exit status 1 if they are not what the files say

benches/README.md gets a section for each backend: the host, MLX and CUDA, with a table of each subject on the host and of each device
that has a record. README.md gets one table with a few rows of them. The newest record of a subject is shown, and of a device. It needs nothing but Python 3.10.
"""

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path("benches/record")
BEGIN, END = "<!-- begin record -->", "<!-- end record -->"
COMMAND = "python3 benches/compare/run.py {subject} --record"

Rows = list[dict[str, str]]


def quantize(rows: Rows) -> list[list[str]]:
    """Returns the table of weights per second: each scheme beside other programs' formats of similar size."""
    pairs = [
        ("int4", ("mlx", "int4"), ("ggml", "Q4_1"), ("candle", "Q4_1")),
        ("int8", ("mlx", "int8"), ("ggml", "Q8_0"), ("candle", "Q8_0")),
        ("nvfp4", ("mlx", "nvfp4"), None, None),
        ("mxfp4", ("mlx", "mxfp4"), ("ggml", "MXFP4"), None),
        ("mxfp8", ("mlx", "mxfp8"), None, None),
    ]
    found = {
        (row["peer"], row["format"], row["profile"], row["cores"]): row for row in rows if row["operation"] == "encode"
    }
    where = _mlx_cores(rows)

    def speed(peer: str, name: str, profile: str, cores: str) -> str:
        row = found.get((peer, name, profile, cores))
        return f"{float(row['weights_per_s']) / 1e6:,.0f} M" if row else "—"

    table = [["", "Longshore, one core", "all cores", "MLX", "ggml, one core", "all cores", "candle"]]
    for name, mlx, ggml, candle in pairs:
        cells = [
            speed("longshore", name, "plus", "one"),
            speed("longshore", name, "plus", "all"),
            speed(*mlx, "", where),
        ]
        cells += [speed(*ggml, "", cores) if ggml else "—" for cores in ("one", "all")]
        table.append([name, *cells, speed(*candle, "", "one") if candle else "—"])
    return table


def blocks(rows: Rows) -> list[list[str]]:
    """Returns the table of weights per second decoded on one core, and Longshore's over ggml's by processor time."""
    found = {(row["peer"], row["format"]): row for row in rows if row["operation"] == "decode"}
    table = [["", "Longshore", "ggml", "ratio"]]
    for name in dict.fromkeys(row["format"] for row in rows if row["operation"] == "decode"):
        ours, theirs = found["longshore", name], found["ggml", name]
        least = "min_cpu_s" if ours["min_cpu_s"] and theirs["min_cpu_s"] else "min_s"
        ratio = float(theirs[least]) / float(ours[least])
        speeds = [f"{float(row['weights']) / float(row[least]) / 1e6:,.0f} M" for row in (ours, theirs)]
        table.append([name, *speeds, f"{ratio:.2f}"])
    return table


def _mlx_cores(rows: Rows) -> str:
    """What MLX was timed on: `gpu` with Metal, else `one` core."""
    return "gpu" if any(row["peer"] == "mlx" and row["cores"] == "gpu" for row in rows) else "one"


def ledger(rows: Rows) -> list[list[str]]:
    """Returns the table of each program's times with the first model, warm and cold."""
    keys = ("peer", "operation", "threads")
    merged: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in rows:
        if row["start"] and row["model"] == rows[0]["model"]:
            merged.setdefault(tuple(row[key] for key in keys), {})[row["start"]] = row
    opens = any(row["open_seconds"] for row in rows)
    table = [["program", "threads", *(["open"] if opens else []), "warm", "cold", "processors", "private memory"]]
    for (peer, operation, threads), starts in merged.items():
        row = starts.get("warm") or starts["cold"]
        who = operation if peer == "limit" else f"{peer}: {operation}"
        who = f"**{who}**" if peer.startswith("longshore") else f"*{who}*" if peer == "limit" else who
        memory = f"{int(row['peak_private_bytes']) / 1e6:,.0f} MB" if row["peak_private_bytes"] else "—"
        times = [_rate(starts.get(start)) for start in ("warm", "cold")]
        if opens:
            times.insert(0, _seconds(row["open_seconds"]) if row["open_seconds"] else "—")
        table.append([who, threads, *times, _seconds(row["cpu_seconds"]), memory])
    return table


def _rate(row: dict[str, str] | None) -> str:
    if row is None:
        return "—"
    return f"{_seconds(str(_took(row)))}, {float(row['gb_per_s']):.2f} GB/s"


def _seconds(text: str) -> str:
    value = float(text)
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1e3:.2g} ms" if value < 0.01 else f"{value * 1e3:.0f} ms"


# What is compared: our weights and their path, and beside them a program, its weights, and how it has them (any way where it is empty).
PRODUCTS = [
    ("int4", "fast", "longshore", ("int4",), "read"),
    ("int8", "fast", "longshore", ("int8",), "read"),
    ("int4", "fast", "ggml", ("Q4_0", "Q4_K"), ""),
    ("int4", "fast", "candle", ("Q4_K", "Q8_0"), ""),
    ("int8", "fast", "ggml", ("Q8_0",), ""),
    ("int4", "exact", "ggml", ("Q4_0",), ""),
    *((kind, "fast", "ggml", (kind,), "plain") for kind in ("Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q4_K", "Q6_K")),
]


def products(rows: Rows) -> list[list[str]]:
    """Returns the table of the times of products, each beside the fastest of another program's."""
    table = [["weights", "rows of the input", "Longshore", "another program", "ratio"]]
    for shape, inputs in dict.fromkeys((row["shape"], row["inputs"]) for row in rows):
        here = [row for row in rows if (row["shape"], row["inputs"]) == (shape, inputs)]
        for kind, how, peer, kinds, way in PRODUCTS:
            ours = [row for row in here if (row["peer"], row["kind"], row["how"]) == ("longshore", kind, how)]
            theirs = [row for row in here if (row["peer"], row["how"]) == (peer, way or row["how"]) and row["kind"] in kinds]
            if not ours or not theirs:
                continue
            best, other = (min(those, key=lambda row: float(row["best_s"])) for those in (ours, theirs))
            called = "reading the same bytes" if way == "read" else f"{peer} {other['kind']}"
            cells = [f"{kind}{', exact' if how == 'exact' else ''}: {_micro(best)}", f"{called}: {_micro(other)}"]
            table.append([shape, inputs, *cells, f"{float(other['best_s']) / float(best['best_s']):.2f}"])
    return table


def _micro(row: dict[str, str]) -> str:
    micro = float(row["best_s"]) * 1e6
    return f"{micro / 1e3:,.1f} ms" if micro >= 10_000 else f"{micro:,.0f} µs" if micro >= 100 else f"{micro:.1f} µs"


def dedup(rows: Rows) -> list[list[str]]:
    """Returns the table of the bytes that each model adds, and of the total."""
    table = [["model", "alone, in a store", "adds to those above", "alone, as files", "adds in chunks of 64 KiB"]]
    columns = ("size_bytes", "new_bytes", "files_bytes", "new_chunk_bytes")
    for row in rows:
        table.append([row["model"], *(f"{int(row[column]) / 1e6:,.1f} MB" for column in columns)])
    sums = {column: sum(int(row[column]) for row in rows) for column in columns}
    table.append(["**together**", *(f"**{sums[column] / 1e6:,.1f} MB**" for column in columns)])
    return table


def cuda(rows: Rows) -> list[list[str]]:
    """Returns the table of loads into the memory of a device, and of decoding there."""
    table = [["model", "program", "first", "steady", "rate", "of the limit"]]
    for row in rows:
        who = f"{row['peer']} {row['version']}".strip() + f": {row['operation']}"
        who = f"**{who}**" if row["peer"] == "longshore" else f"*{row['operation']}*" if row["peer"] == "limit" else who
        times = [_seconds(row[column]) if row[column] else "—" for column in ("first_seconds", "steady_seconds")]
        rate = f"{float(row['gb_per_s']):,.1f} GB/s" if row["gb_per_s"] else "—"
        ratio = f"{float(row['ratio']):.2f}" if row["ratio"] else "—"
        table.append([row["model"], who, *times, row["note"] or rate, ratio])
    return table


def llama(rows: Rows) -> list[list[str]]:
    """Returns the table of each model's speed, in each program: tokens of a prompt and generated, and the first token."""
    found: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in rows:
        key = (row["peer"], row["model"], " ".join(filter(None, (row["kind"], row["how"]))), row["bytes"])
        found.setdefault(key, {})[row["what"]] = row
    table = [["program", "model", "types", "bytes of a token", "prompt, tokens a second", "generated", "first token"]]
    for (peer, model, kind, size), rates in found.items():
        cells = [f"**{peer}**" if peer == "longshore" else peer, model, kind, f"{int(size) / 1e6:,.0f} MB"]
        cells += [f"{float(rates[what]['best']):,.0f}" for what in ("prefill", "decode")]
        table.append([*cells, _seconds(rates["first"]["best"]) if "first" in rates else "—"])
    return table


CPU_BACKEND = "is its CPU backend, on one core; what it is made for is Metal."


def _on_metal(rows: Rows) -> bool:
    """Whether MLX ran on Metal: it says so with its version, or in the column of cores."""
    return any(row.get("cores") == "gpu" or row.get("version", "").endswith("on Metal") for row in rows)


def _about_quantize(rows: Rows) -> str:
    formats = "The formats of ggml and candle (Q4_1, Q8_0, MXFP4) are others of a similar size, and read F32."
    return f"{formats} MLX runs on Metal." if _on_metal(rows) else f"{formats} MLX {CPU_BACKEND}"


def _about_save(rows: Rows) -> str:
    syncs = "Only Longshore hashes and syncs what it writes; the time of syncing is added to the others."
    backend = "mlx-lm runs on Metal." if _on_metal(rows) else "mlx-lm runs on MLX's CPU backend; what it is made for is Metal."
    return f"{syncs} {backend}"


def _about_mlx(rows: Rows) -> str:
    return "MLX computes on Metal." if _on_metal(rows) else "MLX computes on its CPU backend; what it is made for is Metal."


def _say(text: str) -> Callable[[Rows], str]:
    return lambda _: text


Section = tuple[str, Callable[[Rows], list[list[str]]], Callable[[Rows], str]]

# Of each subject on the host: the title of its table, what makes the table, and what has to be said beside it.
HOST: dict[str, Section] = {
    "quantize": ("Quantizing a matrix in memory, weights per second", quantize, _about_quantize),
    "blocks": (
        "Decoding ggml's blocks to F32 on one core, weights per second",
        blocks,
        _say("Pieces of 1 MiB of F32 lie in the cache of the core. By processor time."),
    ),
    "import": (
        "Importing a checkpoint as it is",
        ledger,
        _say("cp and sha256sum leave the files unsynced: the time of syncing is added."),
    ),
    "save": ("Quantizing a checkpoint and saving it", ledger, _about_save),
    "gguf": (
        "A GGUF file for mlx-lm",
        ledger,
        _say(
            "The file has Q8_0, whose codes both programs keep; the record has Q4_K and Q4_1 too, and the way from a checkpoint to a GGUF file. "
            "`export` syncs nothing, and neither does gguf2mlx: the time of syncing is added."
        ),
    ),
    "verify": ("Verifying what is stored", ledger, _say("")),
    "load": (
        "Loading into host memory, until every byte was read once by one thread",
        ledger,
        _say("The loaders that need PyTorch are made to fill a GPU; here they bring tensors to host memory, without one."),
    ),
    "llama": (
        "Running models",
        llama,
        _say(
            "The best of several turns. Prompts have 256 tokens, and 64 are generated from an empty sequence. The first token is that after a prompt "
            "of five: from the start of Longshore's process, and from llama.cpp's call that loads the model."
        ),
    ),
    "dedup": ("Variants and fine-tunes of one model, stored together", dedup, _say("")),
    "products": (
        "Products with stored weights",
        products,
        _say("The fastest runs, on two threads. The ratio says how many times as fast Longshore was as the fastest of the program's that are named."),
    ),
}
# The same of the other backends, which are a subject each.
MLX: Section = ("Loading as MLX arrays, until every byte was read once by one thread", ledger, _about_mlx)
CUDA: Section = (
    "Loading into device memory, and decoding there",
    cuda,
    _say("Steady is the median of the loads after the first. The limit of a load is pinned memory copied over the same streams; that of a kernel, a copy on the device."),
)


def figures(home: Path, page: Path) -> str:
    """A section for each backend: of the host each subject, of the others each device."""
    parts = ["### Host"]
    for subject, section in HOST.items():
        newest = _newest(home, subject)
        if newest is not None:
            parts += _section(newest, page, section)
    for name, subject, section in (("MLX", "mlx", MLX), ("CUDA", "cuda", CUDA)):
        parts.append(f"### {name}")
        machines = _newest_of_each(home, subject)
        if not machines:
            parts.append(f"No device has a record yet: `{COMMAND.format(subject=subject)}` makes one.")
        for newest in machines:
            parts += _section(newest, page, section, of_device=True)
    return "\n\n".join(parts)


def _section(path: Path, page: Path, section: Section, *, of_device: bool = False) -> list[str]:
    """A heading, a table and a picture of one record."""
    title, make, remark = section
    rows = _rows(path)
    machine, date = path.parent.parent.name, path.parent.name
    shown, picture = path.with_suffix(".txt"), path.with_suffix(".svg")
    size = f", {rows[0]['model']} of {int(rows[0]['bytes']) / 1e9:.2f} GB" if rows[0].get("start") else ""
    link = f"[the record]({_link(shown, page)})"
    heading = f"#### {title}{f', on `{machine}`' if of_device else ''}"
    head = f"{heading}\n\nOn `{machine}`, {date}{size}: `{_command(shown, path.stem)}`; the rest is in {link}."
    # Programs come second where models come first, and models where programs do.
    words = {cuda: (0, 1), llama: (0, 1, 2)}.get(make, (0,))
    parts = [f"{head} {remark(rows)}".rstrip(), _markdown(make(rows), words)]
    if picture.exists():
        parts.append(f"![{title}]({_link(picture, page)})")
    return parts


# What the short table shows: a subject, our operation in words, its name in the record, and for each program beside it the peer and
# the operation in the record and what to call them.
TIMES = [
    ("import", "Import it as it is", "import", [("cp + sha256sum", "copy and hash", "`cp` and `sha256sum`")]),
    ("save", "Import it as int4", "int4, profile mlx", [("mlx-lm", "int4", "mlx-lm, to the same codes")]),
    ("verify", "Verify it", "verify", [("huggingface_hub", "verify the cache", "huggingface_hub, its cache")]),
    (
        "load",
        "Load it and read every byte",
        "load",
        [("safetensors Rust", "load", "the `safetensors` crate"), ("mlx", "load", "MLX")],
    ),
]
# The same of the subject `quantize`: what is done, our format, and the peer, its format and what to call them.
SPEEDS = [
    ("Quantize a matrix, one core", "int4", [("mlx", "int4", "MLX, to the same format"), ("ggml", "Q4_1", "ggml, to Q4_1")]),
]
SUMMARY = (
    "The ratio says how many times as fast Longshore was. Each program has the number of threads with which it was fastest; the time of syncing "
    "what it wrote is added."
)
ON_CPU = "MLX and mlx-lm ran on MLX's CPU backend: what they are made for is Metal."
ON_METAL = "MLX and mlx-lm ran on Metal."


def summary(home: Path, _page: Path) -> str:
    """A few rows of the records: Longshore's figure, another program's, and their ratio."""
    table = [["", "Longshore", "another program", "ratio"]]
    used: list[Path] = []
    model = ""
    for subject, what, operation, others in TIMES:
        newest = _newest(home, subject)
        if newest is None:
            continue
        rows = _rows(newest)
        ours = _fastest(rows, "longshore", operation)
        if ours is None:
            continue
        model = model or f"{rows[0]['model']} of {int(rows[0]['bytes']) / 1e9:.2f} GB in the page cache"
        used.append(newest)
        for peer, name, called in others:
            theirs = _fastest(rows, peer, name)
            if theirs is not None:
                ratio = _took(theirs) / _took(ours)
                table.append([what, _time(ours), f"{called}: {_time(theirs)}", _ratio(ratio)])
    newest = _newest(home, "quantize")
    if newest is not None:
        where = _mlx_cores(_rows(newest))
        found = {
            (row["peer"], row["format"], row["profile"]): float(row["weights_per_s"])
            for row in _rows(newest)
            if row["operation"] == "encode" and row["cores"] == ("one" if row["peer"] != "mlx" else where)
        }
        used.append(newest)
        for what, scheme, others in SPEEDS:
            ours = found.get(("longshore", scheme, "plus"))
            for peer, name, called in others:
                theirs = found.get((peer, name, ""))
                if ours and theirs:
                    cells = [f"{speed / 1e6:,.0f} M weights/s" for speed in (ours, theirs)]
                    table.append([what, cells[0], f"{called}: {cells[1]}", _ratio(ours / theirs)])
    machines = " and ".join(f"`{name}`" for name in sorted({path.parent.parent.name for path in used}))
    dates = " and ".join(sorted({path.parent.name for path in used}))
    head = ", ".join(part for part in (f"On {machines}, {dates}", model) if part)
    backend = ON_METAL if any(_on_metal(_rows(path)) for path in used) else ON_CPU
    return f"{head}. {SUMMARY} {backend}\n\n{_markdown(table, (0, 1, 2))}" if used else ""


def _fastest(rows: Rows, peer: str, operation: str) -> dict[str, str] | None:
    """The row of a peer with the first model, warm, with the number of threads that did best."""
    model = rows[0]["model"]
    of_it = [row for row in rows if (row["peer"], row["operation"], row["start"], row["model"]) == (peer, operation, "warm", model)]
    return min(of_it, key=_took, default=None)


def _took(row: dict[str, str]) -> float:
    """Its time until everything was written, in seconds."""
    return float(row["seconds"]) + float(row["sync_seconds"] or 0)


def _time(row: dict[str, str]) -> str:
    threads = "1 thread" if row["threads"] == "1" else f"{row['threads']} threads"
    return f"{_seconds(str(_took(row)))}, {threads}"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _rows(path: Path) -> Rows:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _link(target: Path, page: Path) -> str:
    """The way from a page to a file."""
    return Path(os.path.relpath(target, page.parent)).as_posix()


def _command(shown: Path, subject: str) -> str:
    """Returns the command that made a record, from the record's first line."""
    first = shown.read_text().partition("\n")[0]
    return first.removeprefix("$ ") if first.startswith("$ ") else COMMAND.format(subject=subject)


def _newest(home: Path, subject: str) -> Path | None:
    return max(
        home.glob(f"*/*/{subject}.csv"), key=lambda path: (path.parent.name, path.parent.parent.name), default=None
    )


def _newest_of_each(home: Path, subject: str) -> list[Path]:
    """The newest record of each device that has one, in the order of the devices' names."""
    newest: dict[str, Path] = {}
    for path in sorted(home.glob(f"*/*/{subject}.csv"), key=lambda path: path.parent.name):
        newest[path.parent.parent.name] = path
    return [newest[name] for name in sorted(newest)]


def _markdown(table: list[list[str]], words: tuple[int, ...] = (0,)) -> str:
    """A table, of which some columns hold words and the others numbers."""

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    head, *rest = table
    return "\n".join([line(head), line("---" if at in words else "---:" for at, _ in enumerate(head)), *map(line, rest)])


# The pages with figures, and what makes them.
PAGES: list[tuple[str, Callable[[Path, Path], str]]] = [("README.md", summary), ("benches/README.md", figures)]


def main() -> int:
    """Writes the figures, or says whether they are written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--root", type=Path, default=ROOT, metavar="DIR", help="where the two pages lie (the repository)")
    parser.add_argument("--from", dest="home", type=Path, metavar="DIR", help="the record (benches/record there)")
    args = parser.parse_args()
    home = args.home or args.root / RECORD
    wanted: dict[Path, str] = {}
    for name, make in PAGES:
        page = args.root / name
        before, begin, rest = page.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            print(f"error: {page}: expected the lines {BEGIN} and {END}", file=sys.stderr)
            return 2
        wanted[page] = f"{before}{BEGIN}\n{make(home, page)}\n{END}{after}"
    if not args.check:
        for page, text in wanted.items():
            page.write_text(text)
        return 0
    stale = [page for page, text in wanted.items() if page.read_text() != text]
    for page in stale:
        print(f"error: {page}: the figures are not what {home} says", file=sys.stderr)
    if stale:
        print("hint: python3 benches/compare/readme.py writes them", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
