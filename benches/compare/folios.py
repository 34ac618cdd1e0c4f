"""Ways to map files and to write them, by the speed at which a map of them is read: what decided how blobs are opened and written.

    target/python/compare/bin/python benches/compare/folios.py --scratch DIR [--files 20] [--bytes 6e8] [--turns 8]

It needs Linux and NumPy. The system maps what is in its page cache in units that depend on who filled it, and a page fault costs
microseconds. COLD reads files that were dropped from the page cache, through a map with nothing said, with `MADV_HUGEPAGE`, or after one
`preadv2` of 4 KiB with `RWF_NOWAIT`, and then again from the cache. WRITTEN reads files that were just written, in pieces of a size that
begin after a header of 4,096 bytes or end at multiples of their size.
"""

import argparse
import mmap
import os
import statistics
import time
from pathlib import Path

import numpy

HEADER, KIB = 4096, 1 << 10
WAYS = ("plain", "huge", "hint")
PIECES = ((256 * KIB, False), (256 * KIB, True), (512 * KIB, True), (1024 * KIB, True), (2048 * KIB, True))


def main() -> None:
    """Times all ways in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=Path, required=True, help="a directory for the files, on the disk that is meant")
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--bytes", type=float, default=6e8)
    parser.add_argument("--turns", type=int, default=8)
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    files = [options.scratch / f"folios-{number}" for number in range(options.files)]
    size = int(options.bytes) // options.files
    try:
        _cold(files, size, options.turns)
        _written(files, size, options.turns)
    finally:
        for path in files:
            path.unlink(missing_ok=True)
    print(f"load average {Path('/proc/loadavg').read_text().split()[:3]}")


def _cold(files: list[Path], size: int, turns: int) -> None:
    _write(files, size, 256 * KIB, aligned=False)
    cold: dict[str, list[float]] = {way: [] for way in WAYS}
    warm: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(turns):
        for way in WAYS:
            _drop(files)
            cold[way].append(_read(files, way))
            warm[way] += [_read(files, way) for _ in range(3)]
    for way in WAYS:
        _print(f"{way}, not in the page cache", len(files) * size, cold[way])
        _print(f"{way}, again", len(files) * size, warm[way])


def _written(files: list[Path], size: int, turns: int) -> None:
    seconds: dict[tuple[int, bool], list[float]] = {piece: [] for piece in PIECES}
    for _ in range(turns):
        for piece, aligned in PIECES:
            for path in files:
                path.unlink(missing_ok=True)
            _write(files, size, piece, aligned=aligned)
            seconds[piece, aligned] += [_read(files, "plain") for _ in range(3)]
    for (piece, aligned), found in seconds.items():
        _print(f"written in {piece // KIB} KiB {'to its multiples' if aligned else 'after the header'}", len(files) * size, found)


def _print(what: str, size: int, seconds: list[float]) -> None:
    print(f"{what}: {size / min(seconds) / 1e9:.2f} GB/s, median {size / statistics.median(seconds) / 1e9:.2f}", flush=True)


def _write(files: list[Path], size: int, piece: int, *, aligned: bool) -> None:
    data = numpy.random.default_rng(1).bytes(piece)
    for path in files:
        with path.open("wb", buffering=0) as file:
            at = file.write(data[:HEADER])
            while at < size:
                at += file.write(data[: min(size - at, piece - at % piece if aligned else piece)])


def _drop(files: list[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read(files: list[Path], way: str) -> float:
    """Maps all files, and reads all bytes once, on one thread."""
    started, maps = time.perf_counter(), []
    for path in files:
        with path.open("rb") as file:
            if way == "hint":
                try:
                    os.preadv(file.fileno(), [bytearray(HEADER)], 0, os.RWF_NOWAIT)
                except OSError:  # it is not there yet, or the file system has no such read
                    pass
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            if way == "huge":
                mapped.madvise(mmap.MADV_HUGEPAGE)
            maps.append(mapped)
    for mapped in maps:
        numpy.frombuffer(mapped, dtype=numpy.uint64, count=len(mapped) // 8).sum()
    seconds = time.perf_counter() - started
    for mapped in maps:
        mapped.close()
    return seconds


if __name__ == "__main__":
    main()
