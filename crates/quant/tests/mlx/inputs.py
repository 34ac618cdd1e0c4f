"""Weights to quantize, as bit patterns: those of real checkpoints, those that decide ties, and arbitrary ones."""

from typing import NamedTuple

import mlx.core as mx
import numpy as np


class Float(NamedTuple):
    """An element type: its MLX dtypes, and its important bit patterns as unsigned integers."""

    mlx: mx.Dtype
    word: mx.Dtype
    bits: type
    magnitude: int  # all bits but the sign
    infinity: int
    nan: int


FLOATS = {
    "F32": Float(mx.float32, mx.uint32, np.uint32, 0x7FFF_FFFF, 0x7F80_0000, 0x7FC0_0000),
    "F16": Float(mx.float16, mx.uint16, np.uint16, 0x7FFF, 0x7C00, 0x7E00),
    "BF16": Float(mx.bfloat16, mx.uint16, np.uint16, 0x7FFF, 0x7F80, 0x7FC0),
}

# Values of E2M1, the midpoints between them, and one value beyond.
E2M1 = np.array([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7], np.float32)


def to_mlx(bits: np.ndarray, name: str) -> mx.array:
    """Returns the floats with these bits."""
    return mx.array(bits).view(FLOATS[name].mlx)


def to_bits(floats: mx.array, name: str) -> np.ndarray:
    """Returns the bits of floats of this type."""
    return np.array(floats.view(FLOATS[name].word))


def rounded(values: np.ndarray, name: str) -> np.ndarray:
    """Rounds F32 `values` to a type with MLX, and returns the bits."""
    return to_bits(mx.array(values.astype(np.float32)).astype(FLOATS[name].mlx), name)


def is_nan(bits: np.ndarray, name: str) -> np.ndarray:
    """Marks the bits that are those of a NaN."""
    return (bits & FLOATS[name].magnitude) > FLOATS[name].infinity


def raw(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Returns uniformly random bit patterns: all magnitudes, subnormal numbers, infinities and NaN."""
    bits = FLOATS[name].bits
    return rng.integers(0, np.iinfo(bits).max, count, bits, endpoint=True)


def gauss(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Returns ordinary weights, normally distributed."""
    return rounded(rng.standard_normal(count, np.float32) * 0.02 * 2.0 ** rng.integers(-4, 5), name)


def spread(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Returns weights whose magnitude changes every sixteen elements, up to overflow and down to underflow."""
    with np.errstate(all="ignore"):
        return rounded(rng.standard_normal(count, np.float32) * _per(rng, count, 16, -150, 128), name)


def ties(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Returns small integers times a power of two per 32 elements: quotients that lie half-way between codes."""
    return rounded(rng.integers(-64, 65, count) * _per(rng, count, 32, -20, 5), name)


def e2m1_ties(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Returns values of E2M1 and their midpoints, times a power of two per sixteen elements."""
    signed = rng.choice(E2M1, count) * rng.choice(np.array([-1, 1], np.float32), count)
    return rounded(signed * _per(rng, count, 16, -12, 6), name)


def outliers(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Returns ordinary weights, of which one in a thousand has arbitrary bits."""
    return _salted(rng, gauss(rng, count, name), raw(rng, count, name), 0.001)


def special(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Returns ordinary weights among zeros, infinities and NaN of both signs."""
    kind = FLOATS[name]
    values = np.array([0, kind.infinity, kind.nan, 1], kind.bits)
    values = np.concatenate([values, values | (kind.magnitude + 1)]).astype(kind.bits)
    return _salted(rng, gauss(rng, count, name), rng.choice(values, count), 0.01)


def constant(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Returns runs of 32 equal weights, with one in fifty changed: groups without a range, and groups of zeros."""
    start = _salted(rng, gauss(rng, count, name), np.zeros(count, FLOATS[name].bits), 0.3)
    return _salted(rng, np.repeat(start[: -(-count // 32)], 32)[:count], gauss(rng, count, name), 0.02)


def mixture(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Returns runs of sixteen weights, each of another of the kinds above."""
    drawn = np.stack([kind(rng, count, name) for kind in KINDS if kind is not mixture])
    which = np.repeat(rng.integers(0, len(drawn), -(-count // 16)), 16)[:count]
    return drawn[which, np.arange(count)]


KINDS = [raw, gauss, spread, ties, e2m1_ties, outliers, special, constant, mixture]


def _per(rng: np.random.Generator, count: int, run: int, low: int, high: int) -> np.ndarray:
    """Returns a random power of two for every `run` elements."""
    return np.repeat(np.exp2(rng.integers(low, high, -(-count // run)).astype(np.float32)), run)[:count]


def _salted(rng: np.random.Generator, bits: np.ndarray, salt: np.ndarray, share: float) -> np.ndarray:
    return np.where(rng.random(count := bits.size) < share, salt[:count], bits)
