"""The rows of the table: how each of its models is made of the floats."""

from dataclasses import dataclass

# Policies that are `default` with one rule before its own.
POLICIES = {
    "embeddings-16": '[[rule]]\nrole = "token_embedding"\naction = "keep"\nreason = "embedding: kept"\n',
}


@dataclass(frozen=True)
class Row:
    """A model of the table."""

    name: str
    label: str
    # Type, or None for the published file itself.
    quantize: str | None
    profile: str = "plus"
    policy: str = "uniform"
    importance: bool = False
    # Weights that the model is made of: those of the float row, the same as BF16, or the file's decoded ones, on their grid.
    floats: str = "floats"


ROWS = [
    Row("int8-plus", "int8", "int8"),
    Row("int8-mlx-bf16", "int8, profile `mlx`, scales BF16", "int8", "mlx", floats="bf16"),
    Row("int8-plus-bf16", "int8, profile `plus`, scales BF16", "int8", floats="bf16"),
    Row("int6-plus", "int6", "int6"),
    Row("int4-mlx", "int4, profile `mlx`", "int4", "mlx"),
    Row("int4-plus", "int4, profile `plus`", "int4"),
    Row("int4-best", "int4, profile `best`", "int4", "best"),
    Row("int4-importance", "int4, profile `best` with `--importance`", "int4", "best", importance=True),
    Row("nvfp4-plus", "nvfp4", "nvfp4"),
    Row("mxfp4-plus", "mxfp4", "mxfp4"),
    Row("mxfp8-plus", "mxfp8", "mxfp8"),
    Row("int4-default", "int4, policy `default`", "int4", policy="default"),
    Row("int4-embeddings-16", "int4, policy `default` but embeddings in 16 bits", "int4", policy="embeddings-16"),
    Row("int4-v0.32", "int4, policy `v0.32`", "int4", policy="v0.32"),
    Row("int4-v0.16", "int4, policy `v0.16`", "int4", policy="v0.16"),
    Row("int4-g32-best", "int4-g32, profile `best`, policy `default`", "int4-g32", "best", "default"),
    Row("int4-g32-best-as-is", "the same of the undisturbed file", "int4-g32", "best", "default", floats="as-is"),
    Row("file", "the published file itself", None),
]

# Rows that are compared with each other, not with the floats alone.
PAIRS = [
    ("int8-plus-bf16", "int8-mlx-bf16"),
    ("int4-plus", "int4-mlx"),
    ("int4-best", "int4-plus"),
    ("int4-importance", "int4-best"),
    ("nvfp4-plus", "int4-plus"),
    ("mxfp4-plus", "int4-plus"),
    ("mxfp8-plus", "int8-plus"),
    ("int4-default", "int4-embeddings-16"),
    ("int4-default", "int4-v0.32"),
    ("int4-default", "int4-v0.16"),
]
