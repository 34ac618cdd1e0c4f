//! Keys and values of the tokens so far.

use std::ops::Range;

use half::{f16, slice::HalfFloatSliceExt};

use crate::{options::KvType, spec::Spec};

/// Tokens whose keys lie side by side.
pub(crate) const BLOCK: usize = 16;

/// Keys and values of one sequence. They take memory as the sequence grows.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    layers: Vec<LayerCache>,
    /// Number of tokens.
    len: usize,
}

/// Keys and values of one layer.
#[derive(Debug, Clone)]
pub(crate) struct LayerCache {
    keys: Keys,
    values: Rows,
}

/// Keys, `[blocks, heads, elements, BLOCK]`: a vector holds the same element of each token of a block.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    heads: usize,
    elements: usize,
    /// Number of tokens.
    len: usize,
    data: Data,
}

/// Rows of numbers, one for each token.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    width: usize,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    F32(Vec<f32>),
    F16(Vec<f16>),
}

impl Cache {
    /// Creates an empty cache.
    pub(crate) fn new(spec: &Spec, kv: KvType) -> Self {
        let layer = LayerCache {
            keys: Keys { heads: spec.kv_heads, elements: spec.head_dim, len: 0, data: Data::new(kv) },
            values: Rows::new(spec.kv_heads * spec.value_dim, kv),
        };
        Self { layers: vec![layer; spec.layers.len()], len: 0 }
    }

    /// Bytes that one token takes.
    pub(crate) fn bytes_per_token(spec: &Spec, kv: KvType) -> usize {
        let size = match kv {
            KvType::F32 => 4,
            KvType::F16 => 2,
        };
        spec.layers.len() * spec.kv_heads * (spec.head_dim + spec.value_dim) * size
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Keys and values of a layer.
    pub(crate) fn layer(&self, at: usize) -> &LayerCache {
        &self.layers[at]
    }

    /// Adds keys and values of further tokens to a layer. They count once all layers have them: see [`Self::set_len`].
    pub(crate) fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        self.layers[layer].keys.append(keys);
        self.layers[layer].values.append(values);
    }

    /// Sets the number of tokens, and drops what is beyond it.
    pub(crate) fn set_len(&mut self, len: usize) {
        self.len = len;
        for layer in &mut self.layers {
            layer.keys.truncate(len);
            layer.values.truncate(len);
        }
    }
}

impl LayerCache {
    /// Keys, in blocks of tokens.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Values, a row for each token.
    pub(crate) fn values(&self) -> &Rows {
        &self.values
    }
}

impl Data {
    fn new(kv: KvType) -> Self {
        match kv {
            KvType::F32 => Self::F32(Vec::new()),
            KvType::F16 => Self::F16(Vec::new()),
        }
    }

    /// Sets the number of elements. Those that are added are zeros.
    fn resize(&mut self, len: usize) {
        match self {
            Self::F32(data) => data.resize(len, 0.0),
            Self::F16(data) => data.resize(len, f16::ZERO),
        }
    }
}

impl Keys {
    fn append(&mut self, mut rows: &[f32]) {
        let width = self.heads * self.elements;
        let end = self.len + rows.len() / width;
        self.data.resize(end.div_ceil(BLOCK) * BLOCK * width);
        while self.len < end {
            let (block, lane) = (self.len / BLOCK, self.len % BLOCK);
            let count = (BLOCK - lane).min(end - self.len);
            let piece = rows.split_off(..count * width).expect("there is a row for each token");
            let start = block * BLOCK * width;
            match &mut self.data {
                Data::F32(data) => transpose(piece, width, lane, &mut data[start..], |element| element),
                Data::F16(data) => transpose(piece, width, lane, &mut data[start..], f16::from_f32),
            }
            self.len += count;
        }
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.data.resize(self.len.div_ceil(BLOCK) * BLOCK * self.heads * self.elements);
    }

    /// Keys of a head of a block, `[elements, BLOCK]`. Places of tokens that are not there yet hold something finite. `buffer` holds
    /// keys that are converted.
    pub(crate) fn block<'r>(&'r self, block: usize, head: usize, buffer: &'r mut Vec<f32>) -> &'r [f32] {
        let size = self.elements * BLOCK;
        let start = (block * self.heads + head) * size;
        match &self.data {
            Data::F32(data) => &data[start..][..size],
            Data::F16(data) => {
                buffer.resize(size, 0.0);
                data[start..][..size].convert_to_f32_slice(buffer);
                buffer
            }
        }
    }
}

/// Writes rows into the lanes of a block from `lane` on.
fn transpose<T>(rows: &[f32], width: usize, lane: usize, block: &mut [T], convert: impl Fn(f32) -> T) {
    for (at, lanes) in block.chunks_exact_mut(BLOCK).take(width).enumerate() {
        for (place, element) in lanes[lane..].iter_mut().zip(rows[at..].iter().step_by(width)) {
            *place = convert(*element);
        }
    }
}

impl Rows {
    fn new(width: usize, kv: KvType) -> Self {
        Self { width, data: Data::new(kv) }
    }

    fn append(&mut self, rows: &[f32]) {
        match &mut self.data {
            Data::F32(data) => data.extend_from_slice(rows),
            Data::F16(data) => {
                let start = data.len();
                data.resize(start + rows.len(), f16::ZERO);
                data[start..].convert_from_f32_slice(rows);
            }
        }
    }

    fn truncate(&mut self, rows: usize) {
        match &mut self.data {
            Data::F32(data) => data.truncate(rows * self.width),
            Data::F16(data) => data.truncate(rows * self.width),
        }
    }

    /// Elements `start..start + len` of the rows of `range`, with the distance from one row to the next. `buffer` holds them where
    /// they are converted.
    pub(crate) fn get<'r>(
        &'r self,
        range: Range<usize>,
        start: usize,
        len: usize,
        buffer: &'r mut Vec<f32>,
    ) -> (&'r [f32], usize) {
        let first = range.start * self.width + start;
        match &self.data {
            Data::F32(data) => (&data[first..], self.width),
            Data::F16(data) => {
                buffer.resize(range.len() * len, 0.0);
                let rows = data[first..].chunks(self.width).zip(buffer.chunks_exact_mut(len));
                rows.for_each(|(row, buffer)| row[..len].convert_to_f32_slice(buffer));
                (&buffer[..], len)
            }
        }
    }
}
