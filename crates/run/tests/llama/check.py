#!/usr/bin/env python3
"""Compares what this crate makes of a GGUF file with what llama.cpp makes of the same values in F32.

    $(python3 benches/python/environment.py gguf) crates/run/tests/llama/check.py FILE.gguf [--text TEXT] [--windows N] [--window N]

Two things are compared: the perplexity of equal windows of a text, which has to agree within 0.5 %, and the greedy text after
eight prompts, token by token. Where a token differs, the first such place is printed with both programs' distances to the next
likely token; both are right where the distance is small. Needs the release binary of the command line and the
example `answers` of this crate: cargo build --release -p longshore, cargo build --release -p longshore-run --example answers.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "benches" / "compare" / "peers"))

from llama import Llama, NoLlama  # noqa: E402

LIMIT = 0.005
# Distance of two logits below which either token is right: llama.cpp takes the activation of Gemma from a table of F16.
NEAR = 0.01
PROMPTS = [
    "The capital of France is",
    "Once upon a time there was a",
    "Water boils at a temperature of",
    "The first president of the United States was",
    "In the morning I like to drink",
    "To make bread you need flour,",
    "The sun rises in the east and",
    "My favourite book is about a young woman who",
]
SCORED = "nlls"


def main() -> int:
    """Prints both comparisons. The exit status is 1 where they fail."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--text", type=Path, default=ROOT.parent / "shared" / "text" / "persuasion.txt")
    parser.add_argument("--windows", type=int, default=8, help="number of windows (%(default)s)")
    parser.add_argument("--window", type=int, default=256, help="tokens of a window (%(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="greedy tokens after each prompt (%(default)s)")
    parser.add_argument("--longshore", default="target/release/longshore", help="the binary (%(default)s)")
    parser.add_argument("--answers", default="target/release/examples/answers", help="the example (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        run = [arguments.longshore, "--quiet", "--store", f"{home}/store"]
        subprocess.run([*run, "import", str(arguments.file), "raw"], check=True)
        subprocess.run([*run, "export", "raw", f"{home}/f32", "--format", "gguf", "--type", "f32"], check=True)
        try:
            with Llama(f"{home}/f32/model.gguf") as llama:
                return compare(llama, arguments)
        except NoLlama as why:
            print(f"skipped: {why}")
            return 0


def compare(llama: Llama, arguments: argparse.Namespace) -> int:
    """Compares windows and prompts, and returns the exit status."""
    start = llama.tokens("", adds_special=True)
    text = llama.tokens(arguments.text.read_text()[: arguments.windows * arguments.window * 8])
    step = arguments.window - len(start)
    windows = [start + text[at * step : (at + 1) * step] for at in range(arguments.windows)]
    prompts = [llama.tokens(prompt, adds_special=True) for prompt in PROMPTS]
    asked = {"windows": windows, "prompts": prompts, "tokens": arguments.tokens}
    command = [arguments.answers, str(arguments.file)]
    answered = json.loads(subprocess.run(command, input=json.dumps(asked), text=True, capture_output=True, check=True).stdout)
    scored = sum(len(window) - 1 for window in windows)
    expected = sum(nll(llama, window) for window in windows)
    ours, theirs = (np.exp(total / scored) for total in (sum(answered[SCORED]), expected))
    print(f"perplexity of {scored} tokens: {ours:.5f}, llama.cpp {theirs:.5f}, apart by {abs(ours / theirs - 1):.2e}")
    gaps = [greedy(llama, prompt, answers) for prompt, answers in zip(prompts, answered["greedy"])]
    print(f"greedy text of {arguments.tokens} tokens: the same after {gaps.count(0.0)} of {len(prompts)} prompts")
    return 0 if abs(ours / theirs - 1) < LIMIT and max(gaps) < NEAR else 1


def nll(llama: Llama, window: list[int]) -> float:
    """The sum of the negative logarithms of the probabilities of a window's tokens, but the first."""
    logits = np.array(llama.logits(window, threads=2)[:-1])
    most = logits.max(axis=1)
    sums = np.log(np.exp(logits - most[:, None]).sum(axis=1)) + most
    return float((sums - logits[np.arange(len(window) - 1), window[1:]]).sum())


def greedy(llama: Llama, prompt: list[int], answers: list[list[float]]) -> float:
    """How far llama.cpp's likeliest token is from ours where they first differ; 0 if they never do. It sees our tokens."""
    tokens = [int(token) for token, _ in answers]
    logits = np.array(llama.logits(prompt + tokens, threads=2)[len(prompt) - 1 : -1])
    for place, (token, (_, gap), row) in enumerate(zip(tokens, answers, logits)):
        if int(row.argmax()) != token:
            other = float(row.max() - row[token])
            print(f"  token {place} differs: {token} by {gap:.2e} here, {int(row.argmax())} by {other:.2e} in llama.cpp")
            return other
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
