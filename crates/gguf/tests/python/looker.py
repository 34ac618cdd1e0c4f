"""Longshore's reader of GGUF, asked over a pipe: the example `look` of the crate `longshore-gguf`."""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]


class Looker:
    """A running `look`, built first."""

    def __init__(self) -> None:
        build = ["cargo", "build", "--quiet", "-p", "longshore-gguf", "--example", "look"]
        subprocess.run(build, cwd=ROOT, check=True)
        describe = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
        about = subprocess.run(describe, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        command = Path(json.loads(about.stdout)["target_directory"]) / "debug" / "examples" / "look"
        self._process = subprocess.Popen([str(command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def look(self, path: Path) -> dict:
        """What it says of a file: its contents, or `refused` and a message."""
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
