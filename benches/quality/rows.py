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
    # Whether codes are chosen by the Hessians of the calibration text, where these are better on the text that is held out.
    hessians: bool = False
    # The power of the factors that columns get by the statistics of their inputs.
    awq: float | None = None
    # The seed of a rotation of the residual stream.
    rotate: int | None = None
    # Bits for each weight that a policy is fitted to, by the statistics; or the row whose bits it may take.
    fit: float | str | None = None
    # The models that have the row; all if empty.
    models: tuple[str, ...] = ()
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
    Row("int4-gptq", "int4, profile `gptq` with `--hessians` and `--held`", "int4", "gptq", hessians=True),
    Row("int4-awq", "int4, profile `gptq`, with `--awq`", "int4", "gptq", hessians=True, awq=0.25),
    Row("int4-rotate", "int4, profile `best`, rotated, with a head of its own", "int4", "best", rotate=1, models=("smollm2",)),
    Row("int4-rotate-gptq", "int4, profile `gptq`, rotated, with a head of its own", "int4", "gptq", hessians=True, rotate=1, models=("smollm2",)),
    Row("int3-gptq", "int3, profile `gptq`", "int3", "gptq", hessians=True, models=("smollm2",)),
    Row("int3-rotate-gptq", "int3, profile `gptq`, rotated, with a head of its own", "int3", "gptq", hessians=True, rotate=1, models=("smollm2",)),
    Row("fit-4.6", "policy fitted to 4.6 bits", "int4", policy="fitted", fit=4.6),
    Row("fit-default-bits", "policy fitted to the bits of `default`", "int4", policy="fitted", fit="int4-default"),
    Row("q4_k_m", "llama.cpp's Q4_K_M with the same importance", "q4_k_m", importance=True),
    Row("fit-q4_k_m-bits", "policy fitted to the bits of Q4_K_M, profile `gptq`", "int4", "gptq", "fitted", hessians=True, fit="q4_k_m"),
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
    ("int4-gptq", "int4-importance"),
    ("int4-awq", "int4-gptq"),
    ("int4-rotate", "int4-best"),
    ("int4-rotate-gptq", "int4-gptq"),
    ("int3-rotate-gptq", "int3-gptq"),
    ("fit-4.6", "int4-plus"),
    ("fit-default-bits", "int4-default"),
    ("q4_k_m", "fit-default-bits"),
    ("fit-q4_k_m-bits", "q4_k_m"),
    ("nvfp4-plus", "int4-plus"),
    ("mxfp4-plus", "int4-plus"),
    ("mxfp8-plus", "int8-plus"),
    ("int4-default", "int4-embeddings-16"),
    ("int4-default", "int4-v0.32"),
    ("int4-default", "int4-v0.16"),
]

# Rows that are measured for many draws of the floats, and which of them are compared.
DRAWN = ["int4-mlx", "int4-plus", "int4-best", "nvfp4-plus"]
DRAWN_PAIRS = [("int4-plus", "int4-mlx"), ("int4-best", "int4-plus"), ("nvfp4-plus", "int4-plus")]
