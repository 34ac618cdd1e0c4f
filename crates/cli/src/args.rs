//! The arguments, and the help that explains them.

pub(crate) mod experts;
#[cfg(feature = "run")]
pub(crate) mod running;
mod size;

use std::{
    ffi::OsString,
    num::NonZero,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use longshore_manifest::{ModelName, NameError, weights::plan::TensorParallel};
use longshore_packer::{ExportOptions, TakeOver};
use longshore_quant::{FloatType, Profile, Scheme, ggml::GgmlType, policy::Policy};

use crate::candidates::{self, offers};

/// Model weights from a published checkpoint to device memory
///
/// Longshore imports a checkpoint (safetensors files as Hugging Face publishes them), quantizes it if asked, and keeps it in a
/// store in which every tensor is one verified file, however many models share it.
#[derive(Debug, Parser)]
#[command(name = "longshore", bin_name = "longshore", version, max_term_width = 100, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  longshore import ./Qwen3-4B qwen3:int4 --quantize int4   quantize and store
  longshore show qwen3:int4                                what it is
  longshore load qwen3:int4                                map it, timed
  longshore export qwen3:int4 ./out --dequantize bf16      for other tools
  longshore run qwen3:int4 'Once upon a time'              its words

Exit status: 0 done; 1 the input is at fault or the answer is no; 2 wrong usage,
or the machine failed; 130 interrupted; 143 ended by SIGTERM.";

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The store's directory [default: `LONGSHORE_STORE`, else `longshore` in the platform's data directory]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) store: Option<PathBuf>,
    /// Print one JSON document on stdout and nothing else
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// No progress and no notes, only data and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// More detail
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) verbose: bool,
    /// Colours: auto (where the output is a terminal and `NO_COLOR` is not set), always or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    #[arg(help_heading = "Global options")]
    pub(crate) color: Color,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Color {
    /// Where the output is a terminal and `NO_COLOR` is not set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    pub(crate) fn write_global(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::AlwaysAnsi,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Import(Import),
    /// List the models in the store
    List,
    Show(Show),
    Load(Load),
    Verify(Verify),
    Diff(Diff),
    Export(Export),
    Inspect(Inspect),
    #[cfg(feature = "run")]
    Run(running::Run),
    #[cfg(feature = "run")]
    Chat(running::Chat),
    #[cfg(feature = "run")]
    Embed(running::Embed),
    #[cfg(feature = "run")]
    Perplexity(running::Perplexity),
    #[cfg(feature = "run")]
    Calibrate(running::Calibrate),
    Copy(Copy),
    Rm(Rm),
    Gc(Gc),
    #[command(subcommand)]
    Policy(PolicyVerb),
    #[command(subcommand)]
    Experts(experts::ExpertsVerb),
    #[cfg(feature = "net")]
    Pull(crate::net_args::PullArgs),
    #[cfg(feature = "net")]
    Push(crate::net_args::PushArgs),
    #[cfg(feature = "net")]
    Login(crate::net_args::LoginArgs),
    #[cfg(feature = "net")]
    Logout(crate::net_args::LogoutArgs),
    #[cfg(feature = "net")]
    Aliases(crate::net_args::AliasesArgs),
    Completions(Completions),
    Man(Man),
}

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
    /// Which tensors get the type: `default` protects the sensitive ones, `uniform` quantizes every weight, `v0.16` and
    /// `v0.32` decide as these versions of ollama; or a TOML file, for which `longshore policy show` prints a start
    #[arg(long, value_name = "P", default_value = "default", value_parser = offers(candidates::POLICIES, parse_policy))]
    #[arg(hide_possible_values = true)]
    pub(crate) policy: PolicySource,
    /// How codes are chosen: `plus` (lower error at the same cost), `best` (searches, for the lowest), `gptq` (integer types: for the
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
    #[arg(long, value_name = "BASE", conflicts_with_all = ["quantize", "adapter", "draft", "importance", "measure", "requantize", "global_scale", "rotate"])]
    pub(crate) adapter_of: Option<ModelName>,
    /// Rotate the residual stream by a Hadamard matrix with signs of this seed: the model computes the same, and outliers among its
    /// channels are spread. Llama, Mistral, Mixtral, Phi-3, Qwen 2 and 3, and SmolLM3
    #[arg(long, value_name = "SEED")]
    pub(crate) rotate: Option<u64>,
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
fn parse_adapter(text: OsString) -> Result<MergedAdapter, String> {
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

/// Say what a model is: architecture, size, schemes, tensors
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The model
    pub(crate) name: ModelName,
    /// List every tensor: type, shape, scheme and blob
    #[arg(long)]
    pub(crate) tensors: bool,
}

