//! The arguments of the verbs that run a model.

use std::{ffi::OsString, num::NonZero, path::PathBuf};

use clap::{
    Args, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use longshore_manifest::{ModelName, NameError};
use longshore_quant::FloatType;
use longshore_run::ExpertMemory;

use super::{
    numbers::{parse_count, parse_size},
    target::{Runnable, Target, parse_runnable, parse_target},
    types::parse_float,
};
use crate::candidates::{self, offers};

/// Continue a prompt with a model, on the CPU
///
/// The prompt is sent as it is: only the token that the tokenizer puts before a text is added. Only what the model writes is printed, as
/// it comes. With --chat, the prompt is a question, and the model's own chat template goes around it.
///
/// A model is a name in the store, or a path: a checkpoint's directory or a .gguf file. It is run from its mapped files, quantized as it
/// is. Without options, tokens are chosen as the model's `generation_config.json` recommends, or else the likeliest each time.
///
/// On a terminal, characters that would move the cursor or change the direction of writing are shown as their numbers; in a pipe and
/// with --json the text is exact.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore run smollm2 'The capital of France is'
  longshore run smollm2 --chat 'Why is the sky blue?' --max-tokens 100
  longshore run ./SmolLM2.Q4_1.gguf < prompt.txt > answer.txt
  longshore run smollm2 'Once upon a time' --temperature 0.8 --seed 7
  longshore run smollm2 'One, two,' --stop five --json
  longshore run qwen3-moe 'Once upon a time' --trace trace.jsonl
  longshore run qwen3-moe 'Once upon a time' --experts 4G")]
pub(crate) struct Run {
    /// The model: a name, a directory or a .gguf file; `./` before a name makes it a path; hf:…, oci:… or ollama:… is pulled first
    #[arg(value_name = "NAME", value_parser = OsStringValueParser::new().try_map(parse_runnable))]
    pub(crate) model: Runnable,
    /// The prompt [default: what stdin holds]
    pub(crate) prompt: Option<String>,
    /// Put the model's chat template around the prompt
    #[arg(long)]
    pub(crate) chat: bool,
    /// Record the experts that each token chooses, those of the prompt too: a new file, for `experts plan --stats` and `experts replay`
    #[arg(long, value_name = "FILE", conflicts_with = "draft")]
    pub(crate) trace: Option<PathBuf>,
    /// A smaller model of the same vocabulary that proposes tokens, or `self` for the EAGLE-3 head that is stored with the model; the
    /// answer is the greedy one of the model itself
    #[arg(long, value_name = "NAME|self", value_parser = OsStringValueParser::new().try_map(parse_draft))]
    pub(crate) draft: Option<Drafting>,
    /// An adapter that was stored with --adapter-of NAME, applied beside the weights
    #[arg(long, value_name = "ADAPTER")]
    pub(crate) adapter: Option<ModelName>,
    #[command(flatten)]
    pub(crate) generation: Generation,
    #[command(flatten)]
    pub(crate) engine: Engine,
}

/// Talk with a model at a terminal
///
/// What you type is a turn, and the answer is printed as it comes; `/exit` or the end of the input ends the conversation. The
/// conversation is in memory only: nothing is written. The model's own chat template makes the prompt; a model without one is for
/// `longshore run`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore chat smollm2
  longshore chat smollm2 --system 'Answer in one sentence.' --temperature 0.7
  longshore chat smollm2:1.7b --draft smollm2   the same answers, sooner")]
pub(crate) struct Chat {
    /// The model: a name, a directory or a .gguf file; `./` before a name makes it a path; hf:…, oci:… or ollama:… is pulled first
    #[arg(value_name = "NAME", value_parser = OsStringValueParser::new().try_map(parse_runnable))]
    pub(crate) model: Runnable,
    /// A turn of the system before all others: how to answer
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// A smaller model of the same vocabulary that proposes tokens, or `self` for the EAGLE-3 head that is stored with the model; the
    /// answers are the greedy ones of the model itself
    #[arg(long, value_name = "NAME|self", value_parser = OsStringValueParser::new().try_map(parse_draft))]
    pub(crate) draft: Option<Drafting>,
    #[command(flatten)]
    pub(crate) generation: Generation,
    #[command(flatten)]
    pub(crate) engine: Engine,
}

/// Turn texts into vectors
///
/// Each text becomes one vector of length 1, so that the product of two says how alike they are. The vectors of a text's tokens are
/// pooled as the model's `1_Pooling/config.json` says; a model without it needs --pooling.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore embed minilm 'A cat sat on the mat.' 'Cats like mats.'
  longshore embed minilm - < sentences.txt      a text a line
  longshore embed qwen3 --pooling last 'A text' --json")]
pub(crate) struct Embed {
    /// The model: a name, a directory or a .gguf file; `./` before a name makes it a path; hf:…, oci:… or ollama:… is pulled first
    #[arg(value_name = "NAME", value_parser = OsStringValueParser::new().try_map(parse_runnable))]
    pub(crate) model: Runnable,
    /// The texts; `-` reads them from stdin, one a line [default: what stdin holds]
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    /// How the vectors of tokens become one: mean, cls (the first) or last
    #[arg(long, value_enum, value_name = "P", hide_possible_values = true)]
    pub(crate) pooling: Option<Pooling>,
    /// Cut texts that are longer than the model reads
    #[arg(long)]
    pub(crate) truncate: bool,
    #[command(flatten)]
    pub(crate) engine: Engine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pooling {
    /// The mean over all tokens
    Mean,
    /// The first token
    Cls,
    /// The last token
    Last,
}

/// Measure how well models predict a text
///
/// For each model: its perplexity (the lower, the better), and against the first model the mean Kullback-Leibler divergence in nats, the
/// share of tokens for which both name the same token first, and the difference of the mean negative log-likelihood with its standard
/// error over windows; beside them, what a weight costs in bits.
///
/// The text is cut into windows of as many tokens, without overlap; the last partial one is dropped. Every token after the first of a
/// window is scored. Models with different vocabularies have a perplexity and nothing to compare.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore perplexity qwen3:4b qwen3:int4 qwen3:int8 --text novel.txt
  longshore perplexity ./SmolLM2.Q4_1.gguf --text novel.txt --window 1024
  longshore perplexity smollm2 --text novel.txt --both   what --fast costs")]
pub(crate) struct Perplexity {
    /// The models; the first is what the others are compared with
    #[arg(required = true, value_name = "NAME", value_parser = OsStringValueParser::new().try_map(parse_runnable))]
    pub(crate) models: Vec<Runnable>,
    /// The text, in UTF-8
    #[arg(long, value_name = "FILE")]
    pub(crate) text: PathBuf,
    /// Tokens of a window
    #[arg(long, value_name = "N", default_value = "512", value_parser = parse_count)]
    pub(crate) window: NonZero<usize>,
    /// Measure the exact path, and the fast one against it
    #[arg(long, conflicts_with_all = ["exact", "fast"])]
    pub(crate) both: bool,
    #[command(flatten)]
    pub(crate) engine: Engine,
}

/// Measure what a model's weights are multiplied by
///
/// Runs a text and writes, for each input channel of every linear layer, the mean of its square: what `import --importance` weighs errors
/// with. Experts are counted apart. With --hessians also the means of all products of two channels, in as many passes over the text as
/// --memory needs.
///
/// With --kv-rank nothing is written: it prints, layer by layer, what would be lost if the projections to keys and values were products
/// of two thin matrices. It is a report; no such model is made, since that needs training. The work for a layer grows with the cube of
/// the keys and values of a token, 8,192 at most (32 heads of 128 numbers): seconds each at 2,048, minutes there. Ctrl-C stops after a layer.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore calibrate qwen3:4b --text novel.txt s.safetensors
  longshore import . q --quantize int4 --profile best --importance s.safetensors
  longshore calibrate q --text t h.safetensors --hessians --layers '*.0.*'
  longshore calibrate q --text novel.txt --kv-rank 128")]
pub(crate) struct Calibrate {
    /// The model: a name, a directory or a .gguf file; `./` before a name makes it a path
    #[arg(value_name = "NAME", value_parser = OsStringValueParser::new().try_map(parse_target))]
    pub(crate) model: Target,
    /// The file to write: a new .safetensors file
    #[arg(required_unless_present = "kv_rank", conflicts_with = "kv_rank")]
    pub(crate) out: Option<PathBuf>,
    /// The text, in UTF-8
    #[arg(long, value_name = "FILE")]
    pub(crate) text: PathBuf,
    /// Means of the products of all pairs of channels, too: [in, in] for each
    #[arg(long)]
    pub(crate) hessians: bool,
    /// Only weights whose name matches have a Hessian
    #[arg(long, value_name = "GLOB", requires = "hessians")]
    pub(crate) layers: Option<String>,
    /// Report what keys and values of this rank lose, in place of writing a file
    #[arg(long, value_name = "R", conflicts_with_all = ["hessians", "layers", "memory"], value_parser = parse_count)]
    pub(crate) kv_rank: Option<NonZero<usize>>,
    /// Memory for Hessians of one pass: 512M, 4G
    #[arg(long, value_name = "SIZE", requires = "hessians", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    #[command(flatten)]
    pub(crate) engine: Engine,
}

/// A proposer of tokens, by its name.
#[derive(Debug, Clone)]
pub(crate) enum Drafting {
    /// A head of the model's own.
    Own,
    Model(Target),
}

/// How a model is run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct Engine {
    /// Compute with activations as they are, in 32 bits
    #[arg(long, conflicts_with = "fast")]
    pub(crate) exact: bool,
    /// Compute with activations in 8 bits where weights are quantized
    #[arg(long)]
    pub(crate) fast: bool,
    /// Threads to use [default: all]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) threads: Option<NonZero<usize>>,
    /// Convert weights that are not quantized to f32, bf16 or f16, in memory
    #[arg(long, value_name = "D", value_parser = offers(candidates::FLOATS, parse_float))]
    #[arg(hide_possible_values = true)]
    pub(crate) dtype: Option<FloatType>,
    /// Keep keys and values in f32 or f16
    #[arg(long, value_enum, value_name = "D", default_value = "f32", hide_possible_values = true)]
    pub(crate) kv_dtype: KvDtype,
    /// Read the weights into memory first, rather than map them
    #[arg(long)]
    pub(crate) no_mmap: bool,
    /// How experts come into memory: `map` reads what is touched, `ahead` asks for whole experts first, 4G is room for those used last
    ///
    /// `auto` is `ahead` where the weights are larger than the memory that is available, and `map` where they are not. A size bounds the
    /// memory of the experts, which are read past the page cache.
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = parse_experts)]
    pub(crate) experts: ExpertMemory,
    /// Longest sequence, in tokens [default: the model's context, or what fits the free memory]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) max_seq: Option<NonZero<usize>>,
    /// Run an unknown architecture as this one, if its tensors fit: nobody has checked that it is right
    #[arg(long = "as", value_name = "ARCHITECTURE")]
    pub(crate) treat_as: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KvDtype {
    /// 32 bits
    F32,
    /// 16 bits
    F16,
}

