//! Importing and exporting, through the public interface.

mod companions;
mod config;
mod directory;
mod export;
mod failures;
mod import;
mod memory;
mod plan;
<<<<<<< HEAD
mod quantize;
=======
mod quantization;
>>>>>>> 1cac068 (Read what a checkpoint says about weights that are quantized already)
mod round_trip;
mod source;
mod stores;
mod support;
mod tables;
