//! Hints for the likeliest mistakes.

mod nearest;
mod source;
pub(crate) mod usage;

use std::{error::Error, io, path::Path};

use longshore_loader_cuda::CudaError;
use longshore_manifest::{
    ModelName, Store,
    store::{CopyError, ForeignStore, GcError, IngestError, ModelError, SplitStore, TableError, VerifyError},
    weights::WeightsError,
};
use longshore_packer::{
    ExportError, FitError, HessianFileError, ImportError, ImportanceFileError, PlanError, RepairError,
};
use longshore_quant::policy::PolicyError;

use crate::{
    advice::Advice,
    causes::{is_kind, is_of_machine},
    door,
};

/// The hints of an error and of its causes, each once.
pub(crate) fn of(error: &anyhow::Error) -> Vec<String> {
    let mut hints: Vec<String> = Vec::new();
    for hint in error.chain().flat_map(of_cause) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    hints
}

fn of_cause(cause: &(dyn Error + 'static)) -> Vec<String> {
    if let Some(advice) = cause.downcast_ref::<Advice>() {
        return advice.hints().to_vec();
    }
    let mut hints = Vec::new();
    hints.extend(cause.downcast_ref().and_then(source::of_source));
    hints.extend(cause.downcast_ref().and_then(source::of_opened));
    hints.extend(cause.downcast_ref().and_then(source::of_file));
    hints.extend(cause.downcast_ref().and_then(PlanError::hint));
    hints.extend(cause.downcast_ref().and_then(of_import));
    hints.extend(of_statistics(cause).map(ToOwned::to_owned));
    hints.extend(cause.downcast_ref().and_then(of_export));
    hints.extend(cause.downcast_ref().and_then(of_gc));
    #[cfg(feature = "net")]
    hints.extend(of_net(cause));
    if cause.is::<PolicyError>() {
        hints.push("longshore policy show default prints a policy to start from".into());
    }
    if let Some(ModelError::NotFound { name, root, .. }) = model_error(cause) {
        let near = Store::open(root).map(|store| store.near(name)).unwrap_or_default();
        if !near.is_empty() {
            let near: Vec<String> = near.iter().map(ToString::to_string).collect();
            hints.push(format!("did you mean {}?", near.join(" or ")));
        }
        hints.extend(of_directory(name));
        hints.push("longshore list shows the models of the store; --store DIR chooses another store".into());
    }
    if matches!(cause.downcast_ref(), Some(WeightsError::Blob { .. } | WeightsError::Short { .. })) {
        hints.push("longshore verify says what is damaged".into());
    }
    if is_foreign(cause) {
        hints.push("--store DIR or LONGSHORE_STORE chooses a store of your own".into());
    }
    if is_split(cause) {
        hints.push("link the whole store, or choose it with --store DIR, not `blobs` or `manifests` alone".into());
    }
    if matches!(table_error(cause), Some(TableError::Gguf { .. })) {
        hints.push(
            "GGUF weights are listed and verified, not read: import the model by the path of its manifest".into(),
        );
    }
    if is_kind(cause, |kind| kind == io::ErrorKind::StorageFull) {
        hints.push("longshore gc frees what no model needs; --store DIR chooses another disk".into());
    }
    if is_kind(cause, |kind| matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)) {
        hints.push("check who owns the directory and whether it may be written; --store DIR chooses another".into());
    }
    hints
}

/// What the verbs that reach other machines advise.
#[cfg(feature = "net")]
fn of_net(cause: &(dyn Error + 'static)) -> Option<String> {
    let hint = cause
        .downcast_ref()
        .and_then(longshore_registry::RegistryError::hint)
        .or_else(|| cause.downcast_ref().and_then(longshore_hub::HubError::hint))
        .or_else(|| cause.downcast_ref().and_then(longshore_transfer::TransferError::hint));
    hint.map(ToOwned::to_owned)
}

/// A name that is not in the store may be meant for a directory here, which only `./` makes a path.
fn of_directory(name: &ModelName) -> Option<String> {
    let model = name.model();
    let is_alone = name.to_string() == format!("{model}:{}", name.tag());
    let is_there = is_alone && Path::new(model).is_dir();
    is_there.then(|| format!("there is a directory of that name: longshore load ./{model} opens it"))
}

/// The hint for statistics, whose errors others pass on as their own.
fn of_statistics(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    let of_hessians = match cause.downcast_ref() {
        Some(ImportError::Hessians(error)) => Some(error),
        _ => cause.downcast_ref::<HessianFileError>(),
    };
    let of_importance = match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(ImportError::Importance(error)), _) | (_, Some(FitError::Statistics(error))) => Some(error),
        _ => cause.downcast_ref::<ImportanceFileError>(),
    };
    of_hessians.and_then(HessianFileError::hint).or_else(|| of_importance.and_then(ImportanceFileError::hint))
}

fn of_import(error: &ImportError) -> Option<String> {
    let hint = match error {
        // Nothing changes the files where the machine does not read them.
        ImportError::Read(_) | ImportError::Companion { .. } if is_of_machine(error) => return None,
        ImportError::Read(error) => error.hint(),
        ImportError::Companion { .. } => "import it again once nothing changes the source's files",
        ImportError::NonFinite { .. } => "--allow-nonfinite quantizes it all the same",
        ImportError::MergedNonFinite { .. } => {
            "check the adapter, its weight and the tensor; --allow-nonfinite stores it all the same"
        }
        ImportError::ScaledNonFinite { .. } => {
            "check the tensor, or give --awq a lower power; --allow-nonfinite stores it all the same"
        }
        ImportError::RotatedNonFinite { .. } => {
            "import it without --rotate; --allow-nonfinite does not help, since every row would be nothing but NaNs"
        }
        ImportError::TakeOver { .. } => "without --quantize its blocks are kept",
        ImportError::Space { .. } => "longshore gc frees what no model needs; --store DIR chooses another disk",
        _ => return None,
    };
    Some(hint.into())
}

