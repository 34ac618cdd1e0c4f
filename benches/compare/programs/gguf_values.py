"""Compares the tensors of a GGUF file of a Llama with those of another model, by gguf's decoder.

    gguf_values.py FILE OTHER

OTHER is an mlx-lm directory, whose values are compared, or a GGUF file, whose bytes are. Its tensors have the names of ggml or those of
a checkpoint. In the first case rows of queries and keys lie as in FILE, in the second as in a checkpoint.

Prints the number of FILE's tensors and the names that only one model has. For each kind of OTHER's tensors it prints how many there are,
how many of them are equal, and the largest difference of a value, as it is and over the largest value of its tensor. A kind is a type, or
`int` and the number of bits for integer codes with scales and biases.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tensors  # noqa: E402

# Names outside the layers, and in them.
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# The metadata that holds the number of heads, for tensors whose rows ggml has in another order.
HEADS = {"attn_q": "llama.attention.head_count", "attn_k": "llama.attention.head_count_kv"}
FLOATS = {"F16": np.float16, "F32": np.float32}


@dataclass
class Tensor:
    """A tensor of one model."""

    kind: str
    bytes: np.ndarray | None  # rows, of a GGUF file
    values: Callable[[], np.ndarray]  # in F32


def main() -> None:
    """Compares once."""
    file, other = gguf.GGUFReader(sys.argv[1]), Path(sys.argv[2])
    found = directory(other) if other.is_dir() else {tensor.name: whole(tensor) for tensor in gguf.GGUFReader(other).tensors}
    missing, kinds = [], {}
    for tensor in file.tensors:
        expected, theirs = whole(tensor), found.pop(tensor.name, None)
        if theirs is None:
            name, heads = in_checkpoint(file, tensor.name)
            expected, theirs = ordered(expected, heads), found.pop(name, None)
        if theirs is None:
            missing.append(tensor.name)
        else:
            compare(kinds.setdefault(theirs.kind, {}), expected, theirs)
    print(json.dumps({"tensors": len(file.tensors), "missing": missing, "extra": sorted(found), "kinds": kinds}))


def compare(kind: dict, expected: Tensor, found: Tensor) -> None:
    """Adds two tensors to what is known of their kind."""
    for key, zero in (("count", 0), ("equal", 0), ("difference", 0.0), ("share", 0.0)):
        kind.setdefault(key, zero)
    kind["count"] += 1
    in_bytes = found.bytes is not None
    if in_bytes and found.kind == expected.kind and np.array_equal(found.bytes, expected.bytes):
        kind["equal"] += 1
        return
    one, other = expected.values(), found.values()
    if one.shape != other.shape:
        raise SystemExit(f"error: expected the shape {one.shape}, found {other.shape}")
    if not in_bytes and np.array_equal(one, other):
        kind["equal"] += 1
        return
    difference, largest = float(np.abs(other - one).max()), float(np.abs(one).max())
    if not np.isfinite(difference):
        raise SystemExit(f"error: expected finite values, found a difference of {difference}")
    kind["difference"] = max(kind["difference"], difference)
    kind["share"] = max(kind["share"], difference / largest if largest else float("inf"))


def whole(tensor: gguf.ReaderTensor) -> Tensor:
    """Returns a tensor of a GGUF file."""
    return Tensor(tensor.tensor_type.name, tensor.data, lambda: gguf.quants.dequantize(tensor.data, tensor.tensor_type))


def in_checkpoint(file: gguf.GGUFReader, name: str) -> tuple[str, int]:
    """Returns the name of a tensor in a checkpoint, and the number of its heads if ggml has its rows in another order."""
    stem, end = name.rsplit(".", 1)
    if not stem.startswith("blk."):
        return f"{OUTER.get(stem, stem)}.{end}", 0
    _, layer, stem = stem.split(".", 2)
    heads = int(file.fields[HEADS[stem]].contents()) if stem in HEADS else 0
    return f"model.layers.{layer}.{INNER.get(stem, stem)}.{end}", heads


def ordered(tensor: Tensor, heads: int) -> Tensor:
    """Returns a tensor with its rows as a checkpoint has them: in each head, ggml takes turns between the two halves."""
    if not heads:
        return tensor

    def moved(rows: np.ndarray) -> np.ndarray:
        return rows.reshape(heads, -1, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)

    return Tensor(tensor.kind, moved(tensor.bytes), lambda: moved(tensor.values()))


def directory(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of an mlx-lm directory: codes, scales and biases are one."""
    config = json.loads((path / "config.json").read_text())["quantization"]
    stored = {tensor.name: tensor for tensor in tensors.every(path)}
    found = {}
    for name, tensor in stored.items():
        module, end = name.rsplit(".", 1)
        if f"{module}.scales" not in stored:
            found[name] = Tensor(tensor.dtype, None, lambda tensor=tensor: floats(tensor))
        elif end == "weight":
            how = config.get(module, config)
            parts = tensor, stored[f"{module}.scales"], stored[f"{module}.biases"]
            found[name] = Tensor(f"int{how['bits']}", None, lambda parts=parts, how=how: affine(*parts, **how))
    return found


def affine(codes: tensors.Tensor, scale: tensors.Tensor, bias: tensors.Tensor, *, bits: int, group_size: int, **_: object) -> np.ndarray:
    """Returns scale · code + bias of each group, in F32."""
    rows, data = codes.shape[0], codes.bytes()
    if bits == 4:
        data = np.stack([data & 15, data >> 4], axis=-1)
    elif bits != 8:
        raise SystemExit(f"error: {codes.name}: expected codes of 4 or 8 bits, found {bits}")
    groups = data.reshape(rows, -1, group_size).astype(np.float32)
    groups *= floats(scale)[:, :, None]
    groups += floats(bias)[:, :, None]
    return groups.reshape(rows, -1)


def floats(tensor: tensors.Tensor) -> np.ndarray:
    """Returns the values of a tensor of floats, in F32."""
    if tensor.dtype not in FLOATS:
        raise SystemExit(f"error: {tensor.name}: expected {' or '.join(FLOATS)}, found {tensor.dtype}")
    return tensor.bytes().view(FLOATS[tensor.dtype]).reshape(tensor.shape).astype(np.float32)


if __name__ == "__main__":
    main()
