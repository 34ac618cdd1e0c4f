"""Experts that do not fit memory: the ways of `longshore run --experts` and llama.cpp on one GGUF file, within a limit of memory.

    python3 benches/compare/experts/main.py --longshore target/release/longshore --scratch target/compare/experts

A mixture of experts of 1.5 GB and random weights is written, and imported as it is. Each way writes as many tokens, with the files
dropped from the page cache before, in turns. What a way waits for experts is its time less the time of the same tokens with
everything in memory. All ways of Longshore have to write the same tokens; llama.cpp's benchmark draws its own. Without the right to
make a control group it says so, and ends.
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
PEER = "llama.cpp"
# The way that is taken unasked: with everything in memory, the map alone.
AUTO = "auto"


class Bench:
    """A model in both forms, and the programs that run it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        options.scratch.mkdir(parents=True, exist_ok=True)
        sizes = Sizes(layers=2, experts=8, hidden=256, inner=256) if options.small else Sizes()
        self.path = options.scratch / sizes.name
        write(self.path, sizes)
        self._store = options.scratch / "store"
        self._longshore = [options.longshore, "--store", self._store]
        self._name = "moe:" + self.path.stem.replace(".", "-")
        stored = json.loads(run([*self._longshore, "list", "--json"]).stdout)["models"]
        if not any(model["name"] == self._name for model in stored):
            run([*self._longshore, "import", self.path, self._name, "--quiet"])
        plan = json.loads(run([*self._longshore, "experts", "plan", self._name, "--json"]).stdout)
        units = [place["bytes"] for place in plan["placement"]]
        total = plan["shared_bytes"] + sum(units)
        self.limit = options.limit or int(total * 0.4)
        # Slots leave room for what every token uses, for keys and values, and for what is being read.
        slots = max(int((self.limit - plan["shared_bytes"]) * 0.75), max(units) * 8)
        self.ways = {"map": "map", "ahead": "ahead", "slots": str(slots)}
        print(f"{len(units)} experts of {max(units)} bytes, {plan['shared_bytes']} bytes of all else")
        print(f"limit {self.limit} bytes, {self.limit / total:.2f} of the weights; slots of {slots} bytes")
        said = run([*self._longshore, "experts", "plan", self._name]).stdout
        print("\n".join(line for line in said.splitlines() if "range" in line), flush=True)
        self.tokens: set[tuple[int, ...]] = set()

    def drop(self) -> None:
        """Drops the model from the page cache."""
        drop(*self._files())

    def warm(self) -> None:
        """Reads the model into the page cache, from which slots drop what they have read."""
        for path in self._files():
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass

    def _files(self) -> list[Path]:
        return [self.path, *(path for path in (self._store / "blobs").iterdir() if path.is_file())]

    def ours(self, way: str, group: Group | None = None) -> dict:
        """Writes tokens in one of the ways of Longshore."""
        options = self._options
        words = ["--max-tokens", options.tokens, "--threads", options.threads, "--temperature", 1, "--seed", 7]
        command = [*self._longshore, "run", self._name, "The ship", "--json", "--experts", way, "--max-seq", 1024, *words]
        done = run(command, group)
        report = json.loads(done.stdout)
        self.tokens.add(tuple(report["tokens"]))
        # The first token comes of the prompt.
        count, seconds = len(report["tokens"]) - 1, report["seconds"]["decode"]
        return {"seconds": seconds, "rate": count / seconds} | _of_machine(done) | {"slots": report.get("experts")}

    def theirs(self, group: Group | None = None) -> dict:
        """Writes tokens with llama.cpp."""
        options = self._options
        # Repacked weights would be memory that no file backs, and would not fit.
        words = ["-p", 0, "-n", options.tokens - 1, "-r", 1, "-ngl", 0, "-lm", "mmap", "--repack", 0, "--no-warmup"]
        done = run([options.llama, "-m", self.path, "-t", options.threads, *words, "-o", "json"], group)
        rate = json.loads(done.stdout)[0]["samples_ts"][0]
        return {"seconds": (options.tokens - 1) / rate, "rate": rate} | _of_machine(done)


