#!/usr/bin/env python3
"""Pulls from a stand-in for the hub with every fault that it can inject, and the same files had by huggingface_hub.

    python3 crates/hub/tests/servers/check.py [--longshore BINARY] [--hub FAKE_HUB]

The stand-in is a program that lies beside the repository, in ../shared/hub/fake_hub.py: where it is not there, this says so and passes. The
Python client comes from PyPI; where it cannot be had, the comparison with it is left out, with a line.
"""

import argparse
import hashlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
HUB = ROOT.parent / "shared" / "hub" / "fake_hub.py"
DEMO = ROOT / "crates" / "cli" / "demo" / "qwen3-moe"
TOKEN = "hf_secret"
SHARD, TREE = "GET:/cdn/*", "GET:/api/models/*/tree/*"

# A fault, and words of the error that a pull ends with; "" if it gets over it.
CASES = [
    (f"{SHARD}=drop,100000*2", ""),
    (f"{SHARD}=stall,2", ""),
    (f"{SHARD}=trickle,2", ""),
    (f"{SHARD}=status,503", ""),
    (f"{TREE}=status,502", ""),
    (f"{SHARD}=429,1", ""),
    (f"{TREE}=429,1", ""),
    (f"{TREE}=ratelimit,1", ""),
    (f"{SHARD}=corrupt,150000", ""),
    (f"{SHARD}=short,10", ""),
    (f"{SHARD}=norange*0", ""),
    (f"{SHARD}=expired", ""),
    (f"{SHARD}=html", ""),
    ("GET:/acme/tiny/resolve/*=etag*0", ""),
    ("GET:/acme/tiny/resolve/*=linkedsize*0", ""),
    ("GET:/acme/tiny/resolve/*=nocommit*0", ""),
    (f"{SHARD}=corrupt,150000*0", "digest"),
    (f"{SHARD}=badrange*0", ""),
    (f"{SHARD}=status,404*0", "is not there"),
    ("GET:/acme/tiny/resolve/*=loop*0", "redirect"),
    ("*:/api/models/*=gated*0", "HF_TOKEN"),
    ("*:/api/models/*=private*0", "HF_TOKEN"),
]
# Whether they are got over is the server's choice of words; nothing wrong may be named either way.
EITHER = [f"{SHARD}=short,10*0", f"{SHARD}=html*0", f"{SHARD}=expired*0", f"{SHARD}=badrange"]
# Cases at a time: most of a case is waiting.
TOGETHER = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longshore", type=Path, help="the binary; built if not given")
    parser.add_argument("--hub", type=Path, default=HUB, help="the stand-in")
    options = parser.parse_args()
    if not options.hub.exists():
        print(f"skipped: there is no {options.hub}")
        return 0
    binary = options.longshore or build()
    with tempfile.TemporaryDirectory(prefix="longshore-hub-") as folder:
        check(binary.resolve(), options.hub, Path(folder))
    return 0


def build() -> Path:
    subprocess.run(["cargo", "build", "--release", "--quiet", "--package", "longshore"], cwd=ROOT, check=True)
    return ROOT / "target" / "release" / "longshore"


class Check:
    """A stand-in of its own, and stores of one run."""

    def __init__(self, binary: Path, hub: Path, folder: Path):
        self.binary, self.folder, self.stores = binary, folder, 0
        repository = folder / "hub" / "acme" / "tiny"
        repository.mkdir(parents=True)
        for file in DEMO.iterdir():
            (repository / file.name).write_bytes(file.read_bytes())
        self.repository = repository
        command = [sys.executable, str(hub), "--root", str(folder / "hub"), "--token", TOKEN, "--seconds", "900"]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.endpoint = json.loads(self.server.stdout.readline())["endpoint"]
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
            "HOME": str(folder / "home"),
            "XDG_CONFIG_HOME": str(folder / "home"),
            "HF_HOME": str(folder / "hf"),
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": TOKEN,
        }

    def __enter__(self) -> "Check":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.kill()
        self.server.wait()

    def post(self, path: str, body: object = None) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        urllib.request.urlopen(urllib.request.Request(self.endpoint + path, data=data, method="POST")).read()

    def log(self) -> list:
        return json.load(urllib.request.urlopen(self.endpoint + "/_log"))

    def store(self) -> Path:
        self.stores += 1
        return self.folder / f"store{self.stores}"

    def longshore(self, store: Path, *arguments: str) -> subprocess.CompletedProcess:
        command = [str(self.binary), "--store", str(store), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=300)
        assert TOKEN not in done.stdout + done.stderr and "sig=" not in done.stdout + done.stderr, "a secret is shown"
        return done

    def pull(self, store: Path) -> subprocess.CompletedProcess:
        return self.longshore(store, "pull", "hf:acme/tiny", "tiny:1", "--json")


