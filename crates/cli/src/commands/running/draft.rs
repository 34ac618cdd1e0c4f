//! Proposers of tokens for a model: a smaller one, or a head of its own.

use std::sync::{Arc, atomic::AtomicBool};

use longshore_manifest::Store;
use longshore_run::{Eagle, LoadError, Model, Precision, Proposer, text::Tokenizer};

use super::{answer::Writing, engine, refusals::tokenizing};
use crate::{
    advice::Advice,
    args::running::{Drafting, Engine, Generation},
    errors,
    format::{plural, three_digits, to_f64},
    printer::Printer,
};

/// A proposer of tokens, opened.
pub(super) enum Draft<'m> {
    Head(Box<Eagle<'m>>),
    Model(Box<Model>),
}

impl<'m> Draft<'m> {
    /// Opens what was asked for, and makes the answers greedy.
    pub(super) fn open(
        asked: &Drafting,
        model: &'m Model,
        writing: &mut Writing,
        (generation, engine): (&Generation, &Engine),
        store: impl FnOnce() -> anyhow::Result<Store>,
        printer: &Printer,
    ) -> anyhow::Result<Self> {
        match asked {
            Drafting::Own => {
                let head = Eagle::open(model).map_err(|error| {
                    let advice = Advice::input(errors::text(&error));
                    if matches!(error, LoadError::Head { .. }) {
                        advice.hint("longshore import SOURCE NAME --draft DIR stores an EAGLE-3 head beside the model")
                    } else {
                        advice
                    }
                })?;
                greedy(writing, generation);
                Ok(Self::Head(Box::new(head)))
            }
            Drafting::Model(target) => {
                let draft = engine::open(target, engine, Precision::Fast, store, printer)?;
                prepare(model, &draft, writing, generation)?;
                Ok(Self::Model(Box::new(draft)))
            }
        }
    }

    /// Begins to propose. `cancel` ends it.
    pub(super) fn proposer(&self, cancel: Option<&Arc<AtomicBool>>) -> Proposer<'_> {
        match self {
            Self::Head(head) => Proposer::from(&**head),
            Self::Model(model) => {
                let mut session = model.session();
                if let Some(cancel) = cancel {
                    session.set_cancel(Arc::clone(cancel));
                }
                Proposer::from(session)
            }
        }
    }
}

/// Takes the likeliest tokens. What a model recommends is no reason to refuse: only what was asked for is.
fn greedy(writing: &mut Writing, args: &Generation) {
    writing.options.sampler.temperature = args.temperature.unwrap_or(0.0);
    writing.options.sampler.repetition_penalty = args.repetition_penalty.unwrap_or(1.0);
}

/// Refuses a draft model whose tokens are others, and makes the answers greedy.
fn prepare(model: &Model, draft: &Model, writing: &mut Writing, args: &Generation) -> anyhow::Result<()> {
    let other = Tokenizer::open(draft.source()).map_err(tokenizing)?;
    let (expected, found) = (model.vocabulary(), draft.vocabulary());
    if expected == found && writing.tokenizer.has_same_vocabulary(&other) {
        greedy(writing, args);
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
