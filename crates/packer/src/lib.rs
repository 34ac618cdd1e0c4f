//! Imports model checkpoints into a content-addressed store, and exports them again.
//!
//! An import has two halves. Planning reads headers and configuration, and the scales of 8-bit floats, but no weights.
//! It makes every decision; execution makes none. A plan can therefore be shown, compared with an expected plan, and
//! executed by any number of threads with the same bytes as the result.
//!
//! - [`Source`] is a checkpoint on disk: a directory, a snapshot of a hub cache, or one file. It lists the [`Shard`]s,
//!   the [`SourceTensor`]s in them and the [`Companion`] files, and gives the
//!   [`ModelConfig`](longshore_model::ModelConfig) and the [`Kind`] of the checkpoint.
//! - [`Plan`] says what every [`PlannedBlob`] will hold, and how each [`PlannedTensor`] in it is made. [`PlanReport`]
//!   holds the same for scripts.
//! - [`import`] executes a plan: it reads, stacks, transposes, quantizes, hashes and writes. Its memory is bounded by
//!   the number of threads alone.
//! - [`repair`] builds damaged or missing blobs of stored models again, from their source.
//! - [`expert_groups`](longshore_manifest::document::expert_groups) says where one expert of a stored model lies, in
//!   every projection.
//! - [`export`] reverses an import: a float checkpoint comes back with its original names, types and bytes. Export can
//!   also write the codes unchanged, under the names that mlx-lm has for them.
//!
//! Each of these steps has its own error type, which names the file or tensor: [`SourceError`], [`PlanError`],
//! [`ImportError`], [`ExportError`], [`RepairError`]. [`SourceError::hint`] and [`PlanError::hint`] say what to do
//! next. After any of these errors the store holds the same models as before.
//!
//! The crates whose types are part of this interface are re-exported as [`manifest`], [`quant`] and [`st_format`] and
//! as [`longshore_model`], so that a program needs to depend on this crate alone.
//!
//! ```
//! use std::{collections::BTreeMap, fs};
//!
//! use longshore_manifest::{Silent, Store};
//! use longshore_packer::{ExportOptions, ImportOptions, Plan, PlanOptions, Source, export, import};
//! use longshore_quant::policy::Policy;
//! use longshore_st_format::{Dtype, Layout, Limits, Shape, Writer, open};
//!
//! # let temporary = tempfile::tempdir()?;
//! # let dir = temporary.path();
//! // A checkpoint of one layer with two experts.
//! let checkpoint = dir.join("checkpoint");
//! fs::create_dir(&checkpoint)?;
//! fs::write(checkpoint.join("config.json"), r#"{"architectures": ["TinyForCausalLM"]}"#)?;
//! let names = ["layers.0.mlp.experts.0.up.weight", "layers.0.mlp.experts.1.up.weight"];
//! let layout = Layout::new(&BTreeMap::new(), names.map(|name| (name, Dtype::BF16, Shape::new([2, 64]))))?;
//! let mut writer = Writer::new(fs::File::create(checkpoint.join("model.safetensors"))?, layout)?;
//! writer.write(&[0x3f; 256])?;
//! writer.write(&[0x40; 256])?;
//! writer.finish()?;
//!
//! // The two experts are stored as one tensor of shape [2, 2, 64].
//! let source = Source::open(&checkpoint, &Limits::default())?;
//! let plan = Plan::new(&source, &PlanOptions::new(None, Policy::named("default")?))?;
//! assert_eq!(plan.blobs[0].tensors[0].shape.dims(), [2, 2, 64]);
//! let store = Store::open(dir.join("store"))?;
//! let name = "tiny".parse()?;
//! let imported = import(&store, &name, &source, &plan, &ImportOptions::default(), &Silent)?;
//! assert!(imported.new_bytes > plan.stored_bytes()); // config.json and the table are blobs too
//!
//! // Export writes the two experts as two tensors again.
//! let exported = dir.join("exported");
//! export(&store, &store.model(&name)?, &exported, &ExportOptions::default(), &Silent)?;
//! let before = open(checkpoint.join("model.safetensors"))?;
//! let after = open(exported.join("model.safetensors"))?;
//! for name in names {
//!     assert_eq!(after.tensor(name), before.tensor(name));
//! }
//! assert_eq!(fs::read(exported.join("config.json"))?, fs::read(checkpoint.join("config.json"))?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

// Modules are listed from the ground up: a file imports only from its own module, or from modules above it in this
// list.
mod io;
mod narrow;
mod tensor;
mod transpose;

mod source;

mod model;

mod plan;

mod execute;

mod export;
mod repair;

pub use execute::{
    error::ImportError,
    importance::{ImportanceFile, ImportanceFileError},
    options::{ImportOptions, ImportOutcome},
    read::shards::ReadError,
    sink::{Sink, SinkBlob, SinkImport},
};
pub use export::{
    directory::export,
    error::ExportError,
    mlx::architecture::mlx_architectures,
    options::{ExportFormat, ExportOptions, ExportOutcome},
};
pub use io::data::{Data, OpenData};
pub use longshore_manifest::document::Arrangement;
pub use model::{
    coding::{
        error::CodingError,
        kind::{Coding, PackedLayout},
    },
    experts::error::StackError,
};
pub use plan::{
    error::PlanError,
    options::PlanOptions,
    planned::{Plan, PlannedBlob, PlannedTensor, Unit},
    report::PlanReport,
};
pub use repair::{
    outcome::{RepairError, RepairOptions, RepairOutcome, RepairProblem, Repaired, Unrepaired},
    run::repair,
};
pub use source::{
    checkpoint::Source,
    classify::{Evidence, Kind},
    companions::{Companion, CompanionKind, MAX_COMPANION_BYTES, MAX_COMPANIONS},
    error::SourceError,
    inventory::Inventory,
    member::{Member, MemberRole},
    open::SourceOptions,
};
pub use tensor::{Shard, SourceParts, SourceTensor};

pub use longshore_manifest as manifest;
pub use longshore_model;
pub use longshore_quant as quant;
pub use longshore_st_format as st_format;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
