"""ggml's `ggml_quantize_chunk` and decoders, from the source that llama-cpp-python publishes, built for this machine's
processor.

The functions are called through ctypes, which releases Python's lock, so rows are spread over several threads as in
llama.cpp's converter.
"""

import ctypes
import os
import subprocess
import sys
import sysconfig
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from turns import Task, Unavailable, timed
from worker import build, last_line

NAME = "ggml"
VERSION = "0.3.36"
HOME = Path(__file__).resolve().parents[1] / "ggml"
# For each format: ggml's number of the type, elements per block, bytes per block.
FORMATS = {"Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q8_0": (8, 32, 34), "MXFP4": (39, 32, 17)}

# For each type that tensors are stored in: ggml's number, elements per block, bytes per block.
BLOCKS = FORMATS | {
    "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144),
    "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "IQ2_XXS": (16, 256, 66), "IQ2_XS": (17, 256, 74),
    "IQ3_XXS": (18, 256, 98), "IQ1_S": (19, 256, 50), "IQ4_NL": (20, 32, 18), "IQ3_S": (21, 256, 110),
    "IQ2_S": (22, 256, 82), "IQ4_XS": (23, 256, 136), "IQ1_M": (29, 256, 56), "TQ1_0": (34, 256, 54),
    "TQ2_0": (35, 256, 66), "NVFP4": (40, 64, 36), "Q1_0": (41, 128, 18), "Q2_0": (42, 64, 18),
}  # fmt: skip


def version() -> str:
    """Returns the version of the package that holds the source."""
    return f"of llama-cpp-python {VERSION}"


