"""Measures a limit of the machine, for one kind of work at a time.

    limits.py memcpy THREADS BYTES       copies resident memory from one buffer to another
    limits.py read THREADS FILE…         reads files into a reused buffer
    limits.py sha256 THREADS FILE…       reads files into a reused buffer and hashes them, piece by piece
    limits.py write THREADS BYTES DIR    writes files, then syncs the file system once

The answer is a line of JSON with wall time and processor time in seconds.
"""

import hashlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import pages  # noqa: E402

PIECE = 16 << 20


def main() -> None:
    """Prepares the buffers, and then measures."""
    verb, threads, *rest = sys.argv[1:]
    pool = ThreadPoolExecutor(int(threads))
    buffers = [np.ones(PIECE, np.uint8) for _ in range(int(threads))]
    others = [np.ones(PIECE, np.uint8) for _ in range(int(threads))]
    free = list(zip(buffers, others))
    if verb in ("memcpy", "write"):
        size = int(rest[0])
        pieces = [(at, min(PIECE, size - at)) for at in range(0, size, PIECE)]
    else:
        files = [(os.open(path, os.O_RDONLY), Path(path).stat().st_size) for path in rest]
        pieces = [(file, at, min(PIECE, size - at)) for file, size in files for at in range(0, size, PIECE)]
    if verb == "write":
        Path(rest[1]).mkdir(parents=True)

    def copy(_: int, length: int) -> None:
        one, other = free.pop()
        np.copyto(one[:length], other[:length])
        free.append((one, other))

    def read(file: int, at: int, length: int) -> None:
        one, other = free.pop()
        filled = os.preadv(file, [one.data[:length]], at)
        if filled != length:
            raise OSError(f"expected {length} bytes, found {filled}")
        if verb == "sha256":
            hashlib.sha256(one.data[:length]).digest()
        free.append((one, other))

    def write(at: int, length: int) -> None:
        (Path(rest[1]) / str(at)).write_bytes(others[0].data[:length])

    work = {"memcpy": copy, "read": read, "sha256": read, "write": write}[verb]
    started, spent = time.perf_counter(), time.process_time()
    list(pool.map(lambda piece: work(*piece), pieces))
    if verb == "write":
        pages.settle(Path(rest[1]))
    print(json.dumps({"seconds": time.perf_counter() - started, "cpu": time.process_time() - spent}))


if __name__ == "__main__":
    main()
