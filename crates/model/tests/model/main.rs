//! Reading the configurations of many families, through the public interface.

mod config;
mod quantization;
