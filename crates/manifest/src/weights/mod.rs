//! Tensors of a model as arrays in host memory, mapped without a copy.

mod map;
pub mod plan;
mod verify;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::PathBuf,
    sync::Arc,
};

use longshore_st_format::{Dtype, Shape};
use rayon::prelude::*;

use crate::{
    Digest, Store,
    document::{Part, Quantization, Role, TensorEntry, TensorTable},
    store::{Model, TableError},
};
pub use map::MapError;
pub(crate) use map::MappedPart;
use map::{Dir, MappedBlob};
pub use verify::CorruptError;

/// Number of blobs from which several threads open them. Opening fewer takes less time than waking the threads.
const MANY: usize = 128;

/// Tensors of a model, or of one of its components, in host memory.
///
/// Opening maps every blob once, read-only and shared, and copies nothing: the system reads a page from the file when
/// it is first touched. A blob must not be truncated while it is mapped. The store never writes to a blob once the blob
/// has its name, and deleting a blob does not affect its mapping.
#[derive(Debug)]
pub struct Weights {
    table: Arc<TensorTable>,
    blobs: Vec<(Digest, MappedBlob)>,
    /// Blobs that hold only parts of tensors of other blobs.
    others: HashMap<Digest, MappedBlob>,
    /// Tensors, sorted by name.
    tensors: Vec<Located>,
    /// Size of all tensors in bytes, including companions.
    bytes: u64,
}

/// Place of a tensor in the table and in the maps.
#[derive(Debug, Clone, Copy)]
struct Located {
    /// Index into the table's blobs.
    blob: usize,
    /// Index into the tensors of the blob.
    tensor: usize,
    /// Index into the maps.
    map: usize,
}

/// Selection of the tensors to open. Tensors that are left out cost nothing: a blob is mapped only if one of its
/// tensors is selected.
#[derive(Clone, Default)]
pub struct OpenOptions<'f> {
    /// Pipeline component whose tensors are opened, such as `text_encoder`. Tensor names never carry the component as a
    /// prefix.
    pub component: Option<String>,
    /// Function that accepts the names of the tensors to open.
    pub select: Option<&'f dyn Fn(&str) -> bool>,
}

impl fmt::Debug for OpenOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let select = self.select.map(|_| "…");
        f.debug_struct("OpenOptions").field("component", &self.component).field("select", &select).finish()
    }
}

/// One array: a type, a shape and the bytes of the elements.
#[derive(Debug, Clone, Copy)]
pub struct Array<'w> {
    /// Type of the elements.
    pub dtype: Dtype,
    /// Extents, outermost first. Packed codes are counted in words: `[…, out, in × bits / 32]`.
    pub shape: &'w Shape,
    /// Bytes of the elements, little-endian and row-major.
    pub data: &'w [u8],
}

/// One tensor: its weight and, if it is quantized, its companions.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'w> {
    entry: &'w TensorEntry,
    component: Option<&'w str>,
    blob: &'w [u8],
    others: &'w HashMap<Digest, MappedBlob>,
}

/// Reason why weights cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The model has no tensor table, and none can be made from its blobs.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The component has no tensors.
    #[error("no tensors in the component {component:?} of {name}; {}", components(found))]
    Component {
        /// Name of the model.
        name: String,
        /// Component that was selected.
        component: String,
        /// Components of the model. Empty for a model of one part.
        found: Vec<String>,
    },
    /// A blob is missing or cannot be mapped.
    #[error("cannot open the blob {digest} of tensor {tensor:?}")]
    Blob {
        /// Digest of the blob.
        digest: Digest,
        /// Name of the first tensor in the blob.
        tensor: String,
        /// Reason why the blob cannot be mapped.
        source: MapError,
    },
    /// A blob is shorter than the table says.
    #[error("{} has {found} bytes, expected at least the {expected} of tensor {tensor:?}", path.display())]
    Short {
        /// Path of the blob's file.
        path: PathBuf,
        /// Size of the file in bytes.
        found: u64,
        /// End of the tensor's last part, in bytes from the start of the blob.
        expected: u64,
        /// Name of the tensor.
        tensor: String,
    },
}

