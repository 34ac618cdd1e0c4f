//! The tensors of plain safetensors files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use longshore_st_format::{Limits, ShardIndex};

use super::{
    Index, OpenError,
    modules::{Modules, collect},
};
use crate::map::{FileError, MappedFile};

/// The longest `config.json` that is read, in bytes.
const MAX_CONFIG: u64 = 16 << 20;

impl Index {
    /// Maps the weights of a directory: the shards of its index or else every `.safetensors` file, in both cases of the directory
    /// alone and not of those below it.
    pub(crate) fn of_dir(dir: &Path) -> Result<Self, OpenError> {
        let read = |path: &Path, source| OpenError::Read { path: path.into(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(|source| read(dir, source))? {
            names.push(PathBuf::from(entry.map_err(|source| read(dir, source))?.file_name()));
        }
        names.sort_unstable();
        let ends_in = |name: &&PathBuf, end: &str| name.to_string_lossy().ends_with(end);
        let files: Vec<_> = match names.iter().find(|name| ends_in(name, ".safetensors.index.json")) {
            Some(name) => {
                let path = dir.join(name);
                let index = fs::read(&path).map_err(|source| read(&path, source))?;
                let index = ShardIndex::parse(&index, &Limits::default())
                    .map_err(|source| OpenError::Index { path: path.clone(), source })?;
                index.shards().map(|shard| dir.join(shard)).collect()
            }
            None => names.iter().filter(|name| ends_in(name, ".safetensors")).map(|name| dir.join(name)).collect(),
        };
        if files.is_empty() {
            return Err(OpenError::NoFiles { path: dir.into() });
        }
        let config = dir.join("config.json");
        let modules = if config.is_file() {
            let size = fs::metadata(&config).map_err(|source| read(&config, source))?.len();
            if size > MAX_CONFIG {
                let problem = format!("it has {size} bytes, expected at most {MAX_CONFIG}");
                return Err(OpenError::Config { path: config, problem });
            }
            let text = fs::read(&config).map_err(|source| read(&config, source))?;
            Modules::parse(&text).map_err(|problem| OpenError::Config { path: config, problem })?
        } else {
            Modules::default()
        };
        Self::collect(&files, &modules)
    }

    /// Maps these files.
    pub(crate) fn of_files(paths: &[PathBuf]) -> Result<Self, OpenError> {
        Self::collect(paths, &Modules::default())
    }

    fn collect(paths: &[PathBuf], modules: &Modules) -> Result<Self, OpenError> {
        let mapped = paths.iter().map(|path| MappedFile::open(path)).collect::<Result<Vec<_>, FileError>>()?;
        let tensors = collect(&mapped, modules)?;
        Self::new(mapped.into_iter().map(|(file, _)| file).collect(), tensors)
    }
}
