"""A reader of safetensors of its own, so that answers are checked by neither side."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Tensor:
    """Where a tensor lies."""

    name: str
    dtype: str
    shape: list[int]
    file: Path
    start: int
    end: int

    def bytes(self) -> np.ndarray:
        """Its bytes, mapped."""
        return np.memmap(self.file, np.uint8, "r")[self.start : self.end]


def files(path: Path) -> list[Path]:
    """The safetensors files of a checkpoint."""
    return sorted(path.rglob("*.safetensors"))


def every(path: Path) -> Iterator[Tensor]:
    """The tensors of a checkpoint, file by file."""
    for file in files(path):
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                yield Tensor(name, entry["dtype"], entry["shape"], file, 8 + length + start, 8 + length + end)


def hashes(path: Path) -> dict[str, str]:
    """Of each tensor its type, shape and the SHA-256 of its bytes."""

    def of(tensor: Tensor) -> tuple[str, str]:
        return tensor.name, f"{tensor.dtype} {tensor.shape} {hashlib.sha256(tensor.bytes()).hexdigest()}"

    with ThreadPoolExecutor() as pool:
        return dict(pool.map(of, every(path)))


def digests(path: Path) -> dict[str, str]:
    """The SHA-256 of each file of a directory."""
    return {file.name: digest(file) for file in sorted(path.iterdir()) if file.is_file()}


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 24):
            found.update(piece)
    return found.hexdigest()


def words(data: np.ndarray) -> int:
    """The sum of bytes taken as words of 64 bits, the last one filled up with zeros."""
    whole = len(data) // 8 * 8
    last = int.from_bytes(bytes(data[whole:]), "little")
    return (int(np.add.reduce(data[:whole].view(np.uint64))) + last) % 2**64


def total(path: Path) -> str:
    """The sum of the words of all tensors, in hexadecimal."""
    return f"{sum(words(tensor.bytes()) for tensor in every(path)) % 2**64:016x}"


def different(found: dict[str, str], expected: dict[str, str]) -> str | None:
    """The first few differences between two models' hashes, in words."""
    problems = [f"{name} is only in one" for name in sorted(found.keys() ^ expected.keys())]
    problems += [f"{name} differs" for name in sorted(found.keys() & expected.keys()) if found[name] != expected[name]]
    return f"{len(problems)} differences: {'; '.join(problems[:3])}" if problems else None
