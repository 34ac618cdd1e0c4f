"""Converts a checkpoint to a GGUF file as llama.cpp's `convert_hf_to_gguf.py` does.

    llama_convert.py LLAMA SOURCE FILE TYPE

LLAMA is the folder of llama.cpp's source. The program is the converter without the tokenizer, which a synthetic checkpoint lacks.
"""

import contextlib
import json
import logging
import sys
import time
from pathlib import Path


def main() -> None:
    """Converts once."""
    llama, source, file, name = sys.argv[1:]
    sys.path.insert(0, llama)
    import convert_hf_to_gguf
    from conversion.llama import LlamaModel

    LlamaModel.set_vocab = LlamaModel._set_vocab_none
    logging.disable(logging.INFO)
    started, spent = time.perf_counter(), time.process_time()
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    sys.argv = ["convert_hf_to_gguf.py", source, "--outfile", file, "--outtype", name]
    with contextlib.redirect_stdout(sys.stderr):
        convert_hf_to_gguf.main()
    print(json.dumps({"seconds": time.perf_counter() - started, "cpu": time.process_time() - spent}))


if __name__ == "__main__":
    main()
