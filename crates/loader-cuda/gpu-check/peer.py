"""Loads a checkpoint onto the first device several times, with another project's loader: `peer.py PEER DIRECTORY`.

Prints one row: peer, version, seconds of the first load, median seconds of the others, GB/s of the others, note. Before
anything is timed, the context is created and one kernel is run.
"""

import glob
import os
import statistics
import sys
import time
from importlib import metadata

import torch

REPEATS = 5


def pinned(files):
    """Measures the limit: copies as many bytes as the files have from one pinned buffer."""
    size = 1 << 30
    host = torch.empty(size, dtype=torch.uint8).pin_memory()
    device = torch.empty(size, dtype=torch.uint8, device="cuda:0")
    total = sum(os.path.getsize(file) for file in files)

    def load():
        done = 0
        while done < total:
            part = min(size, total - done)
            device[:part].copy_(host[:part], non_blocking=True)
            done += part

    return "torch", load


def safetensors(files):
    from safetensors.torch import load_file

    return "safetensors", lambda: [load_file(file, device="cuda:0") for file in files]


def safetensors_prefetch(files):
    from safetensors import safe_open

    def load():
        kept = []
        for file in files:
            with safe_open(file, framework="pt", device="cuda:0") as opened:
                kept.extend(tensor for _, tensor in opened.prefetch(threads=16))
        return kept

    return "safetensors", load


def fastsafetensors(files):
    from fastsafetensors import fastsafe_open

    def load():
        with fastsafe_open(filenames=files, nogds=True, device="cuda:0") as opened:
            # The tensors keep their memory alive after the file is closed.
            return [opened.get_tensor(key) for key in opened.keys()]

    return "fastsafetensors", load


def instanttensor(files, backend=None):
    import instanttensor

    def load():
        with instanttensor.safe_open(files, framework="pt", device=0, backend=backend) as opened:
            return [tensor for _, tensor in opened.tensors()]

    return "instanttensor", load


def instanttensor_buffered(files):
    from instanttensor import BackendPolicy

    return instanttensor(files, BackendPolicy.BUFFERED)


def instanttensor_mmap(files):
    from instanttensor import Backend

    return instanttensor(files, Backend.MMAP)


def runai(files):
    os.environ["RUNAI_STREAMER_CONCURRENCY"] = "16"
    from runai_model_streamer import SafetensorsStreamer

    def load():
        with SafetensorsStreamer() as streamer:
            # By default, each tensor owns its memory.
            streamer.stream_files(files, device="cuda:0")
            return [tensor for _, tensor in streamer.get_tensors()]

    return "runai-model-streamer", load


PEERS = {
    "pinned": pinned,
    "safetensors": safetensors,
    "safetensors-prefetch": safetensors_prefetch,
    "fastsafetensors": fastsafetensors,
    "instanttensor": instanttensor,
    "instanttensor-buffered": instanttensor_buffered,
    "instanttensor-mmap": instanttensor_mmap,
    "runai": runai,
}


def main():
    peer, directory = sys.argv[1:]
    files = sorted(glob.glob(os.path.join(directory, "*.safetensors")))
    total = sum(os.path.getsize(file) for file in files)
    torch.ones(1, device="cuda:0").sum().item()
    try:
        package, load = PEERS[peer](files)
        version = metadata.version(package)
        times = []
        for _ in range(REPEATS):
            torch.cuda.synchronize()
            started = time.perf_counter()
            kept = load()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
            del kept
            torch.cuda.empty_cache()
    except Exception as error:  # a peer that does not run here is a row, not a failure
        note = " ".join(str(error).split()).replace(",", ";")[:200]
        print(f"{peer},,,,,{type(error).__name__}: {note}")
        return
    steady = statistics.median(times[1:])
    print(f"{peer},{version},{times[0]:.4f},{steady:.4f},{total / 1e9 / steady:.2f},")


main()
