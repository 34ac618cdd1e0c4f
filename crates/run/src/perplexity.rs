//! Perplexity: how well a model predicts a text, beside another model's predictions.

use crate::{
    error::RunError,
    model::Model,
    score::{Score, divergence},
    session::Session,
};

/// Bytes of logits that are held at a time, for each model.
const BYTES: usize = 64 << 20;

/// A text in windows that do not overlap. The last partial window is dropped.
#[derive(Debug, Clone, Copy)]
pub struct Windows<'t> {
    /// Tokens of the text, without a token before it.
    pub tokens: &'t [u32],
    /// Token before every window, counted in the window.
    pub bos: Option<u32>,
    /// Number of tokens of a window.
    pub size: usize,
}

/// A model to measure.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// The model.
    pub model: &'a Model,
    /// The text, in the model's tokens.
    pub windows: Windows<'a>,
    /// Number of the model with which this one is compared, among those that are measured. Models of different windows or
    /// vocabularies are not compared.
    pub against: Option<usize>,
}

/// Result of a measurement.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Quality {
    /// Number of tokens that were scored: all but the first of each window.
    pub tokens: usize,
    /// Sums of each window, in their order. Two models' of the same windows give a paired difference.
    pub windows: Vec<Scored>,
    /// Mean of the negative logarithm of the tokens' probabilities.
    pub nll: f64,
    /// Standard error of the mean, over windows.
    pub standard_error: f64,
    /// e to the power of the mean.
    pub perplexity: f64,
    /// Comparison with another model.
    pub comparison: Option<Comparison>,
}

/// Sum over the tokens of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Scored {
    /// Sum of the negative logarithms of the tokens' probabilities.
    pub nll: f64,
    /// Number of tokens that were scored.
    pub tokens: usize,
}

/// Comparison of two models on the same tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// Mean of the Kullback-Leibler divergence of this model's predictions from the other's, in nats.
    pub kl: f64,
    /// Share of tokens for which both models hold the same token for the likeliest.
    pub top1: f64,
    /// Mean difference of the negative logarithms: above 0, this model predicts worse.
    pub delta_nll: f64,
    /// Standard error of the difference, over windows.
    pub delta_standard_error: f64,
}

impl Windows<'_> {
    /// Number of whole windows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tokens.len().checked_div(self.text_tokens()).unwrap_or(0)
    }

    /// Tokens of a window, the one before it included.
    #[must_use]
    pub fn get(&self, at: usize) -> Vec<u32> {
        let text = self.text_tokens();
        self.bos.into_iter().chain(self.tokens[at * text..(at + 1) * text].iter().copied()).collect()
    }

    fn text_tokens(&self) -> usize {
        self.size.saturating_sub(usize::from(self.bos.is_some()))
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.tokens, self.bos, self.size) == (other.tokens, other.bos, other.size)
    }
}

