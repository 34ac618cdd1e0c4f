//! Arrays in a model's blobs, by component.

use std::collections::{HashMap, HashSet};

use longshore_st_format::{Dtype, Header, Limits, TensorInfo};
use rayon::prelude::*;

use super::{Store, TableError};
use crate::{
    Digest, Manifest,
    document::{Role, is_component},
};

/// Name that ollama gave the only array of a blob before v0.16. The tensor then has the name of the layer.
const DATA: &str = "data";

/// Headers of a model's tensor blobs.
pub(super) type Headers = HashMap<Digest, Header>;

/// Tensor layers of a pipeline's component, or of a model of one part.
pub(super) struct Component<'m> {
    pub(super) name: Option<&'m str>,
    /// Tensor blobs in the order of the manifest.
    pub(super) blobs: Vec<Blob<'m>>,
}

/// A tensor blob. It has one entry, for the first layer that has it; a blob whose array has no name has one for each
/// layer.
pub(super) struct Blob<'m> {
    pub(super) digest: Digest,
    component: Option<&'m str>,
    /// Name of the layer without the component.
    layer: &'m str,
    header: &'m Header,
    /// Whether the only array has its name from the layer.
    is_unnamed: bool,
}

/// One array of a blob: a tensor, or a part of one.
#[derive(Clone, Copy)]
pub(super) struct Array<'m> {
    /// Name of the tensor, or of the part, without a component's prefix.
    pub(super) name: &'m str,
    pub(super) blob: Digest,
    pub(super) info: &'m TensorInfo,
    pub(super) header: &'m Header,
    /// Whether the name comes from the layer, because the blob calls the array [`DATA`].
    is_unnamed: bool,
}

/// All arrays of a component, by name.
pub(super) struct Arrays<'m>(HashMap<&'m str, Array<'m>>);

impl Store {
    /// Reads the headers of the tensor blobs in parallel. Returns the error of the first layer that has one.
    pub(super) fn headers(&self, manifest: &Manifest) -> Result<Headers, TableError> {
        let (limits, mut seen) = (Limits::default(), HashSet::new());
        let is_new = |digest| seen.insert(digest);
        let layers: Vec<_> = tensor_layers(manifest, is_new).collect();
        let read: Vec<_> = layers
            .par_iter()
            .map(|(layer, digest)| match Header::open(self.blob_path(digest), &limits) {
                Ok((_, header)) => Ok((*digest, header)),
                Err(source) => {
                    Err(TableError::Header { digest: *digest, layer: (*layer).to_owned(), source: Box::new(source) })
                }
            })
            .collect();
        read.into_iter().collect()
    }
}

fn tensor_layers(manifest: &Manifest, mut wanted: impl FnMut(Digest) -> bool) -> impl Iterator<Item = (&str, Digest)> {
    let layers = manifest.layers.iter().filter(move |layer| layer.is_tensor() && wanted(layer.digest));
    layers.map(|layer| (layer.name.as_deref().unwrap_or_default(), layer.digest))
}

/// Returns the model's components, in the order of their first layers. A model of one part has one component without a
/// name.
pub(super) fn components<'m>(manifest: &'m Manifest, headers: &'m Headers) -> Vec<Component<'m>> {
    let mut components: Vec<Component<'m>> = Vec::new();
    let (mut places, mut seen) = (HashMap::new(), HashSet::new());
    for (layer, digest) in tensor_layers(manifest, |_| true) {
        let Some(header) = headers.get(&digest) else { continue };
        let (name, layer) = match layer.split_once('/') {
            Some((component, rest)) if is_component(component) => (Some(component), rest),
            _ => (None, layer),
        };
        let at = *places.entry(name).or_insert_with(|| {
            components.push(Component { name, blobs: Vec::new() });
            components.len() - 1
        });
        let is_unnamed = header.len() == 1 && header.get(DATA).is_some() && layer != DATA;
        // The header of a blob is processed once, however many layers name the blob.
        if seen.insert((at, digest, is_unnamed.then_some(layer))) {
            components[at].blobs.push(Blob { digest, component: name, layer, header, is_unnamed });
        }
    }
    components
}

impl Component<'_> {
    /// Returns the number of arrays in the blobs.
    pub(super) fn len(&self) -> usize {
        self.blobs.iter().map(|blob| blob.header.len()).fold(0, usize::saturating_add)
    }
}

