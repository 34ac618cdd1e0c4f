"""llama.cpp, built for this machine's processor from the source that llama-cpp-python publishes: `llama-bench`, `llama-quantize`, and the
program in ../llama that times a first token.
"""

import json
import os
import platform
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

from peers import ggml
from turns import Unavailable
from worker import build, last_line

VERSION = ggml.VERSION
HOME = Path(__file__).resolve().parents[1] / "llama"
FLAGS = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    # What reaches a network, a graphics processor or a library that may be there or not is left out.
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DGGML_METAL=OFF",
    "-DGGML_BLAS=OFF",
    "-DLLAMA_BUILD_COMMON=ON",
    "-DLLAMA_BUILD_TOOLS=ON",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
]
# ggml's tiles fault on virtual machines that report the instructions and do not have them.
WITHOUT_TILES = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"


def version() -> str:
    """Returns the version of the package that holds the source."""
    return f"of llama-cpp-python {VERSION}"


class Native:
    """The programs, built where they are missing."""

    def __init__(self, scratch: Path) -> None:
        self._home = scratch / f"llama-native-{VERSION}"
        self._built = self._home / "built"
        try:
            self._build()
        except subprocess.CalledProcessError as failure:
            raise Unavailable(f"llama.cpp does not build: {last_line(failure)}") from failure
        except (OSError, StopIteration, tarfile.TarError) as failure:
            raise Unavailable(f"llama.cpp does not build: {failure!r}") from failure

    def bench(
        self, model: Path, threads: int, prompt: int, generate: int, repeat: int, *, repack: bool = True
    ) -> dict[str, list[float]]:
        """Returns tokens a second of a prompt and of generating from an empty context, one of each for every repetition."""
        words = ["-m", model, "-t", threads, "-p", prompt, "-n", generate, "-r", repeat, "-ngl", 0, "-o", "json"]
        found = self._run("llama-bench", *words, *([] if repack else ["--repack", 0]))
        return {"prefill" if row["n_prompt"] else "decode": row["samples_ts"] for row in json.loads(found)}

    def first(self, model: Path, threads: int, prompt: list[int], *, repack: bool = True) -> dict[str, float]:
        """Returns the seconds from the call that loads the model until the first token, those of loading, and the token."""
        return json.loads(self._run("llama-first", model, threads, int(repack), *prompt))

    def quantize(self, source: Path, target: Path, kind: str, threads: int) -> None:
        """Writes a model in a file type of llama.cpp, unless that has been done."""
        if not target.exists():
            partial = target.with_suffix(".partial")
            self._run("llama-quantize", "--allow-requantize", source, partial, kind, threads)
            partial.rename(target)

    def _run(self, program: str, *words: object) -> str:
        command = [str(self._built / "bin" / program), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise Unavailable(f"{' '.join(command)} ends with {done.returncode}: {last}")
        return done.stdout

    def _build(self) -> None:
        programs = ["llama-bench", "llama-quantize", "llama-first"]
        if all((self._built / "bin" / name).exists() for name in programs):
            return
        self._home.mkdir(parents=True, exist_ok=True)
        package = f"llama-cpp-python=={VERSION}"
        archive = self._home / f"llama_cpp_python-{VERSION}.tar.gz"
        if not archive.exists():
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python"]
            build([*pip, package, "--dest", self._home], self._home)
        source = self._home / f"llama_cpp_python-{VERSION}" / "vendor" / "llama.cpp"
        if not (source / "CMakeLists.txt").exists():
            with tarfile.open(archive) as packed:
                packed.extractall(self._home, filter="data")
        flags = [*FLAGS, f"-DLLAMA_SOURCE={source}", f"-DCMAKE_RUNTIME_OUTPUT_DIRECTORY={self._built / 'bin'}"]
        if platform.machine() == "x86_64":
            flags += [f"-DCMAKE_C_FLAGS={WITHOUT_TILES}", f"-DCMAKE_CXX_FLAGS={WITHOUT_TILES}"]
        tools = Path(sysconfig.get_path("scripts"))
        path = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        build([tools / "cmake", "-G", "Ninja", "-S", HOME, "-B", self._built, *flags], self._home, env=path)
        targets = [word for name in programs for word in ("--target", name)]
        build([tools / "cmake", "--build", self._built, *targets], self._home, env=path)
