//! A stored model as a source. The path of its manifest tells the store, and the table of the model tells what the
//! blobs hold.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use longshore_manifest::{
    Descriptor, Digest, ModelName, Store,
    document::{BlobEntry, Draft, GgmlBlocks, Part, Role, TensorEntry, TensorTable, media_type},
    store::Model,
};
use longshore_model::ModelConfig;
use longshore_quant::Scheme;
use longshore_st_format::Dtype;

use super::{
    checkpoint::{self, Source},
    classify::{Evidence, Kind},
    companions::{Companion, CompanionKind},
    config::read_config_bytes,
    error::SourceError,
    inventory::{Contents, Stored, StoredTensor},
    member::{Member, MemberRole},
};
use crate::{
    gguf::{facts, headers},
    io::small,
    tensor::{Shard, SourceParts, SourceTensor},
};

/// The largest number of models that a hint names.
const NAMED: usize = 5;
/// The file that marks a draft model if the model's config does not mention one.
const DRAFT_CONFIG: &str = "draft/config.json";

/// Opens the model whose manifest is the file at `path`. `None` if the file does not lie in a store.
pub(super) fn open(path: &Path) -> Option<Result<Source, SourceError>> {
    let (root, name) = named(path)?;
    Some(read(path, &root, &name))
}

/// The root of the store and the name whose manifest is the file at `path`; `None` for any other path.
fn named(path: &Path) -> Option<(PathBuf, ModelName)> {
    let (root, below) = in_store(path)?;
    let [host, namespace, model, tag] = &*below else { return None };
    Some((root, ModelName::from_parts(host, namespace, model, tag)?))
}

impl Source {
    /// Returns the store and the name of the model whose manifest is the file at `path`; `None` for any other path. The
    /// name may point at another model before the source is imported: see [`Store::steadily`].
    #[must_use]
    pub fn stored(path: &Path) -> Option<(Store, ModelName)> {
        let (root, name) = named(path)?;
        Some((Store::open(root).ok()?, name))
    }
}

/// The error for a directory that is a store or lies among a store's manifests; `None` for any other directory.
pub(super) fn refuse(dir: &Path) -> Option<SourceError> {
    let root = if is_store(dir) { dir.to_owned() } else { in_store(dir)?.0 };
    let store = Store::open(&root).ok()?;
    let paths = store.names().unwrap_or_default().into_iter().map(|name| store.manifest_path(&name));
    let is_root = root == dir;
    let dir_path = std::path::absolute(dir).ok()?;
    let models = paths.filter(|path| is_root || path.starts_with(&dir_path)).take(NAMED).collect();
    Some(SourceError::Store { path: dir.to_owned(), models })
}

/// Whether a directory has the two directories of a store.
pub(crate) fn is_store(dir: &Path) -> bool {
    dir.join("manifests").is_dir() && dir.join("blobs").is_dir()
}

/// The root of the store in whose `manifests` directory `path` lies, and the path segments below that directory.
fn in_store(path: &Path) -> Option<(PathBuf, Vec<String>)> {
    let path = std::path::absolute(path).ok()?;
    let manifests = path.ancestors().take(5).find(|above| {
        above.file_name().is_some_and(|name| name == "manifests") && above.parent().is_some_and(is_store)
    })?;
    let below = path.strip_prefix(manifests).ok()?.iter();
    let below = below.map(|segment| segment.to_str().map(str::to_owned)).collect::<Option<_>>()?;
    Some((manifests.parent()?.to_owned(), below))
}

