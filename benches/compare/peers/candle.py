"""candle, through the program in ../candle, built for this processor: candle-core's `QTensor::quantize`, on one core, and models of
candle-transformers, on several.
"""

import json
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
    """Returns the locked version of candle-core."""
    return re.search(r'name = "candle-core"\nversion = "(.*?)"', (HOME / "Cargo.lock").read_text()).group(1)


class Candle:
    """A running program of ../candle."""

    def __init__(self, source: Path, shape: tuple[int, int], scratch: Path) -> None:
        command = [program(scratch), source, *shape]
        self._worker = Worker([str(word) for word in command], HOME)
        self._size = shape[0] * shape[1] * 4

    def encode(self, name: str) -> Task:
        """Returns the task that quantizes F32."""
        return Task(
            NAME, "encode", name, "", "one", lambda: self._worker.ask(f"quantize {name}"), self._worker.cpu, self._size
        )

    def decode(self, name: str) -> Task:
        """Returns the task that decodes the last encoded tensor to F32."""
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
        """Returns the decoded values of the last encoded tensor."""
        self._worker.ask(f"save {name} {scratch}")
        values = np.fromfile(scratch, np.float32)
        scratch.unlink()
        return values


class Models:
    """The program of ../candle as it runs models, started anew for each request."""

    def __init__(self, scratch: Path) -> None:
        self._program = program(scratch)

    def bench(self, model: Path, threads: int, prompt: int, generate: int, repeat: int) -> dict[str, list[float]]:
        """Returns tokens a second of a prompt and of generating from an empty sequence, one of each for every repetition."""
        return self._run(threads, "rates", model, prompt, generate, repeat)

    def first(self, model: Path, threads: int, prompt: list[int]) -> dict[str, float]:
        """Returns the seconds from the call that loads the model until the first token, and the token."""
        return self._run(threads, "first", model, ",".join(map(str, prompt)))

    def _run(self, threads: int, *words: object) -> dict:
        command = [str(word) for word in (self._program, *words)]
        limits = {"RAYON_NUM_THREADS": str(threads), "CANDLE_NUM_THREADS": str(threads)}
        try:
            done = subprocess.run(command, env={**os.environ, **limits}, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as failure:
            raise Unavailable(f"candle does not run {words[1]}: {last_line(failure)}") from failure
        return json.loads(done.stdout)


def program(scratch: Path) -> Path:
    """Builds the program in ../candle and returns its path."""
    built = scratch / "candle"
    flags = {**os.environ, "RUSTFLAGS": "-C target-cpu=native", "CARGO_TARGET_DIR": str(built)}
    try:
        build(["cargo", "build", "--release", "--locked"], HOME, env=flags)
    except (subprocess.CalledProcessError, OSError) as failure:
        why = last_line(failure) if isinstance(failure, subprocess.CalledProcessError) else str(failure)
        raise Unavailable(f"candle does not build: {why}") from failure
    return built / "release" / "longshore-compare-candle"