fn components(found: &[String]) -> String {
    if found.is_empty() { "it has no components".into() } else { format!("it has {found:?}") }
}

impl Weights {
    /// Maps the blobs of `model`.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Table`] for a model whose tensors cannot be read, [`WeightsError::Component`] for a component
    /// that the model does not have, [`WeightsError::Blob`] for a blob that is missing or cannot be mapped,
    /// [`WeightsError::Short`] for a blob that is cut off.
    pub fn open(store: &Store, model: &Model, options: &OpenOptions<'_>) -> Result<Self, WeightsError> {
        let table = &store.table(model)?;
        let wanted = |component: &Option<String>| options.component.is_none() || *component == options.component;
        let selected = |tensor: &TensorEntry| options.select.is_none_or(|select| select(&tensor.name));
        let mut wanted_blobs = Vec::new();
        let mut tensors = Vec::new();
        for (blob, entry) in table.blobs.iter().enumerate().filter(|(_, blob)| wanted(&blob.component)) {
            let (before, map) = (tensors.len(), wanted_blobs.len());
            let of_blob = entry.tensors.iter().enumerate().filter(|(_, tensor)| selected(tensor));
            tensors.extend(of_blob.map(|(tensor, _)| Located { blob, tensor, map }));
            if tensors.len() > before {
                wanted_blobs.push((entry.digest, &entry.tensors[tensors[before].tensor].name));
            }
        }
        let mut found: Vec<_> = table.blobs.iter().filter_map(|blob| blob.component.clone()).collect();
        found.sort_unstable();
        found.dedup();
        if let Some(component) = options.component.as_ref().filter(|component| !found.contains(component)) {
            return Err(WeightsError::Component { name: model.name.to_string(), component: component.clone(), found });
        }
        let entry = |located: &Located| &table.blobs[located.blob].tensors[located.tensor];
        let mut seen = HashSet::new();
        let elsewhere =
            tensors.iter().map(entry).flat_map(|tensor| tensor.parts.iter().map(move |part| (part, tensor)));
        let elsewhere = elsewhere.filter_map(|(part, tensor)| Some((part.blob?, &tensor.name)));
        let elsewhere: Vec<_> = elsewhere.filter(|(digest, _)| seen.insert(*digest)).collect();
        let blobs = map_all(store, &wanted_blobs)?;
        let others: HashMap<_, _> = map_all(store, &elsewhere)?.into_iter().collect();
        let mut bytes = 0_u64;
        for located in &tensors {
            let (digest, own) = &blobs[located.map];
            for part in &entry(located).parts {
                let blob = part.blob.map_or(own, |digest| &others[&digest]);
                let (found, expected) = (blob.len() as u64, part.offset.saturating_add(part.length));
                if expected > found {
                    let path = store.blob_path(&part.blob.unwrap_or(*digest));
                    return Err(WeightsError::Short { path, found, expected, tensor: entry(located).name.clone() });
                }
                bytes = bytes.saturating_add(part.length);
            }
        }
        tensors
            .sort_unstable_by_key(|located| (name_in(table, *located), table.blobs[located.blob].component.as_deref()));
        Ok(Self { table: Arc::clone(table), blobs, others, tensors, bytes })
    }

    /// Returns the model's tensor table: its own, or the one that [`Store::table`] made.
    #[must_use]
    pub fn table(&self) -> &Arc<TensorTable> {
        &self.table
    }

