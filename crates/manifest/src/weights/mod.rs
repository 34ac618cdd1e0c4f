//! A model's tensors as arrays in host memory, mapped and not copied.

mod check;
mod hold;
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

use crate::{
    Digest, Store,
    document::{Part, Quantization, Role, TensorEntry, TensorTable},
    store::{Model, TableError},
};
pub use check::check;
use hold::hold_all;
pub use map::MapError;
use map::{BlobBytes, Dir, many_maps};
pub use verify::CorruptError;

/// The tensors of a model, or of one component of it, in host memory.
///
/// Opening maps every blob once, read-only and shared, and copies nothing: pages come from the file when they are first
/// touched. Small blobs are read instead once the process has half of the maps that the system lets it have: see
/// [`Self::read_bytes`].
///
/// # What a mapped array risks
///
/// Touching a page of a mapped blob that the system cannot read, since the file was cut short or its disk fails, ends the process with
/// `SIGBUS`. The store's own blobs are never written again once they have a name, and deleting or replacing one leaves its mapping intact;
/// so only another program that writes into the store, or a disk that fails, does this. [`Self::populate`] and [`Self::verify`] ask the
/// system for the pages and report what it answers, if it can; a file that is cut short after that is as dangerous as before. Who cannot
/// take the risk reads through [`Store::open_blob`].
#[derive(Debug)]
pub struct Weights {
    table: Arc<TensorTable>,
    blobs: Vec<(Digest, BlobBytes)>,
    /// Those that hold only parts of tensors of other blobs.
    others: HashMap<Digest, BlobBytes>,
    /// Sorted by name.
    tensors: Vec<Located>,
    /// Of all tensors, companions included.
    bytes: u64,
}

/// Where a tensor is described and mapped.
#[derive(Debug, Clone, Copy)]
struct Located {
    /// An index into the table's blobs.
    blob: usize,
    /// An index into that blob's tensors.
    tensor: usize,
    /// An index into the maps.
    map: usize,
}

/// Which tensors of a model to open. What is left out costs nothing: a blob is mapped only if one of its tensors is wanted.
#[derive(Clone, Default)]
pub struct OpenOptions<'f> {
    /// Only this component's tensors, such as `text_encoder`; their names never carry the component as a prefix.
    pub component: Option<String>,
    /// Only tensors whose names this accepts.
    pub select: Option<&'f dyn Fn(&str) -> bool>,
}

impl fmt::Debug for OpenOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let select = self.select.map(|_| "…");
        f.debug_struct("OpenOptions").field("component", &self.component).field("select", &select).finish()
    }
}

/// One array: a type, a shape and its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Array<'w> {
    /// The type of the elements.
    pub dtype: Dtype,
    /// The extents, outermost first: of packed codes in words, `[…, out, in × bits / 32]`.
    pub shape: &'w Shape,
    /// The elements, little-endian, row-major.
    pub data: &'w [u8],
}

/// One tensor: its weight and, where it is quantized, its companions.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'w> {
    entry: &'w TensorEntry,
    component: Option<&'w str>,
    blob: &'w [u8],
    others: &'w HashMap<Digest, BlobBytes>,
}

