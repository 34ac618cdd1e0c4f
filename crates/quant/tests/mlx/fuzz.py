#!/usr/bin/env python3
"""Compares the profile `mlx`, and decoding, with the CPU backend of the installed MLX, bit by bit.

    $(python3 benches/python/environment.py mlx) crates/quant/tests/mlx/fuzz.py --seed 1 --groups 200000

Longshore and MLX quantize weights of every kind in inputs.py, of every type and of random shapes of rank 2 and 3, in
every scheme, and decode the results. They also decode random codes under random scales. All levels of this machine's
kernels take part. The payload and sign of a NaN are not compared. The first differences are printed in full. The exit
status is 1 where anything differs.
"""

import argparse
import collections
import sys

import mlx.core as mx
import numpy as np
from coder import Coder
from inputs import FLOATS, KINDS, is_nan, raw, to_bits, to_mlx
from schemes import SCHEMES, Scheme

# Elements per tensor. It leaves few long rows or many short rows, and many tensors even in a short run.
ELEMENTS = 1 << 14
# Ratio of MLX's global scale to the multiplier of nvfp4: 6 × 448.
REACH = np.float32(2688)


class Fuzz:
    """One run: the two programs, the counts of compared groups, and the differences."""

    def __init__(self, seed: int, shown: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.coder = Coder()
        self.shown = shown
        self.encoded: collections.Counter[str] = collections.Counter()
        self.decoded: collections.Counter[str] = collections.Counter()
        self.differing: collections.Counter[str] = collections.Counter()

    def round(self) -> None:
        """Sends one tensor of each type through every scheme whose group divides the tensor's rows."""
        for name in FLOATS:
            kind = self.rng.choice(np.array(KINDS, object))
            shape = self._shape()
            bits = kind(self.rng, int(np.prod(shape)), name).reshape(shape)
            for scheme in SCHEMES:
                # On a CPU, MLX 0.32.4 packs nvfp4 by 32 elements and refuses an odd number of groups.
                if shape[-1] % scheme.group == 0 and bits.size % 32 == 0:
                    for max_abs in (None, self._max_abs(bits, name)) if scheme.mode == "nvfp4" else (None,):
                        self._encode(scheme, name, kind.__name__, bits, max_abs)
                        self._decode(scheme, name, "random parts", self._random_parts(scheme, name, shape), max_abs)

    def _shape(self) -> tuple[int, ...]:
        columns = int(self.rng.choice([16, 32, 64, 128])) * int(self.rng.integers(1, 17))
        rows = max(1, ELEMENTS // columns)
        if self.rng.random() < 0.5:
            return rows, columns
        experts = int(self.rng.integers(1, 9))
        return experts, max(1, rows // experts), columns

    def _max_abs(self, bits: np.ndarray, name: str) -> float:
        """Chooses a global scale: that of the tensor, or an arbitrary one."""
        finite = bits[(bits & FLOATS[name].magnitude) < FLOATS[name].infinity]
        largest = float(mx.max(mx.abs(to_mlx(finite, name).astype(mx.float32)))) if finite.size else 0.0
        if 1e-30 < largest < 1e30 and self.rng.random() < 0.5:
            return largest
        return float(np.float32(self.rng.uniform(1, 10) * 10.0 ** self.rng.integers(-8, 8)))

    def _random_parts(self, scheme: Scheme, name: str, shape: tuple[int, ...]) -> list[np.ndarray]:
        lead, columns = shape[:-1], shape[-1]
        weight = self.rng.integers(0, 1 << 32, (*lead, columns * scheme.bits // 32), np.uint32)
        scales = (*lead, columns // scheme.group)
        if not scheme.affine:
            return [weight, self.rng.integers(0, 256, scales, np.uint8)]
        # Half of the tensors have ordinary scales, the other half arbitrary bits.
        kind = raw if self.rng.random() < 0.5 else self.rng.choice(np.array(KINDS, object))
        return [weight, *(kind(self.rng, int(np.prod(scales)), name).reshape(scales) for _ in range(2))]

    def _encode(self, scheme: Scheme, name: str, kind: str, bits: np.ndarray, max_abs: float | None) -> None:
        parts = scheme.quantize(to_mlx(bits, name), max_abs)
        mlx = [np.array(parts[0]), *(to_bits(p, name) if scheme.affine else np.array(p) for p in parts[1:])]
        groups = bits.size // scheme.group
        for level in self.coder.levels:
            found = self.coder.encode(scheme.name, name, level, max_abs, bits.tobytes())
            ours = [np.frombuffer(f, m.dtype).reshape(m.shape) for f, m in zip(found, mlx)]
            wrong = np.zeros(groups, bool)
            for at, (mine, theirs) in enumerate(zip(ours, mlx)):
                same = mine == theirs
                if at > 0 and scheme.affine:
                    same |= is_nan(mine, name) & is_nan(theirs, name)
                wrong |= ~same.reshape(groups, -1).all(1)
            what = f"encode {scheme.name} {name} {bits.shape} of {kind}, global scale {max_abs}, kernels {level}"
            self._report(f"encode {scheme.name}", what, wrong, {"input": bits}, ours, mlx)
        self.encoded[scheme.name] += groups
        self._decode(scheme, name, kind, mlx, max_abs)

    def _decode(self, scheme: Scheme, name: str, kind: str, parts: list[np.ndarray], max_abs: float | None) -> None:
        # Under a global scale MLX multiplies in F32 and returns F32. Otherwise it rounds to the requested type.
        output = "F32" if max_abs is not None else name
        given = [mx.array(parts[0]), *(to_mlx(p, name) if scheme.affine else mx.array(p) for p in parts[1:])]
        mlx = to_bits(scheme.dequantize(given, FLOATS[output].mlx, max_abs), output)
        multiplier = None if max_abs is None else np.float32(max_abs) / REACH
        stored = [part.tobytes() for part in (*parts, np.zeros(0, np.uint8))[:3]]
        groups = mlx.size // scheme.group
        for level in self.coder.levels:
            found = self.coder.decode(scheme.name, name, output, level, multiplier, *stored)
            ours = np.frombuffer(found, mlx.dtype).reshape(mlx.shape)
            same = (ours == mlx) | (is_nan(ours, output) & is_nan(mlx, output))
            what = f"decode {scheme.name} to {output} {mlx.shape} of {kind}, global scale {max_abs}, kernels {level}"
            given_bits = dict(zip(("weight", "scale", "bias"), parts))
            self._report(f"decode {scheme.name}", what, ~same.reshape(groups, -1).all(1), given_bits, [ours], [mlx])
        self.decoded[scheme.name] += groups

    def _report(self, key: str, what: str, wrong: np.ndarray, given: dict, ours: list, mlx: list) -> None:
        if not wrong.any():
            return
        self.differing[key] += int(wrong.sum())
        if self.shown == 0:
            return
        self.shown -= 1
        first = int(np.argmax(wrong))
        print(f"{what}: {wrong.sum()} of {wrong.size} groups differ, the first is group {first}")
        names = ["weight", "scale", "bias"] if len(ours) > 1 else ["output"]
        rows = [
            *given.items(),
            *((f"ours {n}", p) for n, p in zip(names, ours)),
            *((f"MLX {n}", p) for n, p in zip(names, mlx)),
        ]
        for label, part in rows:
            words = part.reshape(wrong.size, -1)[first]
            print(f"  {label:<12}", " ".join(f"{word:0{words.itemsize * 2}x}" for word in words))


def main() -> int:
    """Runs until the requested number of groups has been encoded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--groups", type=int, default=200_000, help="number of groups to encode and compare")
    parser.add_argument("--shown", type=int, default=5, help="number of differences to print in full")
    args = parser.parse_args()
    mx.set_default_device(mx.cpu)
    fuzz = Fuzz(args.seed, args.shown)
    while fuzz.encoded.total() < args.groups:
        fuzz.round()
    print(f"MLX {mx.__version__}, kernels {' and '.join(fuzz.coder.levels)}, seed {args.seed}")
    print(f"{'SCHEME':<12} {'GROUPS ENCODED':>15} {'DECODED':>12} {'DIFFERENT':>10}")
    for scheme in SCHEMES:
        name = scheme.name
        different = fuzz.differing[f"encode {name}"] + fuzz.differing[f"decode {name}"]
        print(f"{name:<12} {fuzz.encoded[name]:>15,} {fuzz.decoded[name]:>12,} {different:>10,}")
    print(f"{'all':<12} {fuzz.encoded.total():>15,} {fuzz.decoded.total():>12,} {fuzz.differing.total():>10,}")
    return 1 if fuzz.differing else 0


if __name__ == "__main__":
    sys.exit(main())
