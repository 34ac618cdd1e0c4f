#!/usr/bin/env python3
"""Takes the weights of a quantized file off its grid without changing what the model computes.

    $(python3 benches/python/environment.py gguf) benches/quality/offgrid.py SOURCE OUT [--as-is]

The decoded weights of a 4-bit file lie on a grid of 16 values in each group. A search for scales finds that grid again and
loses nothing, which says nothing about weights as they come from training. This program changes the weights and keeps the
function:

- Columns of linear layers that read normalised values are multiplied by s, and the gains of the norm divided by it.
- Rows of up projections are multiplied by s and columns of down projections divided by it; rows of value projections and
  columns of output projections likewise. The heads that share a value head share its factors. All factors are drawn from
  [0.7, 1.4] with a seed.
- The channels of the residual stream change places, in all tensors alike. A tied embedding cannot be scaled, but this mixes
  the members of its groups.

With `--fold`, the gains move into the columns as they are, and become one. That is a harder model to quantize: gains are small
where values are large, and columns of very different size then share a group.

Norms after a layer (Gemma) and norms of queries and keys stay, and so does the last norm of a model with tied embeddings. In
F32, the logits of the changed model must be those of the model within 1e-4 of their root mean square, or the exit status is
1. The changed weights are then stored as F16, or as BF16 if asked.

SOURCE is a GGUF file or a checkpoint directory, of llama or gemma3. `--as-is` changes nothing and stores the decoded
weights, as F32.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import checkpoint
import forward

SEED = 20
RANGE = (0.7, 1.4)
LIMIT = 1e-4
TOKENS = [1, 504, 3575, 282, 4649, 314, 7042, 28, 564, 260, 1109, 18, 2, 9, 77, 31, 504, 40000, 12345, 6, 100, 2000, 19, 3]


def changed(config: dict, tensors: dict[str, np.ndarray], seed: int, folds: bool) -> dict[str, np.ndarray]:
    """Returns the tensors of a model that computes the same, in F32."""
    if biased := sorted(name for name in tensors if name.endswith(".bias")):
        raise checkpoint.Unsupported(f"{biased[0]}: expected a model without biases")
    random = np.random.default_rng(seed)
    # F64 keeps the rounding of the changes far below that of the forward pass.
    made = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    unit = 1.0 if config["model_type"] == "gemma3_text" else 0.0
    before_ffn = "pre_feedforward_layernorm" if unit else "post_attention_layernorm"

    def move(norm: str, readers: list[str]) -> None:
        """Moves a part of a norm's gain into the layers that read its values, or all of it."""
        gain = made[norm] + unit
        moved = gain if folds else random.uniform(*RANGE, len(gain))
        for reader in readers:
            made[reader] *= moved
        made[norm] = np.ones_like(gain) - unit if folds else gain / moved - unit

    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    for layer in range(config["num_hidden_layers"]):
        stem = f"model.layers.{layer}."
        reads = {
            "input_layernorm": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            before_ffn: ["mlp.gate_proj", "mlp.up_proj"],
        }
        for norm, readers in reads.items():
            move(f"{stem}{norm}.weight", [f"{stem}{reader}.weight" for reader in readers])
        up, down, value, output = (
            made[f"{stem}{name}.weight"] for name in ("mlp.up_proj", "mlp.down_proj", "self_attn.v_proj", "self_attn.o_proj")
        )
        factors = random.uniform(*RANGE, len(up))
        up *= factors[:, None]
        down /= factors
        factors = random.uniform(*RANGE, len(value))
        value *= factors[:, None]
        output /= factors.reshape(groups, -1).repeat(heads // groups, 0).reshape(-1)
    if "lm_head.weight" in made:
        move("model.norm.weight", ["lm_head.weight"])
    order = random.permutation(config["hidden_size"])
    for name in made:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            made[name] = made[name][order]
        elif not name.endswith(("q_norm.weight", "k_norm.weight")):
            made[name] = made[name][..., order]
    return {name: tensor.astype(np.float32) for name, tensor in made.items()}


def distance(config: dict, one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Returns the largest difference of two models' logits, over the root mean square of the first's."""
    expected, found = (forward.logits(config, tensors, TOKENS) for tensors in (one, other))
    return float(np.abs(found - expected).max() / np.sqrt((expected**2).mean()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--as-is", action="store_true", help="store the decoded weights, unchanged, as F32")
    parser.add_argument("--fold", action="store_true", help="move the whole gains of norms into the layers that read them")
    parser.add_argument("--dtype", choices=["F16", "BF16"], default="F16", help="type of the changed weights (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the factors and places (%(default)s)")
    default = ["cargo", "run", "--quiet", "--release", "--"]
    parser.add_argument("--longshore", nargs="+", default=default, help="the command that runs longshore")
    options = parser.parse_args()
    try:
        config, tensors, companions = checkpoint.read(options.source, options.longshore)
        if options.as_is:
            checkpoint.write(options.out, tensors, companions, "F32")
            return 0
        made = changed(config, tensors, options.seed, options.fold)
        found = distance(config, tensors, made)
        print(f"{options.source.name}: the logits differ by {found:.1e} of their root mean square", flush=True)
        if not found <= LIMIT:
            print(f"error: expected {LIMIT:.0e} at most", file=sys.stderr)
            return 1
        checkpoint.write(options.out, made, companions, options.dtype)
    except checkpoint.Unsupported as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
