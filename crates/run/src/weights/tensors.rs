//! Opened tensors of a model, with small ones decoded.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use longshore_manifest::{
    Weights,
    document::{Arrangement, DraftHead, GgmlBlocks, Quantization, Role},
    st_format::Dtype,
    weights::{OpenOptions, Source, Tensor, plan::Selection},
};
use longshore_model::experts;
use longshore_quant::{FloatType, Scheme, ggml::GgmlType, matmul};

use super::{
    swapped::{has_transposed_experts, swap},
    update::{TURNED, Update, Updates},
};
use crate::{error::LoadError, options::LoadOptions};

/// Opened tensors.
#[derive(Debug)]
pub(crate) struct Tensors {
    weights: Weights,
    /// Vectors, and other tensors that are added or multiplied element by element, as F32.
    small: HashMap<String, Vec<f32>>,
    /// Parts of tensors that are not used as they lie in their file, by name.
    owned: BTreeMap<String, [Vec<u8>; 3]>,
    /// Tensors whose last two axes were swapped, with what they became.
    swapped: BTreeMap<String, (FloatType, Vec<usize>)>,
    /// What an adapter adds to layers.
    updates: Updates,
    /// Draft heads, whose tensors are no part of the decoder.
    heads: Vec<DraftHead>,
    /// Names of the tensors that were asked for.
    used: Mutex<HashSet<String>>,
}

impl Tensors {
    /// Opens the tensors of `source`.
    pub(crate) fn open(source: &Source, options: &LoadOptions) -> Result<Self, LoadError> {
        let selection = Selection { offsets: true, ..Selection::default() };
        let open = OpenOptions { selection, dtype: options.dtype, ..OpenOptions::default() };
        let weights = Weights::open_source(source, &open)?;
        refuse_codes(&weights)?;
        let mut tensors = Self {
            weights,
            small: HashMap::new(),
            owned: BTreeMap::new(),
            swapped: BTreeMap::new(),
            updates: options.adapter.as_ref().map(|of| Updates::read(source, of)).transpose()?.unwrap_or_default(),
            heads: source.table().heads.clone(),
            used: Mutex::default(),
        };
        tensors.decode_small();
        if has_transposed_experts(source) {
            tensors.swap(source)?;
        }
        if !options.mapped {
            tensors.read_all();
        }
        Ok(tensors)
    }

