#!/usr/bin/env python3
"""Compiles the kernels to PTX with a pinned compiler, or checks that the stored PTX is what the compiler produces.

    python=$(python3 benches/python/environment.py cuda-kernels)
    $python crates/loader-cuda/kernels/build.py            # writes ptx/
    $python crates/loader-cuda/kernels/build.py --check    # writes nothing; exits with 1 if the PTX differs

Both commands assemble the PTX for every architecture in ARCHITECTURES, and print each kernel's registers and the
instructions of a thread. The exit status is 1 on a warning of the assembler, a spilled register, a stack frame or a
fused multiply-add.
"""

import argparse
import ctypes
import difflib
import re
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = Path(sysconfig.get_path("purelib")) / "nvidia"

# PTX of this virtual architecture runs on it and on all later ones. cvt.rn.bf16x2 requires it.
VIRTUAL = "compute_80"
ARCHITECTURES = ["sm_80", "sm_90", "sm_100", "sm_120"]

# One PTX file per scheme, because a driver compiles a whole file when it loads it.
MODULES = {f"int{bits}": f"AFFINE_ALL({bits})" for bits in (2, 3, 4, 5, 6, 8)} | {
    "nvfp4": "BLOCK_ALL(nvfp4, Nvfp4)",
    "mxfp4": "BLOCK_ALL(mxfp4, Mxfp4)",
    "mxfp8": "BLOCK_ALL(mxfp8, Mxfp8)",
}

# Largest number of registers per thread with which 2,048 threads fit on a multiprocessor.
MOST_REGISTERS = 32


class BuildFailure(Exception):
    """A build failed. The message names the step and the reason."""


