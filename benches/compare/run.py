#!/usr/bin/env python3
"""Compares Longshore with programs for the same tasks, in one run on this machine.

    python3 benches/compare/run.py host                  # every subject in host memory: checks the answers, then times them
    python3 benches/compare/run.py mlx                   # loading as MLX arrays: on Metal on a Mac, else on the CPU
    python3 benches/compare/run.py cuda                  # everything that needs a CUDA device
    python3 benches/compare/run.py host --record         # and writes the tables under benches/record/
    python3 benches/compare/run.py import --bytes 4e9    # one subject, on larger checkpoints

Needs Python 3.10, Rust, a C++ compiler and the network, but no packages: the program creates its own environment under
target/. Answers are compared before anything is timed. All programs are timed in turn, so other work of the machine
affects all of them alike. Quote the ratios.
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

# What runs on the host: the other subjects are a backend each.
HOST = ["quantize", "blocks", "import", "save", "verify", "load", "dedup"]


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
    verb = verbs.add_parser("host", help="Every subject of the host in turn, each with its defaults.")
    _common(verb, None)
    contest.arguments(verb)
    modules["load"].torch(verb)
    args = parser.parse_args()

    wrong = False
    for name in HOST if args.subject == "host" else [args.subject]:
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
    """Adds the options of every subject."""
    turns = module.TURNS if module else 3
    if turns is not None:
        verb.add_argument("--turns", type=int, default=turns, help="number of turns of each program (%(default)s)")
    where = HERE.parent / "record"
    help_ = "write rows, tables and pictures under DIR/MACHINE/DATE/ (DIR: benches/record)"
    verb.add_argument("--record", type=Path, nargs="?", const=where, metavar="DIR", help=help_)


def _command(name: str, args: argparse.Namespace, module: ModuleType) -> str:
    """Returns the command that runs this subject alone with the same options."""
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
    """Returns the arguments of a subject: the given ones, and the subject's defaults for the others."""
    own = argparse.ArgumentParser()
    _common(own, module)
    module.arguments(own)
    given = {key: value for key, value in vars(args).items() if value is not None}
    return argparse.Namespace(**{**vars(own.parse_args([])), **given})


def _inside_environment() -> None:
    """Restarts this program with the interpreter of the environment `compare`, unless it runs there."""
    if Path(sys.prefix) == environment.folder("compare"):
        return
    try:
        python = environment.interpreter("compare")
    except environment.EnvironmentFailure as failure:
        sys.exit(f"error: {failure}")
    os.execv(python, [str(python), __file__, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
