#!/usr/bin/env python3
"""Records the logits of tiny checkpoints as transformers computes them in F64, for the tests of this crate.

    python record.py [CASE…]           # writes cases/CASE.json; needs torch and transformers

A case is a configuration. Its tensors have the names and shapes that transformers gives to a checkpoint of that configuration, and values
that the test makes again: see `values`. `--shared DIR` records the checkpoints of a directory as they are.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

CASES = Path(__file__).resolve().parent / "cases"
TOKENS = [7, 41, 3, 60, 22, 22, 9, 55, 1, 30, 48, 13]
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}
MOE = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
SMALL_MOE = {**MOE, "moe_intermediate_size": 16}
ROPE = {"rope_theta": 10000.0}
EAGER = {"attn_implementation": "eager", "experts_implementation": "eager"}
LATENT = {"kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}
DEEPSEEK = {
    **SIZES,
    **LATENT,
    "head_dim": 4,
    "num_key_value_heads": 4,
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_shared_experts": 2,
    "moe_intermediate_size": 16,
    "n_group": 4,
    "topk_group": 2,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "rope_parameters": {"rope_type": "default", **ROPE},
}


def rope(kind: str, **more) -> dict:
    """Parameters of a rotation that stretches the context."""
    return {"rope_parameters": {"rope_type": kind, **ROPE, **more}}


CLASSES = {"id2label": {"0": "bad", "1": "fair", "2": "good"}}
KINDS = ["sliding_attention", "full_attention"]
CONFIGS = {
    "llama": ("llama", SIZES),
    "llama-tied-bias": ("llama", {**SIZES, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama-linear": ("llama", {**SIZES, **rope("linear", factor=4.0)}),
    "llama-llama3": (
        "llama",
        {
            **SIZES,
            **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32),
        },
    ),
    "llama-yarn": ("llama", {**SIZES, **rope("yarn", factor=4.0, original_max_position_embeddings=16)}),
    "mistral": ("mistral", {**SIZES, "sliding_window": 4}),
    "qwen2": ("qwen2", SIZES),
    "qwen3": ("qwen3", SIZES),
    "qwen3-moe": ("qwen3_moe", {**SIZES, **SMALL_MOE, "norm_topk_prob": False}),
    "qwen3-moe-dense": ("qwen3_moe", {**SIZES, **SMALL_MOE, "norm_topk_prob": True, "mlp_only_layers": [1]}),
    "mixtral": ("mixtral", {**SIZES, **MOE}),
    "gemma2": (
        "gemma2",
        {
            **SIZES,
            "tie_word_embeddings": True,
            "sliding_window": 4,
            "query_pre_attn_scalar": 16,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3": (
        "gemma3_text",
        {
            **SIZES,
            "tie_word_embeddings": True,
            "sliding_window": 4,
            "query_pre_attn_scalar": 16,
            "layer_types": KINDS,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        },
    ),
    "gpt-oss": ("gpt_oss", {**SIZES, **MOE, "sliding_window": 4, "layer_types": KINDS, "swiglu_limit": 0.5}),
    "deepseek-v3": ("deepseek_v3", DEEPSEEK),
    "deepseek-v3-yarn": (
        "deepseek_v3",
        {
            **DEEPSEEK,
            "q_lora_rank": None,
            **rope("yarn", factor=4.0, original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=0.5),
        },
    ),
    "phi3": ("phi3", {**SIZES, "pad_token_id": 0, "partial_rotary_factor": 0.5, "sliding_window": 4}),
    "phi3-longrope": (
        "phi3",
        {
            **SIZES,
            "pad_token_id": 0,
            "original_max_position_embeddings": 32,
            **rope("longrope", short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[1.0, 2.0, 3.0, 4.0]),
        },
    ),
    "granite": (
        "granite",
        {
            **SIZES,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.7,
            "attention_multiplier": 0.2,
            "logits_scaling": 2.0,
        },
    ),
    "granitemoe": (
        "granitemoe",
        {
            **SIZES,
            **MOE,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.7,
            "attention_multiplier": 0.2,
            "logits_scaling": 2.0,
        },
    ),
    "olmo2": ("olmo2", SIZES),
    "olmoe": ("olmoe", {**SIZES, **MOE}),
    "cohere2": ("cohere2", {**SIZES, "tie_word_embeddings": True, "sliding_window": 4, "layer_types": KINDS}),
    "glm4": ("glm4", {**SIZES, "pad_token_id": 0, "attention_bias": True}),
    "starcoder2": ("starcoder2", {**SIZES, "tie_word_embeddings": True, "sliding_window": 4}),
    "bert": ("bert", {**SIZES, "layer_norm_eps": 1e-12}),
    "bert-classifier": ("bert", {**SIZES, "layer_norm_eps": 1e-12, **CLASSES}),
    # Positions begin after that of the token that fills a batch.
    "roberta-classifier": ("roberta", {**SIZES, "pad_token_id": 5, "type_vocab_size": 1, **CLASSES}),
    "smollm3": ("smollm3", {**SIZES, "pad_token_id": 0, "no_rope_layers": [1, 0], "no_rope_layer_interval": 2}),
}


def main() -> None:
    """Writes the cases that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="of " + ", ".join(CONFIGS))
    parser.add_argument("--shared", type=Path, metavar="DIR", help="directory of checkpoints to record as they are")
    arguments = parser.parse_args()
    CASES.mkdir(exist_ok=True)
    if arguments.shared:
        for name in arguments.cases:
            folder = arguments.shared / name
            found = logits(name, folder)
            write(f"shared-{name}", {"tokens": TOKENS, "logits": rounded(found[-1:])})
        return
    for name in arguments.cases or CONFIGS:
        model_type, sizes = CONFIGS[name]
        record(name, AutoConfig.for_model(model_type, **sizes))


