"""Writes what `gpu-check.sh run` measured as a record that benches/compare/readme.py reads: `record.py OUT`.

The files are OUT/record/DEVICE/DATE/cuda.csv and cuda.txt, in the form of the folders of benches/record. It needs nothing
but Python 3, and no other file of the repository. A step that failed, or for which no time was left, has no rows.
"""

import csv
import datetime
import json
import pathlib
import re
import sys

COLUMNS = "model,peer,version,operation,bytes,first_seconds,steady_seconds,gb_per_s,ratio,note".split(",")


def main():
    out = pathlib.Path(sys.argv[1])
    device, about = machine(out)
    rows = [*loads(out), *peers(out), *compared(out), *kernels(out)]
    # The last line about the machine is the answer to `longshore --version`.
    version = next((line.split()[1] for line in about if line.startswith("longshore ")), "")
    rows = [{"version": version, **row} if row["peer"] == "longshore" else row for row in rows]
    if not rows:
        sys.exit(f"error: {out} has no figure of a device")
    folder = out / "record" / slug(device) / date(out)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "cuda.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)
    steps = read(out / "summary.csv")
    shown = ["$ crates/loader-cuda/gpu-check.sh run KIT OUT", *about, ""]
    shown += [f"{step['step']}: {'done' if step['status'] == '0' else step['status']}, {step['seconds']} s" for step in steps]
    shown += ["", (folder / "cuda.csv").read_text().rstrip()]
    (folder / "cuda.txt").write_text("\n".join(shown) + "\n")
    print(folder)


def machine(out):
    """The name of the device, and the lines about the machine."""
    path = out / "machine.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    for line, following in zip(lines, lines[1:]):
        if line.startswith("name, driver_version"):
            return following.split(",")[0].strip(), lines
    return "a CUDA device", lines


def slug(device):
    """A name for a folder, such as `nvidia-h200`."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def date(out):
    """The day of the run, which is its first line, or else today."""
    found = re.match(r"\d{4}-\d{2}-\d{2}", (out / "machine.txt").read_text()) if (out / "machine.txt").exists() else None
    return found[0] if found else datetime.date.today().isoformat()


def loads(out):
    """The loads of `longshore load --json`, and the limit that each measured beside itself."""
    for path in sorted(out.glob("load-*.log")):
        lines = [line for line in path.read_text().splitlines() if line.startswith("{")]
        if not lines:
            continue
        report = json.loads(lines[-1])
        first, steady, limit = report["seconds"][0], report.get("steady_seconds"), report["limit"]["gb_per_s"]
        rate = report["bytes"] / 1e9 / (steady or first)
        yield {
            "model": path.stem.removeprefix("load-"), "peer": "longshore", "operation": "load", "bytes": report["bytes"],
            "first_seconds": f"{first:.6f}", "steady_seconds": f"{steady:.6f}" if steady else "", "gb_per_s": f"{rate:.4g}",
            "ratio": f"{rate / limit:.4f}" if limit else "",
        }
        if limit:
            yield {
                "model": path.stem.removeprefix("load-"), "peer": "limit", "operation": report["limit"]["what"], "bytes": report["bytes"],
                "gb_per_s": f"{limit:.4g}",
            }


def peers(out):
    """Other projects' loaders on the files of the dense model; a loader that did not run has a note in place of figures."""
    for row in read(out / "peers.csv"):
        yield {
            "model": "dense", "peer": "limit" if row["peer"] == "pinned" else row["peer"], "version": row["version"],
            "operation": "PyTorch's copies from pinned memory" if row["peer"] == "pinned" else "load", "first_seconds": row["first_seconds"],
            "steady_seconds": row["steady_seconds"], "gb_per_s": row["gb_per_s"], "note": row["note"],
        }


def compared(out):
    """Loads that share tensors with a loaded model, and loads that decode."""
    for row in read(out / "compare.csv"):
        seconds = float(row["seconds"])
        yield {
            "model": "dense", "peer": "longshore", "operation": {"whole": "load, by the library", "shared": "load, nine tenths shared", "decoded": "load int4 and decode"}.get(row["case"], row["case"]),
            "bytes": row["bytes"], "steady_seconds": row["seconds"], "gb_per_s": f"{int(row['bytes']) / 1e9 / seconds:.4g}" if seconds else "",
        }


def kernels(out):
    """Decoding on the device, beside a copy of as many bytes."""
    for row in read(out / "kernels.csv"):
        yield {
            "model": "kernels", "peer": "longshore", "operation": f"decode {row['scheme']}, {row['source']} to {row['target']}",
            "bytes": row["bytes"], "gb_per_s": row["gb_per_s"], "ratio": row["ratio"],
        }


def read(path):
    """The rows of a CSV file, or none where a step wrote none."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


main()
