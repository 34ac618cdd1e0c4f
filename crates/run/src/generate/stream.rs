//! An answer as it comes.

use std::time::Instant;

use super::{
    error::GenerateError,
    options::{GenerateOptions, Generation, Seconds, StopReason},
    prompt::fitting,
};
use crate::{
    session::Session,
    text::{Sampler, StopStrings, TextStream, Tokenizer},
};

/// Continues tokens, and gives the text as it comes. The session may hold tokens already, which the new ones follow.
///
/// ```no_run
/// # use longshore_run::{LoadOptions, Model, generate::*, manifest::weights::Source, text::Tokenizer};
/// let model = Model::open(Source::open("./SmolLM2-135M")?, LoadOptions::default())?;
/// let tokenizer = Tokenizer::open(model.source())?;
/// let mut session = model.session();
/// let prompt = tokenizer.encode_prompt("Once upon a time")?;
/// for piece in generate_stream(&mut session, &tokenizer, &prompt, &GenerateOptions::default())? {
///     print!("{}", piece?.text);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`GenerateError::Prompt`] for a prompt that does not fit, [`GenerateError::Sampler`] for an option that is out of its range. The
/// stream gives the other errors.
pub fn generate_stream<'s, 'm, 't>(
    session: &'s mut Session<'m>,
    tokenizer: &'t Tokenizer,
    prompt: &[u32],
    options: &GenerateOptions,
) -> Result<GenerateStream<'s, 'm, 't>, GenerateError> {
    GenerateStream::new(session, tokenizer, prompt, options)
}

/// A step of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The token that was chosen; `None` for the last piece, which brings text that was held back.
    pub token: Option<u32>,
    /// Text that is complete now. Empty where a character or a stop string may still be cut.
    pub text: String,
}

/// An answer as it comes: an iterator over its pieces, the text of which together is the answer.
#[derive(Debug)]
pub struct GenerateStream<'s, 'm, 't> {
    session: &'s mut Session<'m>,
    writer: Writer<'t>,
    /// Tokens that the model has not seen yet.
    next: Vec<u32>,
    prompt_tokens: usize,
    started: Instant,
    seconds: Seconds,
}

impl<'s, 'm, 't> GenerateStream<'s, 'm, 't> {
    fn new(
        session: &'s mut Session<'m>,
        tokenizer: &'t Tokenizer,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<Self, GenerateError> {
        let before = session.position();
        let kept = if before == 0 && prompt.starts_with(tokenizer.start()) { tokenizer.start().len() } else { 0 };
        let next = fitting(prompt, kept, session.room(), options).map_err(|error| match error {
            GenerateError::Prompt { tokens, limit } => {
                GenerateError::Prompt { tokens: tokens + before, limit: limit + before }
            }
            error => error,
        })?;
        let next = next.into_owned();
        let writer = Writer::new(tokenizer, &next, options)?;
        let (prompt_tokens, seconds) = (next.len(), Seconds::default());
        Ok(Self { session, writer, next, prompt_tokens, started: Instant::now(), seconds })
    }

    /// Runs to the end and returns the whole answer.
    ///
    /// # Errors
    ///
    /// The first error of the stream.
    pub fn finish(mut self) -> Result<Generation, GenerateError> {
        for piece in &mut self {
            piece?;
        }
        Ok(self.into_generation())
    }

    /// Returns the answer as far as it came.
    #[must_use]
    pub fn into_generation(self) -> Generation {
        self.writer.into_generation(self.prompt_tokens, self.seconds)
    }

    /// Reason of the end; `None` before it.
    #[must_use]
    pub fn stop(&self) -> Option<StopReason> {
        self.writer.stop
    }

    fn step(&mut self) -> Result<Piece, GenerateError> {
        let is_first = self.writer.tokens.is_empty();
        let before = Instant::now();
        let logits = self.session.extend(&self.next)?;
        if is_first {
            self.seconds.prefill = before.elapsed().as_secs_f64();
        }
        let piece = self.writer.step(logits)?;
        if is_first {
            self.seconds.first_token = self.started.elapsed().as_secs_f64();
        } else {
            self.seconds.decode += before.elapsed().as_secs_f64();
        }
        self.next.clear();
        self.next.extend(piece.token);
        if self.writer.stop.is_none() && self.session.room() == 0 {
            self.writer.stop = Some(StopReason::Length);
        }
        Ok(piece)
    }
}

impl Iterator for GenerateStream<'_, '_, '_> {
    type Item = Result<Piece, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.writer.stop.is_some() {
            return self.writer.rest().transpose();
        }
        let step = self.step();
        if step.is_err() {
            // A stream that failed is over.
            self.writer.stop = Some(StopReason::Length);
            self.writer.is_done = true;
        }
        Some(step)
    }
}

/// Answer in the making: tokens, their text, and the end.
#[derive(Debug)]
pub(super) struct Writer<'t> {
    tokenizer: &'t Tokenizer,
    sampler: Sampler,
    stream: TextStream<'t>,
    strings: StopStrings,
    max_tokens: usize,
    text: String,
    pub(super) tokens: Vec<u32>,
    pub(super) stop: Option<StopReason>,
    /// Whether the text that was held back is out.
    is_done: bool,
}

impl<'t> Writer<'t> {
    pub(super) fn new(
        tokenizer: &'t Tokenizer,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<Self, GenerateError> {
        let mut sampler = Sampler::new(options.sampler.clone())?;
        sampler.accept(prompt);
        Ok(Self {
            tokenizer,
            sampler,
            stream: tokenizer.stream(),
            strings: StopStrings::new(options.stop.iter().cloned()),
            max_tokens: options.max_tokens,
            text: String::new(),
            tokens: Vec::new(),
            stop: (options.max_tokens == 0).then_some(StopReason::Length),
            is_done: false,
        })
    }

    /// Chooses a token.
    pub(super) fn step(&mut self, logits: &[f32]) -> Result<Piece, GenerateError> {
        let token = self.sampler.sample(logits)?;
        self.accept(token)
    }

    /// Takes a token that was chosen.
    pub(super) fn accept(&mut self, token: u32) -> Result<Piece, GenerateError> {
        if self.tokenizer.is_end(token) {
            self.stop = Some(StopReason::End);
            return Ok(Piece { token: None, text: String::new() });
        }
        self.tokens.push(token);
        let piece = self.stream.push(token)?;
        let released = self.strings.push(&piece);
        self.text.push_str(&released.text);
        if released.stopped {
            (self.stop, self.is_done) = (Some(StopReason::String), true);
        } else if self.tokens.len() >= self.max_tokens {
            self.stop = Some(StopReason::Length);
        }
        Ok(Piece { token: Some(token), text: released.text })
    }

    /// The text that was held back, once the answer is over. `None` if there is none.
    pub(super) fn rest(&mut self) -> Result<Option<Piece>, GenerateError> {
        if std::mem::replace(&mut self.is_done, true) {
            return Ok(None);
        }
        let last = self.stream.finish()?;
        let released = self.strings.push(&last);
        let mut text = released.text;
        if released.stopped {
            self.stop = Some(StopReason::String);
        } else {
            text.push_str(&self.strings.finish());
        }
        self.text.push_str(&text);
        Ok((!text.is_empty()).then_some(Piece { token: None, text }))
    }

    pub(super) fn into_generation(self, prompt_tokens: usize, seconds: Seconds) -> Generation {
        let stop = self.stop.unwrap_or(StopReason::Length);
        Generation { text: self.text, tokens: self.tokens, prompt_tokens, stop, seconds }
    }
}
