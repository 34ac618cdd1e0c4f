"""Files of random contents, written by the Python package `gguf`, and damage to them."""

import random
import struct
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType, GGUFWriter

INTEGERS = {
    GGUFValueType.UINT8: (0, 2**8 - 1),
    GGUFValueType.INT8: (-(2**7), 2**7 - 1),
    GGUFValueType.UINT16: (0, 2**16 - 1),
    GGUFValueType.INT16: (-(2**15), 2**15 - 1),
    GGUFValueType.UINT32: (0, 2**32 - 1),
    GGUFValueType.INT32: (-(2**31), 2**31 - 1),
    GGUFValueType.UINT64: (0, 2**64 - 1),
    GGUFValueType.INT64: (-(2**63), 2**63 - 1),
}
SCALARS = [*INTEGERS, GGUFValueType.FLOAT32, GGUFValueType.FLOAT64, GGUFValueType.BOOL, GGUFValueType.STRING]
TEXT = ["", "a", "llama", "Ġthe", "\u2581of", "ä\0", "{{ messages }}\n", "x" * 300]


def scalar(rng: random.Random, kind: GGUFValueType):
    """A value of a type."""
    if kind in INTEGERS:
        low, high = INTEGERS[kind]
        return rng.choice([low, high, rng.randint(low, high)])
    if kind == GGUFValueType.BOOL:
        return rng.random() < 0.5
    if kind == GGUFValueType.STRING:
        return rng.choice(TEXT)
    return rng.choice([0.0, -0.0, 1.5, -1e-5, float("inf"), 10000.0])


def written(rng: random.Random, folder: Path) -> list[Path]:
    """A file, or the members of a split set."""
    most = rng.choice([0, 0, 0, 1, 2])
    writer = GGUFWriter(None, rng.choice(["llama", "qwen3", "x"]), split_max_tensors=most)
    if most == 0 and rng.random() < 0.3:
        writer.add_custom_alignment(rng.choice([8, 16, 64, 4096]))
    for at in range(rng.randint(0, 6)):
        kind = rng.choice(SCALARS)
        if rng.random() < 0.4:
            # It finds out the type from the first element, and knows these.
            kind = rng.choice([GGUFValueType.INT32, GGUFValueType.FLOAT32, GGUFValueType.BOOL, GGUFValueType.STRING])
            writer.add_array(f"array.{at}", [scalar(rng, kind) for _ in range(rng.randint(1, 5))])
        else:
            writer.add_key_value(f"key.{at}", scalar(rng, kind), kind)
    # Its Q8_1 has blocks of 40 bytes, and ggml's 36: no file that it writes of that type is one.
    types = [kind for kind in GGML_QUANT_SIZES if kind != GGMLQuantizationType.Q8_1]
    for at in range(rng.randint(1 if most else 0, 5)):
        kind = rng.choice(types)
        block, size = GGML_QUANT_SIZES[kind]
        shape = [rng.randint(0, 3) for _ in range(rng.randint(0, 3))] + [block * rng.randint(1, 3)]
        data = np.frombuffer(rng.randbytes(int(np.prod(shape)) // block * size), np.uint8)
        data = data.reshape([*shape[:-1], shape[-1] // block * size])
        writer.add_tensor(f"blk.{at}.weight", data, raw_dtype=GGMLQuantizationType(kind))
    path = folder / "written.gguf"
    # With no tensors it leaves the padding out, as for a vocabulary.
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    if any(writer.tensors):
        writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("written*.gguf"))


def damaged(rng: random.Random, bytes_: bytes) -> bytes:
    """One thing changed: a number in the header, a cut, more bytes, or something moved."""
    data = bytearray(bytes_)
    head = min(len(data), 700)
    how = rng.randrange(7)
    at = rng.randrange(head)
    if how == 0:
        data[at] = rng.choice([0, 1, 2, 7, 8, 9, 12, 13, 31, 32, 43, 64, 128, 255])
    elif how == 1:
        data[at : at + 4] = struct.pack("<I", rng.choice([0, 1, 2, 4, 5, 9, 13, 41, 42, 43, 48, 64, 2**24, 2**32 - 1]))
    elif how == 2:
        data[at : at + 8] = struct.pack("<Q", rng.choice([0, 1, 2, 32, 63, 64, 2**24, 2**31, 2**40, 2**63, 2**64 - 1]))
    elif how == 3:
        del data[rng.randrange(len(data)) :]
    elif how == 4:
        data += bytes(rng.choice([1, 32, 64]))
    elif how == 5:
        del data[at : at + rng.choice([1, 4, 8])]
    else:
        data[at:at] = data[at : at + rng.choice([1, 4, 8, 32])]
    return bytes(data)


def by_hand(pairs: list[tuple[bytes, int, bytes]], tensors: list[tuple[bytes, list[int], int, int, bytes]]) -> bytes:
    """A file of these keys, types and values; names, dims, types, offsets and padded data."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    for key, kind, value in pairs:
        out += struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value
    for name, dims, kind, offset, _ in tensors:
        out += struct.pack("<Q", len(name)) + name + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
    if tensors:
        out += bytes(-len(out) % 32)
    return out + b"".join(data for *_, data in tensors)
