"""A mixture of experts of random weights, as a GGUF file that both programs run: the file is a function of its sizes and its seed."""

import math
import random
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ALIGNMENT = 32
F32, Q4_0 = 0, 2
BLOCK, BLOCK_BYTES = 32, 18
UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5
TOKENS = 256
PIECE = 1 << 20  # blocks that are written at a time


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model. `skew` is how much more often some experts are chosen than others: 0 for equally often."""

    layers: int = 24
    experts: int = 64
    top_k: int = 4
    hidden: int = 1024
    inner: int = 576
    heads: int = 16
    kv_heads: int = 4
    skew: float = 0.7
    seed: int = 7

    @property
    def unit(self) -> int:
        """Bytes of an expert: three matrices."""
        return 3 * self.hidden * self.inner // BLOCK * BLOCK_BYTES

    @property
    def name(self) -> str:
        """A name for the file."""
        return f"moe-{self.layers}x{self.experts}x{self.hidden}x{self.inner}-{self.skew}-{self.seed}.gguf"


def write(path: Path, sizes: Sizes) -> None:
    """Writes the model, unless it is there."""
    if path.exists():
        return
    tensors = list(_tensors(sizes))
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(_header(sizes, tensors))
        for number, (name, kind, shape) in enumerate(tensors):
            source = random.Random(f"{sizes.seed} {number}")
            if kind == Q4_0:
                _blocks(file, source, shape)
            else:
                file.write(_floats(source, name, shape, sizes))
            file.write(bytes(-file.tell() % ALIGNMENT))
    partial.rename(path)


def _tensors(sizes: Sizes) -> list[tuple[str, int, list[int]]]:
    """Names, types and shapes, the last extent first, as ggml has them."""
    hidden, inner, head = sizes.hidden, sizes.inner, sizes.hidden // sizes.heads
    found = [("token_embd.weight", F32, [hidden, _vocabulary()]), ("output.weight", Q4_0, [hidden, _vocabulary()])]
    found.append(("output_norm.weight", F32, [hidden]))
    for layer in range(sizes.layers):
        block = f"blk.{layer}."
        kv = sizes.kv_heads * head
        found += [(f"{block}{part}.weight", F32, [width]) for part, width in
                  (("attn_norm", hidden), ("ffn_norm", hidden), ("attn_q_norm", head), ("attn_k_norm", head))]
        found += [(f"{block}attn_{part}.weight", Q4_0, [hidden, rows]) for part, rows in
                  (("q", hidden), ("k", kv), ("v", kv), ("output", hidden))]
        found.append((f"{block}ffn_gate_inp.weight", F32, [hidden, sizes.experts]))
        found += [(f"{block}ffn_{part}_exps.weight", Q4_0, [columns, rows, sizes.experts]) for part, columns, rows in
                  (("gate", hidden, inner), ("up", hidden, inner), ("down", inner, hidden))]
    return found


def _vocabulary() -> int:
    # The bytes, one that is merged, and two for the ends of a text.
    return TOKENS + 3


def _floats(source: random.Random, name: str, shape: list[int], sizes: Sizes) -> bytes:
    count = math.prod(shape)
    if name.endswith("norm.weight"):
        return struct.pack(f"<{count}f", *[1.0] * count)
    values = [source.gauss(0.0, 1.0) for _ in range(count)]
    if "ffn_gate_inp" in name:
        # The first channel is the same for all tokens, so that a router prefers some experts, others in each layer.
        ranks = list(range(sizes.experts))
        source.shuffle(ranks)
        width = shape[0]
        values = [value / math.sqrt(width) for value in values]
        for expert, rank in enumerate(ranks):
            values[expert * width] = -sizes.skew * math.log(1 + rank) / 4
    else:
        values[:: shape[0]] = [4.0] * shape[1]
    return struct.pack(f"<{count}f", *values)


def _blocks(file: BinaryIO, source: random.Random, shape: list[int]) -> None:
    # Codes are even over 16 values, so that a matrix keeps the size of a vector, and adds a tenth of it to the stream.
    scale = struct.pack("<e", 0.1 / (4.6 * math.sqrt(shape[0])))
    left = math.prod(shape) // BLOCK
    while left > 0:
        count = min(left, PIECE)
        blocks = bytearray(source.randbytes(count * BLOCK_BYTES))
        blocks[0::BLOCK_BYTES] = scale[:1] * count
        blocks[1::BLOCK_BYTES] = scale[1:] * count
        file.write(blocks)
        left -= count


def _header(sizes: Sizes, tensors: list[tuple[str, int, list[int]]]) -> bytes:
    name = "qwen3moe"
    head = sizes.hidden // sizes.heads
    pairs = [
        ("general.architecture", STRING, name),
        ("general.alignment", UINT32, ALIGNMENT),
        (f"{name}.block_count", UINT32, sizes.layers),
        (f"{name}.context_length", UINT32, 4096),
        (f"{name}.embedding_length", UINT32, sizes.hidden),
        (f"{name}.feed_forward_length", UINT32, sizes.inner),
        (f"{name}.expert_feed_forward_length", UINT32, sizes.inner),
        (f"{name}.expert_count", UINT32, sizes.experts),
        (f"{name}.expert_used_count", UINT32, sizes.top_k),
        (f"{name}.attention.head_count", UINT32, sizes.heads),
        (f"{name}.attention.head_count_kv", UINT32, sizes.kv_heads),
        (f"{name}.attention.key_length", UINT32, head),
        (f"{name}.attention.value_length", UINT32, head),
        (f"{name}.attention.layer_norm_rms_epsilon", FLOAT32, 1e-6),
        (f"{name}.rope.freq_base", FLOAT32, 10000.0),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "gpt-2"),
        ("tokenizer.ggml.tokens", (ARRAY, STRING), [*_letters(), "th", "<s>", "</s>"]),
        ("tokenizer.ggml.token_type", (ARRAY, INT32), [1] * (TOKENS + 1) + [3, 3]),
        ("tokenizer.ggml.merges", (ARRAY, STRING), ["t h"]),
        ("tokenizer.ggml.bos_token_id", UINT32, TOKENS + 1),
        ("tokenizer.ggml.eos_token_id", UINT32, TOKENS + 2),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
    ]
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)))
    for key, kind, value in pairs:
        out += _text(key) + _value(kind, value)
    offset = 0
    for tensor, kind, shape in tensors:
        out += _text(tensor) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        count = math.prod(shape)
        size = 4 * count if kind == F32 else count // BLOCK * BLOCK_BYTES
        offset += size + -size % ALIGNMENT
    return bytes(out) + bytes(-len(out) % ALIGNMENT)


def _value(kind: int | tuple[int, int], value: object) -> bytes:
    if isinstance(kind, tuple):
        outer, inner = kind
        body = b"".join(_value(inner, item)[4:] for item in value)
        return struct.pack("<IIQ", outer, inner, len(value)) + body
    forms = {UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}
    body = _text(value) if kind == STRING else struct.pack(forms[kind], value)
    return struct.pack("<I", kind) + body


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _letters() -> list[str]:
    """The letters by which byte-level tokenizers write the bytes."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(TOKENS) if byte not in seen]
    return [chr(byte) if byte in seen else chr(TOKENS + hidden.index(byte)) for byte in range(TOKENS)]
