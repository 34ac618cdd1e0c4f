"""Weights to quantize, as bit patterns: what checkpoints hold, what decides ties, and what nobody would store."""

from typing import NamedTuple

import mlx.core as mx
import numpy as np


class Float(NamedTuple):
    """A type of element: MLX's name, its bits as unsigned integers, and the patterns that matter."""

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

# The values of E2M1, the midpoints between them, and one beyond.
E2M1 = np.array([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7], np.float32)


def to_mlx(bits: np.ndarray, name: str) -> mx.array:
    """The floats that have these bits."""
    return mx.array(bits).view(FLOATS[name].mlx)


def to_bits(floats: mx.array, name: str) -> np.ndarray:
    """The bits of floats of this type."""
    return np.array(floats.view(FLOATS[name].word))


def rounded(values: np.ndarray, name: str) -> np.ndarray:
    """The bits of F32 `values` in a type, rounded by MLX."""
    return to_bits(mx.array(values.astype(np.float32)).astype(FLOATS[name].mlx), name)


def is_nan(bits: np.ndarray, name: str) -> np.ndarray:
    """Where bits are those of a NaN."""
    return (bits & FLOATS[name].magnitude) > FLOATS[name].infinity


def raw(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Bit patterns, each as likely as any other: all magnitudes, subnormal numbers, infinities and NaN."""
    bits = FLOATS[name].bits
    return rng.integers(0, np.iinfo(bits).max, count, bits, endpoint=True)


def gauss(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Ordinary weights."""
    return rounded(rng.standard_normal(count, np.float32) * 0.02 * 2.0 ** rng.integers(-4, 5), name)


def spread(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Every sixteen of another magnitude, out to what overflows and underflows."""
    with np.errstate(all="ignore"):
        return rounded(rng.standard_normal(count, np.float32) * _per(rng, count, 16, -150, 128), name)


def ties(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Small integers times a power of two for every 32: quotients that lie half-way between codes."""
    return rounded(rng.integers(-64, 65, count) * _per(rng, count, 32, -20, 5), name)


def e2m1_ties(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """What E2M1 holds and the midpoints, with a power of two for every sixteen."""
    signed = rng.choice(E2M1, count) * rng.choice(np.array([-1, 1], np.float32), count)
    return rounded(signed * _per(rng, count, 16, -12, 6), name)


def outliers(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Ordinary weights among which one in a thousand has any bits at all."""
    return _salted(rng, gauss(rng, count, name), raw(rng, count, name), 0.001)


def special(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Ordinary weights among zeros, infinities and NaN of both signs."""
    kind = FLOATS[name]
    values = np.array([0, kind.infinity, kind.nan, 1], kind.bits)
    values = np.concatenate([values, values | (kind.magnitude + 1)]).astype(kind.bits)
    return _salted(rng, gauss(rng, count, name), rng.choice(values, count), 0.01)


def constant(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Every 32 alike but for one in fifty: groups without a range, and of zeros."""
    start = _salted(rng, gauss(rng, count, name), np.zeros(count, FLOATS[name].bits), 0.3)
    return _salted(rng, np.repeat(start[: -(-count // 32)], 32)[:count], gauss(rng, count, name), 0.02)


def mixture(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    """Every sixteen drawn from any of the other kinds."""
    drawn = np.stack([kind(rng, count, name) for kind in KINDS if kind is not mixture])
    which = np.repeat(rng.integers(0, len(drawn), -(-count // 16)), 16)[:count]
    return drawn[which, np.arange(count)]


KINDS = [raw, gauss, spread, ties, e2m1_ties, outliers, special, constant, mixture]


def _per(rng: np.random.Generator, count: int, run: int, low: int, high: int) -> np.ndarray:
    """A power of two for every `run` elements."""
    return np.repeat(np.exp2(rng.integers(low, high, -(-count // run)).astype(np.float32)), run)[:count]


def _salted(rng: np.random.Generator, bits: np.ndarray, salt: np.ndarray, share: float) -> np.ndarray:
    return np.where(rng.random(count := bits.size) < share, salt[:count], bits)