/// Load a model and say how fast that was
///
/// A model is a name in the store, or a path: the directory of a checkpoint or of a pipeline, or safetensors files. An argument is a path
/// if it begins with `/`, `./` or `../` or ends in `.safetensors` or `.gguf`, so that `./qwen3` is a directory and `qwen3` a
/// model. Nothing is stored.
///
/// On the host, loading maps every file and copies nothing; the limit that is printed beside it is a plain loop that opens, maps and
/// touches the same files in the same run. As MLX arrays, they are views of the mapped files or of one copy, as MLX takes them, and the
/// limit reads every byte once. What --shard or --experts cuts into pieces, and what --dtype converts, is copied, and so much memory is
/// said before.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The model: a name, a directory, or safetensors files; `./` before a name makes it a path
    #[arg(required = true, value_name = "NAME|DIR|FILE")]
    #[arg(value_parser = OsStringValueParser::new().try_map(parse_target))]
    pub(crate) target: Vec<Target>,
    /// Where to: host, mlx, cuda or cuda:N
    #[arg(long, value_name = "D", default_value = "host", value_parser = offers(candidates::DEVICES, parse_device))]
    #[arg(hide_possible_values = true)]
    pub(crate) device: Device,
    /// Convert to f32, bf16 or f16: floats are cast, codes decoded; integers stay
    #[arg(long, value_name = "D", value_parser = offers(candidates::FLOATS, parse_float))]
    #[arg(hide_possible_values = true)]
    pub(crate) dtype: Option<FloatType>,
    /// Only tensors whose name matches; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Only this component of a pipeline
    #[arg(long, value_name = "C")]
    pub(crate) component: Option<String>,
    /// Only these layers: A up to but without B; what belongs to no layer is left out
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    pub(crate) layers: Option<Range<u64>>,
    /// Experts of each layer to load: A up to but without B
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    pub(crate) experts: Option<Range<u64>>,
    /// Share K, from 1, of N tensor-parallel devices: q, k, v, gate, up, embedding and head by rows, o and down by columns, experts
    /// likewise, all else whole
    #[arg(long, value_name = "K/N", value_parser = parse_share)]
    pub(crate) shard: Option<TensorParallel>,
    /// Hash the blobs that are loaded, in the same pass; files outside of a store have no digest
    #[arg(long)]
    pub(crate) verify: bool,
    /// Load so many times
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_count)]
    pub(crate) repeat: NonZero<usize>,
}

/// Hash blobs again and check that all documents agree
///
/// Without names, the whole store is checked, blobs that no model reaches included. Each bad blob is named with the models that need it.
///
/// With --repair, blobs that are damaged or missing are built again from the checkpoint that the models were imported from, as they
/// were imported, and put in place if they have the digest that they had. The exit status is 0 if nothing bad is left.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Only these models
    pub(crate) names: Vec<ModelName>,
    /// Hash the chunks of large blobs on all cores, and not the blobs as wholes, where the tensor table has the chunks' digests
    ///
    /// Half the work. It trusts the tables: what they say of a blob's chunks is not compared with the blob's own digest.
    #[arg(long, conflicts_with = "repair")]
    pub(crate) fast: bool,
    /// Build bad blobs again from this checkpoint, what was SOURCE at the import; or fetch what is wrong of them from a registry: oci:…
    #[arg(long, value_name = "SOURCE")]
    pub(crate) repair: Option<PathBuf>,
    /// The policy's file, if the import used one that is not built in
    #[arg(long, value_name = "P", requires = "repair", value_parser = offers(candidates::POLICIES, parse_policy))]
    #[arg(hide_possible_values = true)]
    pub(crate) policy: Option<PolicySource>,
    /// The importance file, if the import used one
    #[arg(long, value_name = "FILE", requires = "repair")]
    pub(crate) importance: Option<PathBuf>,
    /// The draft model's checkpoint, if the import used one
    #[arg(long, value_name = "DIR", requires = "repair")]
    pub(crate) draft: Option<PathBuf>,
    /// An adapter that was merged at the import, with its weight; may be given several times
    #[arg(long, value_name = "DIR[=WEIGHT]", requires = "repair")]
    #[arg(value_parser = OsStringValueParser::new().try_map(parse_adapter))]
    pub(crate) adapter: Vec<MergedAdapter>,
    /// Threads that build blobs [default: all]
    #[arg(long, value_name = "N", requires = "repair", value_parser = parse_count)]
    pub(crate) threads: Option<NonZero<usize>>,
    /// Trust the certificates in this file too, in PEM, where SOURCE is a registry's
    #[cfg(feature = "net")]
    #[arg(long, value_name = "FILE", requires = "repair")]
    pub(crate) ca_cert: Option<PathBuf>,
}

