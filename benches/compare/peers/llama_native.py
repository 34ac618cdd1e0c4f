#!/usr/bin/env python3
"""llama.cpp, built for this machine's processor from the source that llama-cpp-python publishes, and its `llama-bench`.

    python=$(python3 benches/python/environment.py compare)
    $python benches/compare/peers/llama_native.py MODEL.gguf… [--threads 2] [--prompt 256] [--generate 64] [--repeat 5] [--repack 0]

Prints a line of JSON for each model: tokens a second of the prompt and of the generated tokens, the best and the median of the
repetitions, and the bytes of the model. The source comes from PyPI, once, into target/compare; CMake and Ninja come with the
environment, and a C++ compiler is the system's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

VERSION = "0.3.36"
ROOT = Path(__file__).resolve().parents[3]
HOME = ROOT / "target" / "compare" / f"llama-native-{VERSION}"
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
]


class NoNative(Exception):
    """llama.cpp cannot be built here. The message says at which step, and why."""


def version() -> str:
    """Returns the version of the package that holds the source."""
    return f"llama.cpp of llama-cpp-python {VERSION}, built here"


def program() -> Path:
    """Returns the path of `llama-bench`. Downloads and builds it where it is missing."""
    built = HOME / "built"
    path = built / "bin" / "llama-bench"
    if path.exists():
        return path
    HOME.mkdir(parents=True, exist_ok=True)
    archive = HOME / f"llama_cpp_python-{VERSION}.tar.gz"
    if not archive.exists():
        package = f"llama-cpp-python=={VERSION}"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python", package]
        _do("download its source", [*pip, "--dest", str(HOME)])
    source = HOME / f"llama_cpp_python-{VERSION}" / "vendor" / "llama.cpp"
    if not (source / "CMakeLists.txt").exists():
        with tarfile.open(archive) as packed:
            packed.extractall(HOME, filter="data")
    tools = Path(sysconfig.get_path("scripts"))
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    _do("configure it", [str(tools / "cmake"), "-G", "Ninja", "-S", str(source), "-B", str(built), *FLAGS], environment)
    _do("build it", [str(tools / "cmake"), "--build", str(built), "--target", "llama-bench"], environment)
    return path


def bench(
    model: Path, *, threads: int, prompt: int = 256, generate: int = 64, repeat: int = 5, repack: bool = True
) -> dict[str, object]:
    """Runs `llama-bench` on a model, and returns tokens a second of the prompt and of the generated tokens."""
    command = [str(program()), "-m", str(model), "-t", str(threads), "-p", str(prompt), "-n", str(generate)]
    command += ["-r", str(repeat), "-ngl", "0", "-o", "json"]
    if not repack:
        command += ["--repack", "0"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise NoNative(f"llama-bench fails on {model}: {(done.stderr.strip().splitlines() or ['it says nothing'])[-1]}")
    found: dict[str, object] = {"model": model.name, "bytes": model.stat().st_size, "threads": threads}
    for row in json.loads(done.stdout):
        what = "prefill" if row["n_prompt"] else "decode"
        rates = row["samples_ts"]
        found[what] = {"best": max(rates), "median": statistics.median(rates)}
    return found


def _do(what: str, command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=environment
    )
    if done.returncode != 0:
        last = (done.stdout.strip().splitlines() or ["it says nothing"])[-1]
        raise NoNative(f"llama.cpp: cannot {what}: {last}")


def main() -> None:
    """Measures the models of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--repack", type=int, default=1, choices=(0, 1))
    args = parser.parse_args()
    try:
        for model in args.models:
            found = bench(
                model,
                threads=args.threads,
                prompt=args.prompt,
                generate=args.generate,
                repeat=args.repeat,
                repack=bool(args.repack),
            )
            print(json.dumps(found), flush=True)
    except NoNative as failure:
        sys.exit(f"error: {failure}")


if __name__ == "__main__":
    main()
