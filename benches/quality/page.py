"""The tables in crates/run/docs/quality.md, from the recorded results."""

import math
import statistics
from pathlib import Path

import rows

PAGE = Path(__file__).resolve().parents[2] / "crates" / "run" / "docs" / "quality.md"
# Fewest parts of the text from which the spread of a difference is told.
LEAST = 4


def write(record: dict) -> None:
    """Writes each model's table between its lines `<!-- begin MODEL -->` and `<!-- end MODEL -->`."""
    text = PAGE.read_text(encoding="utf-8")
    for model, parts in record.items():
        begin, end = f"<!-- begin {model} -->\n", f"<!-- end {model} -->"
        before, found, rest = text.partition(begin)
        if found:
            _, _, after = rest.partition(end)
            text = f"{before}{begin}{table(parts)}\n{pairs(parts)}{end}{after}"
    PAGE.write_text(text, encoding="utf-8")


def table(parts: dict) -> str:
    """Returns the table of one model in Markdown."""
    lines = [
        "| model | bits a weight | tokens | perplexity | KL | top-1 | Δ nll |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, label in [("floats", "floats, F16"), *((row.name, row.label) for row in rows.ROWS)]:
        measured = [part[name] for part in parts.values() if name in part]
        if not measured:
            continue
        row = whole(measured)
        compared = ["", "", ""]
        if name != "floats":
            compared = [f"{row['kl']:.4f}", f"{100 * row['top1']:.1f} %", f"{row['delta']:+.4f} ± {row['error']:.4f}"]
        cells = [label, f"{row['bits']:.2f}", f"{row['tokens']:,}", f"{row['perplexity']:.2f}", *compared]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def pairs(parts: dict) -> str:
    """Returns the table of rows against each other in Markdown: the difference of their nll on the same parts of the text."""
    lines = ["| row | against | Δ nll | verdict |", "|---|---|---:|---|"]
    labels = {row.name: row.label for row in rows.ROWS}
    for one, other in rows.PAIRS:
        both = [part for part in parts.values() if one in part and other in part]
        if len(both) < LEAST:
            continue
        differences = [part[one]["delta_nll"] - part[other]["delta_nll"] for part in both]
        delta = statistics.fmean(differences)
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        verdict = "no difference" if abs(delta) <= 2 * error else "better" if delta < 0 else "worse"
        lines.append(f"| {labels[one]} | {labels[other]} | {delta:+.4f} ± {error:.4f} | {verdict} |")
    return "\n".join([*lines, ""]) if len(lines) > 2 else ""


def whole(parts: list[dict]) -> dict:
    """Returns a row's results on all parts of the text together. All windows have as many tokens."""
    counts = [part["tokens"] // (part["window"] - 1) for part in parts]
    count = sum(counts)

    def mean(values: list[float]) -> float:
        return sum(number * value for number, value in zip(counts, values)) / count

    delta = mean([part["delta_nll"] for part in parts])
    # A standard error of n windows stands for a sum of squares: n (n - 1) of its square, about the mean of the part.
    squares = sum(
        n * (n - 1) * part["delta_standard_error"] ** 2 + n * (part["delta_nll"] - delta) ** 2
        for n, part in zip(counts, parts)
    )
    return {
        "bits": parts[0]["bits_per_weight"],
        "tokens": sum(part["tokens"] for part in parts),
        "perplexity": math.exp(mean([math.log(part["perplexity"]) for part in parts])),
        "kl": mean([part["kl"] for part in parts]),
        "top1": mean([part["top1"] for part in parts]),
        "delta": delta,
        "error": math.sqrt(squares / (count * (count - 1))),
    }
