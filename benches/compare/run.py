#!/usr/bin/env python3
"""Longshore beside the programs that do the same, in one run on this machine.

    python3 benches/compare/run.py quantize              # checks the answers, then times them; prints tables
    python3 benches/compare/run.py quantize --record     # and writes them under benches/record/

Needs Python 3.10, Rust, a C++ compiler and the network, no packages: it makes its own environment under target/. Answers are
compared before anything is timed. The times of all programs are taken in turns, so that whatever else the machine does meets all of
them alike; quote the ratios.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))
import environment  # noqa: E402


def main() -> int:
    """Runs one subject."""
    subjects = sorted(path.stem for path in (HERE / "subjects").glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    _inside_environment()
    modules = {name: importlib.import_module(f"subjects.{name}") for name in subjects}
    for name, module in modules.items():
        verb = verbs.add_parser(name, help=module.__doc__.splitlines()[0])
        verb.add_argument("--turns", type=int, default=7, help="how often each program has its turn (%(default)s)")
        verb.add_argument("--record", action="store_true", help="write the rows and tables under benches/record/")
        module.arguments(verb)
    args = parser.parse_args()

    report = modules[args.subject].run(args)
    print(report.text())
    if args.record:
        print("recorded in", *(path.relative_to(HERE.parents[1]) for path in report.record(HERE.parent / "record")))
    return 1 if report.wrong else 0


def _inside_environment() -> None:
    """Continues as the interpreter of the environment `compare`, if this is another."""
    if Path(sys.prefix) == environment.folder("compare"):
        return
    try:
        python = environment.interpreter("compare")
    except environment.EnvironmentFailure as failure:
        sys.exit(f"error: {failure}")
    os.execv(python, [str(python), __file__, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