fn read(path: &Path, root: &Path, name: &ModelName) -> Result<Source, SourceError> {
    let fail = |source| SourceError::Stored { path: path.to_owned(), source };
    let store = Store::open(root).map_err(|error| fail(error.into()))?;
    let model = store.model(name).map_err(|error| fail(error.into()))?;
    if model.is_gguf() {
        return gguf(path, &store, &model);
    }
    config_is_whole(&store, &model)?;
    let table = store.table(&model).map_err(|error| fail(error.into()))?;
    let (mut companions, warnings) = files(&store, &model);
    for file in &mut companions {
        file.is_derived = table.import.derived.iter().any(|name| name == file.name.as_str());
    }
    let is_pipeline = table.blobs.iter().any(|blob| blob.component.is_some());
    let documents = Documents(&companions);
    let mut config = documents.config(if is_pipeline { "model_index.json" } else { "config.json" })?;
    if companions.iter().any(|file| headers::is_header(file.name.as_str())) {
        // The headers of GGUF files say more than a file that was made of them.
        let names: HashSet<&str> = table.tensors().flat_map(|(_, entry)| entry.source_names()).collect();
        config = documents.config_of_header(&|name| names.contains(name)).or(config);
    }
    let mut source = Source {
        root: path.to_owned(),
        tensors: Vec::new(),
        shards: Vec::new(),
        members: Vec::new(),
        config,
        metadata: table.import.metadata.clone(),
        kind: if is_pipeline { Kind::Pipeline } else { Kind::Float },
        evidence: None,
        warnings,
        template: checkpoint::template(&companions),
        companions: Vec::new(),
        adapters: Vec::new(),
        rotation: None,
        base: model.config.base.as_ref().map(|base| base.digest),
        digest: Some(model.digest),
        changes: model.config.changes.clone(),
    };
    let mut shards = Shards { store: &store, model: &model, places: HashMap::new() };
    for (role, tensors) in members(&model, &table) {
        let config = match &role {
            MemberRole::Whole => source.config.clone(),
            MemberRole::Component(component) => documents.config(&format!("{component}/config.json"))?,
            MemberRole::Draft => documents.config(&draft_of(&model).unwrap_or_default().config)?,
        };
        let class = match &role {
            MemberRole::Component(component) => table.facts.components.get(component).cloned(),
            MemberRole::Whole | MemberRole::Draft => None,
        };
        let is_ours = model.config.longshore.is_some();
        add(&mut source, &mut shards, role, tensors, is_ours).map_err(|problem| fail(problem.into()))?;
        let member = source.members.last_mut().expect("it was added");
        (member.config, member.class, member.root) = (config, class, path.to_owned());
    }
    if let [only] | [only, _] = &*source.members
        && !is_pipeline
    {
        (source.kind, source.evidence) = (only.kind, only.evidence.clone());
    }
    if companions.iter().any(|file| headers::is_header(file.name.as_str())) {
        source.kind = Kind::Gguf;
        source.members.iter_mut().for_each(|member| member.kind = Kind::Gguf);
    }
    source.companions = companions;
    Ok(source)
}

/// Opens a model of ollama whose weights are one GGUF file.
fn gguf(path: &Path, store: &Store, model: &Model) -> Result<Source, SourceError> {
    let (weights, others): (Vec<_>, Vec<_>) =
        model.manifest.layers.iter().partition(|layer| layer.media_type == media_type::GGUF);
    let [layer] = &*weights else {
        let problem = format!("it has {} layers of GGUF weights, expected one", weights.len());
        return Err(SourceError::Stored { path: path.to_owned(), source: problem.into() });
    };
    let mut source = super::gguf::open::open_blob(path, &store.blob_path(&layer.digest), layer.digest)?;
    source.warnings.extend(left_out(&others));
    Ok(source)
}

/// Refuses a config document whose bytes are not those of its digest. Its table says what the blobs hold.
fn config_is_whole(store: &Store, model: &Model) -> Result<(), SourceError> {
    let layer = &model.manifest.config;
    let path = store.blob_path(&layer.digest);
    let bytes = small::read(&path, layer.size).map_err(|error| SourceError::of_small_file(error, &path, layer.size))?;
    SourceError::unless_whole(&path, &bytes, Some(layer.digest))
}

type OfMember<'t> = Vec<(&'t BlobEntry, &'t TensorEntry, String)>;

