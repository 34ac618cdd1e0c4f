//! A strict GGUF layer.
//!
//! A GGUF file is metadata, a table of tensors, and the tensors' bytes. This crate reads the header of a file that may come from
//! anybody, and writes files whose bytes are a function of their contents alone. What it reads it can write again, byte for byte.
//!
//! - [`Header`] is a checked header: whoever holds one knows that every tensor lies inside the file, that it is as long as its type and
//!   dims say, and that tensors and padding cover the data section once. [`Limits`] bounds what parsing may cost.
//! - [`Metadata`] are the pairs of a header, in order. Arrays stay the bytes that they are: a vocabulary of 250,000 strings costs no
//!   more than its bytes.
//! - [`Gguf`] is a header over any bytes: a [`Vec`], a slice, or a memory map made by [`open`].
//! - [`SplitSet`] is a model in several files, opened by any of them.
//! - [`Layout`] plans a file and [`Writer`] streams it, in bounded memory; [`SplitLayout`] plans several.
//!
//! Every operation has an error of its own, which says what, where, expected and found: [`HeaderError`], [`MetadataError`],
//! [`LayoutError`], [`WriteError`], [`SplitError`]; [`OpenError`] and [`ReadError`] add the file. Nothing panics on input.
//!
//! `docs/format.md` lists the files that this reader refuses and llama.cpp or its Python package reads, with reasons.
//!
//! ```
//! use longshore_gguf::{Dims, GgmlType, Gguf, Layout, Metadata, Writer};
//!
//! let mut metadata = Metadata::new();
//! metadata.push("general.architecture", "llama")?;
//! let tensors = [("norm", GgmlType::F32, Dims::new(&[1])?), ("weight", GgmlType::Q8_0, Dims::from_shape(&[2, 32])?)];
//! let layout = Layout::new(metadata, tensors)?;
//!
//! let mut writer = Writer::new(Vec::new(), layout)?;
//! writer.write(&1.0_f32.to_le_bytes())?;
//! assert_eq!(writer.current().map(|tensor| tensor.name()), Some("weight"));
//! writer.write(&[7; 2 * 34])?;
//! let bytes = writer.finish()?;
//!
//! let file = Gguf::new(bytes)?;
//! let weight = file.tensor("weight").expect("it was written above");
//! assert_eq!((weight.ggml_type, weight.dims.as_slice(), weight.data), (GgmlType::Q8_0, &[32, 2][..], &[7; 68][..]));
//! assert_eq!(file.header().metadata().get("general.architecture").and_then(|value| value.as_str()), Some("llama"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod array;
mod dims;
mod file;
mod ggml_type;
mod header;
mod layout;
mod limits;
mod map;
mod metadata;
mod name;
mod split;
mod value;
mod writer;

pub use array::{Array, Elements};
pub use dims::{Dims, DimsError};
pub use file::{Gguf, TensorView};
pub use ggml_type::{GgmlType, UnknownGgmlType};
pub use header::{AlignmentError, Header, HeaderError, Part, ReadError, TensorInfo};
pub use layout::{Layout, LayoutError};
pub use limits::Limits;
pub use map::{OpenError, open, open_with_limits};
pub use metadata::{Element, Metadata, MetadataError};
pub use name::NameError;
pub use split::{
    Member, MemberError, MemberName, MemberNameError, SplitBy, SplitError, SplitKeys, SplitLayout, SplitLayoutError,
    SplitSet,
};
pub use value::{Text, Value, ValueType};
pub use writer::{WriteError, Writer};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
