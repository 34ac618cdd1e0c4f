//! Tests of the public interface on the configurations of many families.

mod config;
mod modules;
mod quantization;
