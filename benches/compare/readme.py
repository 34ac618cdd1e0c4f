#!/usr/bin/env python3
"""Writes the record's section of the top-level README from the CSV files under benches/record/.

    python3 benches/compare/readme.py              # writes it between `<!-- begin record -->` and `<!-- end record -->`
    python3 benches/compare/readme.py --check      # exits with 1 if the section differs from the files

The section shows the newest record of each subject. The program needs only Python 3.10.
"""

import argparse
import csv
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

    def speed(peer: str, name: str, profile: str, cores: str) -> str:
        row = found.get((peer, name, profile, cores))
        return f"{float(row['weights_per_s']) / 1e6:,.0f} M" if row else "—"

    table = [["", "Longshore, one core", "all cores", "MLX", "ggml, one core", "all cores", "candle"]]
    for name, mlx, ggml, candle in pairs:
        cells = [
            speed("longshore", name, "plus", "one"),
            speed("longshore", name, "plus", "all"),
            speed(*mlx, "", "one"),
        ]
        cells += [speed(*ggml, "", cores) if ggml else "—" for cores in ("one", "all")]
        table.append([name, *cells, speed(*candle, "", "one") if candle else "—"])
    return table


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
    seconds = float(row["seconds"]) + float(row["sync_seconds"] or 0)
    return f"{_seconds(str(seconds))}, {float(row['gb_per_s']):.2f} GB/s"


def _seconds(text: str) -> str:
    value = float(text)
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1e3:.2g} ms" if value < 0.01 else f"{value * 1e3:.0f} ms"


def dedup(rows: Rows) -> list[list[str]]:
    """Returns the table of the bytes that each model adds, and of the total."""
    table = [["model", "alone, in a store", "adds to those above", "alone, as files", "adds in chunks of 64 KiB"]]
    columns = ("size_bytes", "new_bytes", "files_bytes", "new_chunk_bytes")
    for row in rows:
        table.append([row["model"], *(f"{int(row[column]) / 1e6:,.1f} MB" for column in columns)])
    sums = {column: sum(int(row[column]) for row in rows) for column in columns}
    table.append(["**together**", *(f"**{sums[column] / 1e6:,.1f} MB**" for column in columns)])
    return table


SECTIONS: dict[str, tuple[str, Callable[[Rows], list[list[str]]], str]] = {
    "quantize": (
        "Quantizing a matrix in memory, weights per second",
        quantize,
        "The formats of ggml and candle (Q4_1, Q8_0, MXFP4) are others of a similar size, and read F32. MLX is its CPU backend, on one core; what it is made for is Metal.",
    ),
    "import": (
        "Importing a checkpoint as it is",
        ledger,
        "cp and sha256sum leave the files unsynced: the time of syncing is added.",
    ),
    "save": (
        "Quantizing a checkpoint and saving it",
        ledger,
        "Only Longshore hashes and syncs what it writes; the time of syncing is added to the others. mlx-lm runs on MLX's CPU backend; what it is made for is Metal.",
    ),
    "verify": ("Verifying what is stored", ledger, ""),
    "load": ("Loading into host memory, until every byte was read once by one thread", ledger, "The loaders that need PyTorch are made to fill a GPU; here they bring tensors to host memory, without one."),
    "dedup": ("Variants and fine-tunes of one model, stored together", dedup, ""),
}


def section(home: Path) -> str:
    """Returns the text between the two markers."""
    parts = []
    for subject, (title, make, remark) in SECTIONS.items():
        newest = _newest(home, subject)
        if newest is None:
            continue
        with newest.open(newline="") as file:
            rows = list(csv.DictReader(file))
        machine, date = newest.parent.parent.name, newest.parent.name
        shown = newest.with_suffix(".txt")
        picture = newest.with_suffix(".svg")
        size = f", {rows[0]['model']} of {int(rows[0]['bytes']) / 1e9:.2f} GB" if rows[0].get("start") else ""
        link = f"[the record]({shown.relative_to(home.parents[1])})"
        head = f"### {title}\n\nOn `{machine}`, {date}{size}: `{_command(shown, subject)}`; the rest is in {link}."
        parts.append(f"{head} {remark}".rstrip())
        parts.append(_markdown(make(rows)))
        if picture.exists():
            parts.append(f"![{title}]({picture.relative_to(home.parents[1])})")
    return "\n\n".join(parts)


def _command(shown: Path, subject: str) -> str:
    """Returns the command that made a record, from the record's first line."""
    first = shown.read_text().partition("\n")[0]
    return first.removeprefix("$ ") if first.startswith("$ ") else COMMAND.format(subject=subject)


def _newest(home: Path, subject: str) -> Path | None:
    return max(
        home.glob(f"*/*/{subject}.csv"), key=lambda path: (path.parent.name, path.parent.parent.name), default=None
    )


def _markdown(table: list[list[str]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    head, *rest = table
    return "\n".join([line(head), line("---" if not at else "---:" for at, _ in enumerate(head)), *map(line, rest)])


def main() -> int:
    """Writes the section, or checks it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="(README.md of the repository)")
    parser.add_argument("--from", dest="home", type=Path, default=ROOT / RECORD, metavar="DIR", help="(benches/record)")
    args = parser.parse_args()
    text = args.readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        print(f"error: {args.readme}: expected the lines {BEGIN} and {END}", file=sys.stderr)
        return 2
    wanted = f"{before}{BEGIN}\n{section(args.home)}\n{END}{after}"
    if args.check and wanted != text:
        print(f"error: {args.readme}: the record's section differs from the files in {args.home}", file=sys.stderr)
        print("hint: python3 benches/compare/readme.py writes it", file=sys.stderr)
        return 1
    if not args.check:
        args.readme.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
