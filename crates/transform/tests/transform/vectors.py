#!/usr/bin/env python3
"""Writes vectors.json: weights, a Hessian of inputs that depend on each other, and the loss of GPTQ by its definition in f64.

    python vectors.py ORACLES [SEED]      # ORACLES is a directory with calib.py
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, sys.argv[1])
import calib  # noqa: E402

rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
OUT, IN, ROWS = 12, 192, 600
mix = rng.normal(size=(IN, IN)) * (np.arange(1, IN + 1) ** -.5)[:, None] * 3
inputs = rng.normal(size=(ROWS, IN)) @ mix + .3 * rng.normal(size=(ROWS, IN))
factor = np.round(inputs[:96] * 4) / 4  # as few numbers as describe a Hessian: it is the mean of their products
hessian = factor.T @ factor / len(factor)
weights = np.round(rng.normal(size=(OUT, IN)) * 64) / 64


def loss(quantized: np.ndarray) -> float:
    """The loss under the damped Hessian."""
    error = weights - quantized
    damped = hessian + np.eye(IN) * .01 * np.trace(hessian) / IN
    return float(np.einsum("oi,ij,oj->", error, damped, error))


path = Path(__file__).with_name("vectors.json")
path.write_text(json.dumps({
    "inputs": IN, "factor": [float(v) for v in factor.ravel()], "weights": [float(v) for v in weights.ravel()],
    "nearest": loss(calib.quant(weights)), "gptq": loss(calib.gptq(weights, hessian)),
}, separators=(",", ":")) + "\n")
print(path.stat().st_size, loss(calib.quant(weights)), loss(calib.gptq(weights, hessian)))
