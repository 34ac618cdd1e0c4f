"""The schemes under the names of MLX and of Longshore."""

from typing import NamedTuple

import mlx.core as mx


class Scheme(NamedTuple):
    """A format with its group size."""

    name: str  # Longshore's name
    mode: str  # MLX's name
    bits: int
    group: int

    @property
    def affine(self) -> bool:
        """Returns true where scale and bias are floats of the weights' type."""
        return self.mode == "affine"

    def quantize(self, weights: mx.array, max_abs: float | None) -> list[mx.array]:
        """Quantizes; returns the weight and scale, and for affine schemes the bias."""
        return list(mx.quantize(weights, self.group, self.bits, mode=self.mode, **_global(max_abs)))

    def dequantize(self, parts: list[mx.array], dtype: mx.Dtype, max_abs: float | None) -> mx.array:
        """Decodes `parts`; returns the floats."""
        weight, scale, bias = (*parts, None)[:3]
        return mx.dequantize(
            weight, scale, bias, self.group, self.bits, mode=self.mode, dtype=dtype, **_global(max_abs)
        )


def _global(max_abs: float | None) -> dict[str, mx.array]:
    return {} if max_abs is None else {"global_scale": mx.array(max_abs, mx.float32)}


AFFINE = [
    Scheme(f"int{bits}-g{group}", "affine", bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)
]
BLOCK = [Scheme("nvfp4", "nvfp4", 4, 16), Scheme("mxfp4", "mxfp4", 4, 32), Scheme("mxfp8", "mxfp8", 8, 32)]
SCHEMES = AFFINE + BLOCK
