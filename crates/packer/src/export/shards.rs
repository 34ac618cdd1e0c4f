//! The safetensors files of an export.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use longshore_manifest::{Progress, Store};
use longshore_st_format::{Dtype, Layout, Shape, ShardIndex};

use super::{error::ExportError, restore::Output, tensor::TensorWriter};
use crate::io::{positioned, threads::share};

/// A safetensors file to be written.
pub(super) struct Shard<'w> {
    /// Path of the file below the export's directory.
    name: String,
    layout: Layout,
    /// The tensors of the file, by name.
    outputs: BTreeMap<String, Output<'w>>,
}

/// Distributes the tensors, in their order, over files of at most `limit` bytes of data, or of one larger tensor.
/// `stem` is the beginning of the files' paths below the export's directory.
pub(super) fn cut<'w>(
    outputs: Vec<Output<'w>>,
    limit: u64,
    stem: &str,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<Shard<'w>>, ExportError> {
    let mut groups: Vec<Vec<Output<'w>>> = Vec::new();
    let mut room = 0;
    for output in outputs {
        let bytes = output.bytes;
        match groups.last_mut() {
            Some(group) if bytes <= room => group.push(output),
            _ => {
                groups.push(vec![output]);
                room = limit;
            }
        }
        room = room.saturating_sub(bytes);
    }
    let count = groups.len();
    let shard = |(at, group): (usize, Vec<Output<'w>>)| {
        let name = match count {
            1 => format!("{stem}.safetensors"),
            _ => format!("{stem}-{:05}-of-{count:05}.safetensors", at + 1),
        };
        let parts = group.iter().map(|output| (output.name.as_str(), output.dtype, output.shape.clone()));
        let layout = Layout::new(metadata, parts.collect::<Vec<(&str, Dtype, Shape)>>())
            .map_err(|source| ExportError::Layout { file: name.clone(), source })?;
        let outputs = group.into_iter().map(|output| (output.name.clone(), output)).collect();
        Ok(Shard { name, layout, outputs })
    };
    groups.into_iter().enumerate().map(shard).collect()
}

/// The name and text of the shard index. `None` if there is only one file.
pub(super) fn index(shards: &[Shard<'_>], stem: &str) -> Option<(String, String)> {
    if shards.len() < 2 {
        return None;
    }
    let total = shards.iter().map(Shard::data_len).sum();
    let places = shards.iter().flat_map(|shard| shard.outputs.keys().map(|name| (name.as_str(), shard.file_name())));
    let index =
        ShardIndex::new(Some(total), places).expect("the shards have plain names, and no name was restored twice");
    Some((index_name(stem), index.to_json()))
}

/// The names that no other file may have: those of the files, and that of the index. The name of the index is reserved
/// even if no index is written, because a reader would use any file with that name.
pub(super) fn names(shards: &[Shard<'_>], stem: &str) -> Vec<String> {
    shards.iter().map(|shard| shard.name.clone()).chain([index_name(stem)]).collect()
}

fn index_name(stem: &str) -> String {
    format!("{stem}.safetensors.index.json")
}

impl Shard<'_> {
    /// The name of the file in the index beside it.
    fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// The number of tensors in the file.
    pub(super) fn len(&self) -> usize {
        self.outputs.len()
    }

    /// The length of the file in bytes.
    pub(super) fn file_len(&self) -> u64 {
        self.layout.file_len()
    }

    /// The length of the tensors in bytes.
    pub(super) fn data_len(&self) -> u64 {
        self.layout.file_len() - self.layout.data_start()
    }

    /// Writes the file. Each thread takes one tensor at a time and writes it in its place. Returns `Ok(false)` if
    /// `progress` asked to stop; the file is then incomplete.
    pub(super) fn write(
        &self,
        store: &Store,
        dir: &Path,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<bool, ExportError> {
        let path = self.name.split('/').fold(dir.to_path_buf(), |path, segment| path.join(segment));
        let fail = |source| ExportError::Write { path: path.clone(), source };
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(fail)?;
        }
        let file = File::create_new(&path).map_err(fail)?;
        file.set_len(self.layout.file_len()).map_err(fail)?;
        positioned::write_all_at(&file, self.layout.header(), 0).map_err(fail)?;
        let parts: Vec<_> = self.layout.parts().collect();
        let next = AtomicUsize::new(0);
        let (failed, cancelled) = (AtomicBool::new(false), AtomicBool::new(false));
        let stop = || {
            if progress.cancelled() {
                cancelled.store(true, Ordering::Relaxed);
            }
            failed.load(Ordering::Relaxed) || cancelled.load(Ordering::Relaxed)
        };
        let work = || -> Result<(), ExportError> {
            let mut writer = TensorWriter::new(store, &file, &path, &stop, progress);
            while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                let written = writer.write(&self.outputs[part.name], part.range.start);
                if written.is_err() {
                    failed.store(true, Ordering::Relaxed);
                    return written;
                }
            }
            Ok(())
        };
        share(threads.min(parts.len()), &work).into_iter().collect::<Result<(), _>>()?;
        Ok(!cancelled.into_inner())
    }
}
