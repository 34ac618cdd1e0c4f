//! The table of a directory, or of files.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use longshore_model::{ChatTemplate, MAX_CONFIG_BYTES, ModelConfig, PipelineIndex};
use longshore_st_format::{Dtype, Header, Limits, ShardIndex};

use super::{
    Place, Source, SourceError,
    codes::{self, Read},
    file::{self, PlainFile},
    select,
};
use crate::{
    Digest,
    document::{BlobEntry, Facts, Import, TensorEntry, TensorTable, is_component},
    fs::{all_entries, read_at_most},
    parallel,
};

const PIPELINE_INDEX: &str = "model_index.json";
const CONFIG: &str = "config.json";
/// Largest document beside the weights that is read for facts, in bytes.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
/// Number of files from which several threads read them.
const MANY: usize = 64;

pub(super) fn open_dir(dir: &Path) -> Result<Source, SourceError> {
    let root = absolute(dir)?;
    let names = names(&root)?;
    let mut made = Made::default();
    if names.iter().any(|name| name == PIPELINE_INDEX) {
        let fail = |problem: String| SourceError::Document { path: root.join(PIPELINE_INDEX), problem };
        let index = document(&root.join(PIPELINE_INDEX))?;
        let index = PipelineIndex::parse(&index).map_err(|error| fail(error.to_string()))?;
        let mut classes = BTreeMap::new();
        for found in &index.components {
            let component = &found.name;
            if !is_component(component) {
                return Err(fail(format!("the component {component:?} is not the name of a directory")));
            }
            let dir = root.join(component);
            let names = if dir.is_dir() { self::names(&dir)? } else { Vec::new() };
            if names.iter().any(|name| name.ends_with(".safetensors")) {
                made.add_dir(&dir, &names, Some(component))?;
                classes.insert(component.clone(), found.class.clone());
            }
        }
        made.facts = Facts { components: classes, ..index.config.facts() };
    } else {
        made.add_dir(&root, &names, None)?;
        made.add_documents(&root, &names);
    }
    if made.blobs.is_empty() {
        return Err(SourceError::NoWeights { path: root, found: None });
    }
    Ok(made.finish(dir.display().to_string(), Some(root)))
}

pub(super) fn open_files(paths: &[PathBuf]) -> Result<Source, SourceError> {
    let absolute = paths.iter().map(|path| absolute(path)).collect::<Result<Vec<_>, _>>()?;
    let mut made = Made::default();
    made.add(&headers(&absolute)?, None, Path::new(""), None)?;
    let name = match paths {
        [path] => path.display().to_string(),
        [path, ..] => format!("{} and {} more", path.display(), paths.len() - 1),
        [] => "no files".to_owned(),
    };
    let mut parents = absolute.iter().map(|path| path.parent());
    let root = parents.next().flatten().filter(|first| parents.all(|other| other == Some(first)));
    Ok(made.finish(name, root.map(Path::to_owned)))
}

fn absolute(path: &Path) -> Result<PathBuf, SourceError> {
    std::path::absolute(path).map_err(|source| SourceError::open("open", path, source))
}

/// The names of a directory's entries that are UTF-8.
fn names(dir: &Path) -> Result<Vec<String>, SourceError> {
    // A missing directory has no entries, and is an error here.
    dir.metadata().map_err(|source| SourceError::open("open", dir, source))?;
    Ok(all_entries(dir)?.into_iter().filter_map(|(name, _)| name.into_string().ok()).collect())
}

fn document(path: &Path) -> Result<Vec<u8>, SourceError> {
    read_at_most(path, MAX_CONFIG_BYTES)?.map_err(|size| SourceError::Document {
        path: path.into(),
        problem: format!("it has {size} bytes, expected at most {MAX_CONFIG_BYTES}"),
    })
}

/// Reads the headers of files, in parallel if there are many. Returns the error of the first file that has one.
fn headers(paths: &[PathBuf]) -> Result<Vec<(PlainFile, Header)>, SourceError> {
    parallel::map(paths, MANY, |path| file::read(path)).into_iter().collect()
}

/// A table in the making.
#[derive(Default)]
struct Made {
    blobs: Vec<BlobEntry>,
    files: BTreeMap<Digest, PlainFile>,
    facts: Facts,
    notes: Vec<String>,
}

