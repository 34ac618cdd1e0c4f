//! An answer with the help of a draft model.

use std::time::Instant;

use super::{
    error::GenerateError,
    options::{GenerateOptions, Generation, Seconds, StopReason},
    prompt::fitting,
    stream::Writer,
};
use crate::{
    session::Session,
    speculate::{Proposer, Speculation},
    text::Tokenizer,
};

/// Tokens that the draft proposes at a time.
const PROPOSED: usize = 5;

/// An answer, and how much of it the draft model foresaw.
#[derive(Debug, Clone, PartialEq)]
pub struct Drafted {
    /// The answer.
    pub generation: Generation,
    /// Number of tokens that the draft proposed.
    pub proposed: usize,
    /// Number of these that the target would have chosen itself.
    pub accepted: usize,
}

/// Continues tokens like [`generate_stream`](super::generate_stream), where a small model, or a draft head of the target's own, proposes
/// tokens and the target checks several at once. The tokens are those that the target alone would choose. `piece` receives the text as it comes.
///
/// ```no_run
/// # use longshore_run::{LoadOptions, Model, generate::*, manifest::weights::Source, text::Tokenizer};
/// let open = |path| Ok::<_, Box<dyn std::error::Error>>(Model::open(Source::open(path)?, LoadOptions::default())?);
/// let (target, draft) = (open("./SmolLM2-1.7B")?, open("./SmolLM2-135M")?);
/// let tokenizer = Tokenizer::open(target.source())?;
/// let prompt = tokenizer.encode_prompt("One, two, three,")?;
/// let options = GenerateOptions::default();
/// let answer = generate_drafted(target.session(), draft.session(), &tokenizer, &prompt, &options, |text| print!("{text}"))?;
/// println!("\n{} of {} proposed tokens were right", answer.accepted, answer.proposed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`GenerateError::Draft`] for options that are not greedy, [`RunError::Vocabularies`](crate::RunError::Vocabularies) for a draft of
/// another vocabulary, [`RunError::Head`](crate::RunError::Head) for the head of another model, and the errors of [`generate_stream`](super::generate_stream).
pub fn generate_drafted<'d>(
    target: Session<'_>,
    draft: impl Into<Proposer<'d>>,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    options: &GenerateOptions,
    mut piece: impl FnMut(&str),
) -> Result<Drafted, GenerateError> {
    let prompt = fitting(prompt, tokenizer.start().len(), target.room(), options)?;
    let mut speculation = speculation(target, draft, options)?;
    let generation = continue_drafted(&mut speculation, tokenizer, &prompt, options, &mut piece)?;
    let (accepted, proposed) = speculation.acceptance();
    Ok(Drafted { generation, proposed, accepted })
}

/// Pairs a target with its draft, where the options are greedy.
pub(super) fn speculation<'t, 'd>(
    target: Session<'t>,
    draft: impl Into<Proposer<'d>>,
    options: &GenerateOptions,
) -> Result<Speculation<'t, 'd>, GenerateError> {
    if !options.sampler.is_plain() {
        return Err(GenerateError::Draft);
    }
    Ok(Speculation::new(target, draft, PROPOSED)?)
}

/// Continues the tokens of both models by `prompt`, which fits, and by the answer.
pub(super) fn continue_drafted(
    speculation: &mut Speculation<'_, '_>,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    options: &GenerateOptions,
    piece: &mut dyn FnMut(&str),
) -> Result<Generation, GenerateError> {
    let started = Instant::now();
    let mut writer = Writer::new(tokenizer, prompt, options)?;
    let mut seconds = Seconds::default();
    if writer.stop.is_none() {
        let token = speculation.prompt(prompt)?;
        seconds.prefill = started.elapsed().as_secs_f64();
        piece(&writer.accept(token)?.text);
        seconds.first_token = started.elapsed().as_secs_f64();
    }
    let decoding = Instant::now();
    while writer.stop.is_none() {
        if speculation.target().room() == 0 {
            writer.stop = Some(StopReason::Length);
            break;
        }
        for token in speculation.step()? {
            if writer.stop.is_none() {
                piece(&writer.accept(token)?.text);
            }
        }
    }
    seconds.decode = decoding.elapsed().as_secs_f64();
    if let Some(rest) = writer.rest()? {
        piece(&rest.text);
    }
    Ok(writer.into_generation(prompt.len(), seconds))
}
