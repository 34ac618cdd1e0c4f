//! Tests of the public interface on the configurations of many families.

mod config;
mod facts;
mod gguf;
mod modules;
mod quantization;
