#!/usr/bin/env python3
"""Ways to make the files of a commit durable: one `syncfs`, or an `fsync` of each. What decided how many are synced one by one.

    python3 benches/compare/syncs.py --scratch DIR [--turns 5]

It needs Linux. Each turn writes the files and times how long they take to be durable, alone and beside another process that keeps half a gigabyte
unwritten on the same disk.
"""

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

KIB, MIB = 1 << 10, 1 << 20
# Numbers of files, and their sizes in bytes.
SETS = [(300, 8 * KIB), (200, MIB), (16, 16 * MIB), (3, 64 * MIB)]
OTHER = MIB << 9
LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Times both ways for each set of files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=Path, required=True, help="a directory for the files, on the disk that is meant")
    parser.add_argument("--turns", type=int, default=5)
    # The process that keeps bytes unwritten calls this program so.
    parser.add_argument("--other", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    if options.other:
        _write_on(options.scratch / "other")
    for count, size in SETS:
        times: dict[tuple[str, str], list[float]] = {}
        for _ in range(options.turns):
            for beside in ("alone", "beside"):
                for way in ("syncfs", "fsync"):
                    times.setdefault((beside, way), []).append(_timed(options.scratch, count, size, way, beside == "beside"))
        for (beside, way), seconds in times.items():
            shown = f"{min(seconds) * 1e3:.0f} ms, median {statistics.median(seconds) * 1e3:.0f}"
            print(f"{count} files of {size // KIB} KiB, {way}, {beside}: {shown}", flush=True)
    print(f"load average {Path('/proc/loadavg').read_text().split()[:3]}")


def _timed(scratch: Path, count: int, size: int, way: str, beside: bool) -> float:
    other = None
    os.sync()
    if beside:
        other = subprocess.Popen([sys.executable, __file__, "--scratch", str(scratch), "--other"], stdout=subprocess.PIPE)
        other.stdout.readline()
    files = []
    block = os.urandom(MIB)
    try:
        for number in range(count):
            file = os.open(scratch / f"file-{number}", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            for start in range(0, size, MIB):
                os.write(file, block[: min(MIB, size - start)])
            files.append(file)
        start = time.perf_counter()
        if way == "syncfs":
            if LIBC.syncfs(files[0]):
                raise OSError(ctypes.get_errno(), "syncfs")
        else:
            for file in files:
                os.fsync(file)
        return time.perf_counter() - start
    finally:
        if other:
            other.kill()
            other.wait()
        for number, file in enumerate(files):
            os.close(file)
            (scratch / f"file-{number}").unlink()
        (scratch / "other").unlink(missing_ok=True)


def _write_on(path: Path) -> None:
    """Writes over the same half gigabyte until the process is killed, and says so once all of it is unwritten."""
    block = os.urandom(MIB)
    with path.open("wb", buffering=0) as file:
        while True:
            file.seek(0)
            for _ in range(OTHER // MIB):
                file.write(block)
            if path.stat().st_size == OTHER:
                print("ready", flush=True)


if __name__ == "__main__":
    main()