    /// What an adapter adds to the layer with this weight.
    pub(crate) fn updates(&self, name: &str) -> Vec<Update<'_>> {
        self.updates.of(name)
    }

    /// Refuses what an adapter adds to a weight that no layer has asked for.
    pub(crate) fn check_updates(&self) -> Result<(), LoadError> {
        self.updates.check()
    }

    /// The error of a weight that an adapter changes, and that takes nothing beside it.
    pub(crate) fn refuse_update(&self, name: &str) -> LoadError {
        self.updates.refusal(name)
    }

    /// Number of layers that an adapter adds something to.
    pub(crate) fn updated(&self) -> usize {
        self.updates.len()
    }

    /// Names of all tensors of the decoder.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.weights.names().filter(|name| !is_of_head(&self.heads, name))
    }

    /// Names of the tensors of a draft head that nobody asked for.
    pub(crate) fn unused_of(&self, prefix: &str) -> Vec<&str> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.weights.names().filter(|name| name.starts_with(prefix) && !used.contains(*name)).collect()
    }

    /// The integers of a tensor. `None` if it is missing or of another type.
    pub(crate) fn integers(&self, name: &str) -> Option<Vec<i64>> {
        let tensor = self.weights.get(name)?;
        self.mark(name);
        let bytes = tensor.weight().data;
        match tensor.dtype() {
            Dtype::I64 => Some(bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
            Dtype::I32 => Some(bytes.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect()),
            _ => None,
        }
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.weights.contains(name)
    }

    /// Bytes of all tensors, with their companions.
    pub(crate) fn bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// How a tensor is stored: its dtype, or its quantization.
    pub(crate) fn coding(&self, name: &str) -> Option<String> {
        self.weights.get(name).map(|tensor| found(&tensor))
    }

    /// How the values of a tensor are coded. `None` for floats.
    pub(crate) fn quantization(&self, name: &str) -> Option<&Quantization> {
        self.weights.get(name)?.quantization()
    }

    /// Whether a tensor is not used as it lies in its file.
    pub(crate) fn is_owned(&self, name: &str) -> bool {
        self.owned.contains_key(name)
    }

    /// A small tensor as F32.
    pub(crate) fn small(&self, name: &str) -> Option<&[f32]> {
        self.mark(name);
        self.small.get(name).map(Vec::as_slice)
    }

    /// Adds one to every element of the norms' weights.
    pub(crate) fn add_one_to_norms(&mut self) {
        let is_norm = |name: &str| name.contains("norm") && name.ends_with(".weight") && !is_of_head(&self.heads, name);
        let norms = self.small.iter_mut().filter(|(name, _)| is_norm(name));
        norms.flat_map(|(_, values)| values).for_each(|value| *value += 1.0);
    }

    /// Extents of a tensor as they are multiplied.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        if let Some((_, shape)) = self.swapped.get(name) {
            return Some(shape.clone());
        }
        self.weights.get(name).map(|tensor| extents(&tensor))
    }

    /// A tensor as a matrix: the last axis is the input's, all others together are the output's.
    pub(crate) fn matrix(&self, name: &str) -> Result<Option<matmul::Weights<'_>>, LoadError> {
        let Some(tensor) = self.weights.get(name) else { return Ok(None) };
        self.mark(name);
        let coding = || LoadError::Coding { tensor: name.to_owned(), found: found(&tensor) };
        let shape = self.shape(name).expect("the tensor is there");
        let (columns, outer) = shape.split_last().ok_or_else(coding)?;
        let shape = [outer.iter().product(), *columns];
        let owned = self.owned.get(name);
        let part = |role, at: usize| match owned {
            Some(parts) => parts[at].as_slice(),
            None => tensor.companion(role).map_or(&[][..], |part| part.data),
        };
        let parts = [part(Role::Weight, 0), part(Role::Scale, 1), part(Role::Bias, 2)];
        if tensor.offset() != 0 {
            return Err(coding());
        }
        let made = match tensor.quantization().filter(|_| !self.swapped.contains_key(name)) {
            None => {
                let swapped = self.swapped.get(name).map(|(float, _)| *float);
                matmul::Weights::plain(swapped.or(float(tensor.dtype())).ok_or_else(coding)?, shape, parts[0])
            }
            Some(found) => {
                if let Some(ggml_type) = ggml_type(&found.quant_type) {
                    matmul::Weights::blocks(ggml_type, shape, parts[0])
                } else {
                    let scheme = Scheme::from_metadata(&found.quant_type, found.group_size).map_err(|_| coding())?;
                    matmul::Weights::encoded(scheme, float(tensor.dtype()).ok_or_else(coding)?, shape, parts)
                }
            }
        };
        made.map(Some).map_err(|source| LoadError::Product { tensor: name.to_owned(), source })
    }

    /// Names of the tensors that nobody asked for, without those that hold nothing of a model's own.
    pub(crate) fn unused(&self) -> Vec<&str> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unused = |name: &&str| !used.contains(*name) && !is_idle(name);
        self.names().filter(is_unused).collect()
    }

    fn mark(&self, name: &str) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    /// Global scales of a tensor: none, one, or one for each expert of a stack.
    pub(crate) fn global_scales(&self, name: &str) -> Vec<f32> {
        let part = self.weights.get(name).and_then(|tensor| tensor.companion(Role::GlobalScale));
        part.map_or_else(Vec::new, |part| {
            part.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        })
    }

    fn decode_small(&mut self) {
        for tensor in self.weights.iter().filter(is_small) {
            let Ok(mut values) = tensor.values() else { continue };
            let mut decoded = vec![0.0; usize::try_from(values.len()).expect("it lies in memory")];
            values.read(0, &mut decoded);
            self.small.insert(tensor.name().to_owned(), decoded);
        }
    }

    /// Swaps the axes of experts that a checkpoint has as `[experts, in, out]`. An import has done so already.
    fn swap(&mut self, source: &Source) -> Result<(), LoadError> {
        let entries = source.table().blobs.iter().flat_map(|blob| &blob.tensors);
        let is_transposed = entries
            .filter(|entry| {
                entry.arrangement == Arrangement::None && entry.quantization.is_none() && entry.shape.rank() == 3
            })
            .filter(|entry| experts::may_be_transposed(&entry.name));
        for entry in is_transposed {
            if self.is_turned(&entry.name, source.table().facts.hidden_size) {
                continue;
            }
            let Some(tensor) = self.weights.get(&entry.name) else { continue };
            let coding = || LoadError::Coding { tensor: entry.name.clone(), found: found(&tensor) };
            let float = float(tensor.dtype()).ok_or_else(coding)?;
            let [count, rows, columns] = extents(&tensor)[..] else { continue };
            let swapped = swap(tensor.weight().data, [rows, columns], float.size());
            self.owned.insert(entry.name.clone(), [swapped, Vec::new(), Vec::new()]);
            self.swapped.insert(entry.name.clone(), (float, vec![count, columns, rows]));
        }
        Ok(())
    }

    /// Swaps the axes of the layers' matrices that a checkpoint has as `[in, out]`. One that is quantized is decoded, since its groups lie
    /// across the rows that are multiplied.
    pub(crate) fn turn(&mut self, hidden: Option<u64>) -> Result<(), LoadError> {
        // The one that is never square tells whether another program has turned them.
        let mut fused = self.weights.iter().filter(|tensor| tensor.name().ends_with(TURNED[0]));
        if fused.next().is_none_or(|tensor| tensor.shape().dims().last().copied() == hidden) {
            return Ok(());
        }
        let is_turned = |tensor: &Tensor<'_>| TURNED.iter().any(|end| tensor.name().ends_with(end));
        for tensor in self.weights.iter().filter(is_turned) {
            let [rows, columns] = extents(&tensor)[..] else { continue };
            let plain = float(tensor.dtype()).filter(|_| tensor.quantization().is_none());
            let (float, swapped) = if let Some(float) = plain {
                (float, swap(tensor.weight().data, [rows, columns], float.size()))
            } else {
                let mut values = tensor.values()?;
                let mut decoded = vec![0.0; rows * columns];
                values.read(0, &mut decoded);
                let bytes: Vec<u8> = decoded.iter().flat_map(|value| value.to_le_bytes()).collect();
                (FloatType::F32, swap(&bytes, [rows, columns], size_of::<f32>()))
            };
            self.owned.insert(tensor.name().to_owned(), [swapped, Vec::new(), Vec::new()]);
            self.swapped.insert(tensor.name().to_owned(), (float, vec![columns, rows]));
        }
        Ok(())
    }

    /// Whether the experts of a layer already are `[experts, out, in]`, as those of a GGUF file are: the last extent of the
    /// projection that reads the residual stream tells.
    fn is_turned(&self, name: &str, hidden: Option<u64>) -> bool {
        let both = name.replace(".down_proj", ".gate_up_proj");
        let last = self.weights.get(&both).and_then(|tensor| tensor.shape().dims().last().copied());
        last.is_some() && last == hidden
    }

    /// Copies every matrix to memory of its own.
    fn read_all(&mut self) {
        for tensor in self.weights.iter().filter(|tensor| !self.small.contains_key(tensor.name())) {
            let part = |role| tensor.companion(role).map_or_else(Vec::new, |part| part.data.to_vec());
            let parts = || [part(Role::Weight), part(Role::Scale), part(Role::Bias)];
            self.owned.entry(tensor.name().to_owned()).or_insert_with(parts);
        }
    }
}

