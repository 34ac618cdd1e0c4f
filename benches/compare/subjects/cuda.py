"""Everything that needs a CUDA device, by crates/loader-cuda/gpu-check.sh: answers, then loads and kernels beside others.

With a device here, the script prepares its kit and runs it. The machine with the device may also be another one, without a
network: run the script there as its head says, bring its directory OUT back, and name it with --out.
"""

import argparse
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from jobs import Failed
from peers import longshore

TURNS = None  # the script has its own
SCRIPT = longshore.ROOT / "crates" / "loader-cuda" / "gpu-check.sh"
# What the script makes of its figures, and what readme.py reads.
RECORD = "record"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this subject."""
    help_ = "what `gpu-check.sh run` wrote, here or elsewhere; nothing is run then"
    parser.add_argument("--out", type=Path, metavar="DIR", help=help_)


@dataclass
class Check:
    """What the script wrote."""

    out: Path
    wrong: bool
    command: str = ""

    def text(self) -> str:
        """Returns what a record shows, or the state of each step where there is none."""
        shown = sorted((self.out / RECORD).glob("*/*/cuda.txt"))
        return (shown[-1] if shown else self.out / "summary.csv").read_text().rstrip()

    def record(self, home: Path) -> list[Path]:
        """Copies the files of the record."""
        made = [path for path in sorted((self.out / RECORD).rglob("*")) if path.is_file()]
        if not made:
            raise SystemExit(f"error: cuda: {self.out} has no record: expected {self.out / RECORD}/DEVICE/DATE/cuda.csv")
        kept = [home / path.relative_to(self.out / RECORD) for path in made]
        for path, copy in zip(made, kept):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        return kept


def run(args: argparse.Namespace) -> Check:
    """Runs the script, unless its results are there."""
    if args.out is not None:
        if not (args.out / "summary.csv").exists():
            raise Failed(f"{args.out} is not what gpu-check.sh wrote: it has no summary.csv")
        return Check(args.out, _failed(args.out))
    kit = longshore.target() / "compare" / "gpu-check"
    _step("prepare", kit)
    out = kit / "out"
    shutil.rmtree(out, ignore_errors=True)
    status = subprocess.run([str(SCRIPT), "run", str(kit), str(out)], check=False).returncode
    if status == 2:
        raise Failed("this machine has no CUDA device; run gpu-check.sh on one that has, and name what it wrote with --out")
    return Check(out, status != 0)


def _step(verb: str, kit: Path) -> None:
    if subprocess.run([str(SCRIPT), verb, str(kit)], check=False).returncode:
        raise Failed(f"gpu-check.sh {verb} failed")


def _failed(out: Path) -> bool:
    rows = [line.split(",") for line in (out / "summary.csv").read_text().splitlines()[1:]]
    return any(row[1] not in ("0", "") and not row[1].startswith("left out") for row in rows if len(row) > 1)
