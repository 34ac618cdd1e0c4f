"""Makes a checkpoint of random weights from a list of names, types and shapes."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np

TYPES = {"BF16": mx.bfloat16, "F16": mx.float16, "F32": mx.float32, "U8": mx.uint8, "U32": mx.uint32}
SEED = 20_261_121


def make(description: Path, target: Path) -> None:
    """Writes the files of a list in crates/st-format/models."""
    rng = np.random.default_rng(SEED)
    listed = json.loads(description.read_text())
    target.mkdir(parents=True)
    for name, document in listed["json"].items():
        (target / name).write_text(document)
    for name, tensors in listed["files"].items():
        metadata = tensors.pop("__metadata__", {})
        arrays = {tensor: values(rng, tensor, entry) for tensor, entry in tensors.items()}
        mx.save_safetensors(str(target / name), arrays, metadata)


def values(rng: np.random.Generator, name: str, entry: dict) -> mx.array:
    """Values that a model can be run with: small weights, norms about one, any codes."""
    shape, dtype = entry["shape"], TYPES[entry["dtype"]]
    if dtype == mx.uint32:
        return mx.array(rng.integers(0, 1 << 32, shape, dtype=np.uint32))
    if dtype == mx.uint8:
        # Scales of blocks are powers of two below 1. Codes are arbitrary.
        low, high = (116, 122) if name.endswith("_scales") else (0, 256)
        return mx.array(rng.integers(low, high, shape, dtype=np.uint8))
    spread = rng.normal(0, 0.02, shape)
    if name.endswith(".scales"):
        spread = np.abs(spread) / 8 + 1e-3
    return mx.array((spread + ("norm" in name and len(shape) == 1)).astype(np.float32)).astype(dtype)


def respell_gpt_oss(source: Path, target: Path) -> Path:
    """A bf16 gpt-oss as mlx-lm would have it, which reads the experts of its own names and of mxfp4 blocks only."""
    target.mkdir()
    arrays = {}
    for file in source.glob("*.safetensors"):
        for name, array in mx.load(str(file)).items():
            stem, _, last = name.rpartition(".")
            module, suffix = last.removesuffix("_bias"), "bias" if last.endswith("_bias") else "weight"
            if not stem.endswith(".experts"):
                arrays[name] = array
                continue
            # Shapes [experts, in, out] and [experts, out].
            rows = array.swapaxes(-1, -2) if suffix == "weight" else array
            if module == "gate_up_proj":
                arrays[f"{stem}.gate_proj.{suffix}"] = rows[:, 0::2]
                arrays[f"{stem}.up_proj.{suffix}"] = rows[:, 1::2]
            else:
                arrays[f"{stem}.{module}.{suffix}"] = rows
    mx.save_safetensors(str(target / "model.safetensors"), arrays, {"format": "mlx"})
    (target / "config.json").write_text((source / "config.json").read_text())
    return target
