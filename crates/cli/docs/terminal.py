#!/usr/bin/env python3
"""Runs the README's first commands on a terminal of 80 columns, and draws what it shows as crates/cli/docs/terminal.svg.

    cargo build --release -p longshore
    python3 crates/cli/docs/terminal.py target/release/longshore

With --text FILE it writes the text instead, colours and all, and with --columns and --command other widths and commands can be
looked at. It needs Python 3.10 on a Unix system and nothing else.
"""

import argparse
import fcntl
import os
import pty
import re
import struct
import subprocess
import tempfile
import termios
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / "demo" / "qwen3-moe"
# What the README begins with; the demo checkpoint lies in the directory in which these run.
COMMANDS = [
    "longshore import qwen3-moe qwen3-moe:int4 --quantize int4",
    "longshore import qwen3-moe qwen3-moe:full",
    "longshore list",
    "longshore show qwen3-moe:int4",
    "longshore load qwen3-moe:int4",
    "longshore verify",
]


class Screen:
    """As much of a terminal as our output needs: lines of cells, a cursor, colours; nothing scrolls away."""

    def __init__(self, columns: int):
        self.columns, self.lines = columns, [[]]
        self.row = self.column = 0
        self.style: frozenset[str] = frozenset()

    def feed(self, text: str) -> None:
        for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b.|[\s\S]", text):
            if token.startswith("\x1b["):
                self._control(token[-1], token[2:-1])
            elif token == "\n":
                self.row += 1
                while len(self.lines) <= self.row:
                    self.lines.append([])
            elif token == "\r":
                self.column = 0
            elif not token.startswith("\x1b") and token >= " ":
                self._put(token)

    def _put(self, character: str) -> None:
        if self.column == self.columns:
            self.feed("\r\n")
        line = self.lines[self.row]
        line += [(" ", frozenset())] * (self.column + 1 - len(line))
        line[self.column] = (character, self.style)
        self.column += 1

    def _control(self, verb: str, argument: str) -> None:
        number = int(argument) if argument.isdigit() else 0
        if verb == "A":
            self.row = max(0, self.row - max(1, number))
        elif verb == "K":
            del self.lines[self.row][self.column if number == 0 else 0 :]
        elif verb == "J":
            del self.lines[self.row][self.column :]
            del self.lines[self.row + 1 :]
        elif verb == "m":
            for code in (argument or "0").split(";"):
                names = {"1": "bold", "2": "faint", "31": "red", "32": "green", "33": "yellow", "36": "cyan"}
                self.style = frozenset() if code in ("", "0") else self.style | {names.get(code, f"code-{code}")}


def run(command: str, columns: int, folder: str, binary: Path) -> str:
    """What a command writes to a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {"PATH": "/nowhere", "TERM": "xterm-256color", "LONGSHORE_STORE": f"{folder}/store", "LANG": "C.UTF-8"}
    child = subprocess.Popen(
        [binary, *command.split()[1:]], cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave, close_fds=True
    )
    os.close(slave)
    parts = []
    while True:
        try:
            part = os.read(master, 1 << 16)
        except OSError:  # Linux says so when the last writer has gone.
            break
        if not part:
            break
        parts.append(part)
    child.wait()
    os.close(master)
    return b"".join(parts).decode()


COLOURS = {"red": "#f47067", "green": "#8ddb8c", "yellow": "#daaa3f", "cyan": "#56d4dd", "faint": "#8b949e"}


def picture(screen: Screen) -> str:
    """The screen as SVG: each run of one style where its column is, so that columns line up in any monospaced font."""
    width, height, margin = 8.4, 19, 16
    lines = list(screen.lines)
    while lines and not lines[-1]:
        lines.pop()
    size = (screen.columns * width + 2 * margin, len(lines) * height + 2 * margin)
    text = []
    for row, line in enumerate(lines):
        column = 0
        while column < len(line):
            style, end = line[column][1], column
            while end < len(line) and line[end][1] == style:
                end += 1
            run = "".join(character for character, _ in line[column:end])
            # Not every renderer keeps spaces that follow each other.
            for words in re.finditer(r"\S+(?: \S+)*", run):
                colour = next((COLOURS[name] for name in COLOURS if name in style), "#e6edf3")
                marks = f' fill="{colour}"'
                marks += ' font-weight="bold"' if "bold" in style else ""
                at, length = (column + words.start()) * width, len(words[0]) * width
                place = f'x="{margin + at:g}" y="{margin + 14 + row * height}" textLength="{length:g}"'
                text.append(f"<text {place}{marks}>{escape(words[0])}</text>")
            column = end
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]:g}" height="{size[1]:g}" viewBox="0 0 {size[0]:g} {size[1]:g}">',
            "<style>text { font: 14px ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace }</style>",
            '<rect width="100%" height="100%" rx="8" fill="#0d1117"/>',
            *text,
            "</svg>",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--command", action="append", help="instead of the README's; may be given several times")
    parser.add_argument("--out", type=Path, default=HERE / "terminal.svg")
    parser.add_argument("--text", type=Path, help="write the text with its control sequences to a file, and no picture")
    arguments = parser.parse_args()
    screen, raw = Screen(arguments.columns), []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "qwen3-moe").symlink_to(DEMO)
        for command in arguments.command or COMMANDS:
            shown = run(command, arguments.columns, folder, arguments.binary.resolve())
            raw.append(f"\x1b[36m$\x1b[0m \x1b[1m{command}\x1b[0m\r\n{shown}\r\n")
            screen.feed(raw[-1])
    if arguments.text:
        arguments.text.write_text("".join(raw))
    else:
        arguments.out.write_text(picture(screen))


if __name__ == "__main__":
    main()