impl Made {
    /// Adds the weights of a directory.
    fn add_dir(&mut self, dir: &Path, names: &[String], component: Option<&str>) -> Result<(), SourceError> {
        let mut config = None;
        if names.iter().any(|name| name == CONFIG) {
            let path = dir.join(CONFIG);
            let parsed = ModelConfig::parse(&document(&path)?);
            let parsed =
                parsed.map_err(|error| SourceError::Document { path: path.clone(), problem: error.to_string() })?;
            parsed.check().map_err(|source| SourceError::Contradiction { config: path, source: Box::new(source) })?;
            config = Some(parsed);
        }
        for name in select::indexes(names) {
            let path = dir.join(name);
            let limits = Limits::default();
            let bytes = read_at_most(&path, limits.header_bytes)?.map_err(|size| SourceError::Document {
                path: path.clone(),
                problem: format!("it has {size} bytes, expected at most {}", limits.header_bytes),
            })?;
            let index = ShardIndex::parse(&bytes, &limits)
                .map_err(|source| SourceError::Index { path: path.clone(), source })?;
            if !index.is_empty() {
                let read = indexed(dir, &path, &index)?;
                return self.add(&read, config, dir, component);
            }
        }
        let files: Vec<_> = select::files(dir, names)?.iter().map(|name| dir.join(name)).collect();
        self.add(&headers(&files)?, config, dir, component)
    }

    /// Adds the facts that the files beside `config.json` state. Files that cannot be read state none.
    fn add_documents(&mut self, dir: &Path, names: &[String]) {
        let read = |wanted: &str| {
            names.iter().find(|name| *name == wanted)?;
            read_at_most(&dir.join(wanted), MAX_DOCUMENT_BYTES).ok()?.ok()
        };
        let template = ChatTemplate::read(read("tokenizer_config.json").as_deref(), read("chat_template.jinja"));
        self.facts.add_template(&template);
        if let Some(generation) = read("generation_config.json") {
            self.facts.add_generation(&generation);
        }
    }

    /// Adds the tensors of files, which must fit the configuration of their directory.
    fn add(
        &mut self,
        files: &[(PlainFile, Header)],
        config: Option<ModelConfig>,
        dir: &Path,
        component: Option<&str>,
    ) -> Result<(), SourceError> {
        let read: Vec<Read<'_>> = files
            .iter()
            .map(|(file, header)| Read { digest: file.identity.digest(&file.path), path: &file.path, header })
            .collect();
        let (tensors, notes) = codes::collect(&read, config.as_ref())?;
        if let Some(config) = &config {
            let shaped = tensors.iter().flatten().filter(|tensor| has_own_shape(tensor));
            let checked = config.check_shapes(shaped.map(|tensor| (tensor.name.as_str(), &tensor.shape)));
            let config = || dir.join(CONFIG);
            checked.map_err(|source| SourceError::Contradiction { config: config(), source: Box::new(source) })?;
        }
        let prefix = component.map_or_else(String::new, |component| format!("{component}: "));
        self.notes.extend(notes.into_iter().map(|note| format!("{prefix}{note}")));
        for ((file, tensors), (plain, _)) in read.iter().zip(tensors).zip(files) {
            let component = component.map(str::to_owned);
            self.blobs.push(BlobEntry { component, ..BlobEntry::new(file.digest, tensors) });
            self.files.insert(file.digest, plain.clone());
        }
        if component.is_none() {
            self.facts = config.map(|config| config.facts()).unwrap_or_default();
        }
        Ok(())
    }

    fn finish(self, name: String, root: Option<PathBuf>) -> Source {
        let Self { blobs, files, facts, notes } = self;
        let table = TensorTable::new(facts, Import::default(), blobs);
        let place = Place::Files { files: Arc::new(files), root };
        Source { name, table: Arc::new(table), place, notes, changes: None }
    }
}

/// Whether the shape of a tensor is that of its values, and not of codes that were not recognised.
fn has_own_shape(tensor: &TensorEntry) -> bool {
    tensor.quantization.is_some() || matches!(tensor.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Reads the headers of the files that an index names, and checks that they hold what it says.
fn indexed(dir: &Path, path: &Path, index: &ShardIndex) -> Result<Vec<(PlainFile, Header)>, SourceError> {
    let paths: Vec<_> = index.shards().map(|shard| dir.join(shard)).collect();
    if let Some(missing) = paths.iter().find(|shard| !shard.exists()) {
        return Err(SourceError::MissingShard { missing: missing.clone(), by: path.into() });
    }
    let read = headers(&paths)?;
    let mut seen: HashMap<&str, &Path> = HashMap::new();
    for (shard, (file, header)) in index.shards().zip(&read) {
        for name in header.names() {
            if let Some(first) = seen.insert(name, &file.path) {
                let (first, second) = (first.to_owned(), file.path.clone());
                return Err(SourceError::Duplicate { tensor: name.into(), first, second });
            }
        }
        let wrong = |problem| SourceError::WrongShard { shard: file.path.clone(), index: path.into(), problem };
        for name in header.names() {
            match index.shard_of(name) {
                Some(found) if found == shard => {}
                Some(found) => return Err(wrong(format!("it holds {name:?}, which is to be in {found}"))),
                None => return Err(wrong(format!("it holds {name:?}, which is not in the index"))),
            }
        }
    }
    for (name, shard) in index.iter() {
        if !seen.contains_key(name) {
            let problem = format!("it does not hold {name:?}");
            return Err(SourceError::WrongShard { shard: dir.join(shard), index: path.into(), problem });
        }
    }
    Ok(read)
}
