#!/usr/bin/env python3
"""Multiplies the columns of weights by powers of what their inputs measure, as AWQ does, without changing what the model computes.

    target/python/gguf/bin/python benches/quality/scales.py FLOATS OUT --power 0.5 --statistics FILE [--statistics FILE ...]

A column that reads large inputs is multiplied by s and so is rounded more finely beside its neighbours; what makes its input is divided by s: the gain of
the norm before it, the row of the up projection, or the row of the value projection, whose factors the heads that share it share. s is E[x²] to half
the power, over the geometric mean of its tensor, with E[x²] of the first file. OUT gets the weights as F16, and each file of statistics as those of the
changed weights: of inputs x/s. FLOATS is a checkpoint directory of llama (Lin et al., "AWQ", 2023, searches the power for each layer).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import checkpoint


def factors(mean: np.ndarray, power: float) -> np.ndarray:
    """Returns the factor of each column by the means of its squared inputs."""
    logarithms = np.log(np.maximum(mean.astype(np.float64), 1e-12)) * power / 2
    return np.exp(logarithms - logarithms.mean())


def scaled(config: dict, tensors: dict[str, np.ndarray], means: dict[str, np.ndarray], power: float) -> dict[str, np.ndarray]:
    """Multiplies the columns in place, and returns the factors by the name of each weight."""
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    found = {}

    def columns(name: str, by: np.ndarray) -> None:
        tensors[name] = tensors[name] * by
        found[name] = by

    for layer in range(config["num_hidden_layers"]):
        stem = f"model.layers.{layer}."
        reads = {"input_layernorm": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], "post_attention_layernorm": ["mlp.gate_proj", "mlp.up_proj"]}
        for norm, readers in reads.items():
            by = factors(means[f"{stem}{readers[0]}.weight"], power)
            tensors[f"{stem}{norm}.weight"] = tensors[f"{stem}{norm}.weight"] / by
            for reader in readers:
                columns(f"{stem}{reader}.weight", by)
        by = factors(means[f"{stem}mlp.down_proj.weight"], power)
        columns(f"{stem}mlp.down_proj.weight", by)
        tensors[f"{stem}mlp.up_proj.weight"] = tensors[f"{stem}mlp.up_proj.weight"] / by[:, None]
        output = f"{stem}self_attn.o_proj.weight"
        shared = means[output].reshape(groups, heads // groups, -1).mean(1)
        by = factors(shared.reshape(-1), power)
        columns(output, by.reshape(groups, 1, -1).repeat(heads // groups, 1).reshape(-1))
        tensors[f"{stem}self_attn.v_proj.weight"] = tensors[f"{stem}self_attn.v_proj.weight"] / by[:, None]
    return found


def rewritten(path: Path, out: Path, by: dict[str, np.ndarray]) -> None:
    """Writes a file of statistics for inputs that are divided by the factors."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    arrays = json.loads(header["__metadata__"].get("hessians", "{}"))
    done = set()
    for name, factor in by.items():
        for array in (name, arrays.get(name)):
            if array is None or array in done or array not in header:
                continue
            done.add(array)
            start, end = (8 + length + offset for offset in header[array]["data_offsets"])
            values = np.frombuffer(data[start:end], "<f4").reshape(header[array]["shape"])
            values = values / (factor * factor if array == name else np.outer(factor, factor))
            data[start:end] = values.astype("<f4").tobytes()
    out.write_bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("floats", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--power", type=float, required=True, help="0 changes nothing")
    parser.add_argument("--statistics", type=Path, action="append", required=True, help="what `longshore calibrate` wrote of FLOATS")
    options = parser.parse_args()
    config, tensors, companions = checkpoint.read(options.floats, [])
    if config["model_type"] != "llama":
        print(f"error: {options.floats} is {config['model_type']}, expected llama", file=sys.stderr)
        return 1
    by = scaled(config, tensors, checkpoint.safetensors(options.statistics[0]), options.power)
    checkpoint.write(options.out, tensors, companions, "F16")
    for path in options.statistics:
        rewritten(path, options.out.with_name(f"{options.out.name}-{path.name}"), by)
    return 0


if __name__ == "__main__":
    sys.exit(main())
