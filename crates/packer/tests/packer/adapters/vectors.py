#!/usr/bin/env python3
"""Writes vectors.json: small checkpoints, adapters, and the merged weights as the definition of LoRA gives them in f64.

    python vectors.py ORACLES [SEED]      # ORACLES is a directory with lora.py
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, sys.argv[1])
import lora  # noqa: E402

rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 0)


def normal(*shape: int) -> np.ndarray:
    """Numbers with few digits, which F32 holds."""
    return (np.round(rng.normal(size=shape) * 32) / 32).astype(np.float32)


def tensors(named: dict) -> list:
    """Tensors as the test reads them."""
    return [{"name": name, "shape": list(value.shape), "values": [float(v) for v in value.ravel()]} for name, value in named.items()]


def case(name: str, base: dict, adapter: dict, expected: dict, config: dict, model: dict | None = None) -> dict:
    """One case of the file."""
    exact = {name: [float(f"{v:.9g}") for v in np.asarray(value).ravel()] for name, value in expected.items()}
    return {"name": name, "model": model or {}, "config": config, "base": tensors(base), "adapter": tensors(adapter), "expected": exact}


def wide(*values: np.ndarray) -> list:
    """The same numbers in f64."""
    return [value.astype(np.float64) for value in values]


OUT, IN, R, V, H, E = 6, 40, 4, 18, 8, 3
ROWS, COLUMNS = 16, 64  # a matrix that policies quantize
BASE = "base_model.model."
CASES = []
for rslora in (False, True):
    W, A, B = normal(ROWS, COLUMNS), normal(R, COLUMNS), normal(ROWS, R)
    w, a, b = wide(W, A, B)
    CASES.append(case(
        "rslora" if rslora else "linear", {"l.0.q_proj.weight": W, "norm.weight": normal(COLUMNS)},
        {f"{BASE}l.0.q_proj.lora_A.weight": A, f"{BASE}l.0.q_proj.lora_B.weight": B},
        {"l.0.q_proj.weight": lora.merge(w, a, b, lora.scale(16, R, rslora))},
        {"peft_type": "LORA", "r": R, "lora_alpha": 16, "use_rslora": rslora}))

W, A, B = normal(IN, OUT), normal(R, IN), normal(OUT, R)
w, a, b = wide(W, A, B)
CASES.append(case(
    "fan_in_fan_out", {"h.0.c_attn.weight": W},
    {f"{BASE}h.0.c_attn.lora_A.weight": A, f"{BASE}h.0.c_attn.lora_B.weight": B},
    {"h.0.c_attn.weight": lora.merge(w, a, b, lora.scale(8, R), True)},
    {"peft_type": "LORA", "r": R, "lora_alpha": 8, "fan_in_fan_out": True}))

W, A, B, M = normal(OUT, IN), normal(R, IN), normal(OUT, R), (np.abs(normal(OUT)) + 1).astype(np.float32)
w, a, b, m = wide(W, A, B, M)
CASES.append(case(
    "dora", {"l.0.q_proj.weight": W},
    {f"{BASE}l.0.q_proj.lora_A.weight": A, f"{BASE}l.0.q_proj.lora_B.weight": B, f"{BASE}l.0.q_proj.lora_magnitude_vector": M},
    {"l.0.q_proj.weight": lora.merge(w, a, b, lora.scale(4, R), magnitude=m)},
    {"peft_type": "LORA", "r": R, "lora_alpha": 4, "use_dora": True}))

W, A, B = normal(V, H), normal(R, V), normal(H, R)
w, a, b = wide(W, A, B)
CASES.append(case(
    "embedding", {"model.embed_tokens.weight": W, "lm_head.weight": normal(V, H)},
    {f"{BASE}model.embed_tokens.lora_embedding_A": A, f"{BASE}model.embed_tokens.lora_embedding_B": B},
    {"model.embed_tokens.weight": w + lora.delta(a, b, lora.scale(6, R)).T},
    {"peft_type": "LORA", "r": R, "lora_alpha": 6}))

for transposed in (False, True):
    W = normal(E, COLUMNS, ROWS) if transposed else normal(E, ROWS, COLUMNS)
    A, B = normal(R * E, COLUMNS), normal(ROWS, R * E)
    w, a, b = wide(W, A, B)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    CASES.append(case(
        f"stacked {'in, out' if transposed else 'out, in'}", {name: W},
        {f"{BASE}model.layers.0.mlp.experts.lora_A.weight": A, f"{BASE}model.layers.0.mlp.experts.lora_B.weight": B},
        {name: w + lora.stacked_delta(a, b, lora.scale(8, R), E, R, transposed)},
        {"peft_type": "LORA", "r": R, "lora_alpha": 8, "target_parameters": ["mlp.experts.gate_up_proj"]},
        {"architectures": ["GptOssForCausalLM"]} if transposed else None))

W, A, B = normal(OUT, IN), normal(R, IN), normal(OUT, R)
w, a, b = wide(W, A, B)
CASES.append(case(
    "mlx", {"model.layers.0.self_attn.q_proj.weight": W},
    {"model.layers.0.self_attn.q_proj.lora_a": A.T.copy(), "model.layers.0.self_attn.q_proj.lora_b": B.T.copy()},
    {"model.layers.0.self_attn.q_proj.weight": lora.merge(w, a, b, 2.5)},
    {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": R, "scale": 2.5, "dropout": 0.0}}))

W, A, B, A2, B2 = normal(16, IN), normal(R, IN), normal(4, R), normal(2, IN), normal(8, 2)
w, a, b, a2, b2 = wide(W, A, B, A2, B2)
merged = w.copy()
merged[12:] += lora.delta(a, b, lora.scale(4, R))
merged[:8] += lora.delta(a2, b2, lora.scale(6, 2))
CASES.append(case(
    "joined, with patterns", {"model.layers.0.self_attn.qkv_proj.weight": W},
    {f"{BASE}model.layers.0.self_attn.v_proj.lora_A.weight": A, f"{BASE}model.layers.0.self_attn.v_proj.lora_B.weight": B,
     f"{BASE}model.layers.0.self_attn.q_proj.lora_A.weight": A2, f"{BASE}model.layers.0.self_attn.q_proj.lora_B.weight": B2},
    {"model.layers.0.self_attn.qkv_proj.weight": merged},
    {"peft_type": "LORA", "r": R, "lora_alpha": 4, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {r"layers\.0\.self_attn\.q_proj": 6}}))

path = Path(__file__).with_name("vectors.json")
path.write_text("[\n" + ",\n".join(json.dumps(found, separators=(",", ":")) for found in CASES) + "\n]\n")
print(path.stat().st_size)
