//! The arguments, and the help that explains them: a file for each group of verbs.

pub(crate) mod experts;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod load;
pub(crate) mod look;
#[cfg(feature = "net")]
pub(crate) mod net;
mod numbers;
pub(crate) mod policy;
#[cfg(feature = "run")]
pub(crate) mod running;
pub(crate) mod shell;
pub(crate) mod target;
pub(crate) mod tend;
pub(crate) mod types;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    Import(import::Import),
    /// List the models in the store
    List,
    Show(look::Show),
    Load(load::Load),
    Verify(tend::Verify),
    Diff(look::Diff),
    Export(export::Export),
    Inspect(look::Inspect),
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
    Copy(tend::Copy),
    Rm(tend::Rm),
    Gc(tend::Gc),
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    #[command(subcommand)]
    Experts(experts::ExpertsVerb),
    #[cfg(feature = "net")]
    Pull(net::PullArgs),
    #[cfg(feature = "net")]
    Push(net::PushArgs),
    #[cfg(feature = "net")]
    Login(net::LoginArgs),
    #[cfg(feature = "net")]
    Logout(net::LogoutArgs),
    #[cfg(feature = "net")]
    Aliases(net::AliasesArgs),
    Completions(shell::Completions),
    Man(shell::Man),
}
