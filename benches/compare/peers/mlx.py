"""MLX through Python: on its CPU backend, which runs quantization on one core, and on Metal where there is one."""

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


def places() -> list[str]:
    """Returns what MLX is timed on: one core, and the GPU where there is Metal."""
    return ["one", "gpu"] if mx.metal.is_available() else ["one"]


class Mlx:
    """The weights as an array, and the parts of each format."""

    def __init__(self, bits: np.ndarray) -> None:
        mx.set_default_device(mx.cpu)
        self._weights = mx.array(bits).view(mx.bfloat16)
        mx.eval(self._weights)
        self._parts: dict[str, tuple[mx.array, ...]] = {}

    def encode(self, name: str, place: str = "one") -> Task:
        """Returns the task that quantizes BF16, on one core or on the GPU."""
        return Task(
            NAME,
            "encode",
            name,
            "",
            place,
            lambda: timed(lambda: self._encode(name, place)),
            time.process_time,
            self._weights.nbytes,
        )

    def decode(self, name: str, place: str = "one") -> Task:
        """Returns the task that decodes the last encoded tensor to BF16, on one core or on the GPU."""
        return Task(
            NAME,
            "decode",
            name,
            "",
            place,
            lambda: timed(lambda: self._decode(name, place)),
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

    def _encode(self, name: str, place: str = "one") -> None:
        self._parts.pop(name, None)
        parts = tuple(mx.quantize(self._weights, **FORMATS[name], stream=_device(place)))
        mx.eval(*parts)
        self._parts[name] = parts

    def _decode(self, name: str, place: str = "one") -> mx.array:
        restored = mx.dequantize(*self._parts[name], **FORMATS[name], dtype=mx.bfloat16, stream=_device(place))
        mx.eval(restored)
        return restored


def _device(place: str) -> mx.DeviceType:
    return mx.gpu if place == "gpu" else mx.cpu
