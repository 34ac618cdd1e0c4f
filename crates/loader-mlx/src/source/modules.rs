//! Recognises the arrays of plain files that form one quantized tensor.
//!
//! Two conventions are known. A blob of ours says in its metadata what `name`, `name.scale`, `name.bias` and `name.global_scale` are. A directory
//! of mlx-lm says it in `config.json`, for every module or for one, and has `module.weight`, `module.scales` and `module.biases`,
//! perhaps in several files.

use std::collections::{BTreeMap, HashSet};

use longshore_manifest::document::{Quantization, Role};
use longshore_model::{
    SourceQuantization,
    mlx::{BIASES, Module, SCALES, WEIGHT},
};
use longshore_quant::{FloatType, Scheme};
use longshore_st_format::{Dtype, Header, Shape, TensorInfo};

use super::{Coding, Described, Indexed, OpenError};
use crate::map::MappedFile;

/// One array of one file.
#[derive(Clone, Copy)]
struct Array<'a> {
    file: usize,
    header: &'a Header,
    info: &'a TensorInfo,
}

/// The tensors of these files, each with its companions.
pub(super) fn collect(
    mapped: &[(MappedFile, Header)],
    said: Option<&SourceQuantization>,
) -> Result<Vec<Indexed>, OpenError> {
    let mut arrays = BTreeMap::new();
    for (file, (path, header)) in mapped.iter().enumerate() {
        for info in header.iter() {
            if let Some(Array { file: first, .. }) = arrays.insert(info.name(), Array { file, header, info }) {
                let [first, second] = [&mapped[first].0, path].map(|file| file.path().to_owned());
                return Err(OpenError::Duplicate { tensor: info.name().into(), first, second });
            }
        }
    }
    let mut companions = HashSet::new();
    let mut quantized = BTreeMap::new();
    for (&name, weight) in &arrays {
        let problem = |problem: String| OpenError::Parts {
            tensor: name.into(),
            path: mapped[weight.file].0.path().into(),
            problem,
        };
        let Some(found) = code_of(name, weight, said, &arrays).map_err(problem)? else { continue };
        companions.extend(found.companions.iter().map(|(_, companion)| companion.info.name()));
        quantized.insert(name, found);
    }
    let plain = |(name, _): &(&&str, &Array<'_>)| !companions.contains(**name);
    let tensors = arrays.iter().filter(plain).map(|(&name, weight)| {
        let path = mapped[weight.file].0.path();
        let part = |role, array: &Array<'_>| {
            let (info, range) = (array.info, array.info.file_range(array.header));
            let (dtype, shape) = (info.dtype(), info.shape());
            Described { tensor: info.name(), role, dtype, shape, offset: range.start, len: range.end - range.start }
                .part(array.file, &mapped[array.file].0)
        };
        let mut parts = vec![part(Role::Weight, weight)?];
        let mut coding = None;
        if let Some(found) = quantized.get(name) {
            let scheme = found.scheme;
            check(scheme, weight, &found.companions).map_err(|problem| OpenError::Parts {
                tensor: name.into(),
                path: path.into(),
                problem,
            })?;
            for (role, array) in &found.companions {
                parts.push(part(*role, array)?);
            }
            let (quant_type, group_size) = (scheme.quant_type().to_owned(), scheme.group_size());
            coding = Some(Coding { quantization: Quantization { quant_type, group_size }, scheme });
        }
        Ok(Indexed { name: name.into(), component: None, coding, parts })
    });
    tensors.collect()
}

/// A weight that has companions.
struct Found<'a> {
    scheme: Scheme,
    companions: Vec<(Role, Array<'a>)>,
}

