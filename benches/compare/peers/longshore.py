"""Longshore, and memcpy on the same buffers, through the example `quantize` of the benchmarks."""

import json
import subprocess
from functools import cache
from pathlib import Path

from turns import Task
from worker import Worker, build

NAME = "longshore"
ROOT = Path(__file__).resolve().parents[3]


class Longshore:
    """A running example `quantize`."""

    def __init__(self, source: Path, size: int) -> None:
        self._worker = Worker([str(example("quantize")), str(source)], ROOT)
        self._size = size

    def memcpy(self, cores: str) -> Task:
        """Returns the task that copies the weights."""
        return Task(
            "memcpy",
            "copy",
            "bytes",
            "",
            cores,
            lambda: self._worker.ask(f"memcpy {cores}"),
            self._worker.cpu,
            self._size,
        )

    def encode(self, scheme: str, profile: str, cores: str) -> Task:
        """Returns the task that quantizes BF16."""
        ask = f"encode {scheme} {profile} {cores}"
        return Task(NAME, "encode", scheme, profile, cores, lambda: self._worker.ask(ask), self._worker.cpu, self._size)

    def decode(self, scheme: str, cores: str, level: str = "") -> Task:
        """Returns the task that decodes the last encoded tensor to BF16, with the instructions of a level alone if one is given."""
        ask = f"decode {scheme} {cores} {level}"
        return Task(NAME, "decode", scheme, level, cores, lambda: self._worker.ask(ask), self._worker.cpu, self._size)

    def has(self, level: str) -> bool:
        """Whether this machine has the instructions of a level."""
        try:
            self._worker.ask(f"level {level}")
        except RuntimeError:
            return False
        return True

    def parts(self, scheme: str, scratch: Path) -> list[bytes]:
        """Returns weight, scale and bias of the last encoded tensor."""
        self._worker.ask(f"save {scheme} {scratch}")
        return [_taken(scratch.with_name(f"{scratch.name}.{part}")) for part in ("weight", "scale", "bias")]

    def output(self, scratch: Path) -> bytes:
        """Returns the bytes of the last decoded tensor."""
        self._worker.ask(f"save-output {scratch}")
        return _taken(scratch)


@cache
def program() -> Path:
    """Builds the command line with default settings and returns its path."""
    build(["cargo", "build", "--release", "-p", "longshore"], ROOT)
    return target() / "release" / "longshore"


@cache
def example(name: str) -> Path:
    """Builds an example of the benchmarks and returns its path."""
    build(["cargo", "build", "--release", "-p", "longshore-benches", "--example", name], ROOT)
    return target() / "release" / "examples" / name


@cache
def target() -> Path:
    """Returns Cargo's target directory."""
    about = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=ROOT, capture_output=True, check=True
    )
    return Path(json.loads(about.stdout)["target_directory"])


def version() -> str:
    """Returns the version of the crates, as Cargo reports it."""
    about = subprocess.run(
        ["cargo", "pkgid", "-p", "longshore-quant"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return about.stdout.strip().rpartition("@")[2]


def _taken(path: Path) -> bytes:
    content = path.read_bytes()
    path.unlink()
    return content