/// Measures models on their windows, all of them window by window, so that no logits are kept. `progress` hears of the tokens
/// that were scored and of their whole number.
///
/// # Errors
///
/// [`RunError::Empty`] for a text that fills no window or windows of fewer than two tokens, and the errors of
/// [`Session::extend`].
pub fn perplexity(measured: &[Measured<'_>], progress: &mut dyn FnMut(usize, usize)) -> Result<Vec<Quality>, RunError> {
    let all: usize = measured.iter().map(|one| one.windows.count() * one.windows.size.saturating_sub(1)).sum();
    let count = measured.iter().map(|one| one.windows.count()).max().unwrap_or(0);
    if measured.iter().any(|one| one.windows.count() == 0 || one.windows.size < 2) {
        return Err(RunError::Empty);
    }
    let mut runs: Vec<Run<'_>> = measured.iter().map(Run::new).collect();
    let mut done = 0;
    for window in 0..count {
        let pairs: Vec<Option<usize>> = measured.iter().map(|one| comparable(measured, one)).collect();
        for run in runs.iter_mut().filter(|run| window < run.measured.windows.count()) {
            run.start(window);
        }
        let largest = runs.iter().map(|run| run.tokens.len()).max().unwrap_or(0);
        let rows = runs.iter().map(Run::rows).min().unwrap_or(1);
        for start in (0..largest.saturating_sub(1)).step_by(rows) {
            for run in &mut runs {
                done += run.score(start, rows)?;
            }
            for (at, other) in pairs.iter().enumerate() {
                let Some(other) = other else { continue };
                let compared = compare(&runs[at], &runs[*other]);
                runs[at].add(compared);
            }
            progress(done, all);
        }
        runs.iter_mut().for_each(Run::end);
    }
    Ok(runs.iter().map(Run::quality).collect())
}

/// The model that one is compared with, if they may be compared.
fn comparable(measured: &[Measured<'_>], one: &Measured<'_>) -> Option<usize> {
    let at = one.against?;
    let other = measured.get(at)?;
    (one.windows.is_same(&other.windows) && one.model.vocabulary() == other.model.vocabulary()).then_some(at)
}

/// Measurement of one model.
#[derive(Debug)]
struct Run<'a> {
    measured: &'a Measured<'a>,
    session: Session<'a>,
    /// Tokens of the window.
    tokens: Vec<u32>,
    /// Logits of the block, and for each of its rows the score and the negative logarithm of the token's probability.
    logits: Vec<f32>,
    block: Vec<(Score, f64)>,
    /// Sums of the window.
    nll: f64,
    delta: f64,
    /// Sums of all windows so far.
    nlls: Vec<Scored>,
    deltas: Vec<Scored>,
    kl: f64,
    agreed: usize,
    compared: usize,
    is_compared: bool,
}

impl<'a> Run<'a> {
    fn new(measured: &'a Measured<'a>) -> Self {
        Self {
            measured,
            session: measured.model.session(),
            tokens: Vec::new(),
            logits: Vec::new(),
            block: Vec::new(),
            nll: 0.0,
            delta: 0.0,
            nlls: Vec::new(),
            deltas: Vec::new(),
            kl: 0.0,
            agreed: 0,
            compared: 0,
            is_compared: false,
        }
    }

    /// Rows of logits that are held at a time.
    fn rows(&self) -> usize {
        (BYTES / 4 / self.measured.model.vocabulary().max(1)).clamp(1, 256)
    }

    fn start(&mut self, window: usize) {
        self.session.truncate(0);
        self.tokens = self.measured.windows.get(window);
        (self.nll, self.delta) = (0.0, 0.0);
    }

    /// Scores the tokens that follow `rows` tokens from `start` on, and returns their number.
    fn score(&mut self, start: usize, rows: usize) -> Result<usize, RunError> {
        let end = (start + rows).min(self.tokens.len().saturating_sub(1));
        self.logits.clear();
        self.block.clear();
        if start >= end {
            return Ok(0);
        }
        self.session.extend_all(&self.tokens[start..end], &mut self.logits)?;
        let vocabulary = self.measured.model.vocabulary();
        let targets = &self.tokens[start + 1..=end];
        let logits = &self.logits;
        self.block.resize(targets.len(), (Score::default(), 0.0));
        self.measured.model.threads().each_chunk(&mut self.block, 1, |at, row| {
            let logits = &logits[at * vocabulary..][..vocabulary];
            let score = Score::new(logits);
            row[0] = (score, score.nll(logits[targets[at] as usize]));
        });
        self.nll += self.block.iter().map(|(_, nll)| nll).sum::<f64>();
        Ok(end - start)
    }

    fn add(&mut self, (kl, agreed, delta): (f64, usize, f64)) {
        self.is_compared = true;
        self.kl += kl;
        self.agreed += agreed;
        self.compared += self.block.len();
        self.delta += delta;
    }

    /// Ends the window, if there is one.
    fn end(&mut self) {
        if self.tokens.is_empty() {
            return;
        }
        let tokens = self.tokens.len() - 1;
        self.nlls.push(Scored { nll: self.nll, tokens });
        self.deltas.push(Scored { nll: self.delta, tokens });
        self.tokens.clear();
    }

    fn quality(&self) -> Quality {
        let (nll, standard_error) = mean(&self.nlls);
        let (delta_nll, delta_standard_error) = mean(&self.deltas);
        let count = self.compared.max(1) as f64;
        let comparison = self.is_compared.then(|| Comparison {
            kl: self.kl / count,
            top1: self.agreed as f64 / count,
            delta_nll,
            delta_standard_error,
        });
        let tokens = self.nlls.iter().map(|window| window.tokens).sum();
        Quality { tokens, windows: self.nlls.clone(), nll, standard_error, perplexity: nll.exp(), comparison }
    }
}

/// Divergence, agreements and difference of the negative logarithms, summed over the block of both runs.
fn compare(run: &Run<'_>, other: &Run<'_>) -> (f64, usize, f64) {
    let vocabulary = run.measured.model.vocabulary();
    let runs = [run, other].map(|run| (&run.logits, &run.block));
    let mut divergences = vec![0.0; run.block.len().min(other.block.len())];
    run.measured.model.threads().each_chunk(&mut divergences, 1, |at, found| {
        let [one, other] = runs.map(|(logits, block)| (&logits[at * vocabulary..][..vocabulary], block[at].0));
        found[0] = divergence(other, one);
    });
    let both = || run.block.iter().zip(&other.block);
    let agreed = both().filter(|((one, _), (other, _))| one.agrees(other)).count();
    let delta = both().map(|((_, found), (_, expected))| found - expected).sum();
    (divergences.into_iter().sum(), agreed, delta)
}

/// Index of the largest logit. Of equal ones, the first counts.
#[must_use]
pub fn argmax(logits: &[f32]) -> u32 {
    // In two passes, each of which compilers make vectors of.
    let most = logits.iter().fold(f32::NEG_INFINITY, |most, logit| if *logit > most { *logit } else { most });
    let place = logits.iter().position(|logit| *logit >= most);
    u32::try_from(place.unwrap_or(0)).expect("a vocabulary has fewer tokens")
}

/// Mean over all tokens, and its standard error over windows, of sums over windows with their numbers of tokens.
fn mean(windows: &[Scored]) -> (f64, f64) {
    let tokens: usize = windows.iter().map(|window| window.tokens).sum();
    let mean = windows.iter().map(|window| window.nll).sum::<f64>() / tokens.max(1) as f64;
    let count = windows.len() as f64;
    let squares: f64 = windows.iter().map(|window| (window.nll / window.tokens as f64 - mean).powi(2)).sum();
    let error = if windows.len() > 1 { (squares / (count - 1.0) / count).sqrt() } else { f64::NAN };
    (mean, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_do_not_overlap_and_count_the_token_before() {
        let tokens: Vec<u32> = (0..11).collect();
        let windows = Windows { tokens: &tokens, bos: Some(99), size: 4 };
        assert_eq!(windows.count(), 3);
        assert_eq!(windows.get(1), [99, 3, 4, 5]);
        let windows = Windows { tokens: &tokens, bos: None, size: 4 };
        assert_eq!((windows.count(), windows.get(1)), (2, vec![4, 5, 6, 7]));
        assert_eq!(Windows { tokens: &tokens, bos: Some(1), size: 1 }.count(), 0);
    }

    #[test]
    fn of_equal_logits_the_first_is_the_largest() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
    }

    #[test]
    fn a_standard_error_is_over_windows() {
        let (found, error) = mean(&[2.0, 6.0, 4.0].map(|nll| Scored { nll, tokens: 2 }));
        assert!((found - 2.0).abs() < 1e-12 && (error - (1.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!(mean(&[Scored { nll: 1.0, tokens: 1 }]).1.is_nan());
    }
}
