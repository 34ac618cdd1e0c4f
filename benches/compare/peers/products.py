"""Programs that time products with stored weights, on request over a pipe: Longshore's, ggml's CPU backend and candle's.

Each keeps its threads and its weights between requests, and repeats a product for some time by itself.
"""

import json
import os
import subprocess
import sysconfig
import tarfile
from pathlib import Path

from peers import candle, ggml, longshore
from turns import Unavailable
from worker import build, last_line

HOME = ggml.HOME / "products"


class Program:
    """A running program that answers `ok JSON` or `error REASON` to each line."""

    def __init__(self, command: list[str | Path], threads: int) -> None:
        # What each library calls its number of threads: rayon's for candle, OpenMP's for ggml.
        limits = {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        words = [str(word) for word in command]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **limits})

    def ask(self, *words: object) -> dict:
        """Requests something and returns the answer."""
        line = " ".join(map(str, words))
        print(line, file=self._process.stdin, flush=True)
        verdict, _, rest = self._process.stdout.readline().strip().partition(" ")
        if verdict != "ok":
            raise Unavailable(f"{line}: expected ok, found {verdict or 'the end of the pipe'} {rest}")
        return json.loads(rest)


def ours(threads: int) -> Program:
    """Builds the example `products` of the crate `longshore-quant` with default settings and starts it."""
    what = ["-p", "longshore-quant", "--example", "products"]
    build(["cargo", "build", "--release", *what], longshore.ROOT)
    return Program([longshore.target() / "release" / "examples" / "products", threads], threads)


def of_candle(scratch: Path, threads: int) -> Program:
    """Builds the program in ../candle for this processor and starts it."""
    return Program([candle.program(scratch), "products"], threads)


def of_ggml(scratch: Path, threads: int) -> Program:
    """Builds ggml with its CPU backend for this processor, and the program in ../ggml/products, and starts it."""
    home = scratch / f"ggml-{ggml.VERSION}"
    built = home / "products"
    try:
        # The same source as that of the quantizers, which are built first where they are missing.
        ggml._library(home)
        source = next(home.glob("*/vendor/llama.cpp/ggml"))
        tools = Path(sysconfig.get_path("scripts"))
        path = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        flags = ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_NATIVE=ON", "-DGGML_METAL=OFF"]
        flags += ["-DGGML_BLAS=OFF", f"-DGGML_SOURCE={source}"]
        if not (built / "build.ninja").exists():
            build([tools / "cmake", "-G", "Ninja", "-S", HOME, "-B", built, *flags], home, env=path)
        build([tools / "cmake", "--build", built, "--target", "products"], home, env=path)
    except subprocess.CalledProcessError as failure:
        raise Unavailable(f"ggml does not build: {last_line(failure)}") from failure
    except (OSError, StopIteration, tarfile.TarError) as failure:
        raise Unavailable(f"ggml does not build: {failure!r}") from failure
    return Program([built / "products", threads], threads)