class Blocks:
    """The loaded library, for the decoding of single pieces."""

    def __init__(self, scratch: Path) -> None:
        self._library = _loaded(scratch)
        self._output = np.ones(0, np.float32)

    def encoded(self, name: str, weights: np.ndarray) -> np.ndarray:
        """Returns the blocks that ggml makes of the weights, each of which is as important as the others."""
        number, block, size = BLOCKS[name]
        blocks, importance = np.ones(weights.size // block * size, np.uint8), np.ones(256, np.float32)
        quantize = _quantize(self._library)
        arrays = weights.ctypes.data, blocks.ctypes.data
        written = quantize(number, *arrays, 0, weights.size // 256, 256, importance.ctypes.data)
        if written != blocks.nbytes:
            raise RuntimeError(f"{name}: expected {blocks.nbytes} bytes, found {written}")
        return blocks

    def weighted(self, name: str, rows: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        """Returns the blocks that ggml makes of the rows of a matrix, whose columns have this importance."""
        number, block, size = BLOCKS[name]
        count, columns = rows.shape
        blocks = np.ones(count * columns // block * size, np.uint8)
        weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
        pointer = None if weights is None else weights.ctypes.data
        written = _quantize(self._library)(number, rows.ctypes.data, blocks.ctypes.data, 0, count, columns, pointer)
        if written != blocks.nbytes:
            raise RuntimeError(f"{name}: expected {blocks.nbytes} bytes, found {written}")
        return blocks

    def decoded(self, name: str, blocks: np.ndarray) -> np.ndarray:
        """Returns the decoded values, in a buffer that the next call overwrites."""
        self.decode(name, blocks, 1)
        return self._output

    def decode(self, name: str, blocks: np.ndarray, times: int) -> None:
        """Decodes the blocks so many times into the same buffer."""
        _, block, size = BLOCKS[name]
        count = blocks.size // size * block
        if self._output.size != count:
            self._output = np.ones(count, np.float32)
        restore = _restore(self._library, name)
        arguments = ctypes.c_void_p(blocks.ctypes.data), ctypes.c_void_p(self._output.ctypes.data), ctypes.c_int64(count)
        for _ in range(times):
            restore(*arguments)


class Ggml:
    """The loaded library, the weights in F32, and the output buffers."""

    def __init__(self, weights: np.ndarray, threads: int, scratch: Path) -> None:
        self._library = _loaded(scratch)
        self._quantize = _quantize(self._library)
        self._weights, self._threads = weights, threads
        self._pool = ThreadPoolExecutor(threads)
        self._packed: dict[str, np.ndarray] = {}
        self._restored = np.ones(weights.size, np.float32)

    def encode(self, name: str, cores: str) -> Task:
        """Returns the task that quantizes F32."""
        return Task(
            NAME,
            "encode",
            name,
            "",
            cores,
            lambda: timed(lambda: self._encode(name, cores)),
            time.process_time,
            self._weights.nbytes,
        )

    def decode(self, name: str) -> Task:
        """Returns the task that decodes the last encoded tensor to F32."""
        return Task(
            NAME,
            "decode",
            name,
            "",
            "one",
            lambda: timed(lambda: self.decoded(name)),
            time.process_time,
            self._weights.nbytes,
        )

    def decoded(self, name: str) -> np.ndarray:
        """Returns the decoded values of the last encoded tensor, in a buffer that the next call overwrites."""
        restore = _restore(self._library, name)
        restore(self._packed[name].ctypes.data, self._restored.ctypes.data, self._weights.size)
        return self._restored

    def _encode(self, name: str, cores: str) -> None:
        number, block, size = FORMATS[name]
        rows, columns = self._weights.shape
        packed = self._packed.get(name)
        if packed is None:
            packed = self._packed[name] = np.ones(rows * columns // block * size, np.uint8)
        source, out = self._weights.ctypes.data, packed.ctypes.data
        pieces = self._threads if cores == "all" else 1
        edges = [rows * at // pieces for at in range(pieces + 1)]

        def piece(first: int, end: int) -> int:
            return self._quantize(number, source, out, first * columns, end - first, columns, None)

        if pieces == 1:
            written = piece(0, rows)
        else:
            written = sum(self._pool.map(piece, edges[:-1], edges[1:]))
        if written != packed.nbytes:
            raise RuntimeError(f"{name}: expected {packed.nbytes} bytes, found {written}")


def source(scratch: Path, *parts: str) -> Path:
    """Returns the folder of llama.cpp's source, into which these files and folders are unpacked. Downloads the source where it is missing."""
    home = scratch / f"ggml-{VERSION}"
    archive = home / f"llama_cpp_python-{VERSION}.tar.gz"
    inside = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"
    home.mkdir(parents=True, exist_ok=True)
    if not archive.exists():
        package = f"llama-cpp-python=={VERSION}"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python"]
        build([*pip, package, "--dest", home], home)
    wanted = tuple(inside + part for part in parts)
    with tarfile.open(archive) as packed:
        packed.extractall(home, [entry for entry in packed.getmembers() if entry.name.startswith(wanted)], filter="data")
    return home / inside


def _loaded(scratch: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(_library(scratch / f"ggml-{VERSION}")))
    except subprocess.CalledProcessError as failure:
        raise Unavailable(f"ggml does not build: {last_line(failure)}") from failure
    except (OSError, StopIteration, tarfile.TarError) as failure:
        raise Unavailable(f"ggml does not build or load: {failure!r}") from failure


def _quantize(library: ctypes.CDLL):
    quantize = library.ggml_quantize_chunk
    pointer, long = ctypes.c_void_p, ctypes.c_int64
    quantize.argtypes = [ctypes.c_int, pointer, pointer, long, long, long, pointer]
    quantize.restype = ctypes.c_size_t
    return quantize


def _restore(library: ctypes.CDLL, name: str):
    # Only the K of the types with super-blocks is a capital in the name of the function.
    restore = getattr(library, f"dequantize_row_{name.lower().replace('_k', '_K')}")
    restore.argtypes, restore.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
    return restore


def _library(home: Path) -> Path:
    """Returns the path of the shared library. Downloads and builds the library where it is missing."""
    suffix = "dylib" if sys.platform == "darwin" else "so"
    library = home / "built" / "ggml" / "src" / f"libggml-base.{suffix}"
    if library.exists():
        return library
    ggml = source(home.parent, "ggml/") / "ggml"
    tools = Path(sysconfig.get_path("scripts"))
    path = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    # An ordinary release build that may use every instruction of this processor, as candle's build may.
    flags = [
        "-DCMAKE_BUILD_TYPE=Release",
        "-DBUILD_SHARED_LIBS=ON",
        "-DGGML_CPU=OFF",
        "-DGGML_METAL=OFF",
        "-DGGML_BLAS=OFF",
    ]
    flags += ["-DCMAKE_C_FLAGS=-march=native", "-DCMAKE_CXX_FLAGS=-march=native", f"-DGGML_SOURCE={ggml}"]
    build([tools / "cmake", "-G", "Ninja", "-S", HOME, "-B", home / "built", *flags], home, env=path)
    build([tools / "cmake", "--build", home / "built", "--target", "ggml-base"], home, env=path)
    return library