impl<'m> Blob<'m> {
    /// Iterates over the arrays of all blobs, in byte order of their names within each blob.
    pub(super) fn arrays(&self) -> impl Iterator<Item = Array<'m>> {
        let Self { digest, component, layer, header, is_unnamed } = *self;
        header.names().filter_map(move |key| {
            let own = || component.and_then(|component| key.strip_prefix(component)?.strip_prefix('/')).unwrap_or(key);
            let name = if is_unnamed { layer } else { own() };
            Some(Array { name, blob: digest, info: header.get(key)?, header, is_unnamed })
        })
    }
}

impl<'m> Arrays<'m> {
    pub(super) fn of(component: &Component<'m>) -> Self {
        Self(component.blobs.iter().flat_map(Blob::arrays).map(|array| (array.name, array)).collect())
    }

    /// Returns a part of the tensor whose codes are `weight`. A scale is in the same blob, or in another blob if
    /// neither blob names its array. Only a tensor with a scale has biases and global scales.
    pub(super) fn companion(&self, weight: &Array<'m>, role: Role) -> Option<Array<'m>> {
        if weight.info.dtype() != Dtype::U32 {
            return None;
        }
        if weight.is_unnamed {
            let find = |suffix: &str| self.0.get(&*format!("{}{suffix}", weight.name)).filter(|array| array.is_unnamed);
            let scale = find("_scale")?;
            return match role {
                Role::Scale => Some(*scale),
                Role::Bias => find("_qbias").copied(),
                Role::Weight | Role::GlobalScale => None,
            };
        }
        let find = |role: Role| weight.beside(role.suffix());
        let scale = find(Role::Scale)?;
        if role == Role::Scale { Some(scale) } else { find(role) }
    }

    /// Returns the second scale of NVFP4 codes, under `ModelOpt`'s name and in a blob of its own.
    pub(super) fn second_scale(&self, weight: &Array<'m>) -> Option<Array<'m>> {
        let found = self.0.get(&*format!("{}_scale_2", weight.name))?;
        let scale = self.companion(weight, Role::Scale)?;
        let last = |array: &Array<'_>| array.info.shape().dims().last().copied();
        // A group of 16 codes takes two words, and has one byte of scale.
        let is_nvfp4 = scale.info.dtype() == Dtype::U8 && last(weight) == last(&scale)?.checked_mul(2);
        (is_nvfp4 && found.info.dtype() == Dtype::F32).then_some(*found)
    }

    /// Whether `array` is a part of another array's tensor.
    pub(super) fn is_companion(&self, array: &Array<'m>) -> bool {
        let is_part = |suffix: &str, role: Role| {
            let Some(weight) = array.name.strip_suffix(suffix).and_then(|weight| self.0.get(weight)) else {
                return false;
            };
            let own = self.companion(weight, role);
            let found = if suffix == "_scale_2" && own.is_none() { self.second_scale(weight) } else { own };
            found.is_some_and(|found| (found.name, found.blob) == (array.name, array.blob))
        };
        if is_part("_scale_2", Role::GlobalScale) {
            return true;
        }
        if array.is_unnamed {
            return is_part("_scale", Role::Scale) || is_part("_qbias", Role::Bias);
        }
        [Role::Scale, Role::Bias, Role::GlobalScale].into_iter().any(|role| is_part(role.suffix(), role))
    }
}

impl<'m> Array<'m> {
    /// Returns the array of the same blob whose name is this name and `suffix`.
    pub(super) fn beside(&self, suffix: &str) -> Option<Self> {
        let info = self.header.get(&format!("{}{suffix}", self.info.name()))?;
        // Both names have the component's prefix, or neither has.
        let name = &info.name()[self.info.name().len() - self.name.len()..];
        Some(Self { name, info, ..*self })
    }

    /// Returns what the blob's metadata states under `key` about this array, and about all arrays of the blob.
    pub(super) fn metadata(&self, key: &str) -> [Option<&'m str>; 2] {
        let metadata = self.header.metadata();
        [format!("{}.{key}", self.info.name()), key.to_owned()].map(|key| metadata.get(&key).map(String::as_str))
    }

    /// Describes type and shape, for messages.
    pub(super) fn describe(&self) -> String {
        format!("{} {}", self.info.dtype(), self.info.shape())
    }
}
