//! Runs tiny checkpoints, and compares what comes out with what other programs have computed.

mod calibrate;
mod checkpoint;
mod embed;
mod faults;
mod generate;
mod logits;
mod perplexity;
mod sessions;
mod stored;
