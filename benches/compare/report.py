"""Rows, tables and the record of a run."""

import csv
import datetime
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import machine
import plot
from turns import Task


def source() -> str:
    """Describes the commit that was built."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return f"Longshore at {asked.stdout.strip() or 'an unknown commit'}"


@dataclass
class Figure:
    """A ratio with a target: by the fastest runs, by the median runs, and on one core by processor time."""

    what: str
    target: float
    least: float
    median: float
    cpu: float | None
    at_most: bool = False

    @property
    def met(self) -> bool:
        """True where processor time meets the target, or where it is unknown, the fastest runs do."""
        ratio = self.least if self.cpu is None else self.cpu
        return ratio <= self.target if self.at_most else ratio >= self.target


@dataclass
class Report:
    """Answers, times and figures of one subject."""

    subject: str
    input: str
    weights: int
    versions: dict[str, str]
    checks: list[str] = field(default_factory=list)
    wrong: bool = False
    unavailable: dict[str, str] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    load: str = field(default_factory=machine.load)
    source: str = field(default_factory=source)
    command: str = ""
    title: str = "Quantizing a matrix in memory"

    def text(self) -> str:
        """Formats all results for a terminal."""
        head = [
            f"$ {self.command}",
            f"{machine.describe()}; {self.load}",
            self.source,
            self.input,
            ", ".join(f"{k} {v}" for k, v in self.versions.items()),
        ]
        parts = ["\n".join(head), "Answers\n" + "\n".join(f"  {line}" for line in self.checks)]
        if self.unavailable:
            parts.append("Not measured\n" + "\n".join(f"  {peer}: {why}" for peer, why in self.unavailable.items()))
        if not self.wrong:
            parts += [aligned(self._measured()), aligned(self._figures())]
            parts.append("\n".join(self.notes))
        return "\n\n".join(part for part in parts if part)

    def record(self, home: Path) -> list[Path]:
        """Writes the rows, the picture and the terminal's text. Files of the same machine and day are replaced."""
        folder = home / machine.name() / datetime.date.today().isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        rows, shown, picture = (folder / f"{self.subject}.{end}" for end in ("csv", "txt", "svg"))
        with rows.open("w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(
                "peer version operation format profile cores weights bytes runs min_s median_s min_cpu_s weights_per_s "
                "relative_rmse note".split()
            )
            out.writerows(self._row(task) for task in self.tasks)
            for peer, why in self.unavailable.items():
                out.writerow([peer, self.versions.get(peer, ""), *[""] * 12, f"not measured: {why}"])
        shown.write_text(self.text() + "\n")
        with rows.open(newline="") as file:
            picture.write_text(plot.bars(self.title, plot.of_weights(list(csv.DictReader(file)))))
        return [rows, shown, picture]

    def _row(self, task: Task) -> list[object]:
        error = "" if task.error is None else f"{task.error:.6f}"
        cpu = "" if task.least_cpu is None else f"{task.least_cpu:.6f}"
        about = [task.peer, self.versions.get(task.peer, ""), task.operation, task.format, task.profile, task.cores]
        times = [len(task.seconds), f"{task.least:.6f}", f"{task.median:.6f}", cpu, f"{self.weights / task.least:.4g}"]
        return [*about, self.weights, task.bytes, *times, error, ""]

    def _measured(self) -> list[list[str]]:
        head = "PEER OPERATION FORMAT PROFILE CORES RUNS MIN MEDIAN CPU WEIGHTS/S BYTES/S RMSE".split()
        rows = [head]
        for task in self.tasks:
            about = [task.peer, task.operation, task.format, task.profile, task.cores, str(len(task.seconds))]
            times = [
                f"{task.least * 1e3:.2f} ms",
                f"{task.median * 1e3:.2f} ms",
                "" if task.least_cpu is None else f"{task.least_cpu * 1e3:.2f} ms",
                f"{self.weights / task.least / 1e6:.1f} M",
            ]
            error = "" if task.error is None else f"{task.error * 100:.3f} %"
            rows.append([*about, *times, f"{task.bytes / task.least / 1e9:.2f} GB", error])
        return rows

    def _figures(self) -> list[list[str]]:
        rows = [["FIGURE", "TARGET", "BY MIN", "BY MEDIAN", "BY CPU", ""]]
        for figure in self.figures:
            target = f"{'at most' if figure.at_most else 'at least'} {figure.target:g}"
            cpu = "" if figure.cpu is None else f"{figure.cpu:.2f}"
            verdict = "met" if figure.met else "missed"
            rows.append([figure.what, target, f"{figure.least:.2f}", f"{figure.median:.2f}", cpu, verdict])
        return rows


def aligned(rows: list[list[str]]) -> str:
    """Formats rows in columns two blanks apart, with numbers right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    right = [all(row[at][:1].isdigit() or not row[at] for row in rows[1:]) for at in range(len(widths))]
    lines = []
    for row in rows:
        cells = (cell.rjust(width) if flush else cell.ljust(width) for cell, width, flush in zip(row, widths, right))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
