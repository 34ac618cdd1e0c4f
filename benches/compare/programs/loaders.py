"""Loads files into arrays in host memory with other projects' loaders.

    loaders.py KIND FILE…                 loads once
    loaders.py KIND --hashes FILE…        prints the SHA-256 of each tensor instead
    loaders.py KIND --prepare OUT FILE…   converts the files to the loader's own format, and prints their names
    loaders.py KIND --version             prints the version of the package

`open` is the time until the arrays exist. One thread then reads every byte once, as 64-bit words, and the program
prints their sum. The answer is a line of JSON. The time of imports does not count.
"""

import gc
import hashlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tensors  # noqa: E402

Arrays = list[tuple[str, np.ndarray]]
KINDS: dict[str, tuple[str, Callable[[], Callable[[list[str]], Arrays]]]] = {}
PREPARED: dict[str, Callable[[Path, list[str]], list[Path]]] = {}


def kind(name: str, package: str):
    """Registers a loader: a function that imports its packages and returns the function to time."""

    def register(make: Callable[[], Callable[[list[str]], Arrays]]):
        KINDS[name] = (package, make)
        return make

    return register


@kind("numpy", "safetensors")
def _numpy():
    import ml_dtypes  # noqa: F401  Tells numpy of bfloat16.
    from safetensors.numpy import load_file

    def load(files: list[str]) -> Arrays:
        return [pair for file in files for pair in load_file(file).items()]

    return load


@kind("mlx", "mlx")
def _mlx():
    import mlx.core as mx
    import mlx_device

    mlx_device.choose()

    def load(files: list[str]) -> Arrays:
        loaded = [pair for file in files for pair in mx.load(file).items()]
        mx.eval([array for _, array in loaded])
        # A view of the same memory as bytes, because numpy has no bfloat16.
        return [(name, np.array(array.view(mx.uint8), copy=False)) for name, array in loaded]

    return load


@kind("torch-safetensors", "safetensors")
def _torch_safetensors():
    from safetensors.torch import load_file

    return lambda files: _torch_arrays(pair for file in files for pair in load_file(file).items())


@kind("torch-safetensors-pread", "safetensors")
def _torch_safetensors_pread():
    from safetensors.torch import load_file

    return lambda files: _torch_arrays(pair for file in files for pair in load_file(file, backend="pread").items())


@kind("torch-mmap", "torch")
def _torch_mmap():
    import torch
    import torch.utils.serialization.config  # noqa: F401  torch.load imports it.

    def load(files: list[str]) -> Arrays:
        return _torch_arrays(pair for f in files for pair in torch.load(f, mmap=True, weights_only=True).items())

    return load


@kind("flashpack", "flashpack")
def _flashpack():
    from flashpack.deserialization import iterate_from_flash_tensor, read_flashpack_file

    def load(files: list[str]) -> Arrays:
        loaded = []
        for file in files:
            flash, meta = read_flashpack_file(file, device="cpu")
            loaded += iterate_from_flash_tensor(flash, meta)
        return _torch_arrays(loaded)

    return load


@kind("runai", "runai-model-streamer")
def _runai():
    from runai_model_streamer import SafetensorsStreamer

    def load(files: list[str]) -> Arrays:
        with SafetensorsStreamer() as streamer:
            streamer.stream_files(files, device="cpu", owned=True)
            return _torch_arrays(streamer.get_tensors())

    return load


@kind("tensorizer", "tensorizer")
def _tensorizer():
    from tensorizer import TensorDeserializer

    def load(files: list[str]) -> Arrays:
        return _torch_arrays(pair for file in files for pair in TensorDeserializer(file, device="cpu").items())

    return load


@kind("fastsafetensors", "fastsafetensors")
def _fastsafetensors():
    from fastsafetensors import fastsafe_open
    from fastsafetensors.frameworks import get_framework_op

    get_framework_op("pt")  # Imports PyTorch, which opening would do otherwise.

    def load(files: list[str]) -> Arrays:
        with fastsafe_open(filenames=files, nogds=True, device="cpu", framework="pt") as opened:
            return _torch_arrays((name, opened.get_tensor(name)) for name in opened.keys())

    return load


def _torch_arrays(pairs) -> Arrays:
    import torch

    return [(name, tensor.contiguous().reshape(-1).view(torch.uint8).numpy()) for name, tensor in pairs]


def _state(file: str) -> dict:
    from safetensors.torch import load_file

    return load_file(file)


def _to_pt(out: Path, files: list[str]) -> list[Path]:
    import torch

    made = [out / f"{Path(file).stem}.pt" for file in files]
    for file, path in zip(files, made):
        torch.save(_state(file), path)
    return made


def _to_flashpack(out: Path, files: list[str]) -> list[Path]:
    from flashpack.serialization import pack_to_file

    made = [out / f"{Path(file).stem}.flashpack" for file in files]
    for file, path in zip(files, made):
        pack_to_file(_state(file), str(path), target_dtype=None)
    return made


def _to_tensorizer(out: Path, files: list[str]) -> list[Path]:
    from tensorizer import TensorSerializer

    made = [out / f"{Path(file).stem}.tensors" for file in files]
    for file, path in zip(files, made):
        serializer = TensorSerializer(str(path))
        serializer.write_state_dict(_state(file))
        serializer.close()
    return made


PREPARED |= {"torch-mmap": _to_pt, "flashpack": _to_flashpack, "tensorizer": _to_tensorizer}


def main() -> None:
    """Handles one request."""
    name, *rest = sys.argv[1:]
    package, make = KINDS[name]
    if rest[0] == "--version":
        print(json.dumps({"version": importlib.metadata.version(package)}))
    elif rest[0] == "--prepare":
        out = Path(rest[1])
        out.mkdir(parents=True, exist_ok=True)
        made = PREPARED[name](out, rest[2:]) if name in PREPARED else rest[2:]
        print(json.dumps({"files": [str(path) for path in made]}))
    elif rest[0] == "--hashes":
        for tensor, array in make()(rest[1:]):
            print(tensor, hashlib.sha256(_bytes(array)).hexdigest())
    else:
        print(json.dumps(_load(make(), rest)))


def _load(load: Callable[[list[str]], Arrays], files: list[str]) -> dict:
    gc.disable()
    before = set(sys.modules)
    started, spent = time.perf_counter(), time.process_time()
    loaded = load(files)
    opened = time.perf_counter() - started
    total = sum(tensors.words(_bytes(array)) for _, array in loaded) % 2**64
    times = {"open": opened, "seconds": time.perf_counter() - started, "cpu": time.process_time() - spent}
    late = sorted(set(sys.modules) - before)
    if late:
        raise SystemExit(f"error: {late[0]} was imported within the measured time, but should be imported before")
    return {**times, "tensors": len(loaded), "sum": f"{total:016x}"}


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


if __name__ == "__main__":
    main()
