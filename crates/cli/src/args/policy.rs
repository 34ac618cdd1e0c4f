//! The arguments of `policy`, and a policy as an argument names it.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use longshore_manifest::ModelName;
use longshore_quant::policy::Policy;

use super::numbers::parse_count;
use crate::candidates::{self, offers};

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

/// Where a policy comes from.
#[derive(Debug, Clone)]
pub(crate) enum PolicySource {
    BuiltIn(Policy),
    File(PathBuf),
}

/// A built-in policy goes before a file of its name; `./default` is the file.
pub(super) fn parse_policy(text: &str) -> Result<PolicySource, String> {
    let path = Path::new(text);
    match Policy::named(text) {
        Ok(policy) => Ok(PolicySource::BuiltIn(policy)),
        Err(_) if path.extension().is_some_and(|end| end == "toml") || path.is_file() => {
            Ok(PolicySource::File(path.to_owned()))
        }
        Err(error) => Err(format!("{error}; a policy of your own is a TOML file")),
    }
}

fn parse_bits(text: &str) -> Result<f64, String> {
    let bits: Option<f64> = text.parse().ok();
    bits.filter(|bits| *bits > 0.0 && *bits <= 64.0).ok_or_else(|| "expected bits per weight, such as 4.6".into())
}
