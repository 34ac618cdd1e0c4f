//! Errors of loading and of running.

use longshore_experts::{CacheError, ReadAheadError, RecordError};
use longshore_manifest::weights::{SourceError, WeightsError};
use longshore_quant::matmul::MatmulError;

/// Reason why a model cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The source does not say which architecture the model has.
    #[error("expected the architecture of the model, found none: neither a class nor a model_type is stated")]
    NoArchitecture,
    /// The decoder does not know the architecture, or it is known to need what the decoder does not have.
    #[error("the architecture {architecture:?} cannot be run{because}: expected one of {}", supported.join(", "))]
    Architecture {
        /// Name of the architecture, as the model states it.
        architecture: String,
        /// Reason, with a leading blank, or nothing.
        because: String,
        /// Names of the families that can be run.
        supported: Vec<String>,
    },
    /// The configuration does not state what the decoder needs.
    #[error("the configuration of the model does not state {fact}")]
    Fact {
        /// Name of the fact.
        fact: &'static str,
    },
    /// The configuration states something that the decoder does not have.
    #[error("the model has {what}, which cannot be run")]
    Unsupported {
        /// The fact, in words.
        what: String,
    },
    /// A tensor that the architecture needs is not there.
    #[error("the model has no tensor {}", names.join(" or "))]
    MissingTensor {
        /// Names under which it was looked for.
        names: Vec<String>,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {tensor:?} is {found:?}, expected {expected:?}")]
    Shape {
        /// Name of the tensor.
        tensor: String,
        /// Expected extents.
        expected: Vec<usize>,
        /// Extents of the tensor.
        found: Vec<usize>,
    },
    /// A tensor is stored in a way that cannot be multiplied.
    #[error("tensor {tensor:?} is stored as {found}, which cannot be multiplied as it is")]
    Coding {
        /// Name of the tensor.
        tensor: String,
        /// Dtype or coding.
        found: String,
    },
    /// The codes of a tensor do not fit its shape.
    #[error("tensor {tensor:?} cannot be multiplied: {source}")]
    Product {
        /// Name of the tensor.
        tensor: String,
        /// The error of the product.
        source: MatmulError,
    },
    /// The tensors cannot be opened.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The configuration cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The model has no draft head that can be run.
    #[error("{name} has no EAGLE-3 head, which alone can be run{}", found.as_ref().map_or_else(String::new, |found| format!(": its draft head is {found}")))]
    Head {
        /// Name of the model.
        name: String,
        /// Kind of the head that it has.
        found: Option<String>,
    },
    /// The hidden states of a model with a rotated residual stream were asked for.
    #[error(
        "the residual stream of {name} was rotated when it was imported: only its logits are those of the checkpoint, its hidden states \
         are others"
    )]
    Rotated {
        /// Name of the model.
        name: String,
    },
    /// An adapter cannot be applied to the model.
    #[error("the adapter {name} cannot be applied while the model runs: {problem}")]
    Adapter {
        /// Name of the adapter.
        name: String,
        /// The error.
        problem: String,
    },
    /// Threads cannot be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// Number of threads.
        threads: usize,
        /// The system's error.
        reason: String,
    },
    /// The experts cannot be read ahead, or not be told apart.
    #[error(transparent)]
    Experts(#[from] ReadAheadError),
    /// The experts cannot come into memory as they are asked to.
    #[error("the experts of {name} cannot be fetched as a whole: {reason}")]
    ExpertMemory {
        /// Name of the model, or of a tensor.
        name: String,
        /// Reason, in words.
        reason: String,
    },
    /// The experts cannot be kept in slots.
    #[error("the experts cannot be kept in slots")]
    Slots(#[source] CacheError),
    /// A bound of memory holds not even one expert.
    #[error("the experts may take {budget} bytes of memory, expected at least the {slot} of the largest")]
    Budget {
        /// Bytes that all slots may take.
        budget: u64,
        /// Bytes of a slot.
        slot: u64,
    },
    /// A model of this kind has no operation of that kind.
    #[error("the model {name} is {found}, expected {expected}")]
    Kind {
        /// Name of the model.
        name: String,
        /// Kind of model that the operation needs.
        expected: &'static str,
        /// Kind of the model.
        found: &'static str,
    },
}

/// Reason why tokens cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There are no tokens.
    #[error("expected at least one token, found none")]
    Empty,
    /// A token is not in the vocabulary.
    #[error("token {token} is not in the vocabulary of {vocabulary} tokens")]
    Token {
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// The sequence would become longer than the session allows.
    #[error("the sequence would have {found} tokens, expected at most {limit}")]
    TooLong {
        /// Length that was asked for.
        found: usize,
        /// Longest sequence.
        limit: usize,
    },
    /// A number is infinite or NaN, so that no token would mean anything.
    #[error("{place} gave a number that is not finite")]
    NotFinite {
        /// Layer or module that gave it.
        place: String,
    },
    /// A router chose what cannot be computed. No expert of the batch has been computed.
    #[error(
        "the router of layer {layer} chose expert {expert} with weight {weight} for row {row}: expected one of {experts}, once a row, and a finite weight"
    )]
    Routing {
        /// Number of the layer.
        layer: usize,
        /// Row of the batch.
        row: usize,
        /// Number of the expert.
        expert: usize,
        /// Number of experts.
        experts: usize,
        /// Weight of the expert's result.
        weight: f32,
    },
    /// Experts cannot be brought into memory.
    #[error(transparent)]
    Experts(#[from] CacheError),
    /// The choices of the routers cannot be recorded.
    #[error("the experts that tokens choose cannot be recorded")]
    Record(#[source] RecordError),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// Two models that work together have different vocabularies.
    #[error("the models have vocabularies of {first} and {second} tokens, expected the same")]
    Vocabularies {
        /// Tokens of the first model.
        first: usize,
        /// Tokens of the second model.
        second: usize,
    },
    /// A draft head proposes tokens for its own model only.
    #[error("the draft head belongs to {expected}, and the session to {found}")]
    Head {
        /// Model of the head.
        expected: String,
        /// Model of the session.
        found: String,
    },
    /// Sessions of different models were given to one batch.
    #[error("session {at} of the batch belongs to another model than the first")]
    OtherModel {
        /// Number of the session.
        at: usize,
    },
}
