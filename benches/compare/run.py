#!/usr/bin/env python3
"""Longshore beside the programs that do the same, in one run on this machine.

    python3 benches/compare/run.py all                   # checks the answers, then times them; prints tables
    python3 benches/compare/run.py all --record          # and writes them under benches/record/
    python3 benches/compare/run.py import --bytes 4e9    # one subject, on larger checkpoints

Needs Python 3.10, Rust, a C++ compiler and the network, no packages: it makes its own environment under target/. Answers are
compared before anything is timed. The times of all programs are taken in turns, so that whatever else the machine does meets all of
them alike; quote the ratios.
"""

import argparse
import importlib
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))
import environment  # noqa: E402

ORDER = ["quantize", "import", "save", "verify", "load", "dedup"]


def main() -> int:
    """Runs one subject."""
    subjects = sorted(path.stem for path in (HERE / "subjects").glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    _inside_environment()
    import contest
    import inputs
    import jobs

    modules = {name: importlib.import_module(f"subjects.{name}") for name in subjects}
    for name, module in modules.items():
        verb = verbs.add_parser(name, help=module.__doc__.splitlines()[0])
        _common(verb, module)
        module.arguments(verb)
    verb = verbs.add_parser("all", help="Every subject, one after the other, with what is the default of each.")
    _common(verb, None)
    contest.arguments(verb)
    modules["load"].torch(verb)
    args = parser.parse_args()

    wrong = False
    for name in ORDER if args.subject == "all" else [args.subject]:
        try:
            report = modules[name].run(_filled(args, modules[name]))
        except jobs.Failed as failure:
            sys.exit(f"error: {name}: {failure}")
        finally:
            shutil.rmtree(inputs.home() / "scratch", ignore_errors=True)
        report.command = _command(name, args, modules[name])
        print(report.text(), end="\n\n", flush=True)
        if args.record is not None:
            print("recorded in", *report.record(args.record), flush=True)
        wrong |= report.wrong
    return 1 if wrong else 0


def _common(verb: argparse.ArgumentParser, module: ModuleType | None) -> None:
    """What can be asked for of every subject."""
    turns = module.TURNS if module else 3
    verb.add_argument("--turns", type=int, default=turns, help="how often each program has its turn (%(default)s)")
    where = HERE.parent / "record"
    help_ = "write rows, tables and pictures under DIR/MACHINE/DATE/ (DIR: benches/record)"
    verb.add_argument("--record", type=Path, nargs="?", const=where, metavar="DIR", help=help_)


def _command(name: str, args: argparse.Namespace, module: ModuleType) -> str:
    """What would run this subject alone, as it ran."""
    words = ["python3 benches/compare/run.py", name]
    own = argparse.ArgumentParser()
    _common(own, module)
    module.arguments(own)
    for key, default in vars(own.parse_args([])).items():
        value = getattr(args, key, None)
        if key != "record" and value not in (None, default):
            words += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    return " ".join([*words, *(["--record"] if args.record else [])])


def _filled(args: argparse.Namespace, module: ModuleType) -> argparse.Namespace:
    """The arguments of a subject: those that were given, and its own defaults."""
    own = argparse.ArgumentParser()
    _common(own, module)
    module.arguments(own)
    given = {key: value for key, value in vars(args).items() if value is not None}
    return argparse.Namespace(**{**vars(own.parse_args([])), **given})


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
