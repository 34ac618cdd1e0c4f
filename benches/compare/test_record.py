#!/usr/bin/env python3
"""Tests of the record: what a device's run writes, what takes it in, and what reads it. All figures here are made up.

    python3 benches/compare/test_record.py

Nothing is built or measured, and no record of the repository is touched.
"""

import argparse
import csv
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import memory  # noqa: E402
import readme  # noqa: E402
from subjects import cuda  # noqa: E402

RECORDER = HERE.parents[1] / "crates" / "loader-cuda" / "gpu-check" / "record.py"
MACHINE = """2031-02-03T04:05:06Z
Linux 6.8.0
16
name, driver_version, memory.total [MiB], pcie.link.gen.current, pcie.link.width.current
NVIDIA H200, 570.00, 143771 MiB, 5, 16
torch 2.99.0
longshore 0.9.9
"""
LOAD = {
    "version": 1, "device": "cuda:0", "tensors": 3, "bytes": 2_000_000_000, "seconds": [0.5, 0.05, 0.05], "steady_seconds": 0.05,
    "context_seconds": 0.3, "limit": {"what": "pinned memory copied to the device, on the same streams", "gb_per_s": 50.0}, "peak_rss": None,
}  # fmt: skip
FILES = {
    "machine.txt": MACHINE,
    "summary.csv": "step,status,seconds\ndevice-tests,0,12\nload-dense,0,3\nsanitizer,left out: not installed,0\n",
    "load-dense.log": f"== load\n{json.dumps(LOAD)}\n",
    "load-failed.log": "error: the device failed\n",
    "peers.csv": "peer,version,first_seconds,steady_seconds,gb_per_s,note\npinned,2.99.0,0.04,0.04,50.00,\n"
    "safetensors,0.9.0,0.9,0.8,2.50,\nrunai,,,,,ImportError: no wheel\n",
    "compare.csv": "case,bytes,read_bytes,seconds,of_whole\nwhole,2000000000,2000000000,0.050000,1.0\n",
    "kernels.csv": "device,scheme,source,target,bytes,gb_per_s,copy_gb_per_s,ratio\nNVIDIA H200,int4,BF16,BF16,1000,3210.5,3400.0,0.944\n",
}
MLX = [
    {"model": "llama BF16", "peer": "longshore", "version": "0.1.0", "operation": "load", "threads": "all", "start": "warm"},
    {"model": "llama BF16", "peer": "mlx", "version": "0.32.4 on Metal", "operation": "load", "threads": "up to 4", "start": "warm"},
]  # fmt: skip
PRODUCTS = """peer,version,kind,how,shape,inputs,threads,turns,best_s,median_s
longshore,0.9,int4,fast,4096×4096,1,2,5,0.000150,0.000170
longshore,0.9,int4,exact,4096×4096,1,2,5,0.000600,0.000700
ggml,of 9,Q4_0,plain,4096×4096,1,2,5,0.000400,0.000500
ggml,of 9,Q4_0,CPU_REPACK,4096×4096,1,2,5,0.000300,0.000310
longshore,0.9,Q4_0,fast,4096×4096,1,2,5,0.000160,0.000170
longshore,0.9,int4,read,streamed,1,2,5,0.04,0.05
longshore,0.9,int4,fast,streamed,1,2,5,0.05,0.06
longshore,0.9,int4,fast,4096×4096,2,2,5,0.000200,0.000210
"""
COLUMNS = re.findall(r"[a-z_]+", (HERE / "ledger.py").read_text().partition("COLUMNS = (")[2].partition(").split")[0])


