#!/usr/bin/env python3
"""Makes the model that llama.cpp's Q4_K_M would hold of a checkpoint, as decoded weights in F32.

    $(python3 benches/python/environment.py gguf) benches/quality/q4_k_m.py CHECKPOINT STATISTICS OUT

The types are those that `llama_model_quantize` gives the tensors of a llama or gemma3 model: Q4_K, with Q6_K for the values and the
down projections of some layers and for the output, and where 256 does not divide a row what stands for these there. The blocks are
those of `ggml_quantize_chunk`, with the mean squares of STATISTICS as importance matrix, which the embedding has none in. Prints
the types, and writes the bits for each weight, scales and norms included, to `bits.json` in OUT.
"""

import argparse
import collections
import json
import sys
from pathlib import Path

import numpy as np

import checkpoint

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benches" / "compare" / "peers"), str(ROOT / "benches" / "compare")]

import ggml  # noqa: E402

SUPER = 256
# The type that stands for another where a row is no multiple of 256.
SHORT = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def has_more_bits(layer: int, layers: int) -> bool:
    """Whether the sensitive tensors of a layer get more bits: the first and the last eighth, and every third between them."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def type_of(name: str, columns: int, layers: int, is_tied: bool) -> str:
    """Returns the type of a matrix."""
    kind = "Q4_K"
    if name == "lm_head.weight" or is_tied and name == "model.embed_tokens.weight":
        kind = "Q6_K"
    elif name.endswith(("v_proj.weight", "down_proj.weight")) and has_more_bits(int(name.split(".")[2]), layers):
        kind = "Q6_K"
    return kind if columns % SUPER == 0 else SHORT[kind]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("statistics", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    config, tensors, companions = checkpoint.read(options.checkpoint, [])
    statistics = checkpoint.safetensors(options.statistics)
    library = ggml.Blocks(ROOT / "target" / "compare")
    layers, is_tied = config["num_hidden_layers"], "lm_head.weight" not in tensors
    made, bits, count, kinds = {}, 0, 0, collections.Counter()
    for name, tensor in tensors.items():
        count += tensor.size
        if tensor.ndim < 2:
            made[name], bits = tensor, bits + 32 * tensor.size
            continue
        kind = type_of(name, tensor.shape[1], layers, is_tied)
        importance = None if name == "model.embed_tokens.weight" else statistics.get(name)
        blocks = library.weighted(kind, np.ascontiguousarray(tensor, np.float32), importance)
        made[name] = library.decoded(kind, blocks).reshape(tensor.shape).copy()
        bits, kinds[kind] = bits + 8 * blocks.nbytes, kinds[kind] + 1
    checkpoint.write(options.out, made, companions, "F32")
    (options.out / "bits.json").write_text(json.dumps(bits / count) + "\n")
    print(f"{bits / count:.3f} bits a weight:", ", ".join(f"{number} × {kind}" for kind, number in sorted(kinds.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
