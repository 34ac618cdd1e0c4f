//! The arguments of `import`.

use std::{ffi::OsString, num::NonZero, path::PathBuf};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use longshore_manifest::ModelName;
use longshore_quant::Profile;

use super::{
    numbers::parse_count,
    policy::{PolicySource, parse_policy},
    types::{Quantize, parse_quantize},
};
use crate::candidates::{self, offers};

/// Import a checkpoint into the store, quantized if asked
///
/// SOURCE is a directory with config.json and safetensors files, a diffusers pipeline (a directory with a `model_index.json`), a
/// snapshot in a hub cache, one .safetensors file, a .gguf file (any file of a split set), or the manifest of a model in another store
/// (`~/.ollama/models/manifests/registry.ollama.ai/library/qwen3/4b`). Tensors and the files that a model needs to run
/// (configuration, tokenizer, chat template, code, licence) are stored; a tensor that the store already holds is not stored
/// again. The experts of a layer are stacked into one tensor per projection.
///
/// Nothing is left behind if the import fails or is interrupted.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore import ./Qwen3-4B qwen3:4b                               as it is
  longshore import ./Qwen3-4B qwen3:int4 --quantize int4             4 bits
  longshore import ./Qwen3-4B qwen3:int4 --quantize int4 --dry-run   only a plan
  longshore import ./qwen3.gguf qwen3:mlx --quantize mlx             for MLX")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Import {
    /// A checkpoint directory, one .safetensors or .gguf file, or a stored model's manifest
    pub(crate) source: PathBuf,
    /// The name to give it: `model`, `model:tag` or `host/namespace/model:tag`
    pub(crate) name: ModelName,
    /// int2, int3, int4, int5, int6 or int8, each with an optional group size (int4-g32; 64 if not given), nvfp4, mxfp4,
    /// mxfp8, or none; of a GGUF file also mlx: each tensor in the type that holds its blocks' values, and the rest as it is
    #[arg(long, value_name = "TYPE", value_parser = offers(candidates::TYPES, parse_quantize))]
    #[arg(hide_possible_values = true)]
    pub(crate) quantize: Option<Quantize>,
    /// The tensors that get the type: `default` protects the sensitive ones, `uniform` quantizes every weight, `v0.16` and
    /// `v0.32` decide as these versions of ollama; or a TOML file, for which `longshore policy show` prints a start
    #[arg(long, value_name = "P", default_value = "default", value_parser = offers(candidates::POLICIES, parse_policy))]
    #[arg(hide_possible_values = true)]
    pub(crate) policy: PolicySource,
    /// The choice of codes: `plus` (lower error at the same cost), `best` (searches, for the lowest), `gptq` (integer types: for the
    /// least error of the products that --hessians recorded), `mlx` (the bits of MLX's CPU backend) or `mlx-metal` (those of its
    /// Metal kernels, as their source says)
    #[arg(long, value_name = "F", default_value = "plus", value_parser = offers(candidates::PROFILES, parse_profile))]
    #[arg(hide_possible_values = true)]
    pub(crate) profile: Codes,
    /// What `calibrate --hessians` recorded, for --profile gptq
    #[arg(long, value_name = "FILE", required_if_eq("profile", "gptq"))]
    pub(crate) hessians: Option<PathBuf>,
    /// The same of another text: tensor by tensor, the better codes under it are kept, those of gptq or those of a search
    #[arg(long, value_name = "FILE", requires = "hessians")]
    pub(crate) held: Option<PathBuf>,
    /// Decode what is quantized already, and quantize it once more: it loses twice
    #[arg(long)]
    pub(crate) requantize: bool,
    /// Give nvfp4 tensors a global scale each: lower error, but not every runtime has a slot for it
    #[arg(long)]
    pub(crate) global_scale: bool,
    /// How much each input channel matters to --profile best: a safetensors file with an F32 tensor `[in]` of the mean of x² for
    /// each weight's name (`[experts, in]` for stacked experts)
    #[arg(long, value_name = "FILE")]
    pub(crate) importance: Option<PathBuf>,
    /// Measure what quantization loses, tensor by tensor; `show --tensors` shows it
    #[arg(long)]
    pub(crate) measure: bool,
    /// Quantize tensors that hold infinities or NaNs rather than stop
    #[arg(long)]
    pub(crate) allow_nonfinite: bool,
    /// The checkpoint directory of a draft model or of an EAGLE-3 head, to be stored beside the target: its tensors as
    /// `draft.<tensor>`, its files as `draft/<file>`
    #[arg(long, value_name = "DIR")]
    pub(crate) draft: Option<PathBuf>,
    /// An adapter's directory, LoRA or `DoRA` as PEFT or mlx-lm write it, or a GGUF file of LoRA as llama.cpp has it, to be merged
    /// before anything is quantized; with =WEIGHT what it adds is multiplied by WEIGHT; may be given several times
    #[arg(long, value_name = "DIR[=WEIGHT]", value_parser = OsStringValueParser::new().try_map(parse_adapter))]
    pub(crate) adapter: Vec<MergedAdapter>,
    /// Store the adapter in SOURCE as a model of its own that belongs to this stored model: nothing is merged, and `export` gives
    /// its files back
    #[arg(long, value_name = "BASE", conflicts_with_all = ["quantize", "adapter", "draft", "importance", "measure", "requantize", "global_scale", "rotate", "awq"])]
    pub(crate) adapter_of: Option<ModelName>,
    /// Rotate the residual stream by a Hadamard matrix with signs of this seed: the logits stay the same but for rounding, and outliers
    /// among its channels are spread. Codes gain from that with --profile gptq, by --hessians of the rotated model; neither `embed` nor
    /// an adapter takes such a model. Llama, Mistral, Mixtral, Phi-3, Qwen 2 and 3, and SmolLM3
    #[arg(long, value_name = "SEED")]
    pub(crate) rotate: Option<u64>,
    /// Multiply columns by factors of their inputs before they are rounded, and divide what makes these, as AWQ does: the root of their
    /// mean square to POWER, from 0 to 1 [default: 0.25], by --importance or else --hessians; no adapter takes such a model. Llama,
    /// Mistral, Mixtral, Phi-3, Qwen 2 and 3, Gemma 2 and 3, and SmolLM3
    #[arg(long, value_name = "POWER", num_args = 0..=1, require_equals = true, default_missing_value = "0.25", value_parser = parse_power)]
    pub(crate) awq: Option<f64>,
    /// Follow symbolic links to files outside SOURCE (and outside the hub cache that it is a snapshot of)
    #[arg(long)]
    pub(crate) follow_links: bool,
    /// Threads to use [default: all]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) threads: Option<NonZero<usize>>,
    /// Print what would be stored, and which rule decided each tensor, without reading weights
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The choice of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codes {
    Profile(Profile),
    /// By Hessians; what has none is searched for.
    Gptq,
}

