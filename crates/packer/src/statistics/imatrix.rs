//! llama.cpp's importance matrices: the sums of squares of the inputs of each weight, under ggml's names.
//!
//! | file | holds for each weight |
//! |---|---|
//! | GGUF, `general.type` `imatrix` | `<name>.in_sum2` F32 `[matrices, in]`, and `<name>.counts` F32 `[matrices, 1]` |
//! | `.dat` | length of the name, name, number of calls, number of values: 32-bit integers; the values, F32, times the calls |
//!
//! A matrix that saw no input counts all channels alike.

use std::{collections::BTreeMap, path::Path};

use longshore_gguf::{GgmlType, TensorView, open};
use longshore_model::gguf::NameMap;

use crate::io::small::{self, SmallFileError};

/// The largest `.dat` file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 30;
const SUMS: &str = ".in_sum2";

/// Mean squares of inputs, under the names of a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Imatrix {
    entries: Vec<Entry>,
    /// Places of entries, by every name that a checkpoint of some architecture gives the weight.
    places: BTreeMap<String, usize>,
}

/// Mean squares of the inputs of one weight.
#[derive(Debug)]
pub(super) struct Entry {
    /// ggml's name of the weight.
    pub(super) name: String,
    pub(super) means: Vec<f32>,
    /// The number of matrices, as far as the file says.
    pub(super) matrices: Option<u64>,
}

impl Imatrix {
    /// Reads a file in GGUF.
    pub(super) fn gguf(path: &Path) -> Result<Self, String> {
        let file = open(path).map_err(|error| error.to_string())?;
        let mut entries = Vec::new();
        for tensor in file.iter() {
            let Some(name) = tensor.name.strip_suffix(SUMS) else { continue };
            let counts = file.tensor(&format!("{name}.counts"));
            let counts = counts.ok_or_else(|| format!("it has {:?} without {name}.counts", tensor.name))?;
            let (mut means, counts) = (floats(&tensor)?, floats(&counts)?);
            if counts.is_empty() || !means.len().is_multiple_of(counts.len()) {
                return Err(format!("{name}.counts has {} numbers for {} sums", counts.len(), means.len()));
            }
            let columns = means.len() / counts.len();
            for (means, count) in means.chunks_exact_mut(columns.max(1)).zip(&counts) {
                for sum in means {
                    *sum = if *count > 0.0 { *sum / count } else { 1.0 };
                }
            }
            entries.push(Entry { name: name.to_owned(), means, matrices: Some(counts.len() as u64) });
        }
        if entries.is_empty() {
            return Err(format!("it is a GGUF file without a tensor <weight>{SUMS}: no importance matrix"));
        }
        Ok(Self::new(entries))
    }

    /// Reads a `.dat` file.
    pub(super) fn dat(path: &Path) -> Result<Self, String> {
        let bytes = small::read(path, MAX_BYTES).map_err(|error| match error {
            SmallFileError::Io(error) => error.to_string(),
            SmallFileError::NotRegular => "it is no regular file".to_owned(),
            SmallFileError::TooLarge { found } => format!("it has {found} bytes, expected at most {MAX_BYTES}"),
        })?;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = Reader { bytes, at: 0 };
        let count = reader.number("the number of weights")?;
        let mut entries = Vec::new();
        for at in 0..count {
            let of = format!("weight {} of {count}", at + 1);
            let len = reader.number(&of)?;
            let name = str::from_utf8(reader.take(len, &of)?).map_err(|_| format!("the name of {of} is no UTF-8"))?;
            let calls = reader.number(name)?;
            let len = reader.number(name)?;
            let values = reader.take(len.checked_mul(4).ok_or("a length is too large")?, name)?;
            #[expect(clippy::cast_precision_loss, reason = "a number of calls")]
            let calls = calls.max(1) as f32;
            let mean = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes) / calls;
            let means = values.as_chunks().0.iter().map(mean).collect();
            entries.push(Entry { name: name.to_owned(), means, matrices: None });
        }
        if entries.is_empty() {
            return Err("it names no weight".to_owned());
        }
        Ok(Self::new(entries))
    }

    fn new(entries: Vec<Entry>) -> Self {
        let mut places = BTreeMap::new();
        for (at, entry) in entries.iter().enumerate() {
            let maps = NameMap::architectures().filter_map(NameMap::of);
            for mapping in maps.flat_map(|map| map.from_gguf(&entry.name)) {
                places.entry(mapping.name).or_insert(at);
            }
            places.insert(entry.name.clone(), at);
        }
        Self { entries, places }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(*self.places.get(name)?)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

fn floats(tensor: &TensorView<'_>) -> Result<Vec<f32>, String> {
    if tensor.ggml_type != GgmlType::F32 {
        return Err(format!("its tensor {:?} is {}, expected F32", tensor.name, tensor.ggml_type));
    }
    Ok(tensor.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// Reads a `.dat` file from its start.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, len: usize, what: &str) -> Result<&'b [u8], String> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("it ends in {what} at byte {}", self.at))?;
        let found = &self.bytes[self.at..end];
        self.at = end;
        Ok(found)
    }

    fn number(&mut self, what: &str) -> Result<usize, String> {
        let bytes = self.take(4, what)?.try_into().expect("four bytes");
        let found = i32::from_le_bytes(bytes);
        usize::try_from(found).map_err(|_| format!("{what} has the number {found} before byte {}", self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dat(entries: &[(&str, i32, &[f32])]) -> Vec<u8> {
        let number = |number: usize| i32::try_from(number).expect("it is small").to_le_bytes();
        let mut bytes = number(entries.len()).to_vec();
        for (name, calls, values) in entries {
            bytes.extend(number(name.len()));
            bytes.extend(name.as_bytes());
            bytes.extend(calls.to_le_bytes());
            bytes.extend(number(values.len()));
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        // The number of chunks and the name of the text follow, and are not read.
        bytes.extend(7_i32.to_le_bytes());
        bytes
    }

    #[test]
    fn values_are_means_under_the_names_of_checkpoints() {
        let bytes = dat(&[("blk.3.attn_q.weight", 4, &[8.0, 2.0]), ("blk.0.ffn_down.weight", 0, &[3.0])]);
        let found = Imatrix::parse(&bytes).expect("it is one");
        assert_eq!(found.get("model.layers.3.self_attn.q_proj.weight").expect("it is there").means, [2.0, 0.5]);
        assert_eq!(found.get("model.layers.0.mlp.down_proj.weight").expect("it is there").means, [3.0]);
        assert_eq!(found.get("blk.3.attn_q.weight").expect("it is there").name, "blk.3.attn_q.weight");
        assert!(found.get("model.layers.4.self_attn.q_proj.weight").is_none());
    }

    #[test]
    fn files_that_end_early_are_none() {
        let bytes = dat(&[("blk.3.attn_q.weight", 4, &[8.0, 2.0])]);
        for len in 0..bytes.len() - 4 {
            assert!(Imatrix::parse(&bytes[..len]).is_err(), "{len}");
        }
        assert!(Imatrix::parse(&dat(&[])).is_err());
        let negative = [1_i32.to_le_bytes(), (-1_i32).to_le_bytes()].concat();
        assert!(Imatrix::parse(&negative).expect_err("it is none").contains("-1"));
    }
}
