#!/usr/bin/env python3
"""Checks by `use` lines that files of a crate import only downwards: no circle of files, and no import up a list of floors.

    python3 .ci/floors.py             # fails, and prints each circle and each import that runs up
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Crates without circles; of a crate with floors its modules, from the lowest to the highest.
CRATES = {
    "packer": [
        *("attachment", "heads", "io", "tensor", "narrow", "transpose", "gguf", "source", "model", "statistics", "plan", "fit", "execute"),
        *("open", "export", "repair"),
    ],
    "model": [],
    "transform": [],
    "experts": ["key", "map", "files", "ahead", "placement", "trace", "replay", "predict", "cache"],
    "run": ["error", "options", "observe", "spec", "weights", "decoder", "model", "session", "eagle", "speculate"],
    "cli": [],
}
Module = tuple[str, ...]
HEADS = ("mod.rs", "lib.rs", "main.rs")


def modules(root: Path) -> dict[Module, Path]:
    """The files of a crate by their module paths."""
    found = {}
    for path in root.rglob("*.rs"):
        parts = path.relative_to(root).with_suffix("").parts
        found[parts[:-1] if path.name in HEADS else parts] = path
    return found


def paths(tree: str) -> list[str]:
    """The paths in the tree of a `use`."""
    if "{" not in tree:
        return [tree]
    head, body = tree[: tree.index("{")], tree[tree.index("{") + 1 : tree.rindex("}")]
    parts, depth = [""], 0
    for letter in body:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [head + path for part in parts if part for path in paths(part)]


def imports(root: Path) -> dict[Module, set[Module]]:
    """For each file, the files that it imports from. Tests may import from everywhere."""
    files = modules(root)
    edges: dict[Module, set[Module]] = {module: set() for module in files}
    for module, path in files.items():
        if module[-1:] == ("tests",):
            continue
        text = re.sub(r"//.*", "", path.read_text())
        text = re.split(r"#\[cfg\(test\)\]\s*mod tests \{", text)[0]
        for use in re.findall(r"\buse ([^;]+);", text):
            for name in paths(re.sub(r"\s+as\s+\w+|\s+", "", use)):
                target = _resolve(files, module, path, name.split("::"))
                if target is not None and target != module:
                    edges[module].add(target)
    return edges


def _resolve(files: dict[Module, Path], module: Module, path: Path, names: list[str]) -> Module | None:
    """The file that has the item with this path; `None` for an item of another crate."""
    at = list(module)
    if names[0] == "crate":
        at = names[1:]
    elif names[0] in ("self", "super"):
        while names and names[0] == "super":
            at, names = at[:-1], names[1:]
        at += names[1:] if names and names[0] == "self" else names
    elif path.name in HEADS and (*module, names[0]) in files:
        at += names
    else:
        return None
    while tuple(at) not in files:
        at.pop()
    return tuple(at)


def circles(edges: dict[Module, set[Module]]) -> list[list[Module]]:
    """The sets of files that import each other, directly or through others."""
    reach = {module: set(targets) for module, targets in edges.items()}
    changed = True
    while changed:
        changed = False
        for targets in reach.values():
            more = set().union(targets, *(reach[target] for target in targets))
            changed |= len(more) > len(targets)
            targets |= more
    in_circle = {module for module, targets in reach.items() if module in targets}
    found: list[list[Module]] = []
    for module in sorted(in_circle):
        if not any(module in circle for circle in found):
            found.append(sorted(other for other in in_circle if other in reach[module] and module in reach[other]))
    return found


def main() -> int:
    problems = []
    for crate, floors in CRATES.items():
        edges = imports(ROOT / "crates" / crate / "src")
        name = lambda module: "/".join(module) or "lib"
        for circle in circles(edges):
            problems.append(f"{crate}: these files import each other in a circle: {', '.join(map(name, circle))}")
        for module, targets in sorted(edges.items()):
            for target in sorted(targets):
                ends = [end[0] for end in (module, target) if end and end[0] in floors]
                if len(ends) == 2 and floors.index(ends[0]) < floors.index(ends[1]):
                    problems.append(f"{crate}: {name(module)} imports from {name(target)}, which is on a higher floor")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(f"{len(CRATES)} crates: {'no circle of files, and no import up' if not problems else f'{len(problems)} problems'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