impl Codes {
    pub(crate) fn profile(self) -> Profile {
        match self {
            Self::Profile(profile) => profile,
            Self::Gptq => Profile::Best,
        }
    }
}

/// An adapter to merge, and the factor of what it adds.
#[derive(Debug, Clone)]
pub(crate) struct MergedAdapter {
    pub(crate) dir: PathBuf,
    pub(crate) weight: f64,
}

/// Parses `DIR` or `DIR=WEIGHT`, with a GGUF file in place of a directory too. A path that ends in `=` and a number is meant if it
/// exists.
pub(super) fn parse_adapter(text: OsString) -> Result<MergedAdapter, String> {
    let whole = MergedAdapter { dir: PathBuf::from(text), weight: 1.0 };
    let Some((dir, weight)) = whole.dir.to_str().and_then(|text| text.rsplit_once('=')) else { return Ok(whole) };
    if whole.dir.exists() {
        return Ok(whole);
    }
    match weight.parse::<f64>() {
        Ok(weight) if weight.is_finite() => Ok(MergedAdapter { dir: dir.into(), weight }),
        _ => Err(format!("expected DIR or DIR=WEIGHT, a finite number, found the weight {weight:?}")),
    }
}

fn parse_power(text: &str) -> Result<f64, String> {
    let power = text.parse::<f64>().ok().filter(|power| (0.0..=1.0).contains(power));
    power.ok_or_else(|| format!("expected a number from 0 to 1, found {text:?}"))
}

fn parse_profile(text: &str) -> Result<Codes, String> {
    if text.eq_ignore_ascii_case("gptq") {
        return Ok(Codes::Gptq);
    }
    text.parse()
        .map(Codes::Profile)
        .map_err(|_| format!("expected a profile (plus, best, gptq, mlx or mlx-metal), found {text:?}"))
}