class Nvrtc:
    """The run-time compiler (NVRTC), through its C interface."""

    def __init__(self) -> None:
        folder = PACKAGES / "cuda_nvrtc" / "lib"
        path = folder / "libnvrtc.so.12"
        if not path.exists():
            raise BuildFailure(
                f"expected the compiler in {folder}; run this with the interpreter that "
                "`python3 benches/python/environment.py cuda-kernels` prints"
            )
        # The compiler opens this library by name, and finds the one that is already open.
        for builtins in folder.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(path))
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def compile(self, name: str, kernels: str) -> str:
        """Returns the PTX of the kernels that a macro call lists."""
        program = ctypes.c_void_p()
        headers = sorted(HERE.glob("*.cuh"))
        texts = (ctypes.c_char_p * len(headers))(*(header.read_bytes() for header in headers))
        names = (ctypes.c_char_p * len(headers))(*(header.name.encode() for header in headers))
        source = (HERE / "dequantize.cu").read_bytes()
        self._do("create a program", "nvrtcCreateProgram", ctypes.byref(program), source, b"dequantize.cu", len(headers), texts, names)
        options = [f"--gpu-architecture={VIRTUAL}", "--std=c++17", "--fmad=false", f"-DKERNELS={kernels}"]
        arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        try:
            self._do(f"compile {name}", "nvrtcCompileProgram", program, len(options), arguments)
        except BuildFailure as failure:
            raise BuildFailure(f"{failure}\n{self._text(program, 'nvrtcGetProgramLog')}") from None
        log = self._text(program, "nvrtcGetProgramLog").strip()
        if log:
            raise BuildFailure(f"the compiler warns of {name}:\n{log}")
        text = self._text(program, "nvrtcGetPTX")
        self._do("end a program", "nvrtcDestroyProgram", ctypes.byref(program))
        return without_clutter(text)

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        size = ctypes.c_size_t()
        self._do("ask for a length", f"{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._do("ask for a text", what, program, buffer)
        return buffer.value.decode()

    def _do(self, what: str, function: str, *arguments: object) -> None:
        code = getattr(self.library, function)(*arguments)
        if code != 0:
            raise BuildFailure(f"cannot {what}: {self.library.nvrtcGetErrorString(code).decode()}")


def without_clutter(text: str) -> str:
    """Returns the PTX without notes on inline assembly, blank lines, and constants that no kernel reads."""
    kept = []
    for line in text.splitlines():
        constant = re.match(r"\.global \.align \d+ \.\w+ (\w+)", line)
        unused = constant is not None and len(re.findall(rf"\b{constant[1]}\b", text)) == 1
        if line.strip() and not unused and line.strip() not in ("// begin inline asm", "// end inline asm"):
            kept.append(line.rstrip())
    return "\n".join(kept) + "\n"


def assemble(ptx: Path, architecture: str, into: Path) -> dict[str, int]:
    """Assembles a file for one architecture and returns the registers of each kernel."""
    ptxas = PACKAGES / "cuda_nvcc" / "bin" / "ptxas"
    output = into / f"{ptx.stem}.{architecture}.cubin"
    command = [str(ptxas), "-v", "-Werror", f"-arch={architecture}", str(ptx), "-o", str(output)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    what = f"{ptx.name} for {architecture}"
    if done.returncode != 0 or "warning" in done.stdout.lower():
        raise BuildFailure(f"cannot assemble {what}:\n{done.stdout}")
    if any(int(count) for count in re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", done.stdout)):
        raise BuildFailure(f"{what} does not fit in registers:\n{done.stdout}")
    names = re.findall(r"Compiling entry function '(\w+)'", done.stdout)
    registers = [int(count) for count in re.findall(r"Used (\d+) registers", done.stdout)]
    if not names or len(names) != len(registers):
        raise BuildFailure(f"expected the assembler to say how many registers the kernels of {what} use, found:\n{done.stdout}")
    return dict(zip(names, registers, strict=True))


def check_text(name: str, text: str) -> None:
    """Checks the promises of the source that can be read off the PTX."""
    for line in text.splitlines():
        if re.match(r"\s*(@\S+\s+)?(fma|mad)\S*\.f32|\s*(mul|add|sub)\.f32|.*\.ftz", line):
            raise BuildFailure(f"{name}: expected every product and sum rounded by itself, subnormal numbers kept, found: {line.strip()}")


def report(name: str, text: str, folder: Path) -> None:
    """Assembles the PTX for every architecture and prints a line per kernel."""
    path = folder / f"{name}.ptx"
    path.write_text(text)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda architecture: assemble(path, architecture, folder), ARCHITECTURES))
    print(f"{name}.ptx: {len(text.encode())} bytes, {len(found[0])} kernels")
    for kernel in found[0]:
        counts = [registers[kernel] for registers in found]
        shown = "  ".join(f"{architecture} {count:3}" for architecture, count in zip(ARCHITECTURES, counts, strict=True))
        print(f"  {kernel:32} registers: {shown}")
        if max(counts) > MOST_REGISTERS:
            raise BuildFailure(f"{kernel} takes {max(counts)} registers, expected {MOST_REGISTERS} at most, for full occupancy")


def main() -> int:
    """Compiles all kernels, and writes or compares the PTX. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the stored PTX instead of writing it")
    check = parser.parse_args().check
    compiler, folder, stale = Nvrtc(), HERE / "ptx", False
    expected = {f"{name}.ptx" for name in MODULES}
    for other in sorted(folder.glob("*.ptx")):
        if other.name not in expected:
            raise BuildFailure(f"ptx/{other.name} belongs to no scheme")
    with tempfile.TemporaryDirectory() as scratch:
        for name, kernels in MODULES.items():
            text = compiler.compile(name, kernels)
            check_text(name, text)
            report(name, text, Path(scratch))
            path = folder / f"{name}.ptx"
            if not check:
                path.write_text(text)
                continue
            committed = path.read_text() if path.exists() else ""
            if committed != text:
                stale = True
                lines = difflib.unified_diff(committed.splitlines(), text.splitlines(), f"ptx/{name}.ptx", "compiled now", lineterm="")
                print("\n".join(list(lines)[:40]))
    if stale:
        print("error: the stored PTX differs from the compiled source; run build.py without --check", file=sys.stderr)
    return int(stale)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BuildFailure as failure:
        sys.exit(f"error: {failure}")
