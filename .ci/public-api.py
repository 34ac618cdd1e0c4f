#!/usr/bin/env python3
"""Compares each library's public interface with the record beside it, `crates/<dir>/public-api.txt`, one item per line.

    python3 .ci/public-api.py             # fails where the code and the record differ, and prints the lines
    python3 .ci/public-api.py --update    # writes the records: their difference shows what a user of the crate would notice

A line that goes or changes breaks somebody; a line that comes does not. The items are rustdoc's, in the JSON form that a stable
rustdoc writes when it is told to, for the features that docs.rs shows. Impls that nobody writes by hand are left out: those that
hold for every type, and auto traits, except that a type that is not `Send` or not `Sync` says so.
"""

import argparse
import difflib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rust_types import FORMAT, Types, only

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "target"


class Interface:
    """The public items of one crate, out of rustdoc's JSON."""

    def __init__(self, document: dict):
        self.index = document["index"]
        self.public: dict[int, str] = {}
        self.types = Types(self.public, document["paths"])
        self.lines: set[tuple[str, str]] = set()
        self.impls: dict[int, str] = {}
        root = self._get(document["root"])
        uses: list[tuple[str, dict]] = []
        items: list[tuple[str, dict]] = []
        self._walk(root, root["name"], items, uses)
        # An item lies where the shortest path says; its other names are lines of one `use` each.
        while uses:
            uses.sort(key=lambda use: (use[0].count("::"), use[0]), reverse=True)
            path, item = uses.pop()
            use = item["inner"]["use"]
            target = self.index.get(str(use["id"]))
            if target is None or target["crate_id"] != 0:
                self._line(path, f"pub use {path} = {use['source']}{'::*' if use['is_glob'] else ''}")
            elif target["id"] in self.public:
                self._line(path, f"pub use {path} = {self.public[target['id']]}")
            else:
                self._walk(target, path, items, uses)
        for path, item in items:
            self._item(path, item)
        for impl, path in self.impls.items():
            self._impl(self._get(impl), path)

    def text(self) -> str:
        """One item per line, each type's members and impls below it."""
        return "".join(f"{line}\n" for _, line in sorted(self.lines))

    def _get(self, id: int) -> dict:
        return self.index[str(id)]

    def _line(self, path: str, text: str) -> None:
        self.lines.add((path, text))

    # Where everything lies, before anything is printed: a type is printed by the path that a user would write.

    def _walk(self, item: dict, path: str, items: list, uses: list) -> None:
        kind, inner = only(item["inner"])
        if kind == "use":
            uses.append((path, item))
            return
        self.public.setdefault(item["id"], path)
        items.append((path, item))
        if kind == "module":
            for child in map(self._get, inner["items"]):
                if child["visibility"] == "public":
                    name = child["inner"].get("use", child)["name"]
                    glob = child["inner"].get("use", {}).get("is_glob", False)
                    self._walk(child, path if glob else f"{path}::{name}", items, uses)

    def _item(self, path: str, item: dict) -> None:
        kind, inner = only(item["inner"])
        marked = "#[non_exhaustive] " if _marked(item, "non_exhaustive") else ""
        generics = self.types.parameters(inner["generics"]) if "generics" in inner else ""
        where = self.types.where(inner["generics"]) if "generics" in inner else ""
        if kind == "module":
            self._line(path, f"pub mod {path}")
        elif kind in ("struct", "union"):
            self._line(path, f"{marked}pub {kind} {path}{generics}{where}{' { .. }' if _is_hiding(inner) else ''}")
            self._fields(path, inner["kind"] if kind == "struct" else {"plain": inner})
            self.impls.update({impl: path for impl in inner["impls"]})
        elif kind == "enum":
            self._line(path, f"{marked}pub enum {path}{generics}{where}")
            for variant in inner["variants"]:
                variant = self._get(variant)
                mark = "#[non_exhaustive] " if _marked(variant, "non_exhaustive") else ""
                self._line(path, f"{mark}pub {path}::{variant['name']}")
                shape = variant["inner"]["variant"]["kind"]
                self._fields(f"{path}::{variant['name']}", {"plain": shape["struct"]} if "struct" in shape else shape)
            self.impls.update({impl: path for impl in inner["impls"]})
        elif kind == "trait":
            supertraits = " + ".join(map(self.types.bound, inner["bounds"]))
            unsafe = "unsafe " if inner["is_unsafe"] else ""
            self._line(path, f"pub {unsafe}trait {path}{generics}{supertraits and ': ' + supertraits}{where}")
            for member in inner["items"]:
                member = self._get(member)
                provided = only(member["inner"])[1].get("has_body") or only(member["inner"])[1].get("type")
                self._line(path, self._member(f"{path}::{member['name']}", member) + (" { … }" if provided else ""))
            self.impls.update({impl: path for impl in inner["implementations"]})
        elif kind in ("macro", "proc_macro"):
            self._line(path, f"pub macro {path}!")
        else:
            self._line(path, self._member(path, item))

    def _fields(self, path: str, kind: object) -> None:
        """A struct's or a variant's fields: `plain`, `tuple` (null where private), or the words `unit` and `plain`."""
        if isinstance(kind, str):
            return
        form, inner = only(kind)
        for field in inner["fields"] if form == "plain" else inner:
            if field is not None:
                field = self._get(field)
                self._line(path, f"pub {path}::{field['name']}: {self.types.type(field['inner']['struct_field'])}")

    def _member(self, path: str, item: dict) -> str:
        kind, inner = only(item["inner"])
        must_use = "#[must_use] " if _marked(item, "must_use") else ""
        if kind == "function":
            words = [word for word in ("const", "async", "unsafe") if inner["header"][f"is_{word}"]]
            if inner["header"]["abi"] != "Rust":
                words.append(f"extern {inner['header']['abi']}")
            return f"{must_use}pub {' '.join([*words, 'fn'])} {path}{self.types.signature(inner)}"
        if kind in ("constant", "assoc_const"):
            return f"pub const {path}: {self.types.type(inner['type'])}"
        if kind == "static":
            return f"pub static {path}: {self.types.type(inner['type'])}"
        if kind == "type_alias":
            return f"pub type {path}{self.types.parameters(inner['generics'])} = {self.types.type(inner['type'])}"
        if kind == "assoc_type":
            bounds = " + ".join(map(self.types.bound, inner["bounds"]))
            value = f" = {self.types.type(inner['type'])}" if inner["type"] else ""
            return f"pub type {path}{self.types.parameters(inner['generics'])}{bounds and ': ' + bounds}{value}"
        sys.exit(f"error: {path}: expected a kind of item that rustdoc's format {FORMAT} has, found {kind!r}")

    def _impl(self, item: dict, path: str) -> None:
        impl = item["inner"]["impl"]
        if impl["blanket_impl"] is not None or item["crate_id"] != 0:
            return
        if impl["trait"] is None:
            for member in impl["items"]:
                member = self._get(member)
                if member["visibility"] == "public":
                    bounds = self.types.bounded(impl["generics"])
                    self._line(path, self._member(f"{path}::{member['name']}", member) + (bounds and f" [impl{bounds}]"))
            return
        trait, target = self.types.path(impl["trait"]), self.types.type(impl["for"])
        if trait.endswith("::StructuralPartialEq"):
            return
        if impl["is_synthetic"] and not (impl["is_negative"] and trait in ("Send", "Sync")):
            return
        generics, where = self.types.parameters(impl["generics"]), self.types.where(impl["generics"])
        self._line(path, f"impl{generics} {'!' if impl['is_negative'] else ''}{trait} for {target}{where}")