/// Recognises `weight` by either convention, if it is quantized.
fn code_of<'a>(
    name: &str,
    weight: &Array<'a>,
    said: Option<&SourceQuantization>,
    arrays: &BTreeMap<&'a str, Array<'a>>,
) -> Result<Option<Found<'a>>, String> {
    let metadata = weight.header.metadata();
    if let (Some(quant_type), Some(group)) = (metadata.get("quant_type"), metadata.get("group_size")) {
        let roles = [Role::Scale, Role::Bias, Role::GlobalScale];
        let companion = |role: Role| {
            let array = arrays.get(format!("{name}{}", role.suffix()).as_str())?;
            (array.file == weight.file).then_some((role, *array))
        };
        let companions: Vec<_> = roles.into_iter().filter_map(companion).collect();
        if companions.first().is_some_and(|(role, _)| *role == Role::Scale) {
            let group = group.parse().unwrap_or(0);
            let scheme = Scheme::from_metadata(quant_type, group).map_err(|error| error.to_string())?;
            return Ok(Some(Found { scheme, companions }));
        }
    }
    let Some((module, said)) = name.strip_suffix(WEIGHT).zip(said) else { return Ok(None) };
    let array = |end: &str| arrays.get(format!("{module}{end}").as_str()).copied();
    let (Some(coding), Some(scales)) = (said.of_module(module), array(SCALES)) else { return Ok(None) };
    let biases = array(BIASES);
    let of = |array: Array<'a>| (array.info.dtype(), array.info.shape());
    let arrays = Module { weight: of(*weight), scales: of(scales), biases: biases.map(of) };
    let coding = arrays.coding(Some(coding)).map_err(|error| error.to_string())?;
    let scheme = Scheme::from_metadata(coding.quant_type, coding.group_size).map_err(|error| error.to_string())?;
    let companions = std::iter::once((Role::Scale, scales)).chain(biases.map(|biases| (Role::Bias, biases)));
    Ok(Some(Found { scheme, companions: companions.collect() }))
}

/// Whether the arrays are the parts of a tensor of this scheme.
fn check(scheme: Scheme, weight: &Array<'_>, companions: &[(Role, Array<'_>)]) -> Result<(), String> {
    let scale = companions.first().map(|(_, scale)| scale.info).ok_or("it has no scale")?;
    let float = match (scheme.is_affine(), scale.dtype()) {
        (true, Dtype::F32) => FloatType::F32,
        (true, Dtype::F16) => FloatType::F16,
        (true, Dtype::BF16) | (false, Dtype::U8 | Dtype::F8E4M3 | Dtype::F8E8M0) => FloatType::BF16,
        (_, found) => return Err(format!("its scale is {found}")),
    };
    let mut dims = weight.info.shape().dims().to_vec();
    let last = dims.last_mut().ok_or("it is a scalar")?;
    let code_bits = last.checked_mul(32).ok_or_else(|| format!("it is {}", weight.info.shape()))?;
    *last = code_bits / u64::from(scheme.bits());
    let parts = scheme.parts(float, &dims).map_err(|error| error.to_string())?;
    expect("weight", weight.info, &[Dtype::U32], &parts.weight.shape)?;
    for (role, array) in companions {
        let info = array.info;
        match (role, &parts.bias) {
            (Role::Scale, _) => expect("scale", info, &[scale.dtype()], &parts.scale.shape)?,
            (Role::Bias, Some(bias)) => expect("bias", info, &[scale.dtype()], &bias.shape)?,
            (Role::GlobalScale, None) if scheme == Scheme::NVFP4 => {
                // One, or one for each expert in the shape that multiplies them.
                let of_each =
                    matches!((info.shape().dims(), &dims[..]), ([count, 1, 1], [experts, _, _]) if count == experts);
                if info.dtype() != Dtype::F32 || !(of_each || info.shape().elements() == Some(1)) {
                    return Err(format!("its global scale is {} {}", info.dtype(), info.shape()));
                }
            }
            _ => return Err(format!("it is {scheme} and has {:?}", info.name())),
        }
    }
    if parts.bias.is_some() && !companions.iter().any(|(role, _)| *role == Role::Bias) {
        return Err(format!("it is {scheme} and has no bias for each group"));
    }
    Ok(())
}

fn expect(what: &str, info: &TensorInfo, dtypes: &[Dtype], dims: &[u64]) -> Result<(), String> {
    if dtypes.contains(&info.dtype()) && info.shape().dims() == dims {
        return Ok(());
    }
    let expected = Shape::from(dims);
    Err(format!("its {what} is {} {}, expected {} {expected}", info.dtype(), info.shape(), dtypes[0]))
}
