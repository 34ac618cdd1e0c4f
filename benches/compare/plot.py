"""Bars, as an SVG that needs nothing."""

from dataclasses import dataclass
from html import escape

ROW, GAP, LABEL, BAR, WIDTH = 20, 10, 330, 330, 760
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:14px}.n{fill:#57606a}"
    "rect{fill:#9aa4af}.o{fill:#0969da}.l{fill:#d4a72c}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.n{fill:#8d96a0}rect{fill:#57606a}.o{fill:#4493f8}.l{fill:#9e6a03}}"
)


@dataclass
class Bar:
    """A label, how long the bar is, what stands at its end, and whose it is: ours, a limit or a peer's."""

    label: str
    value: float
    text: str
    kind: str = "peer"


def bars(title: str, groups: dict[str, list[Bar]]) -> str:
    """A picture. Each group has its own scale, from 0 to its longest bar."""
    lines, y = [], 28
    for name, group in groups.items():
        if name:
            y += GAP
            lines.append(f'<text class="n" x="0" y="{y + 13}">{escape(name)}</text>')
            y += ROW
        most = max((bar.value for bar in group), default=0) or 1
        for bar in group:
            long = max(1.0, bar.value / most * BAR)
            kind = {"ours": ' class="o"', "limit": ' class="l"'}.get(bar.kind, "")
            lines.append(f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(bar.label)}</text>')
            lines.append(f'<rect{kind} x="{LABEL}" y="{y + 2}" width="{long:.1f}" height="{ROW - 6}" rx="2"/>')
            lines.append(f'<text class="n" x="{LABEL + long + 6:.1f}" y="{y + 13}">{escape(bar.text)}</text>')
            y += ROW
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + GAP}" viewBox="0 0 {WIDTH} {y + GAP}" role="img">'
    name = f'<title>{escape(title)}</title><style>{STYLE}</style><text class="t" x="0" y="16">{escape(title)}</text>'
    return "\n".join([head, name, *lines, "</svg>", ""])


def of_jobs(rows: list[dict[str, object]]) -> dict[str, list[Bar]]:
    """The rate of each row of a ledger, by model and start."""
    groups: dict[str, list[Bar]] = {}
    for row in rows:
        kind = {"longshore": "ours", "limit": "limit"}.get(str(row["peer"]), "peer")
        rate = float(str(row["gb_per_s"]))
        peer = "" if kind == "limit" else f"{row['peer']}: "
        threads = {"1": "", "": ""}.get(str(row["threads"]), f", {row['threads']} threads")
        group = ", ".join(word for word in (str(row["model"]), str(row["start"]), "GB/s") if word)
        groups.setdefault(group, []).append(Bar(f"{peer}{row['operation']}{threads}", rate, f"{rate:.2f}", kind))
    return groups


def of_weights(rows: list[dict[str, str]]) -> dict[str, list[Bar]]:
    """The rate at which each program quantizes, by the size of what it makes."""
    groups: dict[str, list[Bar]] = {}
    for row in rows:
        if row["operation"] != "encode" or row["profile"] not in ("plus", ""):
            continue
        bits = "8 bits" if "8" in row["format"] else "4 bits"
        rate = float(row["weights_per_s"]) / 1e6
        kind = "ours" if row["peer"] == "longshore" else "peer"
        cores = {"one": "one core", "all": "all cores"}[row["cores"]]
        bar = Bar(f"{row['peer']}: {row['format']}, {cores}", rate, f"{rate:,.0f}", kind)
        groups.setdefault(f"{bits}, millions of weights a second", []).append(bar)
    return {group: sorted(bars, key=lambda bar: -bar.value) for group, bars in groups.items()}
