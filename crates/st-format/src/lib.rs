//! A strict safetensors layer.
//!
//! A safetensors file is an eight-byte length, a JSON header and the bytes of the tensors. This crate reads headers
//! from untrusted sources, and writes files whose bytes depend on their contents alone.
//!
//! - [`Header`] is a checked header: every range lies inside the file, every length is dtype times shape, and the
//!   ranges cover the data section once. [`Limits`] bounds the cost of parsing.
//! - [`SafeTensors`] is a header together with all bytes of its file: a [`Vec`], a slice, or a memory map made by
//!   [`open`].
//! - [`ShardIndex`] is the `model.safetensors.index.json` of a checkpoint in several files.
//! - [`Layout`] plans a file and [`Writer`] streams it, in bounded memory and with an aligned data section.
//!
//! Every operation has its own error type, which names the fault, the tensor, and what was expected and found:
//! [`HeaderError`], [`IndexError`], [`LayoutError`], [`WriteError`]. [`OpenError`] adds the path of the file, and
//! [`ReadError`] covers an open file without a path. Nothing panics on input.
//!
//! `docs/format.md` has the byte diagrams, and lists each case in which this reader is stricter than the `safetensors`
//! crate.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use longshore_st_format::{Dtype, Layout, SafeTensors, Shape, Writer};
//!
//! let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
//! let layout = Layout::new(
//!     &metadata,
//!     [("bias", Dtype::U8, Shape::new([3])), ("weight", Dtype::F32, Shape::new([2, 1]))],
//! )?;
//! assert_eq!(layout.data_start() % 64, 0);
//!
//! let mut writer = Writer::new(Vec::new(), layout)?;
//! assert_eq!(writer.current().map(|part| part.name), Some("weight")); // wider elements come first
//! writer.write(&[0, 0, 128, 63, 0, 0, 0, 64])?;
//! writer.write(&[7, 8, 9])?;
//! let bytes = writer.finish()?;
//!
//! let file = SafeTensors::new(bytes)?;
//! let bias = file.tensor("bias").expect("it was written above");
//! assert_eq!((bias.dtype, bias.shape.dims(), bias.data), (Dtype::U8, &[3][..], &[7, 8, 9][..]));
//! assert_eq!(file.header().metadata()["format"], "pt");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dtype;
mod file;
mod header;
mod index;
mod layout;
mod limits;
mod map;
mod shape;
mod writer;

/// Deterministic tensors, files and whole checkpoints, for tests only.
#[cfg(feature = "fixtures")]
pub mod fixtures;

pub use dtype::{Dtype, UnknownDtype};
pub use file::{SafeTensors, TensorView};
pub use header::{Header, HeaderError, ReadError, TensorInfo};
pub use index::{IndexError, ShardIndex};
pub use layout::{Layout, LayoutError, LayoutPart};
pub use limits::Limits;
pub use map::{OpenError, open};
pub use shape::{Shape, ShapeError};
pub use writer::{WriteError, Writer};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
