"""The device that MLX computes on: Metal where there is one, else the CPU."""

import os
import sys

import mlx.core as mx

# Set to `cpu`, this keeps a run from Metal: only the CPU backend's bits are those of the profile `mlx`.
VARIABLE = "LONGSHORE_BENCH_MLX"


def choose() -> str:
    """Makes it MLX's default, and returns its name: `Metal` or `the CPU`."""
    is_metal = mx.metal.is_available() and os.environ.get(VARIABLE) != "cpu"
    mx.set_default_device(mx.gpu if is_metal else mx.cpu)
    return "Metal" if is_metal else "the CPU"


if __name__ == "__main__":
    sys.stdout.write(f"{choose()}\n")
