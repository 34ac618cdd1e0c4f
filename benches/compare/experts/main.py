"""Experts that do not fit memory: the ways of `longshore run --experts` and llama.cpp on one GGUF file, within a limit of memory.

    python3 benches/compare/experts/main.py --longshore target/release/longshore --scratch target/compare/experts

A mixture of experts of 1.5 GB and random weights is written, and imported as it is. Each way writes as many tokens, with the files dropped from
the page cache before, in turns. What a way waits for experts is its time less the time of the same tokens with everything in
memory. All ways have to write the same tokens. Without the right to make a control group it says so, and ends.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experts.limit import Done, Group, NoGroup, drop, run  # noqa: E402
from experts.model import Sizes, write  # noqa: E402

MIB = 1 << 20


def main() -> None:
    """Runs the comparison, and prints its table."""
    options = _options()
    options.scratch.mkdir(parents=True, exist_ok=True)
    sizes = Sizes(layers=2, experts=8, hidden=256, inner=256) if options.small else Sizes()
    path = options.scratch / sizes.name
    write(path, sizes)
    store = options.scratch / "store"
    longshore = [options.longshore, "--store", store, "--quiet"]
    name = "moe:" + path.stem.replace(".", "-")
    if not any(model["name"].startswith(name) for model in json.loads(run([*longshore, "list", "--json"]).stdout)["models"]):
        run([*longshore, "import", path, name])
    plan = json.loads(run([*longshore, "experts", "plan", name, "--json"]).stdout)
    units = [place["bytes"] for place in plan["placement"]]
    total = plan["shared_bytes"] + sum(units)
    limit = options.limit or int(total * 0.4)
    print(f"{len(units)} experts of {min(units)} to {max(units)} bytes, {plan['shared_bytes']} shared; limit {limit}, {limit / total:.2f} of all")
    said = run([options.longshore, "--store", store, "experts", "plan", name]).stdout
    print("\n".join(line for line in said.splitlines() if "range" in line))
    # Slots leave room for what every token uses, for keys and values, and for what is being read.
    slots = max(int((limit - plan["shared_bytes"]) * 0.75), max(units) * 8)
    files = [path, *sorted(p for p in (store / "blobs").iterdir() if p.is_file())]
    ask = lambda way: [
        *longshore, "run", name, "The ship", "--json", "--experts", way, "--max-tokens", options.tokens, "--threads", options.threads,
        "--temperature", "1", "--seed", "7", "--max-seq", "1024",
    ]  # fmt: skip
    ways = {"map": "map", "ahead": "ahead", "slots": str(slots)}
    try:
        with Group(limit):
            pass
    except (NoGroup, OSError) as error:
        sys.exit(f"skipped: no control group can be made here: {error}")
    limited: dict[str, list[dict]] = {way: [] for way in [*ways, "llama.cpp"]}
    free: dict[str, list[dict]] = {way: [] for way in [*ways, "llama.cpp"]}
    tokens = set()
    for turn in range(options.turns):
        for way, word in ways.items():
            drop(*files)
            with Group(limit) as group:
                done = run(ask(word), group)
            limited[way].append(_ours(done, tokens))
            print(f"turn {turn + 1}: {way}, limited: {limited[way][-1]}", flush=True)
        if options.llama:
            drop(*files)
            with Group(limit) as group:
                done = run(_llama(options, path), group)
            limited["llama.cpp"].append(_theirs(done, options.tokens))
            print(f"turn {turn + 1}: llama.cpp, limited: {limited['llama.cpp'][-1]}", flush=True)
    # Everything in memory: the first run of each brings it there.
    for turn in range(options.turns + 1):
        for way, word in (ways | {"slots": "100G"}).items():
            found = _ours(run(ask(word)), tokens)
            free[way] += [found] if turn > 0 else []
        if options.llama:
            found = _theirs(run(_llama(options, path)), options.tokens)
            free["llama.cpp"] += [found] if turn > 0 else []
    if len(tokens) != 1:
        sys.exit("the ways do not write the same tokens")
    _table(limited, free)
    print(f"load average {Path('/proc/loadavg').read_text().split()[:3]}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longshore", type=Path, required=True, help="the program")
    parser.add_argument("--scratch", type=Path, required=True, help="a directory for the model, twice 1.6 GB")
    parser.add_argument("--llama", type=Path, help="llama-bench of llama.cpp")
    parser.add_argument("--limit", type=int, help="bytes of memory; 0.4 of the weights if not given")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="a model of a megabyte, to try the program")
    return parser.parse_args()


def _llama(options: argparse.Namespace, path: Path) -> list[object]:
    # Repacked weights would be memory that no file backs, and would not fit.
    words = ["-m", path, "-t", options.threads, "-p", 0, "-n", options.tokens, "-r", 1, "-ngl", 0, "-lm", "mmap"]
    return [options.llama, *words, "--repack", 0, "--no-warmup", "-o", "json"]


def _ours(done: Done, tokens: set[tuple[int, ...]]) -> dict:
    report = json.loads(done.stdout)
    tokens.add(tuple(report["tokens"]))
    found = {"seconds": report["seconds"]["decode"], "rate": (len(report["tokens"]) - 1) / report["seconds"]["decode"]}
    return found | _of_machine(done) | ({"experts": report["experts"]} if "experts" in report else {})


def _theirs(done: Done, tokens: int) -> dict:
    rate = json.loads(done.stdout)[0]["samples_ts"][0]
    return {"seconds": tokens / rate, "rate": rate} | _of_machine(done)


def _of_machine(done: Done) -> dict:
    peak = None if done.peak is None else done.peak // MIB
    return {"whole": round(done.seconds, 2), "read": done.read // MIB, "faults": done.faults, "peak": peak}


def _table(limited: dict[str, list[dict]], free: dict[str, list[dict]]) -> None:
    print("| way | tokens/s, best (median) | seconds | waited | read, MiB | faults | in memory, tokens/s |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    waited = {}
    for way, runs in limited.items():
        if not runs:
            continue
        rates, best = [one["rate"] for one in runs], min(runs, key=lambda one: one["seconds"])
        memory = [one["rate"] for one in free[way]]
        computing = min(one["seconds"] for one in free["llama.cpp" if way == "llama.cpp" else "map"])
        waited[way] = best["seconds"] - computing
        print(
            f"| {way} | {max(rates):.2f} ({statistics.median(rates):.2f}) | {best['seconds']:.2f} | {waited[way]:.2f} "
            f"| {best['read']} | {best['faults']} | {max(memory):.2f} ({statistics.median(memory):.2f}) |"
        )
    for way in ("ahead", "slots"):
        best = lambda runs: max(one["rate"] for one in runs)
        print(f"{way}: waits {waited['map'] / max(waited[way], 1e-9):.1f} × less than map, with everything in memory {best(free[way]) / best(free['map']):.3f} of its speed")
        if limited["llama.cpp"]:
            print(f"{way}: {best(limited[way]) / best(limited['llama.cpp']):.2f} × the tokens a second of llama.cpp")


if __name__ == "__main__":
    main()
