#!/usr/bin/env python3
"""Compares our reader with the Python package `gguf`, and says where ours is stricter.

    $(python3 benches/python/environment.py gguf) crates/gguf/tests/python/differential.py --seed 1 --files 300

What the package writes we read, see the same in, and write again to the same bytes. What is damaged is given to both: where both
accept it, they see the same, and where only we refuse it, the reason is counted. A file that only the package refuses is printed, unless it
is one of the reasons in `LOOSER`. Any difference makes the exit status 1.
"""

import argparse
import collections
import hashlib
import logging
import random
import resource
import signal
import struct
import sys
import tempfile
from pathlib import Path

from files import by_hand, damaged, written
from gguf import GGUFReader
from looker import Looker

# What only the package refuses, by the beginning of what it says, and why that is no fault of ours.
LOOSER = {
    "42 is not a valid GGMLQuantizationType": "Q2_0 is newer than this package",
    "Duplicate GGUF.": "it keeps fields of its own under names that a key may have",
    "cannot reshape array of size 0": "numpy has no shape for a tensor without elements whose other extents are huge",
    "array is too big": "numpy has no shape for a tensor without elements whose other extents are huge",
    "Maximum allowed dimension exceeded": "numpy has no shape for a tensor without elements whose other extents are huge",
}


class Slow(Exception):
    """The package goes on and on: it counts to a length that the file does not have."""


def summed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def theirs(path: Path) -> dict:
    """The same facts as `look` has, or what the package says against the file."""

    def stop(*_):
        raise Slow

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        reader = GGUFReader(path)
        fields = [field for name, field in reader.fields.items() if not name.startswith("GGUF.")]
        pairs = [
            [field.name, int(field.types[0]), summed(b"".join(part.tobytes() for part in field.parts[3:]))]
            for field in fields
        ]
        tensors = [
            [t.name, t.tensor_type.name, [int(n) for n in t.shape], t.data_offset, t.n_bytes, summed(t.data.tobytes())]
            for t in reader.tensors
        ]
        version = int(reader.fields["GGUF.version"].parts[0][0])
        return {
            "version": version,
            "alignment": int(reader.alignment),
            "data_start": int(reader.data_offset),
            "pairs": pairs,
            "tensors": tensors,
        }
    except Slow:
        return {"refused": "it does not end"}
    except Exception as error:  # Whatever it raises is its answer.
        return {"refused": f"{type(error).__name__}", "message": str(error).strip("'\"")}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Comparison:
    """What was compared, and what differed."""

    def __init__(self, folder: Path) -> None:
        self.looker = Looker()
        self.folder = folder
        self.counts: collections.Counter[str] = collections.Counter()
        self.stricter: dict[str, list[str]] = collections.defaultdict(list)
        self.looser: collections.Counter[str] = collections.Counter()
        self.wrong = 0

    def file(self, path: Path, must_accept: bool) -> dict:
        ours, other = self.looker.look(path), theirs(path)
        if "refused" in ours and "refused" in other:
            self.counts["both refuse"] += 1
        elif "refused" in ours:
            self.counts["only we refuse"] += 1
            self.stricter[ours["refused"]].append(ours["message"])
        elif "refused" in other:
            self.counts["only the package refuses"] += 1
            said = other.get("message", "")
            reason = next((why for start, why in LOOSER.items() if said.startswith(start)), None)
            if reason is None:
                self._differs(f"only the package refuses: {other}", path)
            else:
                self.looser[reason] += 1
        else:
            self.counts["both accept"] += 1
            self._same(ours, other, path)
        if must_accept and "refused" in ours:
            self._differs(f"refused: {ours['message']}", path)
        return ours

    def bytes(self, data: bytes) -> dict:
        path = self.folder / "damaged.gguf"
        path.write_bytes(data)
        return self.file(path, False)

    def _same(self, ours: dict, other: dict, path: Path) -> None:
        if not ours.pop("same"):
            self._differs("written again it is another file", path)
        if not ours["tensors"]:
            # Where data would start in a file that has none is nobody's question.
            ours.pop("data_start"), other.pop("data_start")
        for fact, value in ours.items():
            if value != other[fact]:
                self._differs(f"{fact}: ours {value}, theirs {other[fact]}", path)

    def _differs(self, what: str, path: Path) -> None:
        self.wrong += 1
        kept = Path(tempfile.gettempdir()) / f"gguf-differs-{self.wrong}.gguf"
        kept.write_bytes(path.read_bytes())
        print(f"{kept}: {what}", file=sys.stderr)

    def print(self) -> None:
        for what, count in sorted(self.counts.items()):
            print(f"{count:8} files: {what}")
        for name, messages in sorted(self.stricter.items()):
            print(f"{len(messages):8} only we refuse, {name}: {min(messages, key=len)}")
        for reason, count in sorted(self.looser.items()):
            print(f"{count:8} only the package refuses: {reason}")


def oddities() -> dict[str, bytes]:
    """A file for each rule that the package does not have, with nothing else wrong, by the name of our error."""
    pad = bytes(28)
    one = [(b"a", [1], 0, 0, b"abcd" + pad)]
    text = lambda data: struct.pack("<Q", len(data)) + data
    right = by_hand([(b"k", 4, bytes(4))], one)
    nested = struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 4, 1) + bytes(4)
    many = [(f"{at}".encode(), [1], 0, 32 * at, b"abcd" + pad) for at in range(2)]
    return {
        "BigEndian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        "Key": by_hand([(b"", 4, bytes(4))], one),
        "NestedArray": by_hand([(b"k", 9, nested)], one),
        "Bool": by_hand([(b"k", 7, b"\2")], one),
        "TensorName": by_hand([], [(b"n" * 64, *one[0][1:])]),
        "Alignment": by_hand([(b"general.alignment", 4, struct.pack("<I", 2**21))], []),
        "Dims": by_hand([], [(b"a", [1] * 5, 0, 0, b"abcd" + pad)]),
        "Offset": by_hand([], [many[0], (b"b", [1], 0, 64, pad + b"abcdefgh" + pad + b"\1" * 32)]),
        "TrailingData": right + b"\0",
        "Padding": right[:-1] + b"\1",
        "PartialPadding": right[:-1],
        "StringTooLong": by_hand([(b"k", 8, text(bytes(2**24 + 1)))], one),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--damage", type=int, default=10, help="damaged files for each")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    # What counts to a length that is not there must not take the machine with it.
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(Path(folder))
        for _ in range(args.files):
            for path in Path(folder).glob("*.gguf"):
                path.unlink()
            for path in written(rng, Path(folder)):
                comparison.file(path, True)
                for _ in range(args.damage):
                    comparison.bytes(damaged(rng, path.read_bytes()))
        for name, data in oddities().items():
            ours = comparison.bytes(data)
            if ours.get("refused") != name:
                print(f"expected {name}, found {ours}", file=sys.stderr)
                comparison.wrong += 1
            if name not in comparison.stricter:
                print(f"the package refuses {name} too: {theirs(Path(folder) / 'damaged.gguf')}", file=sys.stderr)
        comparison.print()
    return 1 if comparison.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
