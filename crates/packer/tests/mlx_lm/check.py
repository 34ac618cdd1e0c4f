#!/usr/bin/env python3
"""Loads the output of `longshore export --format mlx` with mlx-lm, and compares it with MLX's own result for the same checkpoint.

    $(python3 benches/python/environment.py mlx-lm) crates/packer/tests/mlx_lm/check.py

A float checkpoint is imported with the profile `mlx`, exported and loaded. mlx-lm also loads the checkpoint itself, and MLX
quantizes the same modules as in the export, which its `config.json` and scales tell, with the same bits and groups. For a
checkpoint that is already quantized, the export is compared with the checkpoint as mlx-lm loads it. Every parameter and the
logits of fixed tokens must be equal to the bit, on MLX's CPU backend. Any difference makes the exit status 1.

Checkpoints are read from ../shared/models if they exist there. Otherwise they are made from the names and shapes of
crates/st-format/models, with random weights of a fixed seed.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from checkpoint import make, respell_gpt_oss
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model

ROOT = Path(__file__).resolve().parents[4]
SHARED = ROOT.parent / "shared" / "models"
TOKENS = [[1, 5, 9, 200, 17, 3, 511, 64]]

FLOATS = ["llama", "qwen3-moe", "gemma3-text", "mixtral", "gpt-oss", "deepseek-v3", "nemotron-h"]
QUANTIZED = ["gpt-oss-mxfp4", "qwen3-mlx-4bit"]
# Schemes of the first model. The others are imported as int4.
SCHEMES = ["int4", "int3", "int4-g32", "int8", "nvfp4", "mxfp4", "mxfp8"]

# mlx-lm takes every sixth layer of a Gemma 3 for one with global attention, and cannot run a model without such a layer.
OVERRIDES = {"gemma3-text": {"sliding_window_pattern": 2}}


class Check:
    """A run: how Longshore is called, where its store lies, and how many comparisons failed."""

    def __init__(self, longshore: list[str], home: Path) -> None:
        self.command = [*longshore, "--quiet", "--store", str(home / "store")]
        self.home = home
        self.failures = 0

    def float_model(self, name: str, scheme: str) -> None:
        """The export against the checkpoint, quantized by MLX."""
        source = self._source(name)
        export = self._export(source, f"{name}:{scheme}", ["--quantize", scheme, "--profile", "mlx"])
        ours, config = load_model(export, model_config=OVERRIDES.get(name))
        words = {key: value for key, value in config.items() if not key.startswith("quantization")}
        if name == "gpt-oss":
            source = respell_gpt_oss(source, self.home / "gpt-oss-respelt")
        theirs, _ = load_model(source, model_config=words)
        quantize(theirs, ours, config["quantization"])
        self._compare(f"{name} {scheme}", ours, theirs)

    def quantized_model(self, name: str) -> None:
        """The export against the checkpoint as it is."""
        source = self._source(name)
        ours, config = load_model(self._export(source, name, []))
        words = {key: value for key, value in config.items() if not key.startswith("quantization")}
        theirs, _ = load_model(source, model_config=words)
        self._compare(name, ours, theirs)

    def _source(self, name: str) -> Path:
        """The checkpoint, which is made if need be."""
        shared, made = SHARED / name, self.home / name
        if shared.exists():
            return shared
        if not made.exists():
            make(ROOT / "crates/st-format/models" / f"{name}.json", made)
        return made

    def _export(self, source: Path, model: str, options: list[str]) -> Path:
        out = self.home / "exports" / model.replace(":", "-")
        for arguments in (["import", str(source), model, *options], ["export", model, str(out), "--format", "mlx"]):
            done = subprocess.run([*self.command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                sys.exit(f"error: longshore {' '.join(arguments)}: {done.stderr.strip()}")
        return out

    def _compare(self, what: str, ours: nn.Module, theirs: nn.Module) -> None:
        mine, other = dict(tree_flatten(ours.parameters())), dict(tree_flatten(theirs.parameters()))
        problems = [f"only one model has {name}" for name in sorted(mine.keys() ^ other.keys())]
        shared = sorted(mine.keys() & other.keys())
        problems += [f"{name} differs" for name in shared if not same(mine[name], other[name])]
        tokens = mx.array(TOKENS)
        logits, expected = ours(tokens), theirs(tokens)
        if not mx.isfinite(logits).all():
            problems.append("logits are not finite")
        if not same(logits, expected):
            problems.append("logits differ")
        quantized = sum(name.endswith(".scales") for name in mine)
        line = "equal" if not problems else f"{len(problems)} differences: {'; '.join(problems[:5])}"
        print(f"{what:<24} {len(mine):3} parameters, {quantized:2} quantized modules: {line}", flush=True)
        self.failures += bool(problems)


def quantize(model: nn.Module, like: nn.Module, description: dict) -> None:
    """Has MLX quantize the modules that `like` has quantized, as the configuration of the export says."""
    base = {key: description[key] for key in ("group_size", "bits", "mode")}
    quantized = {name.removesuffix(".scales") for name, _ in tree_flatten(like.parameters()) if name.endswith(".scales")}
    nn.quantize(model, class_predicate=lambda path, _: path in quantized and description.get(path, base))


def same(one: mx.array, other: mx.array) -> bool:
    """Whether two arrays have the same type, shape and bits."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool(mx.array_equal(one.flatten().view(mx.uint8), other.flatten().view(mx.uint8)))


def main() -> None:
    """Every model, and every scheme of the first."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--longshore", metavar="FILE", help="the binary [default: what cargo builds]")
    arguments = parser.parse_args()
    longshore = [arguments.longshore] if arguments.longshore else ["cargo", "run", "--quiet", "--package", "longshore", "--"]
    mx.set_default_device(mx.cpu)
    with tempfile.TemporaryDirectory() as home:
        check = Check(longshore, Path(home))
        for at, name in enumerate(FLOATS):
            for scheme in SCHEMES if at == 0 else SCHEMES[:1]:
                check.float_model(name, scheme)
        for name in QUANTIZED:
            check.quantized_model(name)
    if check.failures:
        sys.exit(f"error: {check.failures} models differ")


if __name__ == "__main__":
    main()