/// How an answer is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Generation")]
pub(crate) struct Generation {
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value = "256")]
    pub(crate) max_tokens: usize,
    /// Drop the beginning of a prompt that is longer than the context, rather than stop
    #[arg(long)]
    pub(crate) truncate: bool,
    /// 0 takes the likeliest token, 1 draws by the model's probabilities, more is wilder
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub(crate) temperature: Option<f32>,
    /// Draw from the K likeliest tokens; 0 is all
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Draw from the likeliest tokens whose probabilities sum to P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,
    /// Draw from tokens that are at least P times as likely as the likeliest
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,
    /// Make tokens that are there already less likely, by this factor
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub(crate) repetition_penalty: Option<f32>,
    /// Number that draws depend on: the same number, the same text
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) seed: u64,
    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
}

/// `self`, or a model. A path to a directory of that name is `./self`.
fn parse_draft(text: OsString) -> Result<Drafting, NameError> {
    if text == "self" { Ok(Drafting::Own) } else { parse_target(text).map(Drafting::Model) }
}

/// A word, or the size of the slots.
fn parse_experts(text: &str) -> Result<ExpertMemory, String> {
    match text {
        "auto" => Ok(ExpertMemory::Auto),
        "map" => Ok(ExpertMemory::Mapped),
        "ahead" => Ok(ExpertMemory::Ahead),
        size => match parse_size(size) {
            Ok(bytes) => Ok(ExpertMemory::Slots { bytes }),
            Err(_) => Err("expected auto, map, ahead, or a size such as 4G".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_come_by_a_word_or_into_a_size() {
        assert_eq!(parse_experts("auto"), Ok(ExpertMemory::Auto));
        assert_eq!(parse_experts("map"), Ok(ExpertMemory::Mapped));
        assert_eq!(parse_experts("ahead"), Ok(ExpertMemory::Ahead));
        assert_eq!(parse_experts("512M"), Ok(ExpertMemory::Slots { bytes: 512 << 20 }));
        for text in ["", "0", "slots", "-1", "4X"] {
            assert!(parse_experts(text).is_err(), "{text}");
        }
    }
}
