"""Types, bounds and generics out of rustdoc's JSON, as Rust writes them."""

import sys

# The version of rustdoc's JSON that this was written against. Another may render differently, or have a kind that is unknown here.
FORMAT = 57

# Written by name alone, as code does.
PRELUDE = {
    f"{path}::{name}": name
    for path, names in {
        "core::option": "Option",
        "core::result": "Result",
        "core::clone": "Clone",
        "core::cmp": "Eq Ord PartialEq PartialOrd",
        "core::convert": "AsMut AsRef From Into TryFrom TryInto",
        "core::default": "Default",
        "core::iter::traits::collect": "Extend FromIterator IntoIterator",
        "core::iter::traits::double_ended": "DoubleEndedIterator",
        "core::iter::traits::exact_size": "ExactSizeIterator",
        "core::iter::traits::iterator": "Iterator",
        "core::marker": "Copy Send Sized Sync Unpin",
        "core::ops::drop": "Drop",
        "core::ops::function": "Fn FnMut FnOnce",
        "alloc::boxed": "Box",
        "alloc::string": "String",
        "alloc::vec": "Vec",
    }.items()
    for name in names.split()
}


class Types:
    """Renders what names items by their identifiers: an item of the crate by the path in `public`, another one by rustdoc's."""

    def __init__(self, public: dict[int, str], paths: dict):
        self.public, self.paths = public, paths

    def path(self, path: dict) -> str:
        known = self.public.get(path["id"]) or "::".join(self.paths.get(str(path["id"]), {}).get("path", []))
        return PRELUDE.get(known, known or path["path"]) + self.arguments(path["args"])

    def arguments(self, arguments: dict | None) -> str:
        if arguments is None:
            return ""
        if arguments == "return_type_notation":
            return "(..)"
        form, inner = only(arguments)
        if form == "parenthesized":
            output = f" -> {self.type(inner['output'])}" if inner["output"] else ""
            return f"({', '.join(map(self.type, inner['inputs']))}){output}"
        parts = []
        for argument in inner["args"]:
            if argument == "infer":
                parts.append("_")
                continue
            kind, value = only(argument)
            parts.append(value if kind == "lifetime" else value["expr"] if kind == "const" else self.type(value))
        for constraint in inner["constraints"]:
            kind, value = only(constraint["binding"])
            name = constraint["name"] + self.arguments(constraint["args"])
            if kind == "equality":
                term, value = only(value)
                parts.append(f"{name} = {self.type(value) if term == 'type' else value['expr']}")
            else:
                parts.append(f"{name}: {' + '.join(map(self.bound, value))}")
        return f"<{', '.join(parts)}>" if parts else ""

    def type(self, of: object) -> str:
        if of == "infer":
            return "_"
        kind, inner = only(of)
        if kind == "resolved_path":
            return self.path(inner)
        if kind in ("generic", "primitive"):
            return inner
        if kind == "tuple":
            return f"({', '.join(map(self.type, inner))}{',' if len(inner) == 1 else ''})"
        if kind == "slice":
            return f"[{self.type(inner)}]"
        if kind == "array":
            return f"[{self.type(inner['type'])}; {inner['len']}]"
        if kind == "borrowed_ref":
            lifetime = f"{inner['lifetime']} " if inner["lifetime"] else ""
            return f"&{lifetime}{'mut ' if inner['is_mutable'] else ''}{self.type(inner['type'])}"
        if kind == "raw_pointer":
            return f"*{'mut' if inner['is_mutable'] else 'const'} {self.type(inner['type'])}"
        if kind == "impl_trait":
            return "impl " + " + ".join(map(self.bound, inner))
        if kind == "dyn_trait":
            bounds = [self.higher(bound["generic_params"]) + self.path(bound["trait"]) for bound in inner["traits"]]
            return "dyn " + " + ".join([*bounds, *([inner["lifetime"]] if inner["lifetime"] else [])])
        if kind == "qualified_path":
            trait = f" as {self.path(inner['trait'])}" if inner["trait"] and inner["trait"]["path"] else ""
            return f"<{self.type(inner['self_type'])}{trait}>::{inner['name']}{self.arguments(inner['args'])}"
        if kind == "function_pointer":
            words = "unsafe " if inner["header"]["is_unsafe"] else ""
            words += "" if inner["header"]["abi"] == "Rust" else f"extern {inner['header']['abi']} "
            return f"{self.higher(inner['generic_params'])}{words}fn{self.signature(inner, names=False)}"
        sys.exit(f"error: expected a type that rustdoc's format {FORMAT} has, found {kind!r}")

    def signature(self, function: dict, names: bool = True) -> str:
        inputs = []
        for name, of in function["sig"]["inputs"]:
            of = self.type(of)
            if name == "self" and of in ("Self", "&Self", "&mut Self"):
                inputs.append(of.replace("Self", "self"))
            else:
                inputs.append(f"{name}: {of}" if names else of)
        output = f" -> {self.type(function['sig']['output'])}" if function["sig"]["output"] else ""
        generics = function.get("generics", {"params": [], "where_predicates": []})
        return f"{self.parameters(generics)}({', '.join(inputs)}){output}{self.where(generics)}"

    def parameters(self, generics: dict) -> str:
        parts = []
        for parameter in generics["params"]:
            kind, inner = only(parameter["kind"])
            if kind == "lifetime":
                outlives = " + ".join(inner["outlives"])
                parts.append(parameter["name"] + (outlives and f": {outlives}"))
            elif kind == "const":
                parts.append(f"const {parameter['name']}: {self.type(inner['type'])}")
            elif not inner["is_synthetic"]:
                bounds = " + ".join(map(self.bound, inner["bounds"]))
                default = f" = {self.type(inner['default'])}" if inner["default"] else ""
                parts.append(parameter["name"] + (bounds and f": {bounds}") + default)
        return f"<{', '.join(parts)}>" if parts else ""

    def bounded(self, generics: dict) -> str:
        """An inherent impl's generics, where they say more than the names that the type has already."""
        text = self.parameters(generics) + self.where(generics)
        return text if ":" in text else ""

    def where(self, generics: dict) -> str:
        parts = []
        for predicate in generics["where_predicates"]:
            kind, inner = only(predicate)
            if kind == "bound_predicate":
                bounds = " + ".join(map(self.bound, inner["bounds"]))
                parts.append(f"{self.higher(inner['generic_params'])}{self.type(inner['type'])}: {bounds}")
            elif kind == "lifetime_predicate":
                parts.append(f"{inner['lifetime']}: {' + '.join(inner['outlives'])}")
        return f" where {', '.join(parts)}" if parts else ""

    def bound(self, bound: dict) -> str:
        kind, inner = only(bound)
        if kind == "outlives":
            return inner
        if kind == "use":
            return f"use<{', '.join(only(argument)[1] for argument in inner)}>"
        modifier = "?" if inner["modifier"] == "maybe" else ""
        return self.higher(inner["generic_params"]) + modifier + self.path(inner["trait"])

    @staticmethod
    def higher(parameters: list) -> str:
        return f"for<{', '.join(parameter['name'] for parameter in parameters)}> " if parameters else ""


def only(tagged: dict) -> tuple[str, dict]:
    """The tag and the content of serde's form of an enum."""
    ((tag, content),) = tagged.items()
    return tag, content
