//! The tensors of plain safetensors files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use longshore_model::{MAX_CONFIG_BYTES, ModelConfig, QuantizationMethod, SourceQuantization};
use longshore_st_format::{Limits, ShardIndex};

use super::{Index, OpenError, modules::collect};
use crate::map::{FileError, MappedFile};

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
        let said = if config.is_file() { quantization(&config)? } else { None };
        Self::collect(&files, said.as_ref())
    }

    /// Maps these files.
    pub(crate) fn of_files(paths: &[PathBuf]) -> Result<Self, OpenError> {
        Self::collect(paths, None)
    }

    fn collect(paths: &[PathBuf], said: Option<&SourceQuantization>) -> Result<Self, OpenError> {
        let mapped = paths.iter().map(|path| MappedFile::open(path)).collect::<Result<Vec<_>, FileError>>()?;
        let tensors = collect(&mapped, said)?;
        Self::new(mapped.into_iter().map(|(file, _)| file).collect(), tensors)
    }
}

/// MLX's description of quantized weights in `config.json`. The descriptions of other programs are passed over.
fn quantization(config: &Path) -> Result<Option<SourceQuantization>, OpenError> {
    let read = |source| OpenError::Read { path: config.into(), source };
    let fail = |problem: String| OpenError::Config { path: config.into(), problem };
    let size = fs::metadata(config).map_err(read)?.len();
    if size > MAX_CONFIG_BYTES {
        return Err(fail(format!("it has {size} bytes, expected at most {MAX_CONFIG_BYTES}")));
    }
    let parsed = ModelConfig::parse(&fs::read(config).map_err(read)?).map_err(|error| fail(error.to_string()))?;
    Ok(parsed.quantization.filter(|said| said.method == QuantizationMethod::Mlx))
}
