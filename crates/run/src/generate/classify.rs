//! Classification by a language model: which continuation is the likeliest.

use super::error::GenerateError;
use crate::{model::Model, text::Tokenizer};

/// Returns the log-probability, in nats, that a model gives to each of the `labels` as the continuation of a prompt: the sum over the
/// label's tokens. The largest is the model's choice; softmax over them gives the classes' probabilities.
///
/// ```no_run
/// # use longshore_run::{LoadOptions, Model, generate::*, manifest::weights::Source, text::Tokenizer};
/// let model = Model::open(Source::open("./SmolLM2-135M")?, LoadOptions::default())?;
/// let tokenizer = Tokenizer::open(model.source())?;
/// let logits = classify(&model, &tokenizer, "Review: I loved it.\nSentiment:", &[" good", " bad"])?;
/// println!("{}", if logits[0] > logits[1] { "good" } else { "bad" });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`GenerateError`]: [`GenerateError::Empty`] for a label without tokens, too.
pub fn classify<L: AsRef<str>>(
    model: &Model,
    tokenizer: &Tokenizer,
    prompt: &str,
    labels: &[L],
) -> Result<Vec<f64>, GenerateError> {
    let prompt = tokenizer.encode_prompt(prompt)?;
    if prompt.is_empty() {
        return Err(GenerateError::Empty);
    }
    let mut session = model.session();
    if prompt.len() > session.room() {
        return Err(GenerateError::Prompt { tokens: prompt.len(), limit: session.room() });
    }
    let first = session.extend(&prompt)?.to_vec();
    let mut found = Vec::with_capacity(labels.len());
    for label in labels {
        let tokens = tokenizer.encode(label.as_ref())?;
        let (Some(&start), Some((_, before))) = (tokens.first(), tokens.split_last()) else {
            return Err(GenerateError::Empty);
        };
        let mut sum = log_probability(&first, start);
        if !before.is_empty() {
            let mut logits = Vec::new();
            session.extend_all(before, &mut logits)?;
            let rows = logits.chunks_exact(model.vocabulary());
            sum += rows.zip(&tokens[1..]).map(|(row, &token)| log_probability(row, token)).sum::<f64>();
            session.truncate(prompt.len());
        }
        found.push(sum);
    }
    Ok(found)
}

/// Logarithm of the softmax of a token's logit.
fn log_probability(logits: &[f32], token: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - f64::from(most)).exp()).sum();
    let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    f64::from(logit) - f64::from(most) - sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_are_those_of_a_softmax() {
        let logits = [1.0_f32, 2.0, 3.0];
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        for (token, logit) in (0..3).zip(logits) {
            assert!((log_probability(&logits, token) - (f64::from(logit).exp() / sum).ln()).abs() < 1e-12);
        }
        assert!(log_probability(&logits, 3) == f64::NEG_INFINITY);
    }
}
