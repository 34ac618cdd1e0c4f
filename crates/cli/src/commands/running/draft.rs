//! A small model that proposes tokens for another.

use longshore_run::{Model, text::Tokenizer};

use super::{answer::Writing, refusals::tokenizing};
use crate::{
    advice::Advice,
    args::running::Generation,
    format::{plural, three_digits, to_f64},
    printer::Printer,
};

/// Refuses a draft model whose tokens are others, and makes the answers greedy. What a model recommends is no reason to refuse: only
/// what was asked for is.
pub(super) fn prepare(model: &Model, draft: &Model, writing: &mut Writing, args: &Generation) -> anyhow::Result<()> {
    let other = Tokenizer::open(draft.source()).map_err(tokenizing)?;
    let (expected, found) = (model.vocabulary(), draft.vocabulary());
    if expected == found && writing.tokenizer.has_same_vocabulary(&other) {
        writing.options.sampler.temperature = args.temperature.unwrap_or(0.0);
        writing.options.sampler.repetition_penalty = args.repetition_penalty.unwrap_or(1.0);
        return Ok(());
    }
    let (name, draft_name) = (model.name(), draft.name());
    let problem = if expected == found {
        format!("the draft {draft_name} has other tokens than {name}")
    } else {
        format!("the draft {draft_name} has {found} tokens, expected the {expected} of {name}")
    };
    Err(Advice::input(problem).hint("a draft is a smaller model of the same family").into())
}

/// Says how many of the proposed tokens were accepted.
pub(super) fn accepted((accepted, proposed): (usize, usize), printer: &Printer) {
    let share = three_digits(100.0 * to_f64(accepted as u64) / to_f64(proposed.max(1) as u64));
    printer.note(&format!("draft: {accepted} of {} accepted ({share} %)", plural(proposed, "proposed token")));
}
