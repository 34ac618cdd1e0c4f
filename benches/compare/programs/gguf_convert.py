"""Converts a checkpoint to a GGUF file with gguf's quantizer, which is numpy on one core.

    gguf_convert.py SOURCE OUT FORMAT          converts
    gguf_convert.py SOURCE FILE --error        prints the relative RMSE of the tensors in FILE, by gguf's decoder

Matrices are quantized, and vectors become F32. Tensors keep the names of the checkpoint.
"""

import json
import sys
import time
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tensors  # noqa: E402

# Number of elements per tensor from which the error is computed.
SAMPLE = 1 << 22


def main() -> None:
    """Converts once, or measures the error."""
    source, out, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if name == "--error":
        print(json.dumps({"error": _error(source, out)}))
        return
    kind = gguf.GGMLQuantizationType[name]
    started, spent = time.perf_counter(), time.process_time()
    out.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(out / "model.gguf", "llama", use_temp_file=False)
    for tensor in tensors.every(source):
        values = _widened(tensor)
        if len(tensor.shape) < 2:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(json.dumps({"seconds": time.perf_counter() - started, "cpu": time.process_time() - spent}))


def _widened(tensor: tensors.Tensor) -> np.ndarray:
    return (tensor.bytes().view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(tensor.shape)


def _error(source: Path, file: Path) -> float:
    """Computes the error over the first elements of each matrix."""
    sources = {tensor.name: tensor for tensor in tensors.every(source)}
    square = norm = 0.0
    for found in gguf.GGUFReader(file).tensors:
        if len(found.shape) < 2:
            continue
        expected = _widened(sources.pop(found.name))
        rows = max(1, SAMPLE // expected.shape[1])
        restored = gguf.quants.dequantize(found.data[:rows], found.tensor_type).reshape(-1, expected.shape[1])
        square += float(np.sum(np.square(restored - expected[:rows], dtype=np.float64)))
        norm += float(np.sum(np.square(expected[:rows], dtype=np.float64)))
    left = [name for name, tensor in sources.items() if len(tensor.shape) > 1]
    if left:
        raise SystemExit(f"{file} lacks {left[0]}")
    return float(np.sqrt(square / norm))


if __name__ == "__main__":
    main()