def record(name: str, config) -> None:
    """Records the case of one configuration."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        torch.manual_seed(0)
        kind(name, config.model_type).from_config(config).save_pretrained(folder)
        with safe_open(folder / "model.safetensors", "np") as saved:
            shapes = {tensor: saved.get_slice(tensor).get_shape() for tensor in sorted(saved.keys())}
        save_file({tensor: values(tensor, shape) for tensor, shape in shapes.items()}, folder / "model.safetensors", {"format": "pt"})
        stated = json.loads((folder / "config.json").read_text())
        found = logits(name, folder)
    write(name, {"config": stated, "tensors": shapes, "tokens": TOKENS, "logits": rounded(found)})


def values(name: str, shape: list[int]) -> np.ndarray:
    """Values of a tensor: those of a generator that starts from its name, scaled by the square root of its last extent.

    The weights of norms lie around one.
    """
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) % 2**64
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        mixed = np.uint64(state) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    uniform = (mixed >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0
    if len(shape) < 2:
        is_norm = "norm" in name and name.endswith("weight")
        made = 1.0 + 0.25 * uniform if is_norm else 0.25 * uniform
    else:
        made = uniform * 2.0 / np.sqrt(shape[-1])
    return made.astype(np.float32).reshape(shape)


def kind(name: str, model_type: str) -> type:
    """The class of a case's model: an encoder, with a head for classes or without, or a decoder with its head."""
    if name.endswith("classifier"):
        return AutoModelForSequenceClassification
    return AutoModel if model_type == "bert" else AutoModelForCausalLM


def logits(name: str, folder: Path) -> np.ndarray:
    """The logits of a checkpoint after each of the tokens, those of a text's classes, or the states of an encoder."""
    model_type = json.loads((folder / "config.json").read_text())["model_type"]
    made = kind(name, model_type)
    model = made.from_pretrained(folder, dtype=torch.float64, **EAGER).eval()
    with torch.no_grad():
        found = model(torch.tensor([TOKENS]))
    found = found.last_hidden_state[0] if made is AutoModel else found.logits.reshape(-1, found.logits.shape[-1])
    return found.double().numpy()


def rounded(found: np.ndarray) -> list[list[float]]:
    """Numbers with as many digits as the comparison needs."""
    return [[float(f"{value:.7g}") for value in row] for row in found]


def write(name: str, case: dict) -> None:
    """Writes a case, a line for each of its members."""
    members = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in case.items())
    (CASES / f"{name}.json").write_text(f"{{\n{members}\n}}\n")
    print(name, flush=True)


if __name__ == "__main__":
    main()
