//! Files by hand, written independently of the crate's writer, so that they can be wrong in any one thing.

/// A file in the making: what its fields say, right or wrong.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    /// Counts that are not the true ones.
    pub(crate) tensor_count: Option<u64>,
    pub(crate) pair_count: Option<u64>,
    pub(crate) pairs: Vec<(Vec<u8>, u32, Vec<u8>)>,
    pub(crate) tensors: Vec<RawTensor>,
    pub(crate) alignment: usize,
    pub(crate) pad_last: bool,
}

#[derive(Clone)]
pub(crate) struct RawTensor {
    pub(crate) name: Vec<u8>,
    pub(crate) rank: Option<u32>,
    pub(crate) extents: Vec<u64>,
    pub(crate) id: u32,
    /// An offset that is not the true one.
    pub(crate) offset: Option<u64>,
    pub(crate) data: Vec<u8>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            pair_count: None,
            pairs: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
            pad_last: true,
        }
    }
}

/// A tensor of `F32` with so many elements.
pub(crate) fn floats(name: &str, len: u8) -> RawTensor {
    let data = (0..len).flat_map(|number| f32::from(number).to_le_bytes()).collect();
    RawTensor { name: name.into(), rank: None, extents: vec![len.into()], id: 0, offset: None, data }
}

pub(crate) fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

/// The value of an array with this type of elements and these bytes of elements.
pub(crate) fn array(element_type: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&element_type.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}

impl Raw {
    pub(crate) fn pair(mut self, key: &str, value_type: u32, value: impl AsRef<[u8]>) -> Self {
        self.pairs.push((key.into(), value_type, value.as_ref().to_vec()));
        self
    }

    pub(crate) fn tensor(mut self, tensor: RawTensor) -> Self {
        self.tensors.push(tensor);
        self
    }

    /// With `general.alignment`.
    pub(crate) fn aligned(mut self, alignment: u32) -> Self {
        self.alignment = usize::try_from(alignment).unwrap();
        self.pair("general.alignment", 4, alignment.to_le_bytes())
    }

    /// With the three keys of a split set.
    pub(crate) fn split(self, no: u16, count: u16, tensors: i32) -> Self {
        self.pair("split.no", 2, no.to_le_bytes()).pair("split.count", 2, count.to_le_bytes()).pair(
            "split.tensors.count",
            5,
            tensors.to_le_bytes(),
        )
    }

    /// Everything before the data section, padded where there is a tensor.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.pair_count.unwrap_or(self.pairs.len() as u64).to_le_bytes());
        for (key, value_type, value) in &self.pairs {
            bytes.extend(string(key));
            bytes.extend(value_type.to_le_bytes());
            bytes.extend(value);
        }
        let mut at = 0;
        for tensor in &self.tensors {
            bytes.extend(string(&tensor.name));
            bytes.extend(tensor.rank.unwrap_or(u32::try_from(tensor.extents.len()).unwrap()).to_le_bytes());
            bytes.extend(tensor.extents.iter().flat_map(|extent| extent.to_le_bytes()));
            bytes.extend(tensor.id.to_le_bytes());
            bytes.extend(tensor.offset.unwrap_or(at as u64).to_le_bytes());
            at += tensor.data.len().next_multiple_of(self.alignment);
        }
        if !self.tensors.is_empty() {
            bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        }
        bytes
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        for (index, tensor) in self.tensors.iter().enumerate() {
            bytes.extend(&tensor.data);
            if self.pad_last || index + 1 < self.tensors.len() {
                bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
            }
        }
        bytes
    }
}