fn of_export(error: &ExportError) -> Option<String> {
    let hint = match error {
        ExportError::InStore { .. } => "name a directory outside of every store",
        ExportError::NotEmpty { .. } | ExportError::NotADirectory { .. } => {
            "name a directory that is empty or does not exist yet; it is made"
        }
        ExportError::Quantized { .. } => {
            "--dequantize bf16 (or f16, f32) decodes them, --format mlx keeps them for mlx-lm"
        }
        ExportError::FromGguf { .. } => {
            "--format gguf restores the files that it came from, which transformers reads as they are: from_pretrained(DIR, gguf_file=NAME)"
        }
        ExportError::NotFromGguf { .. } => {
            "--format hf, with --dequantize bf16 where it is quantized, writes what llama.cpp's converter reads"
        }
        ExportError::GgufTensors { .. } => "--type q8_0 (or another) decodes what does not fit and encodes it",
        ExportError::GgufValues { .. } => "--type bf16 (or f32) has their range",
        ExportError::NotForMlx { .. } => {
            "--format hf, with --dequantize bf16 where it is quantized, writes what was imported"
        }
        ExportError::MlxArchitecture { .. } | ExportError::MlxTensor { .. } => {
            "--format hf, with --dequantize bf16 where it is quantized, writes a directory that mlx_lm.convert may know"
        }
        ExportError::MlxQuantized { .. } => "import it again with --policy default, which keeps such tensors",
        ExportError::MlxGlobalScale { .. } => {
            "--format hf --dequantize bf16 decodes it; import that with --quantize nvfp4, without --global-scale"
        }
        ExportError::Weights(WeightsError::Table(TableError::Gguf { .. })) => return None,
        ExportError::Restore { .. } | ExportError::Size { .. } | ExportError::Read { .. } | ExportError::Weights(_) => {
            "longshore verify says what is damaged"
        }
        _ => return None,
    };
    Some(hint.into())
}

fn of_gc(error: &GcError) -> Option<String> {
    match error {
        // The manifest may be whole: the disk did not read it.
        GcError::Unreadable { source, .. } if is_of_machine(source) => {
            Some("nothing is deleted as long as it cannot be read; longshore verify reads everything".into())
        }
        GcError::Unreadable { name, .. } => Some(format!(
            "longshore verify says what is wrong; longshore rm {name} removes the name, and then gc can go on"
        )),
        GcError::Lease { dir, .. } => Some(format!("if no import is running, remove {}", door::path(dir))),
        _ => None,
    }
}

/// Whether a cause is, or passes on, the refusal to change a store that lies on several file systems.
fn is_split(cause: &(dyn Error + 'static)) -> bool {
    let is_ingest = |error: Option<&IngestError>| matches!(error, Some(IngestError::Split(_)));
    cause.is::<SplitStore>()
        || is_ingest(ingest_error(cause))
        || matches!(cause.downcast_ref(), Some(GcError::Split(_)))
}

/// The error about a model that a cause is, or passes on as it is.
fn model_error<'e>(cause: &'e (dyn Error + 'static)) -> Option<&'e ModelError> {
    if let Some(RepairError::Verify(VerifyError::NotFound(error))) = cause.downcast_ref() {
        return Some(error);
    }
    match (cause.downcast_ref(), cause.downcast_ref(), cause.downcast_ref()) {
        (Some(GcError::Model(error)), _, _) | (_, Some(CopyError::Model(error)), _) => Some(error),
        (_, _, Some(VerifyError::NotFound(error))) => Some(error),
        _ => cause.downcast_ref(),
    }
}

/// The error about a tensor table that a cause is, or passes on as it is.
fn table_error<'e>(cause: &'e (dyn Error + 'static)) -> Option<&'e TableError> {
    match (cause.downcast_ref(), cause.downcast_ref(), cause.downcast_ref()) {
        (Some(WeightsError::Table(error)), _, _)
        | (_, Some(ExportError::Weights(WeightsError::Table(error))), _)
        | (_, _, Some(CudaError::Table(error))) => Some(error),
        _ => cause.downcast_ref(),
    }
}

/// The error about writing to a store that a cause is, or passes on as it is.
fn ingest_error<'e>(cause: &'e (dyn Error + 'static)) -> Option<&'e IngestError> {
    match (cause.downcast_ref(), cause.downcast_ref(), cause.downcast_ref()) {
        (Some(ImportError::Ingest(error)), _, _)
        | (_, Some(CopyError::Ingest(error)), _)
        | (_, _, Some(RepairError::Ingest(error))) => Some(error),
        _ => cause.downcast_ref(),
    }
}

/// Whether a cause is, or passes on, the refusal to change another program's store.
fn is_foreign(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<ForeignStore>()
        || matches!(ingest_error(cause), Some(IngestError::Foreign(_)))
        || matches!(cause.downcast_ref(), Some(GcError::Foreign(_)))
        || matches!(cause.downcast_ref(), Some(CopyError::Foreign(_)))
}
