"""Converts a GGUF file to an mlx-lm directory with gguf2mlx, which keeps the file's codes where it can.

    gguf2mlx_convert.py FILE OUT [--no-tokenizer] [--no-audit]

`--no-tokenizer` writes no tokenizer, which a synthetic model lacks. `--no-audit` leaves the audit's time out: gguf2mlx decodes the
file once more and compares what it has written. Its own option to leave the audit out ends in an error with kept codes.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable

from gguf2mlx import fidelity, gguf2mlx


def main() -> None:
    """Converts once."""
    file, out, *options = sys.argv[1:]
    if "--no-tokenizer" in options:
        gguf2mlx.extract_tokenizer = lambda *_: None
    audits = [_timed(name) for name in ("audit_weights", "audit_preserved")] if "--no-audit" in options else []
    started, spent = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        gguf2mlx.main(["--input", file, "--output", out, "--quant-source", "preserve"])
    seconds, cpu = time.perf_counter() - started, time.process_time() - spent
    for audit in audits:
        seconds, cpu = seconds - audit["seconds"], cpu - audit["cpu"]
    print(json.dumps({"seconds": seconds, "cpu": cpu}))


def _timed(name: str) -> dict[str, float]:
    """Replaces an audit by one that adds its time to what this returns."""
    audit: Callable = getattr(fidelity, name)
    took = {"seconds": 0.0, "cpu": 0.0}

    def timed(*words: object) -> object:
        started, spent = time.perf_counter(), time.process_time()
        try:
            return audit(*words)
        finally:
            took["seconds"] += time.perf_counter() - started
            took["cpu"] += time.process_time() - spent

    setattr(fidelity, name, timed)
    return took


if __name__ == "__main__":
    main()
