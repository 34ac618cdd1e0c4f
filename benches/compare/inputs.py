"""The checkpoints of the subjects. They are written once per size, and are the same on every machine."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensors
from peers import longshore
from worker import build, note

LIKE = {"llama": "Llama-like", "llama-1b": "Llama-like, 1,000 million parameters", "moe": "with experts, like Qwen 3"}


@dataclass
class Model:
    """A checkpoint on disk."""

    name: str
    path: Path

    @property
    def files(self) -> list[Path]:
        """All files of the checkpoint, `config.json` included."""
        return sorted(path for path in self.path.iterdir() if path.is_file())

    @property
    def bytes(self) -> int:
        """Total size of all files in bytes."""
        return sum(path.stat().st_size for path in self.files)

    def describe(self) -> str:
        """Describes the checkpoint for the head of a table."""
        count = len(list(tensors.every(self.path)))
        like = LIKE.get(self.name, "a checkpoint")
        return f"{self.name}: {like}, BF16, {self.bytes / 1e9:.3f} GB in {count} tensors in {len(self.files) - 1} files"


def home() -> Path:
    """Returns the directory below which the comparison writes all files."""
    path = longshore.target() / "compare"
    path.mkdir(parents=True, exist_ok=True)
    return path


def model(name: str, size: int) -> Model:
    """Returns a checkpoint of about `size` bytes."""
    path = home() / "input" / f"{name}-{size}"
    if not path.exists():
        note(f"making {path.name}")
        partial = path.with_name("partial")
        shutil.rmtree(partial, ignore_errors=True)
        build([longshore.example("checkpoint"), partial, "--bytes", str(size), "--like", name], longshore.ROOT)
        partial.rename(path)
    return Model(name, path)


def tuned(base: Model, path: Path, changed: tuple[str, ...], seed: int) -> Model:
    """Writes a fine-tune of a model.

    Tensors whose names contain one of the words `changed` differ by about a hundredth. All other tensors are those of the model.
    """
    note(f"making {path.name}")
    shutil.copytree(base.path, path)
    random = np.random.default_rng(seed)
    for tensor in tensors.every(path):
        if any(word in tensor.name for word in changed):
            _move(tensor, random)
    return Model(path.name, path)


def _move(tensor: tensors.Tensor, random: np.random.Generator) -> None:
    words = np.memmap(tensor.file, np.uint8, "r+")[tensor.start : tensor.end].view(np.uint16)
    values = (words.astype(np.uint32) << 16).view(np.float32)
    moved = values * (1 + np.float32(0.01) * random.standard_normal(values.size, np.float32))
    bits = moved.view(np.uint32)
    words[:] = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
