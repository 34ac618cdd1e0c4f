//! The arguments of `load`.

use std::{num::NonZero, ops::Range};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use longshore_manifest::weights::plan::TensorParallel;
use longshore_quant::FloatType;

use super::{
    numbers::parse_count,
    target::{Target, parse_target},
    types::parse_float,
};
use crate::candidates::{self, offers};

/// Load a model and say how fast that was
///
/// A model is a name in the store, or a path: the directory of a checkpoint or of a pipeline, safetensors files, or a GGUF file. An argument is a path
/// if it begins with `/`, `./` or `../` or ends in `.safetensors` or `.gguf`, so that `./qwen3` is a directory and `qwen3` a
/// model. Nothing is stored.
///
/// On the host, loading maps every file and copies nothing; the limit that is printed beside it is a plain loop that opens, maps and
/// touches the same files in the same run. As MLX arrays, they are views of the mapped files or of one copy, as MLX takes them, and the
/// limit reads every byte once. What --shard or --experts cuts into pieces, and what --dtype converts, is copied, and so much memory is
/// said before.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// A name, a directory, safetensors files or a GGUF file; `./` before a name makes it a path
    #[arg(required = true, value_name = "NAME|DIR|FILE")]
    #[arg(value_parser = OsStringValueParser::new().try_map(parse_target))]
    pub(crate) target: Vec<Target>,
    /// Where to: host, mlx, cuda or cuda:N
    #[arg(long, value_name = "D", default_value = "host", value_parser = offers(candidates::DEVICES, parse_device))]
    #[arg(hide_possible_values = true)]
    pub(crate) device: Device,
    /// Convert to f32, bf16 or f16: floats are cast, codes decoded; integers stay
    #[arg(long, value_name = "D", value_parser = offers(candidates::FLOATS, parse_float))]
    #[arg(hide_possible_values = true)]
    pub(crate) dtype: Option<FloatType>,
    /// Only tensors whose name matches; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Only this component of a pipeline
    #[arg(long, value_name = "C")]
    pub(crate) component: Option<String>,
    /// Only these layers: A up to but without B; what belongs to no layer is left out
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    pub(crate) layers: Option<Range<u64>>,
    /// Experts of each layer to load: A up to but without B
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    pub(crate) experts: Option<Range<u64>>,
    /// Share K, from 1, of N tensor-parallel devices: q, k, v, gate, up, embedding and head by rows, o and down by columns, experts
    /// likewise, all else whole
    #[arg(long, value_name = "K/N", value_parser = parse_share)]
    pub(crate) shard: Option<TensorParallel>,
    /// Hash the blobs that are loaded, in the same pass; files outside of a store have no digest
    #[arg(long)]
    pub(crate) verify: bool,
    /// Load so many times
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_count)]
    pub(crate) repeat: NonZero<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    Host,
    Mlx,
    Cuda(u32),
}

fn parse_device(text: &str) -> Result<Device, String> {
    let (kind, ordinal) = text.split_once(':').map_or((text, None), |(kind, ordinal)| (kind, Some(ordinal)));
    match (kind, ordinal) {
        ("host", None) => Ok(Device::Host),
        ("mlx", None) => Ok(Device::Mlx),
        ("cuda", None) => Ok(Device::Cuda(0)),
        ("cuda", Some(ordinal)) => {
            ordinal.parse().map(Device::Cuda).map_err(|_| format!("{ordinal:?} is not the number of a device"))
        }
        _ => Err("expected host, mlx, cuda or cuda:N".into()),
    }
}

/// Most numbers of a range.
const MAX_RANGE: u64 = 1 << 20;

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let expected = || "expected A..B, two numbers of which the second is larger, such as 0..4".to_owned();
    let (start, end) = text.split_once("..").ok_or_else(expected)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| expected());
    let range = number(start)?..number(end)?;
    if range.is_empty() {
        return Err(expected());
    }
    if range.end - range.start > MAX_RANGE {
        return Err(format!("expected at most {MAX_RANGE} numbers"));
    }
    Ok(range)
}

fn parse_share(text: &str) -> Result<TensorParallel, String> {
    let expected = || "expected K/N, the share K of N, such as 1/4: K from 1 to N".to_owned();
    let (share, of) = text.split_once('/').ok_or_else(expected)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| expected());
    let (share, of) = (number(share)?, number(of)?);
    if share == 0 || share > of {
        return Err(expected());
    }
    Ok(TensorParallel { rank: share - 1, of })
}