/// Whether a tensor belongs to a draft head.
fn is_of_head(heads: &[DraftHead], name: &str) -> bool {
    heads.iter().any(|head| head.has(name))
}

/// Whether a tensor holds nothing of a model's own, such as a mask of later tokens.
fn is_idle(name: &str) -> bool {
    const IDLE: [&str; 5] = ["inv_freq", "rope_freqs.weight", "position_ids", "masked_bias", "attn.bias"];
    IDLE.iter().any(|end| name.ends_with(end))
}

/// Refuses matrices of codes that only an import can read.
fn refuse_codes(weights: &Weights) -> Result<(), LoadError> {
    let is_known =
        |dtype| matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::Bool | Dtype::I64);
    let is_plain = |tensor: &Tensor<'_>| tensor.quantization().is_none() && tensor.shape().rank() > 1;
    let mut codes = weights.iter().filter(|tensor| is_plain(tensor) && !is_idle(tensor.name()));
    match codes.find(|tensor| !is_known(tensor.dtype())) {
        Some(tensor) => Err(LoadError::Coding { tensor: tensor.name().to_owned(), found: found(&tensor) }),
        None => Ok(()),
    }
}

/// Whether a tensor is used element by element: a vector, or the biases of experts.
fn is_small(tensor: &Tensor<'_>) -> bool {
    tensor.shape().rank() <= 1 || (tensor.shape().rank() == 2 && experts::is_bias(tensor.name()))
}

fn extents(tensor: &Tensor<'_>) -> Vec<usize> {
    tensor.shape().dims().iter().map(|extent| usize::try_from(*extent).expect("it lies in memory")).collect()
}

fn found(tensor: &Tensor<'_>) -> String {
    tensor.quantization().map_or_else(|| tensor.dtype().to_string(), ToString::to_string)
}

fn float(dtype: Dtype) -> Option<FloatType> {
    match dtype {
        Dtype::F32 => Some(FloatType::F32),
        Dtype::F16 => Some(FloatType::F16),
        Dtype::BF16 => Some(FloatType::BF16),
        _ => None,
    }
}

fn ggml_type(quant_type: &str) -> Option<GgmlType> {
    GgmlBlocks::of(quant_type)?.name.parse().ok()
}
