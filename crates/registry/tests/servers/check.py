#!/usr/bin/env python3
"""Push and pull with real servers: Debian's docker-registry, plain and with TLS and a password, and skopeo, which copies what we sent.

    python3 crates/registry/tests/servers/check.py [--longshore BINARY]

The programs come from Debian's packages, unpacked into target/servers. Where they cannot be had it says so, and passes: `apt-get download`
needs Debian or Ubuntu, and the network. Needs openssl for the certificates.
"""

import argparse
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
PACKAGES = ["docker-registry", "skopeo", "libgpgme11", "libassuan0", "libdevmapper1.02.1"]
DEMO = ROOT / "crates" / "cli" / "demo" / "qwen3-moe"
PASSWORD = "secret"


class Skipped(Exception):
    """What is needed cannot be had."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longshore", type=Path, help="the binary; built if not given")
    options = parser.parse_args()
    try:
        programs = install()
    except Skipped as why:
        print(f"skipped: {why}")
        return 0
    binary = options.longshore or build()
    with tempfile.TemporaryDirectory(prefix="longshore-servers-") as folder:
        check(Check(binary.resolve(), programs, Path(folder)))
    print("docker-registry and skopeo carry what is pushed, byte for byte")
    return 0


def install() -> Path:
    """Unpacks the servers; returns the root of the unpacked tree."""
    root = ROOT / "target" / "servers"
    if (root / "usr/bin/docker-registry").exists():
        return root
    for tool in ("apt-get", "dpkg", "openssl"):
        if shutil.which(tool) is None:
            raise Skipped(f"there is no {tool}")
    with tempfile.TemporaryDirectory() as folder:
        # Each alone: a package that one release of Debian does not have is not needed there.
        for package in PACKAGES:
            subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, timeout=120)
        for package in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)
    if not (root / "usr/bin/docker-registry").exists():
        raise Skipped("Debian's docker-registry cannot be had")
    return root


def build() -> Path:
    subprocess.run(["cargo", "build", "--release", "--quiet", "--package", "longshore"], cwd=ROOT, check=True)
    return ROOT / "target" / "release" / "longshore"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Check:
    """Stores, settings and servers of one run."""

    def __init__(self, binary: Path, programs: Path, folder: Path):
        self.binary, self.programs, self.folder = binary, programs, folder
        self.servers: list[subprocess.Popen] = []
        libraries = f"{programs}/usr/lib/x86_64-linux-gnu:{programs}/usr/lib/aarch64-linux-gnu:{programs}/lib/x86_64-linux-gnu:{programs}/lib/aarch64-linux-gnu"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
            "HOME": str(folder / "home"),
            "XDG_CONFIG_HOME": str(folder / "home"),
            "LD_LIBRARY_PATH": libraries,
        }

    def longshore(self, store: str, *arguments: str, stdin: str | None = None, fails: bool = False) -> dict:
        command = [str(self.binary), "--store", str(self.folder / store), *arguments]
        done = subprocess.run(command, env=self.environment, input=stdin, capture_output=True, text=True, timeout=300)
        if (done.returncode != 0) != fails:
            sys.exit(f"error: {' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        assert PASSWORD not in done.stdout + done.stderr, "a password is shown"
        return json.loads(done.stdout) if "--json" in arguments and not fails else {"stderr": done.stderr}

    def serve(self, name: str, extra: dict, http: dict) -> int:
        port = free_port()
        config = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / name)},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            **extra,
            "http": {"addr": f"127.0.0.1:{port}", "secret": "fixed-for-tests", **http},
        }
        path = self.folder / f"{name}.yml"
        path.write_text(json.dumps(config))  # YAML takes JSON
        program = str(self.programs / "usr/bin/docker-registry")
        log = open(self.folder / f"{name}.log", "wb")
        self.servers.append(subprocess.Popen([program, "serve", str(path)], stdout=log, stderr=log, env=self.environment))
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return port
            time.sleep(0.1)
        sys.exit(f"error: docker-registry does not start: {(self.folder / f'{name}.log').read_text()}")

    def skopeo(self, *arguments: str) -> None:
        policy = self.folder / "policy.json"
        policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        command = [str(self.programs / "usr/bin/skopeo"), "--policy", str(policy), *arguments]
        subprocess.run(command, env=self.environment, check=True, timeout=300, capture_output=True)


def check(run: Check) -> None:
    try:
        plain(run)
        secured(run)
    finally:
        for server in run.servers:
            server.kill()
            server.wait()


def plain(run: Check) -> None:
    """Push, push again, pull, a second model that shares blobs, and skopeo to a directory and back."""
    port = run.serve("plain", {}, {})
    for scheme in ("int4", "int8"):
        run.longshore("here", "import", str(DEMO), f"m:{scheme}", "--quantize", scheme)
    at = f"oci:127.0.0.1:{port}/me/m"
    first = run.longshore("here", "push", "m:int4", f"{at}:int4", "--json")
    assert first["reused_bytes"] == 0, first
    again = run.longshore("here", "push", "m:int4", f"{at}:int4", "--json")
    assert again["moved_bytes"] == 0 and again["artifact"] == first["artifact"], again
    elsewhere = run.longshore("here", "push", "m:int4", f"oci:127.0.0.1:{port}/you/m:int4", "--json")
    assert elsewhere["moved_bytes"] < 20_000, f"layers of another repository move: {elsewhere}"
    second = run.longshore("here", "push", "m:int8", f"{at}:int8", "--json")
    pulled = run.longshore("there", "pull", f"{at}:int4", "m:int4", "--json")
    assert pulled["digest"] == first["digest"], (pulled, first)
    other = run.longshore("there", "pull", f"{at}:int8", "m:int8", "--json")
    assert other["digest"] == second["digest"] and other["reused_bytes"] > 0, other
    run.longshore("there", "verify", "--json")
    missing = run.longshore("there", "pull", f"{at}:none", fails=True)
    assert "is not there" in missing["stderr"], missing
    if not (run.programs / "usr/bin/skopeo").exists():
        print("skipped: skopeo cannot be had")
        return
    layout, back = f"oci:{run.folder}/layout:int4", f"docker://127.0.0.1:{port}/copied/m:int4"
    run.skopeo("copy", "--src-tls-verify=false", f"docker://127.0.0.1:{port}/me/m:int4", layout)
    run.skopeo("copy", "--dest-tls-verify=false", layout, back)
    copied = run.longshore("third", "pull", f"oci:127.0.0.1:{port}/copied/m:int4", "m:int4", "--json")
    assert copied["digest"] == first["digest"], copied
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/copied/m/manifests/int4", headers=accept)
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["Docker-Content-Digest"] == first["artifact"], "skopeo changed the manifest"


def secured(run: Check) -> None:
    """TLS by an authority of our own, and a password."""
    tls = run.folder / "tls"
    tls.mkdir()

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=tls, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    authority = ["-subj", "/CN=test CA", "-addext", "basicConstraints=critical,CA:TRUE"]
    openssl("req", "-x509", *curve, "-days", "30", "-keyout", "ca.key", "-out", "ca.pem", *authority)
    openssl("req", *curve, "-keyout", "srv.key", "-out", "srv.csr", "-subj", "/CN=localhost")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n"
    (tls / "ext").write_text(names)
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", "ext", "-out", "srv.pem"]
    openssl("x509", "-req", "-in", "srv.csr", *signed)
    users = run.folder / "htpasswd"
    # bcrypt of "secret", made by htpasswd.
    users.write_text("tester:$2y$05$QcraONS0uHMrHRSgafT67OO/p3ApX0EJ7Y2Nn2NCPjGBKPPegzJ1W\n")
    access = {"auth": {"htpasswd": {"realm": "test", "path": str(users)}}}
    port = run.serve("secured", access, {"tls": {"certificate": str(tls / "srv.pem"), "key": str(tls / "srv.key")}})
    host, trust = f"https://localhost:{port}", ["--ca-cert", str(tls / "ca.pem")]
    at = f"oci:{host}/me/m:int4"
    untrusted = run.longshore("here", "push", "m:int4", at, fails=True)
    assert "certificate" in untrusted["stderr"] and "--ca-cert" in untrusted["stderr"], untrusted
    nobody = run.longshore("here", "push", "m:int4", at, *trust, fails=True)
    assert "longshore login" in nobody["stderr"], nobody
    run.longshore("here", "login", host, "--username", "tester", *trust, stdin="wrong\n", fails=True)
    run.longshore("here", "login", host, "--username", "tester", *trust, stdin=f"{PASSWORD}\n")
    pushed = run.longshore("here", "push", "m:int4", at, *trust, "--json")
    pulled = run.longshore("fourth", "pull", at, "m:int4", *trust, "--json")
    assert pulled["digest"] == pushed["digest"], pulled
    run.longshore("here", "logout", host)
    # What docker keeps serves as well, and is not changed.
    docker = run.folder / "home" / ".docker"
    docker.mkdir(parents=True)
    text = json.dumps({"auths": {f"localhost:{port}": {"auth": base64.b64encode(f"tester:{PASSWORD}".encode()).decode()}}})
    (docker / "config.json").write_text(text)
    run.longshore("fifth", "pull", at, "m:int4", *trust, "--json")
    assert (docker / "config.json").read_text() == text


if __name__ == "__main__":
    sys.exit(main())
