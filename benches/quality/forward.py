"""The logits of llama and gemma3 checkpoints in numpy, in F32, without a cache."""

import numpy as np


def logits(config: dict, tensors: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """Returns the logits after each of the tokens, `[tokens, vocabulary]`."""
    is_gemma = config["model_type"] == "gemma3_text"
    embedding = tensors["model.embed_tokens.weight"]
    x = embedding[tokens]
    if is_gemma:
        x = x * np.float32(config["hidden_size"] ** 0.5)
    for layer in range(config["num_hidden_layers"]):
        stem = f"model.layers.{layer}."
        part = {name.removeprefix(stem): tensor for name, tensor in tensors.items() if name.startswith(stem)}

        def norm(name: str, x: np.ndarray, part: dict = part) -> np.ndarray:
            return _norm(config, part[f"{name}.weight"], x)

        after, before = ("post_attention_layernorm", "pre_feedforward_layernorm") if is_gemma else (None, "post_attention_layernorm")
        mixed = _attention(config, layer, part, norm("input_layernorm", x))
        x = x + (norm(after, mixed) if after else mixed)
        inner = norm(before, x)
        gate = _activate(is_gemma, inner @ part["mlp.gate_proj.weight"].T)
        mixed = (gate * (inner @ part["mlp.up_proj.weight"].T)) @ part["mlp.down_proj.weight"].T
        x = x + (norm("post_feedforward_layernorm", mixed) if is_gemma else mixed)
    return _norm(config, tensors["model.norm.weight"], x) @ tensors.get("lm_head.weight", embedding).T


def _norm(config: dict, weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    gain = weight + 1 if config["model_type"] == "gemma3_text" else weight
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(config["rms_norm_eps"])) * gain


def _activate(is_gemma: bool, x: np.ndarray) -> np.ndarray:
    if is_gemma:
        return x / 2 * (1 + np.tanh(np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x**3)))
    return x / (1 + np.exp(-x))


def _attention(config: dict, layer: int, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    q, k, v = ((x @ part[f"self_attn.{name}_proj.weight"].T).reshape(len(x), -1, size).swapaxes(0, 1) for name in "qkv")
    if "self_attn.q_norm.weight" in part:
        q, k = (_norm(config, part[f"self_attn.{name}_norm.weight"], y) for name, y in (("q", q), ("k", k)))
    is_local = "layer_types" in config and config["layer_types"][layer] == "sliding_attention"
    base = config["rope_local_base_freq"] if is_local else config["rope_theta"]
    angles = np.outer(np.arange(len(x)), float(base) ** (-np.arange(0, size, 2) / size)).astype(np.float32)
    cos, sin = (np.tile(turn(angles), 2) for turn in (np.cos, np.sin))
    q, k = (y * cos + np.concatenate([-y[..., size // 2 :], y[..., : size // 2]], -1) * sin for y in (q, k))
    k, v = (y.repeat(heads // groups, 0) for y in (k, v))
    scores = q @ k.swapaxes(1, 2) * np.float32(config.get("query_pre_attn_scalar", size) ** -0.5)
    distance = np.arange(len(x))[:, None] - np.arange(len(x))
    hidden = (distance < 0) | (is_local & (distance >= config.get("sliding_window", 0)))
    scores = np.where(hidden, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (weights / weights.sum(-1, keepdims=True)) @ v
    return mixed.swapaxes(0, 1).reshape(len(x), -1) @ part["self_attn.o_proj.weight"].T