    /// Returns the number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Returns the size of all tensors in bytes, including companions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Iterates over the tensor names in byte order.
    #[must_use]
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.iter().map(|located| name_in(&self.table, *located))
    }

    /// Whether a tensor called `name` was opened.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the tensor called `name`. Several components may have a tensor of this name. If more than one was
    /// opened, the first component in byte order counts; [`OpenOptions::component`] selects one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Tensor<'_>> {
        let at = self.tensors.partition_point(|located| name_in(&self.table, *located) < name);
        let located = *self.tensors.get(at)?;
        (name_in(&self.table, located) == name).then(|| self.tensor(located))
    }

    /// Iterates over the tensors, sorted by name and then by component.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.tensors.iter().map(|located| self.tensor(*located))
    }

    /// Iterates over the digests of the mapped blobs.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.blobs.iter().map(|(digest, _)| *digest).chain(self.others.keys().copied())
    }

    /// Returns the coding of the quantized tensors if all have the same one, or `None` if there are none or their
    /// codings differ. To read a tensor, use its [`Tensor::quantization`] instead.
    #[must_use]
    pub fn quantization(&self) -> Option<&Quantization> {
        let mut all = self.iter().filter_map(|tensor| tensor.quantization());
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    /// Returns the number of elements that share a scale, if it is the same for all quantized tensors.
    #[must_use]
    pub fn group_size(&self) -> Option<u32> {
        let mut all = self.iter().filter_map(|tensor| tensor.quantization().map(|found| found.group_size));
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    fn tensor(&self, located: Located) -> Tensor<'_> {
        let described = &self.table.blobs[located.blob];
        Tensor {
            entry: &described.tensors[located.tensor],
            component: described.component.as_deref(),
            blob: &self.blobs[located.map].1,
            others: &self.others,
        }
    }
}

/// Maps blobs in the given order, each given with the name of one of its tensors. Many blobs are mapped on all threads
/// of the rayon pool, because each may wait for a disk or a server.
fn map_all(store: &Store, blobs: &[(Digest, &String)]) -> Result<Vec<(Digest, MappedBlob)>, WeightsError> {
    let Some(&(first, tensor)) = blobs.first() else { return Ok(Vec::new()) };
    let fail = |digest, tensor: &String, source| WeightsError::Blob { digest, tensor: tensor.clone(), source };
    let dir = Dir::open(store.blobs()).map_err(|source| fail(first, tensor, source))?;
    let map = |&(digest, tensor): &(Digest, &String)| {
        let mapped = MappedBlob::open(&dir, &digest.file_name());
        mapped.map(|mapped| (digest, mapped)).map_err(|source| fail(digest, tensor, source))
    };
    if blobs.len() < MANY {
        return blobs.iter().map(map).collect();
    }
    // Returns the error of the first blob that has one.
    let mapped: Vec<_> = blobs.par_iter().with_min_len(MANY / 4).map(map).collect();
    mapped.into_iter().collect()
}

fn name_in(table: &TensorTable, located: Located) -> &str {
    &table.blobs[located.blob].tensors[located.tensor].name
}

impl<'w> Tensor<'w> {
    /// Returns the name, without a component's prefix.
    #[must_use]
    pub fn name(&self) -> &'w str {
        &self.entry.name
    }

    /// Returns the pipeline component of the tensor, or `None` in a model of one part.
    #[must_use]
    pub fn component(&self) -> Option<&'w str> {
        self.component
    }

    /// Returns the type of the values. For a quantized tensor, it is the float type from which it was quantized.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.entry.dtype
    }

    /// Returns the logical shape, in elements.
    #[must_use]
    pub fn shape(&self) -> &'w Shape {
        &self.entry.shape
    }

    /// Returns the coding of the values, or `None` for a plain tensor.
    #[must_use]
    pub fn quantization(&self) -> Option<&'w Quantization> {
        self.entry.quantization.as_ref()
    }

    /// Returns the values, or the packed codes.
    #[must_use]
    pub fn weight(&self) -> Array<'w> {
        self.array(self.entry.weight())
    }

    /// Returns a companion of a quantized tensor: its scales, biases or global scale.
    #[must_use]
    pub fn companion(&self, role: Role) -> Option<Array<'w>> {
        self.entry.part(role).map(|part| self.array(part))
    }

    fn array(&self, part: &'w Part) -> Array<'w> {
        let blob = match &part.blob {
            None => self.blob,
            Some(digest) => self.others.get(digest).map(|blob| &**blob).expect("open mapped the blobs of all parts"),
        };
        let start = usize::try_from(part.offset).expect("open checked that the part lies in the mapping");
        let length = usize::try_from(part.length).expect("open checked that the part lies in the mapping");
        Array { dtype: part.dtype, shape: &part.shape, data: &blob[start..start + length] }
    }
}
