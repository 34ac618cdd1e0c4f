//! The arguments of `experts`.

use std::path::PathBuf;

use clap::{
    Args, Subcommand,
    builder::{OsStringValueParser, TypedValueParser as _},
};

use super::{
    numbers::parse_size,
    target::{Target, parse_target},
};

/// Say which experts of a model belong where, and try a cache on a recorded routing
///
/// A token of a mixture of experts uses a few experts of each layer. Those that are used most belong in the fastest memory that is left
/// once what every token uses is there.
#[derive(Debug, Subcommand)]
pub(crate) enum ExpertsVerb {
    Plan(ExpertsPlan),
    Replay(ExpertsReplay),
}

/// Say which experts belong on a device, in host memory and on the disk
///
/// What every token uses (attention, embeddings, shared experts, routers) lies on the device, or in host memory where there is none, and
/// counts against its budget. With --stats, each memory takes the experts that were chosen most often among those that are left and fit;
/// ties go to the lower layer, then to the lower number. Without, whole layers are taken from the last.
///
/// Nothing is loaded: only tables and headers are read.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore experts plan qwen3-moe:int4 --device-budget 12G
  longshore experts plan ./Qwen3-30B-A3B.gguf --host-budget 8G
  longshore experts plan qwen3-moe:int4 --device-budget 12G --stats trace.jsonl")]
pub(crate) struct ExpertsPlan {
    /// The model: a name, a directory, or a .safetensors or .gguf file; `./` before a name makes it a path
    #[arg(value_name = "NAME", value_parser = OsStringValueParser::new().try_map(parse_target))]
    pub(crate) model: Target,
    /// Memory of the device, such as 512M or 20GiB [default: no device]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) device_budget: Option<u64>,
    /// Memory of the host [default: as much as is needed]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) host_budget: Option<u64>,
    /// A recorded routing of this model, whose choices are counted
    #[arg(long, value_name = "TRACE")]
    pub(crate) stats: Option<PathBuf>,
}

/// Try a cache of experts on a recorded routing
///
/// The first tokens give the counts, and the rest is replayed. The pinned slots hold the experts that were chosen most often; the other
/// slots hold those that were used last.
///
/// TRACE is JSON lines: first `{"version":1,"layers":[0,1],"experts":64,"top_k":6}`, then a line for each token, with a list for each
/// of these layers of the experts that the token chose, in order of their weight.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore experts replay trace.jsonl --slots 512
  longshore experts replay trace.jsonl --slots 512 --pinned 0.75 --json")]
pub(crate) struct ExpertsReplay {
    /// The recorded routing
    pub(crate) trace: PathBuf,
    /// Number of experts that the cache holds, of all layers together
    #[arg(long, value_name = "N")]
    pub(crate) slots: usize,
    /// Share of the slots that are pinned, from 0 to 1
    #[arg(long, value_name = "F", default_value = "0.5", value_parser = parse_part)]
    pub(crate) pinned: f64,
    /// Share of the tokens that give the counts, from 0 to 1
    #[arg(long, value_name = "F", default_value = "0.5", value_parser = parse_part)]
    pub(crate) warm: f64,
}

fn parse_part(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a number from 0 to 1, such as 0.75".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_from_0_to_1() {
        for (text, part) in [("0", 0.0), ("1", 1.0), ("0.75", 0.75)] {
            assert_eq!(parse_part(text), Ok(part), "{text}");
        }
        for text in ["", "-0.1", "1.01", "NaN", "inf", "50%"] {
            assert!(parse_part(text).is_err(), "{text}");
        }
    }
}
