#!/usr/bin/env python3
"""Records the logits of EAGLE-3 heads in F64, for the tests of this crate.

    python eagle.py                    # writes heads/NAME.json; needs torch and transformers

The target is a tiny llama, which transformers runs. The head is written out here: it reads the states before three layers of the target.
The tensors have the values that `record.values` gives them by their names.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from record import SIZES, TOKENS, rounded, values
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM

HEADS = Path(__file__).resolve().parent / "heads"
LAYERS = 8
TARGET = {**SIZES, "num_hidden_layers": LAYERS}
HEAD = {
    "architectures": ["LlamaForCausalLMEagle3"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500.0,
    "num_hidden_layers": 1,
    "max_position_embeddings": 64,
    "vocab_size": 64,
    "draft_vocab_size": 20,
}
# The head's tokens: every third of the target's.
OFFSETS = [2 * token for token in range(20)]
CASES = {
    "plain": (HEAD, [2, 4, 5], True),
    # A smaller head, with an embedding of its own, that reads other layers and goes on from the normalised states.
    "stated": (
        {**HEAD, "hidden_size": 24, "norm_before_residual": True, "eagle_aux_hidden_state_layer_ids": [0, 3, LAYERS]},
        [0, 3, LAYERS],
        False,
    ),
}


def main() -> None:
    """Writes all cases."""
    HEADS.mkdir(exist_ok=True)
    for name, (config, taps, shares) in CASES.items():
        shapes = shapes_of(config, shares)
        target, of_target = target_states(taps)
        found = head(config, {tensor: torch.from_numpy(values(f"draft.{tensor}", shape)).double() for tensor, shape in shapes.items()}, of_target, target)
        case = {"target": target["config"], "target_tensors": target["shapes"], "head": config, "tensors": shapes}
        case |= {"offsets": OFFSETS, "tokens": TOKENS, "logits": rounded(found.numpy())}
        members = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in case.items())
        (HEADS / f"{name}.json").write_text(f"{{\n{members}\n}}\n")


def shapes_of(config: dict, shares: bool) -> dict[str, list[int]]:
    """Shapes of a head's tensors."""
    hidden, inner, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    shapes = {"fc": [hidden, 3 * TARGET["hidden_size"]], "norm": [hidden], "lm_head": [len(OFFSETS), hidden]}
    if not shares:
        shapes["embed_tokens"] = [TARGET["vocab_size"], hidden]
    layer = {
        "hidden_norm": [hidden],
        "input_layernorm": [hidden],
        "post_attention_layernorm": [hidden],
        "self_attn.q_proj": [queries, 2 * hidden],
        "self_attn.k_proj": [keys, 2 * hidden],
        "self_attn.v_proj": [keys, 2 * hidden],
        "self_attn.o_proj": [hidden, queries],
        "mlp.gate_proj": [inner, hidden],
        "mlp.up_proj": [inner, hidden],
        "mlp.down_proj": [hidden, inner],
    }
    shapes |= {f"midlayer.{name}": shape for name, shape in layer.items()}
    return {f"{name}.weight": shape for name, shape in shapes.items()}


def target_states(taps: list[int]) -> tuple[dict, torch.Tensor]:
    """The target with its embedding, and its states before some layers, side by side."""
    config = AutoConfig.for_model("llama", **TARGET)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        model = AutoModelForCausalLM.from_config(config)
        shapes = {name: list(found.shape) for name, found in model.state_dict().items()}
        model.save_pretrained(folder)
        save_file({name: values(name, shape) for name, shape in shapes.items()}, folder / "model.safetensors", {"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
        stated = json.loads((folder / "config.json").read_text())
    states = []
    for layer in model.model.layers:
        layer.register_forward_pre_hook(lambda _module, inputs: states.append(inputs[0][0]))
    model.model.norm.register_forward_pre_hook(lambda _module, inputs: states.append(inputs[0][0]))
    with torch.no_grad():
        model(torch.tensor([TOKENS]))
        embedding = model.model.embed_tokens.weight.clone()
    return {"config": stated, "shapes": shapes, "embedding": embedding}, torch.cat([states[tap] for tap in taps], -1)


def head(config: dict, tensors: dict[str, torch.Tensor], of_target: torch.Tensor, target: dict) -> torch.Tensor:
    """The logits of a head for each pair of neighbouring tokens: the state of one, and the next."""
    weight = {name.removesuffix(".weight").removeprefix("midlayer."): found for name, found in tensors.items()}
    heads, kv_heads, dim = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return weight[name] * x / torch.sqrt((x * x).mean(-1, keepdim=True) + config["rms_norm_eps"])

    def rotate(x: torch.Tensor) -> torch.Tensor:
        angles = torch.outer(torch.arange(len(x)).double(), config["rope_theta"] ** (-torch.arange(0, dim, 2).double() / dim))
        first, second = x[..., : dim // 2], x[..., dim // 2 :]
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

    fused = of_target @ weight["fc"].T
    states, tokens = fused[:-1], torch.tensor(TOKENS[1:])
    embedded = weight.get("embed_tokens", target["embedding"])[tokens]
    normed = norm("hidden_norm", states)
    residual = normed if config.get("norm_before_residual") else states
    both = torch.cat([norm("input_layernorm", embedded), normed], -1)
    queries = rotate((both @ weight["self_attn.q_proj"].T).reshape(-1, heads, dim))
    keys = rotate((both @ weight["self_attn.k_proj"].T).reshape(-1, kv_heads, dim)).repeat_interleave(heads // kv_heads, 1)
    read = (both @ weight["self_attn.v_proj"].T).reshape(-1, kv_heads, dim).repeat_interleave(heads // kv_heads, 1)
    scores = torch.einsum("qhd,khd->hqk", queries, keys) / np.sqrt(dim)
    later = torch.ones(len(tokens), len(tokens), dtype=torch.bool).triu(1)
    mixed = torch.einsum("hqk,khd->qhd", scores.masked_fill(later, -torch.inf).softmax(-1), read).reshape(len(tokens), -1)
    x = residual + mixed @ weight["self_attn.o_proj"].T
    inner = norm("post_attention_layernorm", x)
    gate = torch.nn.functional.silu(inner @ weight["mlp.gate_proj"].T)
    x = x + (gate * (inner @ weight["mlp.up_proj"].T)) @ weight["mlp.down_proj"].T
    return norm("norm", x) @ weight["lm_head"].T


if __name__ == "__main__":
    main()
