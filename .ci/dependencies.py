#!/usr/bin/env python3
"""Checks licences, sources and doubled versions of everything that the workspace depends on, as .deny.toml says.

    python3 .ci/dependencies.py

.deny.toml is cargo-deny's file. cargo-deny checks more (advisories, for one), and takes minutes to build where it is not installed;
this needs nothing but cargo and Python 3.11. Where cargo-deny is there, `.ci/run` asks it as well.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    rules = tomllib.loads((ROOT / ".deny.toml").read_text())
    allowed = set(rules["licenses"]["allow"])
    exceptions = {entry["crate"]: set(entry["allow"]) for entry in rules["licenses"].get("exceptions", [])}
    registries = {f"registry+{address}" for address in rules["sources"]["allow-registry"]}
    skipped = {entry["crate"] for entry in rules["bans"].get("skip", [])}
    problems, versions, used = [], {}, set()
    packages = dependencies(rules["graph"]["targets"])
    for package in packages:
        name = f"{package['name']} {package['version']}"
        versions.setdefault(package["name"], []).append(package["version"])
        if package["source"] not in registries:
            problems.append(f"{name}: expected a source that .deny.toml allows, found {package['source']}")
        licence = package["license"]
        if licence is None:
            problems.append(f"{name}: expected a licence, found none in its Cargo.toml")
        elif not satisfied(licence, allowed):
            used.add(package["name"])
            if not satisfied(licence, allowed | exceptions.get(package["name"], set())):
                problems.append(f"{name}: expected a licence that .deny.toml allows, found {licence}")
    doubled = {name for name, found in versions.items() if len(found) > 1}
    problems += [f"{name}: expected one version, found {' and '.join(versions[name])}" for name in sorted(doubled - skipped)]
    problems += [f".deny.toml: the exception for {name} is not needed" for name in sorted(exceptions.keys() - used)]
    problems += [f".deny.toml: {name} is skipped and has one version" for name in sorted(skipped - doubled)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        sys.exit("hint: `cargo tree --invert CRATE --target all` says what depends on it")
    print(f"{len(packages)} dependencies: licences, sources and versions are as .deny.toml says")


def dependencies(targets: list[str]) -> list[dict]:
    """Every package that is not ours and is built on one of the targets, for any feature, tests and benchmarks included."""
    metadata = json.loads(cargo("metadata", "--format-version=1", "--all-features"))
    # The metadata also hold what only a feature that nobody asks for would need; the tree is exact, and knows no licences.
    built = set()
    for target in targets:
        tree = cargo("tree", "--workspace", "--all-features", f"--target={target}", "--prefix=none", "--format={p}")
        built |= {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    others = [package for package in metadata["packages"] if package["id"] not in metadata["workspace_members"]]
    return [package for package in others if (package["name"], f"v{package['version']}") in built]


def cargo(verb: str, *arguments: str) -> str:
    return subprocess.run(["cargo", verb, "--locked", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def satisfied(expression: str, allowed: set[str]) -> bool:
    """Whether the allowed licences suffice for an SPDX expression. A `/` is how `OR` was written once."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def either() -> bool:
        value = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value = both() or value
        return value

    def both() -> bool:
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value = one() and value
        return value

    def one() -> bool:
        token = tokens.pop(0)
        if token == "(":
            value = either()
            tokens.pop(0)
            return value
        if tokens and tokens[0] == "WITH":
            token = f"{token} WITH {tokens[1]}"
            del tokens[:2]
        return token in allowed

    try:
        value = either()
    except IndexError:
        return False
    return value and not tokens


if __name__ == "__main__":
    main()