/// The tensors of each member, with their names within the member: components in byte order, a draft after its target.
fn members<'t>(model: &Model, table: &'t TensorTable) -> Vec<(MemberRole, OfMember<'t>)> {
    let draft = draft_of(model);
    let mut found: BTreeMap<(bool, Option<&str>), OfMember<'t>> = BTreeMap::new();
    for (blob, tensor) in table.tensors() {
        let prefix = draft.as_ref().filter(|draft| blob.component.is_none() && draft.has(&tensor.name));
        let name = prefix.and_then(|draft| tensor.name.strip_prefix(&draft.tensor_prefix)).unwrap_or(&tensor.name);
        let of_member = found.entry((prefix.is_some(), blob.component.as_deref())).or_default();
        of_member.push((blob, tensor, name.to_owned()));
    }
    let role = |(is_draft, component): (bool, Option<&str>)| match component {
        _ if is_draft => MemberRole::Draft,
        Some(component) => MemberRole::Component(component.to_owned()),
        None => MemberRole::Whole,
    };
    found.into_iter().map(|(key, tensors)| (role(key), tensors)).collect()
}

/// The draft model that the model's config names, or that the presence of its `config.json` shows.
fn draft_of(model: &Model) -> Option<Draft> {
    let has_config = || model.manifest.files().any(|(name, _)| name.as_str() == DRAFT_CONFIG);
    model.config.draft.clone().or_else(|| has_config().then(|| Draft::new("")))
}

/// The blobs of the model that serve as shards of the source.
struct Shards<'m> {
    store: &'m Store,
    model: &'m Model,
    places: HashMap<Digest, usize>,
}

impl Shards<'_> {
    /// The index of a blob among the source's shards. A new blob is added to the shards.
    fn place(&mut self, digest: Digest, shards: &mut Vec<Shard>) -> Result<usize, String> {
        if let Some(at) = self.places.get(&digest) {
            return Ok(*at);
        }
        let layer = self.model.manifest.layers.iter().find(|layer| layer.digest == digest);
        let layer = layer.ok_or_else(|| format!("its table names the blob {digest}, which its manifest does not"))?;
        let shard = Shard::file(self.store.blob_path(&digest), digest.file_name(), layer.size);
        shards.push(shard.with_digest(digest));
        self.places.insert(digest, shards.len() - 1);
        Ok(shards.len() - 1)
    }
}

/// Adds a member with its tensors, whose parts become tensors of the source.
fn add(
    source: &mut Source,
    shards: &mut Shards<'_>,
    role: MemberRole,
    mut of_member: OfMember<'_>,
    is_ours: bool,
) -> Result<(), String> {
    of_member.sort_by(|a, b| a.2.cmp(&b.2));
    let first = source.tensors.len();
    let mut tensors = Vec::with_capacity(of_member.len());
    for (blob, entry, name) in of_member {
        let quantization = entry.quantization.as_ref();
        let blocks = quantization.and_then(|found| GgmlBlocks::of(&found.quant_type));
        let scheme = quantization.filter(|_| blocks.is_none()).map(|found| {
            Scheme::from_metadata(&found.quant_type, found.group_size)
                .map_err(|error| format!("tensor {:?}: {error}", entry.name))
        });
        let mut parts = SourceParts::default();
        for part in &entry.parts {
            let shard = shards.place(part.blob.unwrap_or(blob.digest), &mut source.shards)?;
            let end = part.offset.checked_add(part.length).ok_or("a part ends beyond any file")?;
            *place(&mut parts, part).ok_or_else(|| format!("tensor {:?} has a part of unknown role", entry.name))? =
                source.tensors.len() - first;
            source.tensors.push(SourceTensor {
                name: format!("{name}{}", part.role.suffix()),
                dtype: part.dtype,
                shape: part.shape.clone(),
                shard,
                range: part.offset..end,
            });
        }
        tensors.push(StoredTensor {
            name,
            dtype: entry.dtype,
            shape: entry.shape.clone(),
            scheme: scheme.transpose()?,
            blocks,
            parts,
            arrangement: entry.arrangement,
            change: entry.change,
            ulps: entry.ulps.clone(),
            offset: entry.offset,
            sources: entry.sources.clone(),
        });
    }
    let coded = tensors.iter().find(|tensor| tensor.scheme.is_some()).map(|tensor| Evidence::Tensor {
        format: "a quantized tensor of a store",
        tensor: tensor.name.clone(),
        dtype: Dtype::U32,
        companion: Some(format!("{}{}", tensor.name, Role::Scale.suffix())),
    });
    source.members.push(Member {
        role,
        root: PathBuf::new(),
        config: None,
        class: None,
        kind: if coded.is_some() { Kind::Prequantized } else { Kind::Float },
        evidence: coded,
        tensors: first..source.tensors.len(),
        contents: Contents::Stored(Arc::new(Stored { tensors, is_ours })),
    });
    Ok(())
}

