//! Answers to several prompts at once.

use std::time::Instant;

use super::{
    error::GenerateError,
    options::{GenerateOptions, Generation, Seconds},
    prompt::fitting,
    stream::Writer,
};
use crate::{
    model::Model,
    session::{Session, extend_batch},
    text::Tokenizer,
};

/// Continues several prompts together, so that each weight is read once for a token of all of them. At most `concurrent` of them are
/// run at once, which bounds the memory of their keys and values. Each answer is what [`generate`](super::generate) gives for its
/// prompt, on the exact path.
///
/// ```no_run
/// # use longshore_run::{LoadOptions, Model, generate::*, manifest::weights::Source, text::Tokenizer};
/// let model = Model::open(Source::open("./SmolLM2-135M")?, LoadOptions::default())?;
/// let tokenizer = Tokenizer::open(model.source())?;
/// let prompts = ["One, two,", "Red, green,", "Monday, Tuesday,"];
/// for answer in generate_batch(&model, &tokenizer, &prompts, 8, &GenerateOptions::default())? {
///     println!("{}", answer.text);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`GenerateError`], of the first prompt that fails.
pub fn generate_batch<P: AsRef<str>>(
    model: &Model,
    tokenizer: &Tokenizer,
    prompts: &[P],
    concurrent: usize,
    options: &GenerateOptions,
) -> Result<Vec<Generation>, GenerateError> {
    let mut answers = Vec::with_capacity(prompts.len());
    for prompts in prompts.chunks(concurrent.max(1)) {
        let mut runs = prompts
            .iter()
            .map(|prompt| Run::start(model, tokenizer, prompt.as_ref(), options))
            .collect::<Result<Vec<_>, _>>()?;
        while step(&mut runs, model.vocabulary())? {}
        for run in runs {
            answers.push(run.finish()?);
        }
    }
    Ok(answers)
}

/// An answer that is being written.
struct Run<'m, 't> {
    session: Session<'m>,
    writer: Writer<'t>,
    /// The last token, which the model has not seen yet.
    token: Option<u32>,
    prompt_tokens: usize,
    seconds: Seconds,
}

impl<'m, 't> Run<'m, 't> {
    /// Runs the prompt and chooses the first token.
    fn start(
        model: &'m Model,
        tokenizer: &'t Tokenizer,
        prompt: &str,
        options: &GenerateOptions,
    ) -> Result<Self, GenerateError> {
        let started = Instant::now();
        let mut session = model.session();
        let tokens = tokenizer.encode_prompt(prompt)?;
        let tokens = fitting(&tokens, tokenizer.start().len(), session.room(), options)?;
        let mut writer = Writer::new(tokenizer, &tokens, options)?;
        let mut token = None;
        let mut seconds = Seconds::default();
        if writer.stop.is_none() {
            let logits = session.extend(&tokens)?;
            seconds.prefill = started.elapsed().as_secs_f64();
            token = writer.step(logits)?.token;
            seconds.first_token = started.elapsed().as_secs_f64();
        }
        Ok(Self { session, writer, token, prompt_tokens: tokens.len(), seconds })
    }

    fn is_running(&self) -> bool {
        self.writer.stop.is_none() && self.session.room() > 0
    }

    fn finish(mut self) -> Result<Generation, GenerateError> {
        self.writer.rest()?;
        Ok(self.writer.into_generation(self.prompt_tokens, self.seconds))
    }
}

/// Writes a token of each answer that is not over. Returns whether there was one.
fn step(runs: &mut [Run<'_, '_>], vocabulary: usize) -> Result<bool, GenerateError> {
    let started = Instant::now();
    let mut running: Vec<_> = runs.iter_mut().filter(|run| run.is_running()).collect();
    if running.is_empty() {
        return Ok(false);
    }
    let tokens: Vec<[u32; 1]> = running.iter().map(|run| [run.token.unwrap_or_default()]).collect();
    let mut sessions: Vec<_> =
        running.iter_mut().zip(&tokens).map(|(run, token)| (&mut run.session, &token[..])).collect();
    let logits = extend_batch(&mut sessions)?;
    for (run, logits) in running.iter_mut().zip(logits.chunks_exact(vocabulary)) {
        run.token = run.writer.step(logits)?.token;
        run.seconds.decode += started.elapsed().as_secs_f64();
    }
    Ok(true)
}
