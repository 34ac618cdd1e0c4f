"""A client of Longshore's encoder and decoder: it talks over a pipe to `longshore-quant`'s example `coder`."""

import json
import subprocess
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[4]


class Coder:
    """A running `coder`, built on creation. The source of `coder` documents the requests."""

    def __init__(self) -> None:
        build = ["cargo", "build", "--quiet", "--release", "-p", "longshore-quant", "--example", "coder"]
        subprocess.run(build, cwd=ROOT, check=True)
        describe = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
        about = subprocess.run(describe, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        target = Path(json.loads(about.stdout)["target_directory"])
        command = [str(target / "release" / "examples" / "coder")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.levels = [name.decode() for name in self._ask("levels")]

    def encode(self, scheme: str, float_: str, level: str, max_abs: float | None, source: bytes) -> list[bytes]:
        """Encodes with the profile `mlx`; returns the weight, scale and bias."""
        return self._ask(f"encode {scheme} {float_} mlx {level} {_bits(max_abs)}", source)

    def decode(
        self, scheme: str, stored: str, output: str, level: str, multiplier: float | None, *parts: bytes
    ) -> bytes:
        """Decodes `parts`; returns the bytes of the floats."""
        return self._ask(f"decode {scheme} {stored} {output} {level} {_bits(multiplier)}", *parts)[0]

    def _ask(self, words: str, *buffers: bytes) -> list[bytes]:
        line = " ".join([words, *(str(len(buffer)) for buffer in buffers)])
        self._process.stdin.write(line.encode() + b"\n")
        for buffer in buffers:
            self._process.stdin.write(buffer)
        self._process.stdin.flush()
        answer, *lens = self._process.stdout.readline().decode().split() or ["nothing"]
        if answer != "ok":
            raise RuntimeError(f"{line}: expected an answer, found {' '.join([answer, *lens])}")
        return [self._process.stdout.read(int(length)) for length in lens]


def _bits(number: float | np.float32 | None) -> str:
    return "-" if number is None else f"{np.float32(number).view(np.uint32):08x}"
