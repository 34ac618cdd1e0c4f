#!/usr/bin/env python3
"""Checks licences, sources and doubled versions of everything that the workspace depends on, as deny.toml says.

    python3 .ci/dependencies.py

deny.toml is cargo-deny's file, and `cargo deny check` reads more of it than this does. cargo-deny takes longer to build than all
tests; this needs cargo and Python 3.11. Advisories need their database (https://github.com/rustsec/advisory-db), which is fetched
from the network: `cargo deny check advisories` reads them.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
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
            problems.append(f"{name}: expected a source that deny.toml allows, found {package['source']}")
        licence = package["license"]
        if licence is None:
            problems.append(f"{name}: expected a licence, found none in its Cargo.toml")
        elif not satisfied(licence, allowed):
            used.add(package["name"])
            if not satisfied(licence, allowed | exceptions.get(package["name"], set())):
                problems.append(f"{name}: expected a licence that deny.toml allows, found {licence}")
    doubled = {name for name, found in versions.items() if len(found) > 1}
    problems += [f"{name}: expected one version, found {' and '.join(versions[name])}" for name in sorted(doubled - skipped)]
    problems += [f"deny.toml: the exception for {name} is not needed" for name in sorted(exceptions.keys() - used)]
    problems += [f"deny.toml: {name} is skipped and has one version" for name in sorted(skipped - doubled)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        sys.exit("hint: `cargo tree --invert CRATE --target all` says what depends on it")
    print(f"{len(packages)} dependencies: licences, sources and versions are as deny.toml says")


def dependencies(targets: list[str]) -> list[dict]:
    """Every package that is not ours and is needed on one of the targets, for any feature, tests and benchmarks included."""
    found = {}
    for target in targets:
        command = ["cargo", "metadata", "--format-version=1", "--locked", "--all-features", f"--filter-platform={target}"]
        metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
        ours, needed = set(metadata["workspace_members"]), {node["id"] for node in metadata["resolve"]["nodes"]}
        found.update({package["id"]: package for package in metadata["packages"] if package["id"] in needed - ours})
    return [found[id] for id in sorted(found)]


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
