//! Options of answers, and the model's own.

use longshore_run::{
    Model,
    generate::{GenerateOptions, Generation, StopReason},
    text::{SamplerOptions, Tokenizer},
};

use super::refusals::{generating, tokenizing};
use crate::{
    args::running,
    format::{plural, seconds, three_digits},
    printer::Printer,
};

/// A model that writes: with its tokenizer, and how it does.
pub(super) struct Writing {
    pub(super) tokenizer: Tokenizer,
    pub(super) options: GenerateOptions,
}

impl Writing {
    /// Reads the tokenizer, and the options: those that were given, and else those that the model recommends.
    pub(super) fn of(model: &Model, args: &running::Generation) -> anyhow::Result<Self> {
        let tokenizer = Tokenizer::open(model.source()).map_err(tokenizing)?;
        let recommended = SamplerOptions::recommended(model.source()).map_err(|error| tokenizing(error.into()))?;
        let sampler = SamplerOptions {
            temperature: args.temperature.unwrap_or(recommended.temperature),
            top_k: args.top_k.unwrap_or(recommended.top_k),
            top_p: args.top_p.unwrap_or(recommended.top_p),
            min_p: args.min_p.unwrap_or(recommended.min_p),
            repetition_penalty: args.repetition_penalty.unwrap_or(recommended.repetition_penalty),
            seed: args.seed,
        };
        let options =
            GenerateOptions { max_tokens: args.max_tokens, sampler, stop: args.stop.clone(), truncate: args.truncate };
        // A number out of range is told before a long prompt is read.
        longshore_run::text::Sampler::new(options.sampler.clone()).map_err(|error| generating(error.into()))?;
        Ok(Self { tokenizer, options })
    }
}

/// Says how fast an answer came, with --verbose.
pub(super) fn timings(answer: &Generation, printer: &Printer) {
    if !printer.is_verbose() {
        return;
    }
    let rate = |tokens: usize, time: f64| three_digits(per_second(tokens, time));
    let (first, later) = (answer.prompt_tokens, answer.tokens.len().saturating_sub(1));
    let end = match answer.stop {
        StopReason::End => "the model ended",
        StopReason::String => "a stop string appeared",
        _ => "the length was reached",
    };
    printer.note(&format!(
        "{} in {} ({} a second), {} in {} ({} a second); {end}",
        plural(first, "prompt token"),
        seconds(answer.seconds.prefill),
        rate(first, answer.seconds.prefill),
        plural(answer.tokens.len(), "token"),
        seconds(answer.seconds.decode),
        rate(later, answer.seconds.decode),
    ));
}

/// Tokens a second.
fn per_second(tokens: usize, time: f64) -> f64 {
    crate::format::to_f64(tokens as u64) / time.max(1e-9)
}
