"""The results of jobs as a table: on a terminal, as CSV, and as a picture."""

import csv
import datetime
from dataclasses import dataclass, field
from pathlib import Path

import machine
import plot
from jobs import Job, Run, least, median
from report import aligned, source

COLUMNS = (
    "model,peer,version,operation,detail,threads,start,bytes,left_bytes,runs,seconds,sync_seconds,median_seconds,cpu_seconds,"
    "open_seconds,gb_per_s,peak_rss_bytes,peak_private_bytes,note"
).split(",")


@dataclass
class Ledger:
    """Answers and times of one subject."""

    subject: str
    title: str
    input: list[str]
    versions: dict[str, str]
    checks: list[str] = field(default_factory=list)
    wrong: bool = False
    unavailable: dict[str, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    load: str = field(default_factory=machine.load)
    source: str = field(default_factory=source)
    command: str = ""

    def say(self, right: bool, line: str) -> None:
        """Records whether an answer is right."""
        self.wrong |= not right
        self.checks.append(f"{'right' if right else 'WRONG'}  {line}")

    def text(self) -> str:
        """Formats all results for a terminal."""
        versions = ", ".join(f"{peer} {version}" for peer, version in self.versions.items())
        head = [f"$ {self.command}", f"{machine.describe()}; {self.load}", self.source, *self.input, versions]
        parts = ["\n".join(head)]
        parts.append("Answers\n" + "\n".join(f"  {line}" for line in self.checks))
        if self.unavailable:
            parts.append("Not measured\n" + "\n".join(f"  {peer}: {why}" for peer, why in self.unavailable.items()))
        if not self.wrong:
            parts += [self._table(), "\n".join(self.notes)]
        return "\n\n".join(part for part in parts if part)

    def record(self, home: Path) -> list[Path]:
        """Writes the rows, the picture and the terminal's text. Files of the same machine and day are replaced."""
        folder = home / machine.name() / datetime.date.today().isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        rows, shown, picture = (folder / f"{self.subject}.{end}" for end in ("csv", "txt", "svg"))
        found = self.rows()
        with rows.open("w", newline="") as file:
            out = csv.DictWriter(file, COLUMNS, lineterminator="\n", restval="")
            out.writeheader()
            out.writerows(found)
            out.writerows({"peer": peer, "note": f"not measured: {why}"} for peer, why in self.unavailable.items())
        shown.write_text(self.text() + "\n")
        picture.write_text(plot.bars(self.title, plot.of_jobs(found)))
        return [rows, shown, picture]

    def rows(self) -> list[dict[str, object]]:
        """Returns one row per job and start."""
        return [self._row(job, start, runs) for job in self.jobs for start, runs in job.runs.items()]

    def _row(self, job: Job, start: str, runs: list[Run]) -> dict[str, object]:
        run = least(runs)
        return {
            "model": job.model,
            "peer": job.peer,
            "version": self.versions.get(job.peer, ""),
            "operation": job.operation,
            "detail": job.detail,
            "threads": job.threads,
            "start": start,
            "bytes": job.bytes,
            "left_bytes": job.left or "",
            "runs": len(runs),
            "seconds": f"{run.seconds:.6f}",
            "sync_seconds": f"{run.sync:.6f}" if job.writes else "",
            "median_seconds": f"{median(runs):.6f}",
            "cpu_seconds": f"{min(run.cpu for run in runs):.6f}",
            "open_seconds": "" if run.open is None else f"{min(run.open for run in runs):.6f}",
            "gb_per_s": f"{job.bytes / 1e9 / (run.seconds + run.sync):.4g}",
            "peak_rss_bytes": max(run.rss for run in runs),
            "peak_private_bytes": max((run.private for run in runs if run.private), default=""),
        }

    def _table(self) -> str:
        found = self.rows()
        shown = {
            "MODEL": lambda row: row["model"],
            "PEER": lambda row: row["peer"],
            "OPERATION": lambda row: row["operation"],
            "THREADS": lambda row: row["threads"],
            "START": lambda row: row["start"],
            "RUNS": lambda row: str(row["runs"]),
            "OPEN": lambda row: _seconds(row["open_seconds"]),
            "WALL": lambda row: _seconds(row["seconds"]),
            "SYNC": lambda row: _seconds(row["sync_seconds"]),
            "MEDIAN": lambda row: _seconds(row["median_seconds"]),
            "CPU": lambda row: _seconds(row["cpu_seconds"]),
            "GB/S": lambda row: f"{float(row['gb_per_s']):.2f}",
            "LEAVES": lambda row: _megabytes(row["left_bytes"]),
            "RSS": lambda row: _megabytes(row["peak_rss_bytes"]),
            "PRIVATE": lambda row: _megabytes(row["peak_private_bytes"]),
            "HOW": lambda row: row["detail"],
        }
        columns = {head: [cell(row) for row in found] for head, cell in shown.items()}
        filled = {head: cells for head, cells in columns.items() if any(cells)}
        return aligned([list(filled), *map(list, zip(*filled.values()))])


def _seconds(text: object) -> str:
    if text == "":
        return ""
    value = float(str(text))
    return f"{value:.3f} s" if value >= 0.1 else f"{value * 1e3:.2f} ms"


def _megabytes(value: object) -> str:
    return "" if value == "" else f"{int(str(value)) / 1e6:.0f} MB"