def main() -> None:
    """Runs the comparison, and prints its table."""
    options = _options()
    try:
        with Group(1 << 30):
            pass
    except (NoGroup, OSError) as error:
        print(f"skipped: no control group can be made here: {error}")
        return
    bench = Bench(options)
    names = [*bench.ways, *([PEER] if options.llama else [])]
    limited: dict[str, list[dict]] = {name: [] for name in names}
    free: dict[str, list[dict]] = {name: [] for name in [*names, AUTO]}
    for turn in range(options.turns if options.part != "free" else 0):
        for name in names:
            bench.drop()
            with Group(bench.limit) as group:
                found = bench.theirs(group) if name == PEER else bench.ours(bench.ways[name], group)
            limited[name].append(found)
            print(f"turn {turn + 1}: {name}, limited: {found}", flush=True)
    for turn in range(options.turns if options.part != "limited" else 0):
        for name in free:
            bench.warm()
            way = {"slots": "100G", AUTO: AUTO}.get(name) or bench.ways.get(name)
            found = bench.theirs() if name == PEER else bench.ours(way)
            free[name].append(found)
            print(f"turn {turn + 1}: {name}, free: {found}", flush=True)
    if len(bench.tokens) != 1:
        sys.exit("the ways do not write the same tokens")
    if options.part in ("free", "all"):
        _free(free)
    if options.part == "all":
        _table(limited, free)
    elif options.part == "limited":
        print("without the runs of --part free there is no table: what a way waits is its time less the fastest with everything in memory")
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
    help_ = "with a limit of memory, or with everything in memory"
    parser.add_argument("--part", choices=("all", "limited", "free"), default="all", help=help_)
    parser.add_argument("--small", action="store_true", help="a model of a few megabytes, to try the program")
    return parser.parse_args()


def _of_machine(done: Done) -> dict:
    peak = None if done.peak is None else done.peak // MIB
    return {"whole": round(done.seconds, 2), "read": done.read // MIB, "faults": done.faults, "peak": peak}


def _free(free: dict[str, list[dict]]) -> None:
    best = {name: max(one["rate"] for one in runs) for name, runs in free.items()}
    for name, runs in free.items():
        median = statistics.median(one["rate"] for one in runs)
        print(f"{name}, everything in memory: {best[name]:.2f} ({median:.2f}) tokens/s, {best[name] / best['map']:.3f} of map")


def _table(limited: dict[str, list[dict]], free: dict[str, list[dict]]) -> None:
    print("| way | tokens/s, best (median) | seconds | waited | read, MiB | faults | in memory, tokens/s |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    best = {name: min(runs, key=lambda one: one["seconds"]) for name, runs in limited.items()}
    memory = {name: max(one["rate"] for one in runs) for name, runs in free.items()}
    waited = {}
    for name, one in best.items():
        computing = min(found["seconds"] for found in free[PEER if name == PEER else "map"])
        waited[name] = one["seconds"] - computing
        medians = [statistics.median(found["rate"] for found in runs[name]) for runs in (limited, free)]
        print(
            f"| {name} | {one['rate']:.2f} ({medians[0]:.2f}) | {one['seconds']:.2f} | {waited[name]:.2f} | {one['read']} "
            f"| {one['faults']} | {memory[name]:.2f} ({medians[1]:.2f}) |"
        )
    for name in ("ahead", "slots"):
        less = waited["map"] / max(waited[name], 1e-9)
        print(f"{name}: waits {less:.1f} × less than map")
        if PEER in best:
            print(f"{name}: {best[name]['rate'] / best[PEER]['rate']:.2f} × the tokens a second of llama.cpp")


if __name__ == "__main__":
    main()
