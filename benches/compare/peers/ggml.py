"""ggml's `ggml_quantize_chunk`, from the source that llama-cpp-python publishes, built for this machine's processor.

The function is called through ctypes, which releases Python's lock, so rows are spread over several threads as in
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


def version() -> str:
    """Returns the version of the package that holds the source."""
    return f"of llama-cpp-python {VERSION}"


class Ggml:
    """The loaded library, the weights in F32, and the output buffers."""

    def __init__(self, weights: np.ndarray, threads: int, scratch: Path) -> None:
        try:
            self._library = ctypes.CDLL(str(_library(scratch / f"ggml-{VERSION}")))
        except subprocess.CalledProcessError as failure:
            raise Unavailable(f"ggml does not build: {last_line(failure)}") from failure
        except (OSError, StopIteration, tarfile.TarError) as failure:
            raise Unavailable(f"ggml does not build or load: {failure!r}") from failure
        self._quantize = self._library.ggml_quantize_chunk
        self._quantize.restype = ctypes.c_size_t
        pointer, long = ctypes.c_void_p, ctypes.c_int64
        self._quantize.argtypes = [ctypes.c_int, pointer, pointer, long, long, long, pointer]
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
        restore = getattr(self._library, f"dequantize_row_{name.lower()}")
        restore.argtypes, restore.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
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


def _library(home: Path) -> Path:
    """Returns the path of the shared library. Downloads and builds the library where it is missing."""
    suffix = "dylib" if sys.platform == "darwin" else "so"
    library = home / "built" / "ggml" / "src" / f"libggml-base.{suffix}"
    if library.exists():
        return library
    home.mkdir(parents=True, exist_ok=True)
    package = f"llama-cpp-python=={VERSION}"
    fetch = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        "llama-cpp-python",
        package,
    ]
    build([*fetch, "--dest", home], home)
    archive = next(home.glob("*.tar.gz"))
    top = archive.name.removesuffix(".tar.gz")
    inside = f"{top}/vendor/llama.cpp/ggml/"
    with tarfile.open(archive) as packed:
        packed.extractall(
            home, [entry for entry in packed.getmembers() if entry.name.startswith(inside)], filter="data"
        )
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
    flags += ["-DCMAKE_C_FLAGS=-march=native", "-DCMAKE_CXX_FLAGS=-march=native", f"-DGGML_SOURCE={home / inside}"]
    build([tools / "cmake", "-G", "Ninja", "-S", HOME, "-B", home / "built", *flags], home, env=path)
    build([tools / "cmake", "--build", home / "built", "--target", "ggml-base"], home, env=path)
    return library