class Record(unittest.TestCase):
    """From a device's figures to the page."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.out, self.home = self.root / "out", self.root / "benches" / "record"
        self.out.mkdir()
        for name, text in FILES.items():
            (self.out / name).write_text(text)
        (self.root / "benches").mkdir()
        for page in ("README.md", "benches/README.md"):
            (self.root / page).write_text(f"before\n{readme.BEGIN}\n{readme.END}\nafter\n")

    def page(self) -> str:
        """Writes the pages from the record, and returns that of the benchmarks."""
        for arguments in ([], ["--check"]):
            with mock.patch.object(sys, "argv", ["readme.py", "--root", str(self.root), *arguments]):
                self.assertEqual(readme.main(), 0)
        return (self.root / "benches" / "README.md").read_text()

    def taken(self) -> list[Path]:
        """Writes the record as the device's machine does, and takes it in as `run.py cuda --out` does."""
        subprocess.run([sys.executable, str(RECORDER), str(self.out)], check=True, capture_output=True)
        check = cuda.run(argparse.Namespace(out=self.out))
        self.assertFalse(check.wrong)
        self.assertIn("NVIDIA", check.text())
        return check.record(self.home)

    def test_an_h200_has_a_section(self) -> None:
        made = self.taken()
        self.assertEqual({path.relative_to(self.home).parent.as_posix() for path in made}, {"nvidia-h200/2031-02-03"})
        section = self.page().partition("### CUDA")[2]
        for line in (
            "#### Loading into device memory, and decoding there, on `nvidia-h200`",
            "2031-02-03: `crates/loader-cuda/gpu-check.sh run KIT OUT`",
            "| dense | **longshore 0.9.9: load** | 0.50 s | 50 ms | 40.0 GB/s | 0.80 |",
            "| dense | *PyTorch's copies from pinned memory* | 40 ms | 40 ms | 50.0 GB/s | — |",
            "| dense | safetensors 0.9.0: load | 0.90 s | 0.80 s | 2.5 GB/s | — |",
            "| dense | runai: load | — | — | ImportError: no wheel | — |",
            "| kernels | **longshore 0.9.9: decode int4, BF16 to BF16** | — | — | 3,210.5 GB/s | 0.94 |",
        ):
            self.assertIn(line, section)

    def test_each_device_keeps_its_section(self) -> None:
        self.taken()
        (self.out / "machine.txt").write_text(MACHINE.replace("H200", "L4").replace("2031", "2030"))
        self.taken()
        page = self.page()
        self.assertLess(page.index("on `nvidia-h200`"), page.index("on `nvidia-l4`"))

    def test_a_mac_has_a_section_that_says_metal(self) -> None:
        folder = self.home / "apple-m9-10c" / "2031-02-03"
        folder.mkdir(parents=True)
        figures = {"bytes": 600_000_000, "seconds": "0.1", "cpu_seconds": "0.1", "open_seconds": "0.01", "gb_per_s": "6"}
        with (folder / "mlx.csv").open("w", newline="") as file:
            out = csv.DictWriter(file, COLUMNS, restval="")
            out.writeheader()
            out.writerows({**row, **figures} for row in MLX)
            # Memory is unknown where the system does not say.
        (folder / "mlx.txt").write_text("$ python3 benches/compare/run.py mlx --record\n")
        section = self.page().partition("### MLX")[2].partition("### CUDA")[0]
        self.assertIn("on `apple-m9-10c`", section)
        self.assertIn("MLX computes on Metal.", section)
        self.assertIn("| mlx: load | up to 4 | 10 ms | 0.10 s, 6.00 GB/s | — | 0.10 s | — |", section)

    def test_products_stand_beside_the_fastest_of_a_program(self) -> None:
        folder = self.home / "epyc-9" / "2031-02-03"
        folder.mkdir(parents=True)
        (folder / "products.txt").write_text("$ python3 benches/compare/run.py products --record\n")
        (folder / "products.csv").write_text(PRODUCTS)
        section = self.page().partition("### Host")[2].partition("### MLX")[0]
        self.assertIn("#### Products with stored weights\n\nOn `epyc-9`, 2031-02-03", section)
        lines = [line for line in section.splitlines() if line.startswith("| ") and "×" in line]
        self.assertEqual(
            lines,
            [
                "| 4096×4096 | 1 | int4: 150 µs | ggml Q4_0: 300 µs | 2.00 |",
                "| 4096×4096 | 1 | int4, exact: 600 µs | ggml Q4_0: 300 µs | 0.50 |",
                "| 4096×4096 | 1 | Q4_0: 160 µs | ggml Q4_0: 400 µs | 2.50 |",
            ],
        )
        self.assertIn("| streamed | 1 | int4: 50.0 ms | reading the same bytes: 40.0 ms | 0.80 |", section)

    def test_no_record_says_how_to_make_one(self) -> None:
        self.assertIn("`python3 benches/compare/run.py cuda --record`", self.page())

    def test_a_run_without_figures_is_no_record(self) -> None:
        for name in ("load-dense.log", "peers.csv", "compare.csv", "kernels.csv"):
            (self.out / name).unlink()
        done = subprocess.run([sys.executable, str(RECORDER), str(self.out)], check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("has no figure of a device", done.stderr)

    def test_a_failed_step_is_wrong(self) -> None:
        (self.out / "summary.csv").write_text("step,status,seconds\ndevice-tests,101,12\n")
        self.assertTrue(cuda.run(argparse.Namespace(out=self.out)).wrong)


class Memory(unittest.TestCase):
    """Memory of processes, on each system."""

    def test_this_process(self) -> None:
        if sys.platform not in ("linux", "darwin"):
            self.skipTest("this system does not say")
        held = bytearray(os.urandom(1 << 20) * 64)
        resident, private = next(iter(memory.of_tree(os.getpid())))
        self.assertGreaterEqual(private, len(held))
        self.assertGreaterEqual(resident, len(held))

    def test_macos(self) -> None:
        words = [0] * memory.WORDS
        words[memory.USER_TIME], words[memory.SYSTEM_TIME] = 24_000_000, 24_000_000
        words[memory.RESIDENT], words[memory.FOOTPRINT] = 900, 700
        kernel = mock.Mock()

        def rusage(pid: int, flavor: int, buffer) -> int:
            self.assertEqual(flavor, 2)
            buffer[:] = bytes(16) + struct.pack(f"={memory.WORDS}Q", *words)
            return 0

        def children(pid: int, buffer, size: int) -> int:
            buffer[0] = 43
            return 1 if pid == 42 else 0

        def timebase(ratio) -> None:
            ratio[0], ratio[1] = 125, 3

        kernel.proc_pid_rusage, kernel.proc_listchildpids, kernel.mach_timebase_info = rusage, children, timebase
        with mock.patch.object(memory, "_libc", lambda: kernel), mock.patch.object(sys, "platform", "darwin"):
            memory._tick.cache_clear()
            self.assertEqual(list(memory.of_tree(42)), [(900, 700), (900, 700)])
            self.assertAlmostEqual(memory.processor_seconds(42), 2.0)
            self.assertEqual(memory.largest(5), 5)
        memory._tick.cache_clear()


if __name__ == "__main__":
    unittest.main()
