"""Draws bar charts, and lines against size, as self-contained SVG."""

from dataclasses import dataclass
from html import escape

ROW, GAP, LABEL, BAR, WIDTH = 20, 10, 330, 300, 760
# Length of a scale, as a multiple of the longest bar of a program. Bars of limits are cut at its end.
REACH = 1.25
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:14px}.n{fill:#57606a}.c{opacity:.45}"
    "rect{fill:#9aa4af}.o{fill:#0969da}.l{fill:#d4a72c}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.n{fill:#8d96a0}rect{fill:#57606a}.o{fill:#4493f8}.l{fill:#9e6a03}}"
)


@dataclass
class Bar:
    """One bar: its label, its length, the text at its end, and its kind: ours, a limit or a peer's."""

    label: str
    value: float
    text: str
    kind: str = "peer"
    cold: float | None = None  # how long a paler bar below it is


def bars(title: str, groups: dict[str, list[Bar]]) -> str:
    """Draws a chart.

    Each group has its own scale, from 0 to its longest bar; a limit much longer than all programs is cut.
    """
    lines, y = [], 28
    for name, group in groups.items():
        if name:
            y += GAP
            lines.append(f'<text class="n" x="0" y="{y + 13}">{escape(name)}</text>')
            y += ROW
        most = _scale(group)
        for bar in group:
            long = max(_length(bar.value, most), _length(bar.cold or 0, most))
            kind = {"ours": "o", "limit": "l"}.get(bar.kind, "")
            lines.append(f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(bar.label)}</text>')
            lines.append(_rectangle(kind, y + 2, _length(bar.value, most), ROW - 6 if bar.cold is None else 8))
            if bar.cold is not None:
                lines.append(_rectangle(f"{kind} c".strip(), y + 11, _length(bar.cold, most), 6))
            text = bar.text if max(bar.value, bar.cold or 0) <= most else f"{bar.text} →"
            lines.append(f'<text class="n" x="{LABEL + long + 6:.1f}" y="{y + 13}">{escape(text)}</text>')
            y += ROW
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + GAP}" viewBox="0 0 {WIDTH} {y + GAP}" role="img">'
    name = f'<title>{escape(title)}</title><style>{STYLE}</style><text class="t" x="0" y="16">{escape(title)}</text>'
    return "\n".join([head, name, *lines, "</svg>", ""])


PANEL, HIGH, LEFT = 300, 150, 60
# Lines of a panel, in their order.
LINES = [("blue", "#0969da"), ("yellow", "#d4a72c"), ("green", "#1a7f37"), ("red", "#cf222e")]


def lines(title: str, unit: str, panels: dict[str, dict[str, list[tuple[float, float]]]]) -> str:
    """Draws a panel beside the other for each quantity, with a line of points for each series; all axes begin at 0."""
    found = []
    for number, (name, series) in enumerate(panels.items()):
        left, top = LEFT + number * (PANEL + LEFT), 56
        points = [point for line in series.values() for point in line]
        wide, high = max(x for x, _ in points) or 1, max(y for _, y in points) or 1
        found.append(f'<text class="n" x="{left}" y="{top - 12}">{escape(name)}</text>')
        found.append(f'<path class="a" d="M{left} {top}V{top + HIGH}H{left + PANEL}"/>')
        for value, y in ((f"{high:.3g}", top), ("0", top + HIGH)):
            found.append(f'<text class="n" x="{left - 6}" y="{y + 4}" text-anchor="end">{value}</text>')
        found.append(f'<text class="n" x="{left + PANEL}" y="{top + HIGH + 16}" text-anchor="end">{wide:.0f} {escape(unit)}</text>')
        for which, (label, line) in enumerate(series.items()):
            places = [(left + x / wide * PANEL, top + HIGH - y / high * HIGH) for x, y in sorted(line)]
            name, colour = LINES[which]
            shown = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            found.append(f'<polyline style="stroke:{colour}" points="{shown}"/>')
            found.append(f'<text class="n" x="{left + 8}" y="{top + 14 + 14 * which}">{name}: {escape(label)}</text>')
    style = STYLE + "path.a,polyline{fill:none;stroke-width:2}path.a{stroke:#9aa4af;stroke-width:1}"
    wide, high = LEFT + len(panels) * (PANEL + LEFT), 56 + HIGH + 26
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" role="img">'
    name = f'<title>{escape(title)}</title><style>{style}</style><text class="t" x="0" y="16">{escape(title)}</text>'
    return "\n".join([head, name, *found, "</svg>", ""])


def _scale(group: list[Bar]) -> float:
    """Returns the value at the end of the group's scale."""
    longest = max((max(bar.value, bar.cold or 0) for bar in group), default=0) or 1
    programs = [max(bar.value, bar.cold or 0) for bar in group if bar.kind != "limit"]
    return min(longest, max(programs) * REACH) if programs else longest


def _length(value: float, most: float) -> float:
    return max(1.0, min(1.0, value / most) * BAR)


def _rectangle(kind: str, y: int, long: float, high: int) -> str:
    mark = f' class="{kind}"' if kind else ""
    return f'<rect{mark} x="{LABEL}" y="{y}" width="{long:.1f}" height="{high}" rx="2"/>'


def of_jobs(rows: list[dict[str, object]]) -> dict[str, list[Bar]]:
    """Returns bars of each program's rate with the first model, fastest first; the machine's limits come last."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for row in rows:
        if row["model"] == rows[0]["model"]:
            key = str(row["peer"]), str(row["operation"]), str(row["threads"])
            found.setdefault(key, {})[str(row["start"])] = float(str(row["gb_per_s"]))
    programs: list[Bar] = []
    for (peer, operation, threads), rates in found.items():
        kind = "limit" if peer == "limit" else "ours" if peer.startswith("longshore") else "peer"
        who = operation if kind == "limit" else f"{peer}: {operation}"
        label = who if threads in ("1", "") else f"{who}, {threads} threads"
        warm, cold = rates.get("warm", 0.0), rates.get("cold")
        text = f"{warm:.2f}" if cold is None else f"{warm:.2f}, {cold:.2f} cold"
        programs.append(Bar(label, warm, text, kind, cold))
    programs.sort(key=lambda bar: (bar.kind == "limit", -bar.value))
    model = str(rows[0]["model"]) if rows else ""
    return {f"{model}, GB/s; pale: files not in memory; blue: Longshore, yellow: limits of the machine": programs}


def of_weights(rows: list[dict[str, str]]) -> dict[str, list[Bar]]:
    """Returns bars of each program's quantization rate, grouped by the size of the formats."""
    groups: dict[str, list[Bar]] = {}
    for row in rows:
        if row["operation"] != "encode" or row["profile"] not in ("plus", ""):
            continue
        bits = "8 bits" if "8" in row["format"] else "4 bits"
        rate = float(row["weights_per_s"]) / 1e6
        kind = "ours" if row["peer"] == "longshore" else "peer"
        cores = {"one": "one core", "all": "all cores", "gpu": "Metal"}[row["cores"]]
        bar = Bar(f"{row['peer']}: {row['format']}, {cores}", rate, f"{rate:,.0f}", kind)
        groups.setdefault(f"{bits}, millions of weights a second", []).append(bar)
    return {group: sorted(bars, key=lambda bar: -bar.value) for group, bars in groups.items()}
