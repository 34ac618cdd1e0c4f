#!/usr/bin/env python3
"""Pull and push of an int4 model through Debian's docker-registry on this machine, beside curl and skopeo.

    python3 benches/compare/transfer.py [--longshore BINARY] [--layers 32] [--turns 3] [--folder DIR]

The model has the shapes of Qwen3-4B, of which 32 layers are 2.1 GB in 4 bits with groups of 64; its codes are random. It needs five times that
of disk, which is given back. Each turn has, one after the other,

- a pull into an empty store, against `curl` of the same blobs to files, four at a time, `sync -f`, and `sha256sum` of two at a time, and against
  `skopeo copy` to an OCI layout, which it verifies, and `sync -f`;
- a push into an empty registry, against `curl` PUT of one blob of as many bytes into another, and against `skopeo copy` of that layout into a third.

Before anything is timed, `sha256sum` compares the files that skopeo pulls with their names. Each manifest that skopeo pushes has to be the same bytes.
Prints a line for each turn, then the ratios of the best and of the median turn (how many times as fast Longshore is), and the most private
memory that a pull and a push had. The registry and skopeo come from Debian's packages. Where the registry cannot be had it says so, and passes;
where only skopeo cannot, it says so and leaves its columns out.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HIDDEN, INTERMEDIATE, QUERIES, KEYS, VOCABULARY = 2560, 9728, 4096, 1024, 151936
MODEL = "bench:int4"


def servers():
    """Returns the module that unpacks and starts Debian's registry."""
    path = ROOT / "crates" / "registry" / "tests" / "servers" / "check.py"
    spec = importlib.util.spec_from_file_location("servers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longshore", type=Path, help="the binary; built if not given")
    parser.add_argument("--layers", type=int, default=32, help="decoder layers [32]")
    parser.add_argument("--turns", type=int, default=3, help="turns [3]")
    parser.add_argument("--folder", type=Path, help="where the files go [a temporary folder]")
    options = parser.parse_args()
    module = servers()
    try:
        programs = module.install()
    except module.Skipped as why:
        print(f"skipped: {why}")
        return 0
    binary = (options.longshore or module.build()).resolve()
    with tempfile.TemporaryDirectory(prefix="longshore-transfer-", dir=options.folder) as folder:
        run = module.Check(binary, programs, Path(folder))
        try:
            measure(run, options)
        finally:
            for server in run.servers:
                server.kill()
                server.wait()
    return 0