def check(binary: Path, hub: Path, folder: Path) -> None:
    """Every fault against a stand-in of its own, then what needs no fault."""
    with Check(binary, hub, folder / "clean") as run:
        digest = ok(run.pull(run.store()), "without a fault")["digest"]

        def case(at: int, rule: str, words: str | None) -> None:
            with Check(binary, hub, folder / f"fault{at}") as run:
                fault(run, digest, rule, words)

        cases = [*CASES, *((rule, None) for rule in EITHER)]
        with ThreadPoolExecutor(TOGETHER) as pool:
            for started in [pool.submit(case, at, *one) for at, one in enumerate(cases)]:
                started.result()
        print(f"{len(cases)} faults of a hub: the right model, or none and an error that says why")
        offsite(run)
        python_client(run)


def ok(done: subprocess.CompletedProcess, what: str) -> dict:
    if done.returncode != 0:
        sys.exit(f"error: {what}: status {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def fault(run: Check, digest: str, rule: str, words: str | None) -> None:
    """One fault: the right model or none, and an error that says why."""
    run.post("/_faults", [rule])
    store = run.store()
    done = run.pull(store)
    # badrange strikes requests with a Range alone: those for headers, which are had again.
    if words == "" or (words is None and done.returncode == 0):
        assert ok(done, rule)["digest"] == digest, rule
    else:
        assert done.returncode in (1, 2) and done.stderr.startswith("error: "), (rule, done)
        assert words is None or words in done.stderr, (rule, done.stderr)
        assert ok(run.longshore(store, "list", "--json"), rule)["models"] == [], rule
        run.post("/_reset")
        assert ok(run.pull(store), f"after {rule}")["digest"] == digest, rule
    verified = run.longshore(store, "verify", "--json")
    assert verified.returncode == 0, (rule, verified.stdout)


def offsite(run: Check) -> None:
    """A redirect to another host takes no token along."""
    seen = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(dict(self.headers))
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    run.post("/_reset")
    run.post("/_faults", [f"GET:/acme/tiny/resolve/*=offsite,http://localhost:{server.server_port}/x*0"])
    done = run.pull(run.store())
    server.shutdown()
    assert done.returncode != 0 and seen, done
    assert not any(TOKEN in str(headers) or "Authorization" in headers for headers in seen), seen
    run.post("/_reset")


CLIENT = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download("acme/tiny"))
"""


def python_client(run: Check) -> None:
    """The unmodified Python client gets the same bytes, and ours reads its cache without fetching a file again."""
    sys.path.insert(0, str(ROOT / "benches" / "python"))
    import environment

    try:
        python = environment.interpreter("hub")
    except environment.EnvironmentFailure as why:
        print(f"skipped: {why}")
        return
    settings = {**run.environment, "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([str(python), "-c", CLIENT], env=settings, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(f"error: huggingface_hub: {done.stderr}")
    snapshot = Path(done.stdout.strip().splitlines()[-1])
    # What it has is what an import of ours exports again.
    store, out = run.store(), run.folder / "out"
    run.environment["HF_HOME"] = str(run.folder / "empty")
    ok(run.pull(store), "beside the Python client")
    exported = run.longshore(store, "export", "tiny:1", str(out))
    assert exported.returncode == 0, exported
    hashes = lambda folder: {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if file.name != "README.md" and not file.name.startswith(".") and file.suffix != ".safetensors"
    }
    theirs, ours = hashes(snapshot), hashes(out)
    assert ours and all(theirs.get(name) == digest for name, digest in ours.items()), (theirs, ours)
    imported = run.longshore(run.store(), "import", str(snapshot), "tiny:1", "--json")
    theirs = ok(imported, "their snapshot")["digest"]
    listed = ok(run.longshore(store, "list", "--json"), "list")["models"][0]["digest"]
    assert theirs == listed, "the snapshot of the Python client is another model"
    run.environment["HF_HOME"] = str(run.folder / "hf")
    run.post("/_reset")
    assert ok(run.pull(run.store()), "from their cache")["digest"] == listed
    fetched = [entry for entry in run.log() if entry["path"].startswith("/cdn/")]
    assert not fetched, "files of the cache are fetched again"
    print("huggingface_hub and longshore have the same bytes, and its cache serves both")


if __name__ == "__main__":
    sys.exit(main())
