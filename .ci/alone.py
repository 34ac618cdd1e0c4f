#!/usr/bin/env python3
"""Builds and runs the first example of each library's README as a program that names this crate alone, outside the workspace.

    python3 .ci/alone.py             # every library
    python3 .ci/alone.py quant …     # some of them

An example has at most 15 lines and is a program as it stands, so that what a reader copies works. The programs lie in a directory
for temporary files and share one target directory, target/alone; they use the versions of Cargo.lock and no network. Crates that
can do with less are built without their default features too, and bring at most as many packages along as LIMITS says.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINES = 15
# The libraries, from bottom to top.
CRATES = [
    "st-format", "gguf", "quant", "model", "transform", "manifest", "packer", "experts", "loader-cuda",
    "loader-mlx", "run", "transfer", "registry", "hub",
]
# Packages of `cargo tree -e normal --no-default-features`, the crate itself included.
LIMITS = {"st-format": 16, "quant": 8, "manifest": 30}
MLX = ROOT / "target" / "mlx-linux" / "config.toml"


class Failed(Exception):
    """A crate that does not keep to it."""


def main() -> int:
    """Checks the crates that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crates", nargs="*", metavar="CRATE", help=f"of {', '.join(CRATES)} (all)")
    crates = parser.parse_args().crates or CRATES
    unknown = [crate for crate in crates if crate not in CRATES]
    if unknown:
        parser.error(f"expected crates of {', '.join(CRATES)}, found {unknown[0]}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="longshore-alone-") as folder:
        for crate in crates:
            try:
                check(crate, Path(folder))
            except Failed as why:
                failed += 1
                print(f"error: {crate}: {why}", file=sys.stderr)
    return 1 if failed else 0


def check(crate: str, folder: Path) -> None:
    """Builds the program of a crate in its variants, and runs each."""
    source = program(example((ROOT / "crates" / crate / "README.md").read_text()))
    run(crate, "", source, folder / crate)
    if crate in LIMITS:
        run(crate, ", default-features = false", source, folder / f"{crate}-bare")
        found = packages(crate)
        if found > LIMITS[crate]:
            raise Failed(f"expected at most {LIMITS[crate]} packages without default features, found {found}")
        print(f"{crate}: {found} packages without default features, {LIMITS[crate]} at most")
    if crate == "loader-mlx" and MLX.exists():
        run(crate, "", source, folder / f"{crate}-built", "--config", str(MLX))


def example(readme: str) -> list[str]:
    """Returns the lines of the first Rust example, hidden ones included."""
    found = re.search(r"^```rust(\S*)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    if not found:
        raise Failed("its README has no example in Rust")
    if found[1]:
        raise Failed(f"the first example of its README is `{found[1].strip(',')}`: expected one that runs")
    lines = found[2].splitlines()
    shown = [line for line in lines if line.strip() and not _hidden(line)]
    if len(shown) > LINES:
        raise Failed(f"the first example of its README has {len(shown)} lines, expected at most {LINES}")
    return lines


def program(lines: list[str]) -> str:
    """Returns an example as a program: within a main function as rustdoc puts it, unless it has one."""
    body = "\n".join(line.strip()[1:].removeprefix(" ") if _hidden(line) else line for line in lines)
    if re.search(r"^\s*fn main\(", body, re.MULTILINE):
        return body + "\n"
    if not re.search(r"^Ok::<", body, re.MULTILINE):
        return f"fn main() {{\n{body}\n}}\n"
    inner = f"fn example() -> Result<(), impl std::fmt::Debug> {{\n{body}\n}}"
    return f"fn main() {{\n{inner}\nexample().expect(\"the example runs\");\n}}\n"


def _hidden(line: str) -> bool:
    return line.strip() == "#" or line.strip().startswith("# ")


def run(crate: str, features: str, source: str, folder: Path, *options: str) -> None:
    """Builds a program in a folder of its own, and runs it."""
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "main.rs").write_text(source)
    dependency = f'longshore-{crate} = {{ path = "{ROOT / "crates" / crate}"{features} }}'
    (folder / "Cargo.toml").write_text(
        f'[package]\nname = "{folder.name}-alone"\nedition = "2024"\n\n[dependencies]\n{dependency}\n\n[workspace]\n'
    )
    shutil.copy(ROOT / "Cargo.lock", folder / "Cargo.lock")
    environment = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target" / "alone"), "CARGO_PROFILE_DEV_DEBUG": "0"}
    command = ["cargo", "run", "--quiet", "--offline", *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{folder.name}: the example of its README does not build and run alone:\n{done.stderr or done.stdout}")
    said = done.stdout.strip().splitlines()
    print(f"{folder.name}: its example runs{': ' + said[-1] if said else ''}", flush=True)


def packages(crate: str) -> int:
    """Returns the number of packages that a crate without default features consists of, itself included."""
    command = ["cargo", "tree", "--offline", "--edges", "normal", "--no-default-features", "--prefix", "none"]
    asked = subprocess.run([*command, "--package", f"longshore-{crate}"], cwd=ROOT, capture_output=True, text=True, check=True)
    return len({tuple(line.split()[:2]) for line in asked.stdout.splitlines() if line.strip()})


if __name__ == "__main__":
    sys.exit(main())
