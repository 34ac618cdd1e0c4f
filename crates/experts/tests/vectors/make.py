#!/usr/bin/env python3
"""Writes the vectors of the tests of replay and placement, by a program that has both.

    python3 make.py PROGRAM.py OUT [--full]

PROGRAM.py has `trace(generator, T, L, E, k)`, which makes a routing with stated statistics, and `replay(keys, slots, policy, pinned)`,
which gives the share of hits. OUT receives a trace as the command line writes it, the hits of four shares of pinned slots at three sizes
of the cache, and placements of experts of three sizes with the value of the best one, by dynamic programming. The routing of `--full` is as
large as the program's own; it is not kept.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np


def load(path):
    spec = importlib.util.spec_from_file_location("program", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hits(program, found, experts):
    """The hits of the second half of a trace, with counts from the first."""
    tokens, layers, _ = found.shape
    uses = np.zeros((layers, experts), int)
    np.add.at(uses, (np.arange(layers)[None, :, None], found[: tokens // 2]), 1)
    keys = [l * experts + e for t in found[tokens // 2 :] for l in range(layers) for e in t[l]]
    order = list(np.argsort(-uses.ravel(), kind="stable"))
    rows = []
    for share in (0.25, 0.5, 0.75):
        slots = int(layers * experts * share)
        for pinned, count in ((0, 0), (1, slots), (0.5, slots // 2), (0.75, slots * 3 // 4)):
            rate = program.replay(keys, slots, "lru", order[:count])
            rows.append({"slots": slots, "pinned": pinned, "requests": len(keys), "hits": round(rate * len(keys))})
    return rows


def placement(program, seed):
    """Uses of experts, their sizes by layer, and the best value of a budget of 40 %."""
    generator = np.random.default_rng(seed)
    found = program.trace(generator, T=60)
    _, layers, _ = found.shape
    experts = 64
    uses = np.zeros((layers, experts), int)
    np.add.at(uses, (np.arange(layers)[None, :, None], found), 1)
    sizes = generator.choice([9, 13, 17], layers)
    size, value = np.repeat(sizes, experts), uses.ravel() * np.repeat(sizes, experts)
    budget = int(size.sum() * 0.4)
    best = np.zeros(budget + 1, int)
    for s, v in zip(size, value):
        best[s:] = np.maximum(best[s:], best[:-s] + v)
    return {"budget": budget, "best": int(best[budget]), "sizes": sizes.tolist(), "uses": uses.tolist()}


def main():
    program, out, full = load(sys.argv[1]), Path(sys.argv[2]), "--full" in sys.argv
    shape = dict(T=600, L=16, E=64, k=6) if full else dict(T=60, L=4, E=16, k=3)
    found = program.trace(np.random.default_rng(0), **shape)
    header = {"version": 1, "layers": list(range(shape["L"])), "experts": shape["E"], "top_k": shape["k"]}
    dumps = lambda value: json.dumps(value, separators=(",", ":"))
    lines = [dumps(header), *(dumps(token) for token in found.tolist())]
    out.mkdir(parents=True, exist_ok=True)
    (out / "trace.jsonl").write_text("\n".join(lines) + "\n")
    rows = ",\n".join(dumps(row) for row in hits(program, found, shape["E"]))
    (out / "hits.json").write_text(f"[\n{rows}\n]\n")
    if not full:
        cases = ",\n".join(dumps(placement(program, seed)) for seed in range(3))
        (out / "placements.json").write_text(f"[\n{cases}\n]\n")


if __name__ == "__main__":
    main()
