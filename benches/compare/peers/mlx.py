"""MLX through Python, on its CPU backend, which runs quantization on one core."""

import time

import mlx.core as mx
import numpy as np
from turns import Task, timed

NAME = "mlx"
# Longshore's name of a scheme, and MLX's arguments for it.
FORMATS = {
    "int4": {"bits": 4, "group_size": 64},
    "int8": {"bits": 8, "group_size": 64},
    "nvfp4": {"mode": "nvfp4"},
    "mxfp4": {"mode": "mxfp4"},
    "mxfp8": {"mode": "mxfp8"},
}


def version() -> str:
    """Returns the version of MLX."""
    return mx.__version__


class Mlx:
    """The weights as an array, and the parts of each format."""

    def __init__(self, bits: np.ndarray) -> None:
        mx.set_default_device(mx.cpu)
        self._weights = mx.array(bits).view(mx.bfloat16)
        mx.eval(self._weights)
        self._parts: dict[str, tuple[mx.array, ...]] = {}

    def encode(self, name: str) -> Task:
        """Returns the task that quantizes BF16."""
        return Task(
            NAME,
            "encode",
            name,
            "",
            "one",
            lambda: timed(lambda: self._encode(name)),
            time.process_time,
            self._weights.nbytes,
        )

    def decode(self, name: str) -> Task:
        """Returns the task that decodes the last encoded tensor to BF16."""
        return Task(
            NAME,
            "decode",
            name,
            "",
            "one",
            lambda: timed(lambda: self._decode(name)),
            time.process_time,
            self._weights.nbytes,
        )

    def parts(self, name: str) -> list[np.ndarray]:
        """Returns the bits of weight, scale and bias of the last encoded tensor."""
        parts = [part.view(mx.uint16) if part.dtype == mx.bfloat16 else part for part in self._parts[name]]
        return [np.array(part) for part in parts]

    def decoded(self, name: str, parts: list[np.ndarray] | None = None) -> np.ndarray:
        """Decodes MLX's own parts, or the given ones, with MLX, and returns the bits of the BF16 values."""
        if parts is not None:
            self._parts[name] = tuple(
                mx.array(part).view(mx.bfloat16) if part.dtype == np.uint16 else mx.array(part) for part in parts
            )
        return np.array(self._decode(name).view(mx.uint16))

    def _encode(self, name: str) -> None:
        self._parts.pop(name, None)
        parts = tuple(mx.quantize(self._weights, **FORMATS[name]))
        mx.eval(*parts)
        self._parts[name] = parts

    def _decode(self, name: str) -> mx.array:
        restored = mx.dequantize(*self._parts[name], **FORMATS[name], dtype=mx.bfloat16)
        mx.eval(restored)
        return restored