def _marked(item: dict, mark: str) -> bool:
    return any(attribute == mark or (isinstance(attribute, dict) and mark in attribute) for attribute in item["attrs"])


def _is_hiding(struct: dict) -> bool:
    """Whether a field is private, so that only the crate itself can make one."""
    shape = struct.get("kind", {"plain": struct})
    if isinstance(shape, str):
        return False
    form, inner = only(shape)
    return None in inner if form == "tuple" else inner["has_stripped_fields"]


def libraries() -> tuple[list[tuple[Path, str]], list[str]]:
    """Folder and library of each crate that is published and has one, and the arguments with which cargo documents these alone."""
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    found, arguments = [], ["--workspace"]
    for package in metadata["packages"]:
        library = [target["name"] for target in package["targets"] if "lib" in target["kind"]]
        if library and package["publish"] != []:
            found.append((Path(package["manifest_path"]).parent, library[0]))
            shown = ((package["metadata"] or {}).get("docs") or {}).get("rs") or {}
            features = package["features"] if shown.get("all-features") else shown.get("features", [])
            arguments += [f"--features={package['name']}/{feature}" for feature in features]
        else:
            arguments.append(f"--exclude={package['name']}")
    return sorted(found), arguments


def document(arguments: list[str], tools: Path) -> None:
    """Has rustdoc write the items of all libraries. A warning, such as of a link that leads nowhere, is an error."""
    rustdoc = tools / "rustdoc"
    # Only rustdoc is told that it may: a variable for all of cargo would build every dependency again.
    rustdoc.write_text('#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec "${LONGSHORE_RUSTDOC:-rustdoc}" "$@"\n')
    rustdoc.chmod(0o755)
    command = ["cargo", "doc", "--quiet", "--lib", "--no-deps", *arguments]
    environment = {**os.environ, "LONGSHORE_RUSTDOC": os.environ.get("RUSTDOC", "rustdoc"), "RUSTDOC": str(rustdoc)}
    environment["RUSTDOCFLAGS"] = "-D warnings -Zunstable-options --output-format=json"
    subprocess.run(command, cwd=ROOT, check=True, env=environment)


def interface(library: str) -> str:
    """The record's text of one crate, out of the code as it is."""
    found = json.loads((TARGET / "doc" / f"{library}.json").read_text())
    if found["format_version"] != FORMAT:
        sys.exit(
            f"error: expected rustdoc's JSON in format {FORMAT} (Rust 1.95), found {found['format_version']}: run this"
            " with that version, or read https://docs.rs/rustdoc-types for what changed and mend .ci/rust_types.py"
        )
    return Interface(found).text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="write the records")
    update = parser.parse_args().update
    differ = False
    found, arguments = libraries()
    with tempfile.TemporaryDirectory() as tools:
        document(arguments, Path(tools))
    for folder, library in found:
        record, now = folder / "public-api.txt", interface(library)
        before = record.read_text() if record.exists() else ""
        if now == before:
            continue
        if update:
            record.write_text(now)
        differ = True
        name = str(record.relative_to(ROOT))
        sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), now.splitlines(True), name, "the code", n=0))
    if differ and not update:
        sys.exit(
            "error: the public interface is not what its record says\n"
            "hint: if it is meant to change, run `python3 .ci/public-api.py --update`, and name what breaks in CHANGELOG.md"
        )


if __name__ == "__main__":
    main()