/// Compare two models tensor by tensor
///
/// The exit status is 0 where they hold the same tensors and 1 where they differ.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// A model
    pub(crate) a: ModelName,
    /// Another
    pub(crate) b: ModelName,
    /// Compare the values that the tensors stand for, in f32, whatever their types and blobs
    ///
    /// Prints the largest difference of each tensor that differs, and the largest magnitude in A.
    #[arg(long)]
    pub(crate) values: bool,
}

/// Write a model as a directory that other tools load
///
/// As hf, a model without quantized tensors comes out as it went in: names, types and bytes of every tensor, every companion file;
/// only the cut into shards may differ. A quantized one needs --dequantize; config.json then no longer says that it is quantized.
///
/// As mlx, quantized tensors keep their codes, under the names that mlx-lm gives them, and config.json says how they are
/// quantized. This is known for these model types: `llama`, `mistral`, `qwen2`, `qwen3`, `qwen3_moe`, `mixtral`, `gemma3_text`,
/// `gpt_oss`, `deepseek_v3`, `nemotron_h`. Tensors that mlx-lm does without, such as layers that predict further tokens, are left out.
///
/// As gguf, a model that came from GGUF files comes back as they were, byte for byte; with --type its matrices are decoded and encoded
/// as that type, and vectors, norms and routers are F32. A tensor that was taken over into another type, and from which no way leads
/// back, needs --type.
///
/// Blobs are not hashed again: `longshore verify NAME` does that.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore export qwen3:4b ./out                       the checkpoint as it was
  longshore export qwen3:int4 ./out --dequantize bf16   for transformers
  longshore export qwen3:int4 ./out --format mlx        for mlx-lm
  longshore export phi:gguf ./out --format gguf --type q8_0   for llama.cpp")]
pub(crate) struct Export {
    /// The model
    pub(crate) name: ModelName,
    /// The directory to make; it must not exist yet, or be empty
    pub(crate) dir: PathBuf,
    /// Target program: hf for transformers and its like, mlx for mlx-lm, gguf for llama.cpp
    #[arg(long, value_enum, default_value = "hf", hide_possible_values = true)]
    pub(crate) format: ExportFormat,
    /// Decode quantized tensors to f32, bf16 or f16; of hf only
    #[arg(long, value_name = "D", value_parser = offers(candidates::FLOATS, parse_float))]
    #[arg(hide_possible_values = true)]
    pub(crate) dequantize: Option<FloatType>,
    /// Encode every matrix as `q8_0`, `q4_0`, `q4_1`, `q5_0`, `q5_1`, `q4_k`, `q6_k`, f16, bf16 or f32; of gguf only. Without it,
    /// what no type of ggml holds without loss is refused
    #[arg(long = "type", value_name = "T", value_parser = offers(candidates::GGML_TYPES, parse_ggml_type))]
    #[arg(hide_possible_values = true)]
    pub(crate) ggml_type: Option<GgmlType>,
    /// Write no tokenizer into a new GGUF file; of gguf only
    #[arg(long)]
    pub(crate) no_tokenizer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Hugging Face: model.safetensors and the companion files
    Hf,
    /// mlx-lm: the same with codes, scales and biases
    Mlx,
    /// llama.cpp: the GGUF files that it came from, or the same with other types
    Gguf,
}

/// Look into a safetensors or GGUF file or a checkpoint directory, headers only
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A .safetensors file, a .gguf file or a directory
    #[arg(required_unless_present = "architectures")]
    pub(crate) path: Option<PathBuf>,
    /// List the architectures that are known, and what is supported for each
    #[arg(long, conflicts_with = "path")]
    pub(crate) architectures: bool,
}

/// Give a model a second name
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The model
    pub(crate) from: ModelName,
    /// The new name
    pub(crate) to: ModelName,
}

/// Remove names, and the blobs that only they reach
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The names
    #[arg(required = true)]
    pub(crate) names: Vec<ModelName>,
}

