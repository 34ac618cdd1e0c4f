//! Writing a planned tensor into its blob: copied, quantized, or with the codes of the source.

pub(super) mod blob;
mod blocks;
mod copy;
mod finite;
mod gptq;
mod groups;
mod in_turn;
mod quantize;
mod quantizer;
mod repack;
mod target;
mod transposed;
