"""candle-core's `QTensor::quantize`, which runs on one core: the program in ../candle, built for this machine's processor."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
from turns import Task, Unavailable
from worker import Worker, build, last_line

NAME = "candle"
HOME = Path(__file__).resolve().parents[1] / "candle"
FORMATS = ["Q4_0", "Q4_1", "Q8_0", "Q4K"]


def version() -> str:
    """candle-core's, as locked."""
    return re.search(r'name = "candle-core"\nversion = "(.*?)"', (HOME / "Cargo.lock").read_text()).group(1)


class Candle:
    """A running program."""

    def __init__(self, source: Path, shape: tuple[int, int], scratch: Path) -> None:
        command = [program(scratch), source, *shape]
        self._worker = Worker([str(word) for word in command], HOME)
        self._size = shape[0] * shape[1] * 4

    def encode(self, name: str) -> Task:
        """Quantizes F32."""
        return Task(
            NAME, "encode", name, "", "one", lambda: self._worker.ask(f"quantize {name}"), self._worker.cpu, self._size
        )

    def decode(self, name: str) -> Task:
        """Restores F32 from what was encoded last."""
        return Task(
            NAME,
            "decode",
            name,
            "",
            "one",
            lambda: self._worker.ask(f"dequantize {name}"),
            self._worker.cpu,
            self._size,
        )

    def decoded(self, name: str, scratch: Path) -> np.ndarray:
        """What it makes of what was encoded last."""
        self._worker.ask(f"save {name} {scratch}")
        values = np.fromfile(scratch, np.float32)
        scratch.unlink()
        return values


def program(scratch: Path) -> Path:
    """The program in ../candle, built."""
    built = scratch / "candle"
    flags = {**os.environ, "RUSTFLAGS": "-C target-cpu=native", "CARGO_TARGET_DIR": str(built)}
    try:
        build(["cargo", "build", "--release", "--locked"], HOME, env=flags)
    except (subprocess.CalledProcessError, OSError) as failure:
        why = last_line(failure) if isinstance(failure, subprocess.CalledProcessError) else str(failure)
        raise Unavailable(f"it does not build: {why}") from failure
    return built / "release" / "longshore-compare-candle"