/// The field of `parts` for a part of a stored tensor. `None` if the part's role is unknown.
fn place<'p>(parts: &'p mut SourceParts, part: &Part) -> Option<&'p mut usize> {
    Some(match part.role {
        Role::Weight => &mut parts.weight,
        Role::Scale => parts.scales.insert(0),
        Role::Bias => parts.biases.insert(0),
        Role::GlobalScale => parts.global_scale.insert(0),
        _ => return None,
    })
}

/// The companion files of the model, and a warning about layers that are left out.
fn files(store: &Store, model: &Model) -> (Vec<Companion>, Vec<String>) {
    let mut companions: Vec<_> = model
        .manifest
        .files()
        .map(|(name, layer)| {
            let is_json = layer.media_type == media_type::JSON;
            let kind = if is_json { CompanionKind::Json } else { CompanionKind::Other };
            Companion::file(name, store.blob_path(&layer.digest), layer.size, kind).with_digest(layer.digest)
        })
        .collect();
    companions.sort_by(|a, b| a.name.cmp(&b.name));
    let others = model.manifest.layers.iter().filter(|layer| !layer.is_tensor() && !layer.is_file());
    (companions, left_out(&others.collect::<Vec<_>>()).into_iter().collect())
}

/// A warning about layers that are left out.
fn left_out(layers: &[&Descriptor]) -> Option<String> {
    let kinds: Vec<&str> = layers.iter().map(|layer| layer.media_type.rsplit('.').next().unwrap_or_default()).collect();
    let warning = || format!("left out layers that are neither weights nor files: {}", kinds.join(", "));
    (!kinds.is_empty()).then(warning)
}

struct Documents<'c>(&'c [Companion]);

impl Documents<'_> {
    /// The configuration that the first header of the model's GGUF files states. `None` if it cannot be read.
    fn config_of_header(&self, has_tensor: &dyn Fn(&str) -> bool) -> Option<ModelConfig> {
        let header = self.0.iter().find(|file| headers::is_header(file.name.as_str()))?;
        let header = super::gguf::headers::parse(header)?;
        let metadata = header.metadata();
        let mut config = facts::config(metadata, has_tensor).model().clone();
        config.has_vision = facts::model_type(metadata) == Some("mmproj");
        Some(config)
    }

    /// Parses the configuration file `name` among the companions. `None` if there is no such file.
    fn config(&self, name: &str) -> Result<Option<ModelConfig>, SourceError> {
        let Some(file) = self.0.iter().find(|file| file.name.as_str() == name) else { return Ok(None) };
        let bytes = read_config_bytes(&file.path)?;
        SourceError::unless_whole(&file.path, &bytes, file.digest)?;
        let parsed = ModelConfig::parse(&bytes);
        parsed.map(Some).map_err(|source| SourceError::Config { path: file.path.clone(), source })
    }
}
