//! Imports model checkpoints into a content-addressed store, and exports them again.
//!
//! An import has two halves. Planning reads headers and configuration, and the scales of 8-bit floats, but no weights.
//! It makes every decision; execution makes none. A plan can therefore be shown, compared with an expected plan, and
//! executed by any number of threads with the same bytes as the result.
//!
//! - [`Source`] is a checkpoint: a directory, a snapshot of a hub cache, one file, or shards that any other [`Data`] holds. It lists the [`Shard`]s,
//!   the [`SourceTensor`]s in them and the [`Companion`] files, and gives the
//!   [`ModelConfig`](longshore_model::ModelConfig) and the [`Kind`] of the checkpoint.
//! - [`Plan`] says what every [`PlannedBlob`] will hold, and how each [`PlannedTensor`] in it is made. [`PlanReport`]
//!   holds the same for scripts.
//! - [`Plan::import`] executes a plan: it reads, stacks, transposes, quantizes, hashes and writes into a [`Sink`], which a
//!   store is. Its memory is bounded by the number of threads alone.
//! - [`repair`] builds damaged or missing blobs of stored models again, from their source.
//! - [`expert_groups`](longshore_manifest::document::expert_groups) says where one expert of a stored model lies, in
//!   every projection.
//! - [`gguf_metadata`] makes the metadata of a GGUF file of a model's facts and of the files of its tokenizer.
//! - [`export`] reverses an import: a float checkpoint comes back with its original names, types and bytes. Export can
//!   also write the codes unchanged, under the names that mlx-lm has for them, and make GGUF files.
//!
//! Each of these steps has its own error type, which names the file or tensor: [`SourceError`], [`PlanError`],
//! [`ImportError`], [`ExportError`], [`RepairError`], [`GgufMetadataError`]. [`SourceError::hint`] and [`PlanError::hint`] say what to do
//! next. After any of these errors the store holds the same models as before.
//!
//! The crates whose types are part of this interface are re-exported as [`manifest`], [`quant`] and [`st_format`] and
//! as [`longshore_model`] and [`longshore_gguf`], so that a program needs to depend on this crate alone.
//!
//! ```no_run
//! use longshore_packer::{
//!     ExportFormat, ExportOptions, ImportOptions, Plan, PlanOptions, Source, export,
//!     manifest::{Silent, Store},
//!     st_format::Limits,
//! };
//!
//! let source = Source::open("Qwen3-30B-A3B".as_ref(), &Limits::default())?;
//! let plan = Plan::new(source, &PlanOptions { scheme: "int4".parse().ok(), ..Default::default() })?;
//! let (store, name) = (Store::open("models")?, "qwen3-30b-a3b:int4".parse()?);
//! let imported = plan.import(&store, &name, &ImportOptions::default(), &Silent)?;
//! println!("{}: {} new bytes of {}", imported.digest, imported.new_bytes, plan.stored_bytes());
//! let options = ExportOptions { format: ExportFormat::Mlx, ..Default::default() };
//! export(&store, &store.model(&name)?, "for-mlx".as_ref(), &options, &Silent)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

// Modules are listed from the ground up: a file imports only from its own module, or from modules above it in this
// list.
mod attachment;
mod gguf;
mod heads;
mod io;
mod narrow;
mod tensor;
mod transpose;

mod source;

mod statistics;

mod model;

mod plan;

mod execute;

mod export;
mod fit;
mod open;
mod repair;

pub use execute::{
    error::ImportError,
    hessians::{HessianFile, HessianFileError},
    options::{GptqOptions, ImportOptions, ImportOutcome},
    read::shards::ReadError,
    sink::{Sink, SinkBlob, SinkImport},
};
pub use export::{
    directory::export,
    error::ExportError,
    mlx::architecture::mlx_architectures,
    options::{ExportFormat, ExportOptions, ExportOutcome},
};
pub use fit::{FitError, Fitted, fit};
pub use gguf::metadata::{GgufFiles, GgufMetadata, GgufMetadataError, gguf_metadata};
pub use heads::HeadError;
pub use io::{
    data::{Data, OpenData},
    memory::MemoryError,
};
pub use longshore_manifest::document::Arrangement;
pub use model::{
    coding::{
        error::CodingError,
        kind::{Coding, PackedLayout},
    },
    experts::error::StackError,
};
pub use open::{
    error::OpenPathError,
    path::{Opened, open},
};
pub use plan::{
    error::PlanError,
    options::{Awq, PlanOptions, TakeOver},
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
    gguf::inventory::gguf_values,
    inventory::Inventory,
    member::{Member, MemberRole},
    open::SourceOptions,
};
pub use statistics::{error::ImportanceFileError, importance::ImportanceFile};
pub use tensor::{Shard, SourceParts, SourceTensor};

pub use longshore_gguf;
pub use longshore_manifest as manifest;
pub use longshore_model;
pub use longshore_quant as quant;
pub use longshore_st_format as st_format;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
