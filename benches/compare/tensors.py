"""An independent reader of safetensors files, so that no compared program checks its own answers."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Tensor:
    """A tensor, and its place in a file."""

    name: str
    dtype: str
    shape: list[int]
    file: Path
    start: int
    end: int

    def bytes(self) -> np.ndarray:
        """Returns the tensor's bytes, mapped."""
        return np.memmap(self.file, np.uint8, "r")[self.start : self.end]


def files(path: Path) -> list[Path]:
    """Returns the safetensors files of a checkpoint."""
    return sorted(path.rglob("*.safetensors"))


def every(path: Path) -> Iterator[Tensor]:
    """Yields the tensors of a checkpoint, file by file."""
    for file in files(path):
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                yield Tensor(name, entry["dtype"], entry["shape"], file, 8 + length + start, 8 + length + end)


def hashes(path: Path) -> dict[str, str]:
    """Returns for each tensor its type, its shape and the SHA-256 of its bytes."""

    def of(tensor: Tensor) -> tuple[str, str]:
        return tensor.name, f"{tensor.dtype} {tensor.shape} {hashlib.sha256(tensor.bytes()).hexdigest()}"

    with ThreadPoolExecutor() as pool:
        return dict(pool.map(of, every(path)))


def digests(path: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file in a directory."""
    return {file.name: digest(file) for file in sorted(path.iterdir()) if file.is_file()}


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 24):
            found.update(piece)
    return found.hexdigest()


def words(data: np.ndarray) -> int:
    """Returns the sum of the bytes as 64-bit words; zeros fill up the last word."""
    whole = len(data) // 8 * 8
    last = int.from_bytes(bytes(data[whole:]), "little")
    return (int(np.add.reduce(data[:whole].view(np.uint64))) + last) % 2**64


def total(path: Path) -> str:
    """Returns the sum of the words of all tensors, in hexadecimal."""
    return f"{sum(words(tensor.bytes()) for tensor in every(path)) % 2**64:016x}"


def different(found: dict[str, str], expected: dict[str, str]) -> str | None:
    """Describes the first few differences between two models' hashes, or returns None."""
    problems = [f"only one model has {name}" for name in sorted(found.keys() ^ expected.keys())]
    problems += [f"{name} differs" for name in sorted(found.keys() & expected.keys()) if found[name] != expected[name]]
    return f"{len(problems)} differences: {'; '.join(problems[:3])}" if problems else None
