//! Keys and values of the tokens so far.

use std::ops::Range;

use half::{f16, slice::HalfFloatSliceExt};

use crate::{options::KvType, spec::Spec};

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
    keys: Rows,
    values: Rows,
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
            keys: Rows::new(spec.kv_heads * spec.head_dim, kv),
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
    /// Keys, a row for each token.
    pub(crate) fn keys(&self) -> &Rows {
        &self.keys
    }

    /// Values, a row for each token.
    pub(crate) fn values(&self) -> &Rows {
        &self.values
    }
}

impl Rows {
    fn new(width: usize, kv: KvType) -> Self {
        let data = match kv {
            KvType::F32 => Data::F32(Vec::new()),
            KvType::F16 => Data::F16(Vec::new()),
        };
        Self { width, data }
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
