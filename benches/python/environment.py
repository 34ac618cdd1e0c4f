#!/usr/bin/env python3
"""Creates a virtual environment under target/python/ from a pinned list, once, and prints the path of its interpreter.

    python3 benches/python/environment.py mlx        # prints …/target/python/mlx/bin/python

The program is in benches/ because, apart from the compiler of the CUDA kernels, packages from PyPI are needed only to
compare Longshore with other programs. The argument names a list in requirements/. An environment is created again when
its list, or the interpreter that creates it, changes. The program needs only Python 3.10 with `venv`, and reports a
package that cannot be installed.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

LISTS = Path(__file__).resolve().parent / "requirements"
HOME = LISTS.parents[2] / "target" / "python"


class EnvironmentFailure(Exception):
    """An environment cannot be created. The message names the environment, the step and the reason."""


def folder(name: str) -> Path:
    """Returns the path of an environment, whether it exists or not."""
    return HOME / name


def interpreter(name: str) -> Path:
    """Returns the interpreter of an environment with every package of the list. Creates it if needed."""
    home = folder(name)
    python, stamp = home / "bin" / "python", home / "made-from"
    wanted = _fingerprint(LISTS / f"{name}.txt")
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    _do(name, "make it", [sys.executable, "-m", "venv", str(home)])
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]
    _do(name, "install its packages from PyPI", [*install, str(LISTS / f"{name}.txt")])
    stamp.write_text(wanted)
    return python


def _fingerprint(path: Path) -> str:
    """Returns a fingerprint of the interpreter, the list and the lists that it includes."""
    if not path.exists():
        known = ", ".join(sorted(other.stem for other in LISTS.glob("*.txt")))
        raise EnvironmentFailure(f"expected the name of a list in {LISTS} ({known}), found {path.stem!r}")
    text = path.read_text()
    lists = [path, *(path.parent / other for other in re.findall(r"^-r (\S+)$", text, re.MULTILINE))]
    sums = [f"{other.name} {hashlib.sha256(other.read_bytes()).hexdigest()}" for other in lists]
    return "\n".join([f"{sys.base_prefix} {sys.version}", *sums, ""])


def _do(name: str, what: str, command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip()] or ["no output"]
        # pip's last line says that the package was not found, even where pip could not reach the index.
        broken = re.search(r"connection broken by '(.*)'", done.stdout)
        reason = f"no connection: {broken[1]}" if broken else lines[-1].strip()
        raise EnvironmentFailure(f"the Python environment {name!r} in {folder(name)}: cannot {what}: {reason}")


if __name__ == "__main__":
    try:
        if len(sys.argv) != 2:
            raise EnvironmentFailure(f"expected one argument, the name of a list in {LISTS}")
        print(interpreter(sys.argv[1]))
    except EnvironmentFailure as failure:
        sys.exit(f"error: {failure}")
