#!/usr/bin/env python3
"""Compares embeddings of all-MiniLM-L6-v2 in int8 with those of its floats. The exit status is 1 where a cosine is below 0.99.

    python3 benches/quality/embeddings.py [--quantize TYPE]

It fetches the model, imports it quantized under the policies `default` and `uniform`, and lets `longshore embed` make the
vectors. It needs Python 3.10, Rust and the network.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches" / "compare" / "peers"))

import published  # noqa: E402

LIMIT = 0.99
TEXTS = [
    "A man is eating food.",
    "The quick brown fox jumps over the lazy dog, and nobody sees it happen.",
    "Embeddings of sentences: 42 numbers, naïve café.",
    "word",
    "How do I return a parcel that arrived damaged?",
    "El perro duerme en la cocina.",
    "fn main() { println!(\"{}\", 6 * 7); }",
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife. "
    "However little known the feelings or views of such a man may be on his first entering a neighbourhood, this truth is "
    "so well fixed in the minds of the surrounding families, that he is considered as the rightful property of some one or "
    "other of their daughters.",
]


def main() -> int:
    """Prints the cosines of each text's embeddings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quantize", default="int8", metavar="TYPE", help="type of the quantized model (%(default)s)")
    default = ["cargo", "run", "--quiet", "--release", "--"]
    parser.add_argument("--longshore", nargs="+", default=default, help="the command that runs longshore")
    options = parser.parse_args()
    try:
        floats = published.checkpoint("all-MiniLM-L6-v2")
    except published.NoFile as reason:
        sys.exit(f"error: {reason}")
    least = 1.0
    with tempfile.TemporaryDirectory() as store:
        command = [*options.longshore, "--quiet", "--store", store]
        expected = vectors(command, str(floats))
        for policy in ("default", "uniform"):
            importing = ["import", str(floats), policy, "--quantize", options.quantize, "--policy", policy]
            subprocess.run([*command, *importing], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
            # The vectors have length one.
            found = [sum(map(float.__mul__, *pair)) for pair in zip(expected, vectors(command, policy))]
            print(f"{options.quantize}, policy {policy}: cosines " + " ".join(f"{cosine:.6f}" for cosine in found))
            least = min(least, *found)
    return 0 if least >= LIMIT else 1


def vectors(command: list[str], model: str) -> list[list[float]]:
    """Returns the embeddings of the texts."""
    done = subprocess.run([*command, "embed", model, *TEXTS, "--json"], check=True, cwd=ROOT, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["embeddings"]


if __name__ == "__main__":
    sys.exit(main())
