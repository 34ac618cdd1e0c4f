//! Runs tiny checkpoints, and compares what comes out with what other programs have computed.

#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the numbers of a test are small")]

mod adapter;
mod calibrate;
mod checkpoint;
mod classifier;
mod eagle;
mod embed;
mod experts;
mod faults;
mod generate;
mod logits;
mod perplexity;
mod rotated;
mod scaled;
mod sessions;
mod stored;
