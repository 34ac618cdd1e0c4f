//! The decoder: one forward pass for all families, by the switches of a [`Spec`](crate::spec::Spec).

mod attention;
mod cache;
mod eagle;
mod ffn;
mod forward;
pub(crate) mod math;
mod mix;
mod rotate;
mod route;
mod state;

pub(crate) use attention::attend;
pub(crate) use cache::Cache;
pub(crate) use eagle::StateNorm;
pub(crate) use state::{Decoder, Features, Hooks, Scratch, Segment, Wanted};