def measure(run, options) -> None:
    source = run.folder / "source"
    checkpoint(source, options.layers)
    run.longshore("here", "import", str(source), MODEL, "--json")
    shard = source / "model.safetensors"
    digest = hashlib.sha256()
    with open(shard, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    port = run.serve("served", {}, {})
    reference = f"oci:127.0.0.1:{port}/bench/m:int4"
    pushed = run.longshore("here", "push", MODEL, reference, "--json")
    plan = run.longshore("empty", "pull", reference, "--dry-run", "--json")
    artifact = manifest(port)
    layers = json.loads(artifact)["layers"]
    print(f"{plan['bytes'] / 1e9:.2f} GB in {len(layers)} layers, the largest {max(l['size'] for l in layers) / 1e6:.0f} MB; load {os.getloadavg()[0]:.1f}")
    peers = ["curl"]
    if (run.programs / "usr/bin/skopeo").exists():
        check_skopeo(run, port, layers)
        peers.append("skopeo")
    else:
        print("skipped: skopeo cannot be had")
    ratios = {(verb, peer): [] for verb in ("pull", "push") for peer in peers}
    rates = {name: [] for name in ("pull", "push", *(f"{peer} {verb}" for peer in peers for verb in ("pull", "push")))}
    size = sum(layer["size"] for layer in layers)
    memory = {"pull": 0, "push": 0}
    for turn in range(options.turns):
        seconds, peak = ours(run, "there", "pull", reference, MODEL)
        memory["pull"] = max(memory["pull"], peak)
        shutil.rmtree(run.folder / "there")
        rates["pull"].append(plan["bytes"] / seconds / 1e6)
        rates["curl pull"].append(size / curl_pull(run, port, layers) / 1e6)
        if "skopeo" in peers:
            rates["skopeo pull"].append(size / skopeo_pull(run, port) / 1e6)
        fresh = run.serve(f"ours{turn}", {}, {})
        seconds, peak = ours(run, "here", "push", MODEL, f"oci:127.0.0.1:{fresh}/bench/m:int4")
        memory["push"] = max(memory["push"], peak)
        rates["push"].append(pushed["bytes"] / seconds / 1e6)
        stop(run, f"ours{turn}")
        fresh = run.serve(f"theirs{turn}", {}, {})
        rates["curl push"].append(shard.stat().st_size / curl_push(fresh, shard, digest.hexdigest()) / 1e6)
        stop(run, f"theirs{turn}")
        if "skopeo" in peers:
            fresh = run.serve(f"copied{turn}", {}, {})
            rates["skopeo push"].append(size / skopeo_push(run, fresh) / 1e6)
            assert manifest(fresh) == artifact, "skopeo changes the manifest"
            stop(run, f"copied{turn}")
            shutil.rmtree(run.folder / "skopeo")
        for verb, peer in ratios:
            ratios[verb, peer].append(rates[verb][-1] / rates[f"{peer} {verb}"][-1])
        shown = ", ".join(f"{name} {all[-1]:.0f} MB/s" for name, all in rates.items())
        print(f"turn {turn + 1}: {shown}; load {os.getloadavg()[0]:.1f}", flush=True)
    for (verb, peer), found in ratios.items():
        best = max(rates[verb]) / max(rates[f"{peer} {verb}"])
        print(f"{verb}: {best:.2f} times {peer}'s rate, best against best; median of the turns {statistics.median(found):.2f}; private memory {memory[verb] / 1e6:.0f} MB")


def stop(run, name: str) -> None:
    """Ends the server that was started last, and gives its disk back."""
    server = run.servers.pop()
    server.kill()
    server.wait()
    shutil.rmtree(run.folder / name)


def ours(run, store: str, *arguments: str) -> tuple[float, int]:
    """Returns the time that a command takes, in seconds, and the most private memory that it had, in bytes."""
    subprocess.run(["sync", "-f", str(run.folder)], check=True)
    command = [str(run.binary), "--store", str(run.folder / store), *arguments, "--quiet"]
    started = time.monotonic()
    child = subprocess.Popen(command, env=run.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = [0]

    def watch() -> None:
        while child.poll() is None:
            try:
                status = Path(f"/proc/{child.pid}/status").read_text()
            except OSError:
                return
            anonymous = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
            peak[0] = max(peak[0], *(int(value) * 1024 for value in anonymous), 0)
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    text = child.stderr.read()
    if child.wait() != 0:
        sys.exit(f"error: {' '.join(command)}: {text}")
    seconds = time.monotonic() - started
    watcher.join()
    return seconds, peak[0]


def curl_pull(run, port: int, layers: list) -> float:
    """Downloads the layers as files, makes them durable and hashes them; returns the time in seconds."""
    out = run.folder / "curl"
    out.mkdir()
    subprocess.run(["sync", "-f", str(run.folder)], check=True)
    digests = [layer["digest"] for layer in layers]
    lines = "".join(f"{digest}\n" for digest in digests)
    started = time.monotonic()
    get = f"curl -sf -o {out}/%s http://127.0.0.1:{port}/v2/bench/m/blobs/%s".replace("%s", "{}")
    subprocess.run(["xargs", "-P4", "-I{}", *get.split()], input=lines, text=True, check=True)
    subprocess.run(["sync", "-f", str(out)], check=True)
    sums = subprocess.run(["xargs", "-P2", "-n8", "sha256sum"], cwd=out, input=lines, text=True, check=True, capture_output=True)
    seconds = time.monotonic() - started
    wrong = [line for line in sums.stdout.splitlines() if line.split()[0] != line.split()[1].removeprefix("sha256:")]
    assert not wrong, wrong
    shutil.rmtree(out)
    return seconds


def curl_push(port: int, file: Path, digest: str) -> float:
    """Uploads a file as one blob; returns the time in seconds."""
    subprocess.run(["sync", "-f", str(file)], check=True)
    started = time.monotonic()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/bench/m/blobs/uploads/", data=b"", method="POST")
    location = urllib.request.urlopen(request).headers["Location"]
    url = f"{location}{'&' if '?' in location else '?'}digest=sha256:{digest}"
    subprocess.run(["curl", "-sf", "-X", "PUT", "-H", "Expect:", "-H", "Content-Type: application/octet-stream", "-T", str(file), url], check=True)
    return time.monotonic() - started


def manifest(port: int) -> bytes:
    """Returns the manifest of the artifact as a registry has it."""
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/bench/m/manifests/int4", headers=accept)
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def check_skopeo(run, port: int, layers: list) -> None:
    """Compares the files that skopeo pulls with the digests that they are named for, and looks for every layer among them."""
    skopeo_pull(run, port)
    blobs = run.folder / "skopeo" / "blobs" / "sha256"
    names = {path.name for path in blobs.iterdir()}
    sums = subprocess.run(["sha256sum", *sorted(names)], cwd=blobs, text=True, check=True, capture_output=True)
    wrong = [line for line in sums.stdout.splitlines() if line.split()[0] != line.split()[1]]
    missing = {layer["digest"].removeprefix("sha256:") for layer in layers} - names
    assert not wrong and not missing, f"skopeo pulls something else: wrong {wrong}, missing {missing}"
    print(f"skopeo pulls {len(names)} files with the digests that they are named for")
    shutil.rmtree(run.folder / "skopeo")


def skopeo_pull(run, port: int) -> float:
    """Copies the artifact to an OCI layout and makes it durable; returns the time in seconds. skopeo verifies the digests."""
    subprocess.run(["sync", "-f", str(run.folder)], check=True)
    started = time.monotonic()
    run.skopeo("copy", "--src-tls-verify=false", f"docker://127.0.0.1:{port}/bench/m:int4", f"oci:{run.folder}/skopeo:int4")
    subprocess.run(["sync", "-f", str(run.folder / "skopeo")], check=True)
    return time.monotonic() - started


def skopeo_push(run, port: int) -> float:
    """Copies the layout of the last pull into a registry; returns the time in seconds."""
    subprocess.run(["sync", "-f", str(run.folder)], check=True)
    started = time.monotonic()
    run.skopeo("copy", "--dest-tls-verify=false", f"oci:{run.folder}/skopeo:int4", f"docker://127.0.0.1:{port}/bench/m:int4")
    return time.monotonic() - started


def checkpoint(folder: Path, layers: int) -> None:
    """Writes a checkpoint in MLX's int4 with random codes."""
    folder.mkdir()
    config = {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": layers, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": VOCABULARY,
        "tie_word_embeddings": True, "quantization": {"group_size": 64, "bits": 4},
    }
    (folder / "config.json").write_text(json.dumps(config))
    tensors = []

    def linear(name: str, rows: int, columns: int) -> None:
        tensors.append((f"{name}.weight", "U32", [rows, columns // 8], 4))
        tensors.append((f"{name}.scales", "BF16", [rows, columns // 64], 2))
        tensors.append((f"{name}.biases", "BF16", [rows, columns // 64], 2))

    linear("model.embed_tokens", VOCABULARY, HIDDEN)
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for name, rows, columns in (
            ("self_attn.q_proj", QUERIES, HIDDEN), ("self_attn.k_proj", KEYS, HIDDEN), ("self_attn.v_proj", KEYS, HIDDEN),
            ("self_attn.o_proj", HIDDEN, QUERIES), ("mlp.gate_proj", INTERMEDIATE, HIDDEN), ("mlp.up_proj", INTERMEDIATE, HIDDEN),
            ("mlp.down_proj", HIDDEN, INTERMEDIATE),
        ):
            linear(f"{prefix}.{name}", rows, columns)
        for name, size in (("input_layernorm", HIDDEN), ("post_attention_layernorm", HIDDEN), ("self_attn.q_norm", 128), ("self_attn.k_norm", 128)):
            tensors.append((f"{prefix}.{name}.weight", "BF16", [size], 2))
    tensors.append(("model.norm.weight", "BF16", [HIDDEN], 2))
    header, at = {}, 0
    for name, dtype, shape, width in tensors:
        size = width
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pool = os.urandom((64 << 20) + 7)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number, (name, dtype, shape, width) in enumerate(tensors):
            begin, end = header[name]["data_offsets"]
            left = end - begin
            if dtype == "BF16":
                # Small numbers, none of them infinite: the exponent is in the second byte.
                file.write(bytes([number % 251, 0x3C]) * (left // 2))
                continue
            start = number * 65537 % (1 << 20)
            while left > 0:
                part = pool[start : start + left]
                file.write(part)
                left -= len(part)
                start = 0


if __name__ == "__main__":
    sys.exit(main())
