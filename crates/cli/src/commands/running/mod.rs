//! The verbs that run a model.

mod answer;
mod calibrate;
mod chat;
mod draft;
mod embed;
mod engine;
mod perplexity;
mod read;
mod refusals;
mod run;
mod trace;

pub(super) use calibrate::run as calibrate;
pub(super) use chat::run as chat;
pub(super) use embed::run as embed;
pub(super) use perplexity::run as perplexity;
pub(super) use run::run;
