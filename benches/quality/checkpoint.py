"""Checkpoints as arrays of F32: read from a GGUF file or from a directory of safetensors files, written as a directory."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

# Parts of a layer, by their names in GGUF files and in checkpoints.
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Norms have a meaning of their own in each architecture.
NORMS = {
    "llama": {"ffn_norm": "post_attention_layernorm"},
    "gemma3": {
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
}
OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
COMPANIONS = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
FLOATS = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
BYTES = {"F32": 4, "F16": 2, "BF16": 2}


class Unsupported(Exception):
    """A checkpoint is none that these programs change. The message says why."""


def read(source: Path, longshore: list[str]) -> tuple[dict, dict[str, np.ndarray], dict[str, bytes]]:
    """Returns the configuration, the tensors by their names in a checkpoint, and the companion files."""
    if source.is_dir():
        companions = {name: (source / name).read_bytes() for name in COMPANIONS if (source / name).exists()}
        tensors = {}
        for path in sorted(source.glob("*.safetensors")):
            tensors |= safetensors(path)
    else:
        companions = _made_by_import(source, longshore)
        tensors = _gguf(source, json.loads(companions["config.json"]))
    return json.loads(companions["config.json"]), tensors, companions


def write(directory: Path, tensors: dict[str, np.ndarray], companions: dict[str, bytes], dtype: str) -> None:
    """Writes a checkpoint whose tensors have one type: `F32`, `F16` or `BF16`."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, content in companions.items():
        (directory / name).write_bytes(content)
    header, start = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        end = start + tensors[name].size * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with (directory / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            file.write(_stored(name, tensors[name], dtype))


def _stored(name: str, tensor: np.ndarray, dtype: str) -> bytes:
    """Returns the bytes of a tensor, rounded to the nearest number of a type, to even between two."""
    if dtype == "BF16":
        bits = tensor.astype("<f4").view("<u4")
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    stored = tensor.astype(FLOATS[dtype])
    if not np.isfinite(stored).all():
        raise Unsupported(f"{name} has values that {dtype} does not hold")
    return stored.tobytes()


def safetensors(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file, widened to F32."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    length = int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            wide = data[start:end].view("<u2").astype("<u4") << 16
            tensor = wide.view("<f4")
        elif entry["dtype"] in FLOATS:
            tensor = data[start:end].view(FLOATS[entry["dtype"]]).astype("<f4")
        else:
            raise Unsupported(f"{path}: {name} is {entry['dtype']}, expected F32, F16 or BF16")
        tensors[name] = tensor.reshape(entry["shape"])
    return tensors


def _gguf(path: Path, config: dict) -> dict[str, np.ndarray]:
    """Returns the decoded tensors of a GGUF file as a checkpoint has them."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    if architecture not in NORMS:
        raise Unsupported(f"{path} is {architecture}, expected one of {', '.join(NORMS)}")
    parts = LAYER | NORMS[architecture]
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors = {}
    for stored in reader.tensors:
        tensor = dequantize(stored.data, stored.tensor_type).astype(np.float32).reshape(stored.shape[::-1])
        name = OUTSIDE.get(stored.name)
        if name is None:
            _, layer, part, _ = stored.name.split(".")
            name = f"model.layers.{layer}.{parts[part]}.weight"
            if architecture == "llama" and part in heads:
                # The file has the two halves of each head's rows interleaved.
                halves = tensor.reshape(heads[part], -1, 2, tensor.shape[1])
                tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
        if architecture == "gemma3" and name.endswith("norm.weight"):
            # The file has the gains; a checkpoint has them less one.
            tensor = tensor - np.float32(1)
        tensors[name] = tensor
    return tensors


def _made_by_import(path: Path, longshore: list[str]) -> dict[str, bytes]:
    """Returns the configuration and the tokenizer that an import makes of a GGUF file's metadata."""
    with tempfile.TemporaryDirectory() as store:
        command = [*longshore, "--quiet", "--store", store, "import", str(path), "model"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        (manifest,) = Path(store).glob("manifests/*/*/model/latest")
        layers = json.loads(manifest.read_text())["layers"]
        blobs = {layer.get("name"): Path(store) / "blobs" / layer["digest"].replace(":", "-") for layer in layers}
        return {name: blobs[name].read_bytes() for name in COMPANIONS if name in blobs}
