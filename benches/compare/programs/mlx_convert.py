"""Converts weights as `mlx_lm.convert` does: loads them lazily, quantizes and saves them.

    mlx_convert.py SOURCE OUT FORMAT

The program is `mlx_lm.convert` without the tokenizer, which a synthetic checkpoint lacks. It quantizes every module
that can be quantized, so routers get the requested bits too, as under Longshore's policy `uniform`.
"""

import contextlib
import json
import sys
import time
from pathlib import Path

import mlx_device
from mlx_lm.utils import load_model, quantize_model, save_config, save_model

FORMATS = {
    "int4": {"bits": 4, "group_size": 64, "mode": "affine"},
    "int8": {"bits": 8, "group_size": 64, "mode": "affine"},
    "nvfp4": {"bits": 4, "group_size": 16, "mode": "nvfp4"},
    "mxfp4": {"bits": 4, "group_size": 32, "mode": "mxfp4"},
    "mxfp8": {"bits": 8, "group_size": 32, "mode": "mxfp8"},
}


def main() -> None:
    """Converts once."""
    source, out, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    mlx_device.choose()
    started, spent = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        model, config = load_model(source, lazy=True)
        model, config = quantize_model(model, config, **FORMATS[name], quant_predicate=lambda path, module: True)
        save_model(out, model, donate_model=True)
        save_config(config, config_path=out / "config.json")
    print(json.dumps({"seconds": time.perf_counter() - started, "cpu": time.process_time() - spent}))


if __name__ == "__main__":
    main()
