//! Opening a path.

use std::{collections::BTreeMap, path::Path};

use longshore_manifest::{
    Config, FsError, ModelName, Progress,
    document::TensorTable,
    weights::{self, SourceFile},
};
use longshore_st_format::Limits;

use super::{error::OpenPathError, memory::Memory, ranges};
use crate::{
    execute::{error::ImportError, options::ImportOptions},
    gguf::headers::is_header,
    plan::{
        options::PlanOptions,
        planned::{Plan, PlannedBlob},
    },
    source::{
        checkpoint::Source,
        classify::Kind,
        companions::{Companion, MAX_COMPANION_BYTES},
        gguf,
    },
};

/// A model that was opened without storing it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Opened {
    /// The tensors, the facts (those of its table) and the companion files.
    pub weights: weights::Source,
    /// Bytes of the tensors that are no ranges of their files, and lie in memory.
    pub made_bytes: u64,
    /// Warnings that an import would give.
    pub warnings: Vec<String>,
}

/// Opens the model at `path` for loading or running, and writes nothing: a GGUF file, a split set by any of its files, a directory
/// with the GGUF files of one model, the manifest of a model of Ollama's in GGUF, or what [`weights::Source::open`] opens.
///
/// The tensors of GGUF files have the names, and the companion files the contents, that an import would give them. A
/// tensor that is stored as the file has it is a range of the file. Others, such as query projections whose rows are in
/// another order, are made in memory first. [`Progress::begin`] tells their bytes before they are made.
///
/// ```no_run
/// use longshore_packer::{manifest::{Silent, Weights, weights::OpenOptions}, open};
///
/// let opened = open("SmolLM2-135M-Instruct.Q4_1.gguf".as_ref(), &Silent)?;
/// let weights = Weights::open_source(&opened.weights, &OpenOptions::default())?;
/// println!("{:?} layers, {} tensors", opened.weights.table().facts.layers, weights.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`OpenPathError`]: the errors of opening a source and of planning its import, and those of reading tensors that are made.
pub fn open(path: &Path, progress: &dyn Progress) -> Result<Opened, OpenPathError> {
    let source = gguf::open::may_hold_gguf(path).then(|| Source::open(path, &Limits::default())).transpose()?;
    let Some(source) = source.filter(|source| source.kind == Kind::Gguf) else {
        return Ok(Opened { weights: weights::Source::open(path)?, made_bytes: 0, warnings: Vec::new() });
    };
    let plan = Plan::new(source, &PlanOptions::default())?;
    let source = plan.source();
    let shards = source.shards.iter().map(|shard| SourceFile::open(&shard.path));
    let mut files = shards.collect::<Result<Vec<_>, _>>()?;
    let digests: Vec<_> = files.iter().map(SourceFile::digest).collect();
    let ranges: Vec<_> = plan.blobs.iter().map(|blob| ranges::entry(blob, source, &digests)).collect();

    let left = plan.blobs.iter().zip(&ranges).filter(|(_, range)| range.is_none());
    let left: Vec<PlannedBlob> = left.map(|(blob, _)| blob.clone()).collect();
    let made_bytes = left.iter().map(|blob| blob.layout.file_len()).fold(0, u64::saturating_add);
    let (mut table, memory) = make(&plan, left, progress)?;
    let mut made = std::mem::take(&mut table.blobs).into_iter();
    let in_order = ranges.into_iter().map(|range| range.or_else(|| made.next()));
    table.blobs = in_order.map(|entry| entry.expect("every blob that is no range was made")).collect();
    files.push(memory);

    let companions = plan.files.iter().filter(|file| !is_header(file.name.as_str()));
    let companions = companions
        .filter_map(|file: &Companion| Some((file.name.as_str().to_owned(), file.bytes(MAX_COMPANION_BYTES)?)));
    let companions: BTreeMap<_, _> = companions.collect();
    let opened = weights::Source::of_parts(path.display().to_string(), table, files, companions);
    let opened = plan.notes.iter().fold(opened, weights::Source::with_note);
    Ok(Opened { weights: opened, made_bytes, warnings: plan.warnings })
}

/// Makes blobs of a plan in memory. The table has these blobs alone, as ranges of the file.
fn make(
    plan: &Plan,
    blobs: Vec<PlannedBlob>,
    progress: &dyn Progress,
) -> Result<(TensorTable, SourceFile), OpenPathError> {
    let fail = |source| ImportError::Fs(FsError::new("create a file in", "memory".into(), source));
    let memory = Memory::create().map_err(fail)?;
    let bytes = blobs.iter().map(PlannedBlob::source_len).fold(0, u64::saturating_add);
    let progress = Converting { progress, bytes };
    let plan = Plan { blobs, files: Vec::new(), ..plan.clone() };
    let name: ModelName = "opened".parse().expect("it is a name");
    plan.import(&memory, &name, &ImportOptions::default(), &progress)?;
    let (file, places, document) = memory.into_parts();
    let file = SourceFile::of_memory(file)?;
    let config = Config::parse(&document).expect("an import writes a config document");
    let mut table = config.longshore.expect("an import writes a table").as_ref().clone();
    for blob in &mut table.blobs {
        let start = places[&blob.digest];
        blob.digest = file.digest();
        blob.tensors.iter_mut().flat_map(|tensor| &mut tensor.parts).for_each(|part| part.offset += start);
    }
    Ok((table, file))
}

/// The progress of what is made, where an import would tell that of all.
struct Converting<'p> {
    progress: &'p dyn Progress,
    bytes: u64,
}

impl Progress for Converting<'_> {
    fn begin(&self, _: &'static str, total: u64) {
        if total > 0 && self.bytes > 0 {
            self.progress.begin("converting", self.bytes);
        }
    }

    fn advance(&self, bytes: u64) {
        self.progress.advance(bytes);
    }

    fn cancelled(&self) -> bool {
        self.progress.cancelled()
    }
}