/// Delete what no name reaches
///
/// Blobs without a name are what is left where a name was given to another model, or where a removal ran beside an import that needed
/// them and was given up. It runs beside imports and takes nothing from them. Refused while a manifest cannot be read.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only say what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keep what was written or reused less than this ago: 0s, 10m, 1h, 2d. Where several machines share the store over a network,
    /// this protects their imports
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = crate::duration::parse)]
    pub(crate) grace: Duration,
    /// Give up unfinished pulls too, and delete what arrived of them
    #[arg(long)]
    pub(crate) pulls: bool,
}

/// Look at the policies that choose a type for each tensor
///
/// A policy is an ordered list of rules in TOML. The first rule that matches a tensor decides what becomes of it.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// List the built-in policies
    List,
    Show(PolicyShow),
    Fit(PolicyFit),
}

/// Write a policy that spends a budget of bits where they help a model most
///
/// Each tensor that the default policy quantizes gets one of int2 to int8, or is kept, by what it loses of its products with inputs
/// like those that the statistics are of, for each byte that it costs.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore calibrate qwen3:bf16 --text book.txt book.safetensors
  longshore policy fit qwen3:bf16 --bits 4.6 --stats book.safetensors -o fitted.toml
  longshore import ./Qwen3-4B qwen3:fitted --quantize int4 --policy fitted.toml")]
pub(crate) struct PolicyFit {
    /// A stored model of floats
    pub(crate) name: ModelName,
    /// Bits for each parameter of the model, scales and all that is kept included
    #[arg(long, value_name = "B", value_parser = parse_bits)]
    pub(crate) bits: f64,
    /// What `calibrate` recorded of the model, or an importance matrix of llama.cpp
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: PathBuf,
    /// Where to write the policy
    #[arg(short, long, value_name = "POLICY")]
    pub(crate) output: PathBuf,
    /// Threads to use [default: all]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) threads: Option<NonZero<usize>>,
}

/// Print a policy: the TOML to start one's own from
///
/// A file is checked first. Where something is wrong with it, the error says what, and in which line.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore policy show default > mine.toml
  longshore policy show mine.toml      is it a policy?
  longshore import ./Qwen3-4B q --quantize int4 --policy mine.toml --dry-run")]
pub(crate) struct PolicyShow {
    /// default, uniform, v0.16, v0.32, or a TOML file
    #[arg(value_name = "P", value_parser = offers(candidates::POLICIES, parse_policy))]
    #[arg(hide_possible_values = true)]
    pub(crate) policy: PolicySource,
}

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Print the manual page, or a verb's
///
/// For roff: `longshore man | man -l -` shows it, and `longshore man import > longshore-import.1` keeps the page that the first
/// refers to.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The verb whose page to print
    pub(crate) verb: Option<String>,
}

/// Where a policy comes from.
#[derive(Debug, Clone)]
pub(crate) enum PolicySource {
    BuiltIn(Policy),
    File(PathBuf),
}

/// Request of `--quantize`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Quantize {
    /// Floats as they are.
    None,
    /// Blocks of GGUF files in the schemes that hold their values.
    Mlx,
    Scheme(Scheme),
    /// A scheme whose group is named.
    Group(Scheme),
}

impl Quantize {
    pub(crate) fn scheme(self) -> Option<Scheme> {
        match self {
            Self::None | Self::Mlx => None,
            Self::Scheme(scheme) | Self::Group(scheme) => Some(scheme),
        }
    }

    /// The blocks of GGUF files that are taken over.
    pub(crate) fn take_over(self) -> TakeOver {
        match self {
            Self::None | Self::Scheme(_) => TakeOver::Format,
            Self::Group(_) => TakeOver::Scheme,
            Self::Mlx => TakeOver::Every,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    Host,
    Mlx,
    Cuda(u32),
}

pub(crate) fn parse_quantize(text: &str) -> Result<Quantize, longshore_quant::SchemeError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "none" => Ok(Quantize::None),
        "mlx" => Ok(Quantize::Mlx),
        _ if text.contains('-') => text.parse().map(Quantize::Group),
        _ => text.parse().map(Quantize::Scheme),
    }
}

fn parse_ggml_type(text: &str) -> Result<GgmlType, String> {
    let known = ExportOptions::ENCODED_TYPES.into_iter().find(|known| known.name().eq_ignore_ascii_case(text));
    let names = || ExportOptions::ENCODED_TYPES.map(|known| known.name().to_lowercase()).join(", ");
    known.ok_or_else(|| format!("expected one of {}", names()))
}

