"""Turns the JSON reports of `longshore load` in a directory into CSV: `table.py DIRECTORY`."""

import json
import pathlib
import sys

print("case,device,tensors,bytes,context_seconds,first_seconds,steady_seconds,first_gb_per_s,steady_gb_per_s,limit_gb_per_s,first_ratio,steady_ratio")
for path in sorted(pathlib.Path(sys.argv[1]).glob("load-*.log")):
    lines = [line for line in path.read_text().splitlines() if line.startswith("{")]
    if not lines:
        continue
    report = json.loads(lines[-1])
    gigabytes, limit = report["bytes"] / 1e9, report["limit"]["gb_per_s"]
    first, steady = report["seconds"][0], report.get("steady_seconds")
    rate = lambda seconds: f"{gigabytes / seconds:.2f}" if seconds else ""
    ratio = lambda seconds: f"{gigabytes / seconds / limit:.3f}" if seconds and limit else ""
    print(
        path.stem.removeprefix("load-"), report["device"], report["tensors"], report["bytes"], report["context_seconds"], first, steady or "",
        rate(first), rate(steady), f"{limit:.2f}", ratio(first), ratio(steady), sep=",",
    )
