"""Decoding ggml's block types to F32: ggml's own C functions beside Longshore.

The blocks are what ggml makes of normally distributed weights. A program decodes one piece of them again and again into
the same buffer, so that both lie in the cache of one core.
"""

import argparse
import time

import numpy as np
from peers import ggml, longshore
from report import Figure, Report
from turns import Task, Unavailable, take_turns, timed
from worker import Worker, note

TURNS = 7
SEED = 3
# Elements of a piece: 1 MiB of F32.
PIECE = 1 << 18
# Pieces of one timed run.
TIMES = 256
# Types that most files consist of, which are to be no slower than ggml's, and the least ratio of the others.
COMMON = ["Q4_0", "Q8_0", "Q4_K", "Q6_K"]
OTHERS = 0.7


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this subject, besides the number of turns."""
    parser.add_argument("--types", nargs="*", metavar="TYPE", help="only these, such as Q4_K (all)")


def run(args: argparse.Namespace) -> Report:
    """Checks that both give the same bits, and times them."""
    scratch = longshore.target() / "compare"
    scratch.mkdir(parents=True, exist_ok=True)
    versions = {"longshore": longshore.version(), "ggml": ggml.version()}
    about = f"{TIMES} × {PIECE} elements, normal with σ = 0.02, seed {SEED}, one core"
    report = Report("blocks", about, PIECE * TIMES, versions, title="Decoding ggml's blocks in the cache of a core")
    note("building")
    try:
        theirs = ggml.Blocks(scratch)
    except Unavailable as why:
        report.unavailable[ggml.NAME] = str(why)
        return report
    ours = Worker([str(longshore.example("blocks"))], longshore.ROOT)
    weights = np.random.default_rng(SEED).standard_normal(PIECE, np.float32) * np.float32(0.02)
    kept = scratch / "piece"
    for name in args.types or ggml.BLOCKS:
        note(f"checking {name}")
        blocks = theirs.encoded(name, weights)
        blocks.tofile(kept)
        ours.ask(f"load {name} {kept}")
        ours.ask(f"decode {name} 1")
        ours.ask(f"save-output {kept}")
        expected, found = theirs.decoded(name, blocks), np.fromfile(kept, np.float32)
        same = np.array_equal(expected.view(np.uint32), found.view(np.uint32))
        report.wrong |= not same
        report.checks.append(f"{'right' if same else 'WRONG'}  {name}: the bits of ggml's decoder")
        report.tasks += [_ours(ours, name), _theirs(theirs, name, blocks)]
    kept.unlink(missing_ok=True)
    if not report.wrong:
        take_turns(report.tasks, args.turns, note)
        for mine, other in zip(report.tasks[::2], report.tasks[1::2]):
            cpu = other.least_cpu / mine.least_cpu if mine.least_cpu and other.least_cpu else None
            ratios = (other.least / mine.least, other.median / mine.median, cpu)
            target = 1.0 if mine.format in COMMON else OTHERS
            report.figures.append(Figure(f"{mine.format}, weights a second, against ggml", target, *ratios))
    report.notes = ["Each call of ggml's goes through ctypes, which costs less than 1 µs of a piece's 50 µs or more."]
    return report


def _ours(worker: Worker, name: str) -> Task:
    ask = f"decode {name} {TIMES}"
    return Task(longshore.NAME, "decode", name, "", "one", lambda: worker.ask(ask), worker.cpu, PIECE * TIMES * 4)


def _theirs(theirs: ggml.Blocks, name: str, blocks: np.ndarray) -> Task:
    def once() -> float:
        return timed(lambda: theirs.decode(name, blocks, TIMES))

    return Task(ggml.NAME, "decode", name, "", "one", once, time.process_time, PIECE * TIMES * 4)
