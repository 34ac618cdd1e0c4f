#!/usr/bin/env python3
"""Compares the logits of a GGUF file that became MLX's, by mlx-lm, with those of llama.cpp on the same decoded values.

    $(python3 benches/python/environment.py mlx-lm) crates/packer/tests/llama/logits.py FILE.gguf

The file is imported twice: as it is, to be exported as a GGUF file of F32, which llama.cpp runs, and with `--quantize mlx`, to be
exported for mlx-lm. The result is the root mean square of the difference of the logits over that of llama.cpp's: once
with the scales as they are exported, which are F16, and once with these scales widened to F32, since MLX rounds products in the type of
the scales. With F32 scales it has to be below 1e-3, else the exit status is 1.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
from mlx.utils import tree_map
from mlx_lm.utils import load_model

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "benches" / "compare" / "peers"))

from llama import Llama, NoLlama  # noqa: E402

TOKENS = [504, 3575, 282, 4649, 314, 7042, 28, 284, 260, 1194, 2970, 314]
LIMIT = 1e-3


def main() -> int:
    """Prints both ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--longshore", default="target/release/longshore", help="the binary (%(default)s)")
    arguments = parser.parse_args()
    mx.set_default_device(mx.cpu)
    with tempfile.TemporaryDirectory() as home:
        run = [arguments.longshore, "--quiet", "--store", f"{home}/store"]
        for command in (
            ["import", str(arguments.file), "raw"],
            ["export", "raw", f"{home}/f32", "--format", "gguf", "--type", "f32"],
            ["import", str(arguments.file), "mlx", "--quantize", "mlx"],
            ["export", "mlx", f"{home}/mlx", "--format", "mlx"],
        ):
            subprocess.run([*run, *command], check=True)
        try:
            with Llama(f"{home}/f32/model.gguf") as llama:
                tokens = [token % llama.vocabulary() for token in TOKENS]
                expected = mx.array(llama.logits(tokens, threads=2), dtype=mx.float32)
        except NoLlama as why:
            print(f"skipped: {why}")
            return 0
        model, _ = load_model(Path(home) / "mlx")
        exact_embeddings(model)
        ours = ratio(model, tokens, expected)
        halves = (mx.float16, mx.bfloat16)
        wide = tree_map(lambda value: value.astype(mx.float32) if value.dtype in halves else value, model.parameters())
        model.update(wide)
        widened = ratio(model, tokens, expected)
    print(f"{arguments.file.name}: {ours:.2e} of the logits' rms with scales as exported, {widened:.2e} with F32 scales")
    return 0 if widened < LIMIT else 1


def exact_embeddings(model) -> None:
    """Keeps mlx-lm from rounding the factor of Gemma's embeddings to BF16, as llama.cpp keeps it in F32.

    For 640 channels the rounded factor is 0.2 % off, which moves the logits by 0.5 %.
    """
    module = sys.modules[type(model.model).__module__]
    if module.__name__.endswith((".gemma2", ".gemma3_text")):
        module.mx = SimpleNamespace(**{**vars(mx), "bfloat16": mx.float32})


def ratio(model, tokens: list[int], expected: mx.array) -> float:
    """The root mean square of the difference over that of `expected`, both of every token."""
    found = model(mx.array([tokens]))[0].astype(mx.float32)
    rms = lambda values: float(mx.sqrt(mx.mean(values * values)))  # noqa: E731
    return rms(found[-len(expected) :] - expected) / rms(expected)


if __name__ == "__main__":
    sys.exit(main())