/// Weights that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The model has no tensor table, and its blobs make none.
    #[error(transparent)]
    Table(#[from] TableError),
    /// No tensor is in the component.
    #[error("no tensors in the component {component:?} of {name}; {}", components(found))]
    Component {
        /// The model's name.
        name: String,
        /// The component that was asked for.
        component: String,
        /// The components that the model has; none in a model of one part.
        found: Vec<String>,
    },
    /// A blob is missing or cannot be mapped.
    #[error("cannot open the blob {digest} of tensor {tensor:?}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// Its first tensor.
        tensor: String,
        /// Why.
        source: MapError,
    },
    /// A blob is shorter than its table says.
    #[error("{} has {found} bytes, expected at least the {expected} of tensor {tensor:?}", path.display())]
    Short {
        /// The blob's file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The end of the tensor's last part, in bytes from the start of the blob.
        expected: u64,
        /// The tensor.
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
    /// [`WeightsError::Table`] for a model without tensors that can be read, [`WeightsError::Component`] for a component that the
    /// model does not have, [`WeightsError::Blob`] and [`WeightsError::Short`] for a blob that is missing or cut off.
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
        let blobs = hold(store, &wanted_blobs)?;
        let others: HashMap<_, _> = hold(store, &elsewhere)?.into_iter().collect();
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

    /// The model's tensor table: its own, or the one that [`Store::table`] made.
    #[must_use]
    pub fn table(&self) -> &Arc<TensorTable> {
        &self.table
    }

    /// The number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The size of all tensors in bytes, companions included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Of the blobs, the bytes that were read into memory rather than mapped, as the system lets a process have so many maps and no more.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.held().filter(|(_, blob)| blob.is_read()).map(|(_, blob)| blob.len() as u64).sum()
    }

    /// The blobs, those of companions after the others.
    fn held(&self) -> impl Iterator<Item = (Digest, &BlobBytes)> {
        let own = self.blobs.iter().map(|(digest, blob)| (*digest, blob));
        own.chain(self.others.iter().map(|(digest, blob)| (*digest, blob)))
    }

    /// The names, sorted.
    #[must_use]
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.iter().map(|located| name_in(&self.table, *located))
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The tensor of this name. Components may have tensors of one name: where more than one was opened, this is the tensor of
    /// the first in byte order, and [`OpenOptions::component`] says which is meant.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Tensor<'_>> {
        let at = self.tensors.partition_point(|located| name_in(&self.table, *located) < name);
        let located = *self.tensors.get(at)?;
        (name_in(&self.table, located) == name).then(|| self.tensor(located))
    }

    /// The tensors, sorted by name and then by component.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.tensors.iter().map(|located| self.tensor(*located))
    }

    /// The blobs that are mapped.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.held().map(|(digest, _)| digest)
    }

    /// How the quantized tensors are coded, if all are coded alike; `None` if there are none or they differ. Ask each
    /// [`Tensor::quantization`] rather than rely on this.
    #[must_use]
    pub fn quantization(&self) -> Option<&Quantization> {
        let mut all = self.iter().filter_map(|tensor| tensor.quantization());
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    /// The number of elements that share a scale, if that is the same for all quantized tensors.
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

/// The bytes of blobs, each given with the name of a tensor in it, in their order.
fn hold(store: &Store, blobs: &[(Digest, &String)]) -> Result<Vec<(Digest, BlobBytes)>, WeightsError> {
    let fail = |(at, source): (usize, MapError)| {
        let (digest, tensor) = blobs[at];
        WeightsError::Blob { digest, tensor: tensor.clone(), source }
    };
    if blobs.is_empty() {
        return Ok(Vec::new());
    }
    let dir = Dir::open(store.blobs()).map_err(|source| fail((0, source)))?;
    let names: Vec<_> = blobs.iter().map(|(digest, _)| digest.file_name()).collect();
    let held = hold_all(&dir, &names, many_maps()).map_err(fail)?;
    Ok(blobs.iter().map(|(digest, _)| *digest).zip(held).collect())
}

fn name_in(table: &TensorTable, located: Located) -> &str {
    &table.blobs[located.blob].tensors[located.tensor].name
}

impl<'w> Tensor<'w> {
    /// The name, without a component's prefix.
    #[must_use]
    pub fn name(&self) -> &'w str {
        &self.entry.name
    }

    /// The pipeline component that it belongs to; `None` in a model of one part.
    #[must_use]
    pub fn component(&self) -> Option<&'w str> {
        self.component
    }

    /// The type of the values: of a quantized tensor, the float type that it was quantized from.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.entry.dtype
    }

    /// The logical shape, in elements.
    #[must_use]
    pub fn shape(&self) -> &'w Shape {
        &self.entry.shape
    }

    /// How the values are coded; `None` for a plain tensor.
    #[must_use]
    pub fn quantization(&self) -> Option<&'w Quantization> {
        self.entry.quantization.as_ref()
    }

    /// The values, or the packed codes.
    #[must_use]
    pub fn weight(&self) -> Array<'w> {
        self.array(self.entry.weight())
    }

    /// A companion of a quantized tensor: its scales, biases or global scale.
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
