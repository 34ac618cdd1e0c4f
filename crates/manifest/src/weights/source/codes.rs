//! Recognises the arrays of plain files that form one quantized tensor.
//!
//! Two conventions are known. A blob of a store says in its metadata what `name`, `name.scale`, `name.bias` and
//! `name.global_scale` are. A directory of mlx-lm says it in `config.json`, for every module or for one, and has
//! `module.weight`, `module.scales` and `module.biases`, perhaps in several files.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
};

use longshore_model::{
    ModelConfig, QuantizationMethod, SourceQuantization,
    mlx::{BIASES, Module, SCALES, WEIGHT},
    modules::NamedModules,
};
use longshore_st_format::{Dtype, Header, Shape, TensorInfo};

use super::SourceError;
use crate::{
    Digest,
    document::{Coding, Part, Quantization, Role, TensorEntry},
};

/// A file whose header was read.
pub(super) struct Read<'a> {
    pub(super) digest: Digest,
    pub(super) path: &'a Path,
    pub(super) header: &'a Header,
}

/// One array of one file.
#[derive(Clone, Copy)]
struct Array<'a> {
    file: usize,
    info: &'a TensorInfo,
}

/// A weight that has companions.
struct Found<'a> {
    quantization: Quantization,
    dtype: Dtype,
    columns: u64,
    companions: Vec<(Role, Array<'a>)>,
}

/// All arrays by name, and the files.
struct Arrays<'a> {
    files: &'a [Read<'a>],
    by_name: HashMap<&'a str, Array<'a>>,
    modules: Option<NamedModules<'a>>,
    /// Type of the floats from which codes without a float type of their own were made.
    float: Dtype,
}

/// The tensors of each file, with their companions, and remarks about what was not recognised.
pub(super) fn collect(
    files: &[Read<'_>],
    config: Option<&ModelConfig>,
) -> Result<(Vec<Vec<TensorEntry>>, Vec<String>), SourceError> {
    let mut by_name: HashMap<&str, Array<'_>> = HashMap::new();
    for (file, Read { path, header, .. }) in files.iter().enumerate() {
        for info in header.iter() {
            if let Some(Array { file: first, .. }) = by_name.insert(info.name(), Array { file, info }) {
                let (first, second) = (files[first].path.to_owned(), path.to_path_buf());
                return Err(SourceError::Duplicate { tensor: info.name().into(), first, second });
            }
        }
    }
    let quantization = config.and_then(|config| config.quantization.as_ref());
    let mlx = quantization.filter(|said| said.method == QuantizationMethod::Mlx);
    let modules = mlx.map(|said| modules(said, &by_name)).transpose();
    let modules = modules.map_err(|problem| SourceError::Document {
        path: files.first().and_then(|file| file.path.parent()).unwrap_or(Path::new("")).join("config.json"),
        problem,
    })?;
    let float = config.and_then(|config| config.dtype).filter(|dtype| is_float(*dtype)).unwrap_or(Dtype::BF16);
    let arrays = Arrays { files, by_name, modules, float };

    let mut quantized: HashMap<&str, Found<'_>> = HashMap::new();
    let mut companions: HashSet<&str> = HashSet::new();
    for (file, Read { path, header, .. }) in files.iter().enumerate() {
        for info in header.iter() {
            let parts = |problem| SourceError::Parts { tensor: info.name().into(), path: path.to_path_buf(), problem };
            if let Some(found) = arrays.recognise(Array { file, info }).map_err(parts)? {
                companions.extend(found.companions.iter().map(|(_, companion)| companion.info.name()));
                quantized.insert(info.name(), found);
            }
        }
    }
    let mut tensors: Vec<Vec<TensorEntry>> = Vec::with_capacity(files.len());
    for (file, Read { path, header, .. }) in files.iter().enumerate() {
        let mut own = Vec::with_capacity(header.len());
        for info in header.iter().filter(|info| !companions.contains(info.name())) {
            let entry = arrays.entry(Array { file, info }, quantized.remove(info.name()));
            let parts = |problem| SourceError::Parts { tensor: info.name().into(), path: path.to_path_buf(), problem };
            entry.check().map_err(parts)?;
            own.push(entry);
        }
        own.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        tensors.push(own);
    }
    let notes = notes(quantization, &tensors);
    Ok((tensors, notes))
}

fn modules<'a>(
    said: &'a SourceQuantization,
    by_name: &HashMap<&'a str, Array<'a>>,
) -> Result<NamedModules<'a>, String> {
    // The modules in byte order, so that the same files give the same error.
    let names: BTreeSet<&str> = by_name.keys().copied().collect();
    NamedModules::new(said, names.into_iter().filter_map(|name| Some(name.rsplit_once('.')?.0)))
        .map_err(|error| error.to_string())
}