/// A built-in policy goes before a file of its name; `./default` is the file.
pub(crate) fn parse_policy(text: &str) -> Result<PolicySource, String> {
    let path = Path::new(text);
    match Policy::named(text) {
        Ok(policy) => Ok(PolicySource::BuiltIn(policy)),
        Err(_) if path.extension().is_some_and(|end| end == "toml") || path.is_file() => {
            Ok(PolicySource::File(path.to_owned()))
        }
        Err(error) => Err(format!("{error}; a policy of your own is a TOML file")),
    }
}

fn parse_profile(text: &str) -> Result<Codes, String> {
    if text.eq_ignore_ascii_case("gptq") {
        return Ok(Codes::Gptq);
    }
    text.parse()
        .map(Codes::Profile)
        .map_err(|_| format!("expected a profile (plus, best, gptq, mlx or mlx-metal), found {text:?}"))
}

fn parse_float(text: &str) -> Result<FloatType, String> {
    text.to_ascii_uppercase().parse().map_err(|_| "expected f32, bf16 or f16".into())
}

/// Model to load.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// In the store.
    Name(ModelName),
    /// Anywhere else.
    Path(PathBuf),
}

fn parse_target(text: OsString) -> Result<Target, NameError> {
    let path = Path::new(&text);
    let bytes = text.as_encoded_bytes();
    let separated = |dot: &[u8]| bytes.strip_prefix(dot).is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
    let is_weights = || path.extension().is_some_and(|end| end == "safetensors" || end == "gguf");
    let is_windows = || cfg!(windows) && bytes.contains(&b'\\');
    if path.has_root() || separated(b".") || separated(b"..") || is_weights() || is_windows() {
        return Ok(Target::Path(text.into()));
    }
    text.to_string_lossy().parse().map(Target::Name)
}

/// Model to run: one that is here, or one that is fetched first.
#[cfg(feature = "run")]
#[derive(Debug, Clone)]
pub(crate) struct Runnable {
    /// The text as it was written.
    pub(crate) text: String,
    /// Where it is here; `None` for a reference that can be no name.
    pub(crate) target: Option<Target>,
}

#[cfg(feature = "run")]
fn parse_runnable(text: OsString) -> Result<Runnable, NameError> {
    let shown = text.to_string_lossy().into_owned();
    if ["hf:", "oci:", "ollama:"].iter().any(|kind| shown.starts_with(kind)) {
        // A stored model may be called so all the same.
        let target = shown.parse().ok().map(Target::Name);
        return Ok(Runnable { text: shown, target });
    }
    let target = parse_target(text)?;
    Ok(Runnable { text: shown, target: Some(target) })
}

/// Most numbers of a range.
const MAX_RANGE: u64 = 1 << 20;

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let expected = || "expected A..B, two numbers of which the second is larger, such as 0..4".to_owned();
    let (start, end) = text.split_once("..").ok_or_else(expected)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| expected());
    let range = number(start)?..number(end)?;
    if range.is_empty() {
        return Err(expected());
    }
    if range.end - range.start > MAX_RANGE {
        return Err(format!("expected at most {MAX_RANGE} numbers"));
    }
    Ok(range)
}

fn parse_share(text: &str) -> Result<TensorParallel, String> {
    let expected = || "expected K/N, the share K of N, such as 1/4: K from 1 to N".to_owned();
    let (share, of) = text.split_once('/').ok_or_else(expected)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| expected());
    let (share, of) = (number(share)?, number(of)?);
    if share == 0 || share > of {
        return Err(expected());
    }
    Ok(TensorParallel { rank: share - 1, of })
}

fn parse_bits(text: &str) -> Result<f64, String> {
    let bits: Option<f64> = text.parse().ok();
    bits.filter(|bits| *bits > 0.0 && *bits <= 64.0).ok_or_else(|| "expected bits per weight, such as 4.6".into())
}

fn parse_count(text: &str) -> Result<NonZero<usize>, String> {
    text.parse().map_err(|_| "expected a number from 1".into())
}

fn parse_device(text: &str) -> Result<Device, String> {
    let (kind, ordinal) = text.split_once(':').map_or((text, None), |(kind, ordinal)| (kind, Some(ordinal)));
    match (kind, ordinal) {
        ("host", None) => Ok(Device::Host),
        ("mlx", None) => Ok(Device::Mlx),
        ("cuda", None) => Ok(Device::Cuda(0)),
        ("cuda", Some(ordinal)) => {
            ordinal.parse().map(Device::Cuda).map_err(|_| format!("{ordinal:?} is not the number of a device"))
        }
        _ => Err("expected host, mlx, cuda or cuda:N".into()),
    }
}