impl<'a> Arrays<'a> {
    fn find(&self, name: &str) -> Option<Array<'a>> {
        self.by_name.get(name).copied()
    }

    /// Recognises `weight` by either convention, if it is quantized.
    fn recognise(&self, weight: Array<'a>) -> Result<Option<Found<'a>>, String> {
        let (name, metadata) = (weight.info.name(), self.files[weight.file].header.metadata());
        if let (Some(quant_type), Some(group)) = (metadata.get("quant_type"), metadata.get("group_size")) {
            let roles = [Role::Scale, Role::Bias, Role::GlobalScale];
            let companion = |role: Role| {
                let array = self.find(&format!("{name}{}", role.suffix()))?;
                (array.file == weight.file).then_some((role, array))
            };
            let companions: Vec<_> = roles.into_iter().filter_map(companion).collect();
            if let Some((Role::Scale, scale)) = companions.first() {
                let coding = Coding::of(quant_type).ok_or_else(|| format!("{quant_type:?} is not a known scheme"))?;
                let group_size = group.parse().map_err(|_| format!("its group_size is {group:?}"))?;
                let dtype = if coding.is_affine { scale.info.dtype() } else { self.float };
                let words = weight.info.shape().dims().last().copied().unwrap_or_default();
                let columns = words.checked_mul(32).ok_or_else(|| format!("it is {}", weight.info.shape()))?;
                let quantization = Quantization { quant_type: quant_type.clone(), group_size };
                return Ok(Some(Found { quantization, dtype, columns: columns / coding.bits, companions }));
            }
        }
        let Some(module) = name.strip_suffix(WEIGHT) else { return Ok(None) };
        let Some(said) = self.modules.as_ref().and_then(|modules| modules.of(module)) else { return Ok(None) };
        if weight.info.dtype() != Dtype::U32 {
            return Ok(None);
        }
        let Some(scales) = self.find(&format!("{module}{SCALES}")) else { return Ok(None) };
        let biases = self.find(&format!("{module}{BIASES}"));
        let of = |array: Array<'a>| (array.info.dtype(), array.info.shape());
        let arrays = Module { weight: of(weight), scales: of(scales), biases: biases.map(of) };
        let coding = arrays.coding(Some(said)).map_err(|error| error.to_string())?;
        let dtype = if biases.is_some() { scales.info.dtype() } else { self.float };
        let quantization = Quantization { quant_type: coding.quant_type.to_owned(), group_size: coding.group_size };
        let companions = std::iter::once((Role::Scale, scales)).chain(biases.map(|biases| (Role::Bias, biases)));
        Ok(Some(Found { quantization, dtype, columns: coding.columns, companions: companions.collect() }))
    }

    fn part(&self, role: Role, array: Array<'a>, own: usize) -> Part {
        let Read { digest, header, .. } = self.files[array.file];
        let range = array.info.file_range(header);
        Part {
            role,
            dtype: array.info.dtype(),
            shape: array.info.shape().clone(),
            offset: range.start,
            length: range.end - range.start,
            blob: (array.file != own).then_some(digest),
        }
    }

    fn entry(&self, weight: Array<'a>, found: Option<Found<'a>>) -> TensorEntry {
        let mut parts = vec![self.part(Role::Weight, weight, weight.file)];
        let (name, info) = (weight.info.name(), weight.info);
        let Some(Found { quantization, dtype, columns, companions }) = found else {
            return TensorEntry::new(name, info.dtype(), info.shape().clone(), parts);
        };
        parts.extend(companions.into_iter().map(|(role, array)| self.part(role, array, weight.file)));
        let mut dims = info.shape().dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = columns;
        }
        let quantization = Some(quantization);
        TensorEntry { quantization, ..TensorEntry::new(name, dtype, Shape::from(dims), parts) }
    }
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Says which codes are plain tensors, because only MLX's layout is recognised.
fn notes(quantization: Option<&SourceQuantization>, tensors: &[Vec<TensorEntry>]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(said) = quantization.filter(|said| said.method != QuantizationMethod::Mlx) {
        let method = format!("{:?}", said.method).to_lowercase();
        notes.push(format!(
            "config.json says that the weights are quantized by {method}: their codes and scales are plain tensors here"
        ));
        return notes;
    }
    let plain = || tensors.iter().flatten().filter(|tensor| tensor.quantization.is_none());
    let scales: Vec<_> = plain().filter_map(|tensor| tensor.name.strip_suffix(SCALES)).collect();
    if let [first, rest @ ..] = &scales[..] {
        let more = if rest.is_empty() { String::new() } else { format!(" and of {} more modules", rest.len()) };
        notes
            .push(format!("nothing says how the codes of {first:?}{more} are to be read: they are plain tensors here"));
    }
    if let Some(first) = plain().find(|tensor| tensor.dtype.name().starts_with("F8_")) {
        notes
            .push(format!("{:?} is {}: such tensors are plain here, and no scale is applied", first.name, first.dtype));
    }
    notes
}
