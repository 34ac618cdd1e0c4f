//! Files of adapters and bases in both forms.

use std::path::PathBuf;

use longshore_gguf::{Dims, GgmlType, Layout, Metadata, Writer};
use longshore_quant::FloatType;
use longshore_st_format::Dtype;
use longshore_transform::float;
use serde_json::json;

use super::BASE;
use crate::support::Dir;

/// A linear layer: its name in ggml and that of its module in a checkpoint, its shape, and the heads whose rows alternate in a file.
pub(super) type Linear<'n> = (&'n str, &'n str, [u64; 2], Option<u64>);

/// A tensor of an adapter in one of the forms.
pub(super) type Tensor = (String, Vec<u64>, Vec<f32>);

/// Factors in both forms.
pub(super) struct Pair {
    pub(super) peft: Vec<Tensor>,
    pub(super) gguf: Vec<Tensor>,
}

/// An adapter in both forms.
pub(super) struct Adapter<'n> {
    pub(super) architecture: &'n str,
    pub(super) alpha: f32,
    /// The alpha in PEFT's document.
    pub(super) peft_alpha: f32,
    pub(super) pairs: Vec<Pair>,
    /// Norms that replace those of the base: their names in ggml and in a checkpoint, and their widths.
    pub(super) norms: Vec<(&'n str, &'n str, u64)>,
}

/// Numbers that F16 and BF16 hold: of eight bits.
fn numbers(count: u64, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (2.0 * f32::from(state.to_le_bytes()[3]) - 255.0) / 512.0
    };
    (0..count).map(next).collect()
}

fn seed(name: &str) -> u32 {
    name.bytes().fold(7, |state: u32, byte| state.wrapping_mul(31).wrapping_add(byte.into()))
}

/// Rows of each head, alternating between its halves, as llama.cpp has them.
fn alternating(values: &[f32], columns: u64, rows: u64, heads: u64) -> Vec<f32> {
    let (columns, head) = (usize::try_from(columns).expect("it is small"), rows / heads);
    let of = |row: u64| {
        let within = row % head;
        usize::try_from(row - within + within % 2 * (head / 2) + within / 2).expect("it is small") * columns
    };
    (0..rows).flat_map(|row| values[of(row)..][..columns].to_vec()).collect()
}

fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column)).map(|at| values[at]).collect()
}

impl Pair {
    /// The factors of a linear layer.
    pub(super) fn linear(gguf: &str, module: &str, [outputs, inputs]: [u64; 2], rank: u64, heads: Option<u64>) -> Self {
        let (a, b) = (numbers(rank * inputs, seed(module)), numbers(outputs * rank, seed(gguf)));
        let of_file = heads.map_or_else(|| b.clone(), |heads| alternating(&b, rank, outputs, heads));
        let name = |end: &str| format!("base_model.model.{module}.{end}");
        Self {
            peft: vec![
                (name("lora_A.weight"), vec![rank, inputs], a.clone()),
                (name("lora_B.weight"), vec![outputs, rank], b),
            ],
            gguf: vec![
                (format!("{gguf}.weight.lora_a"), vec![rank, inputs], a),
                (format!("{gguf}.weight.lora_b"), vec![outputs, rank], of_file),
            ],
        }
    }

    /// The factors of the embedding, the first of which is turned in a file.
    pub(super) fn embedding([vocabulary, width]: [u64; 2], rank: u64) -> Self {
        let (a, b) = (numbers(rank * vocabulary, 1), numbers(width * rank, 2));
        let of = |extent: u64| usize::try_from(extent).expect("it is small");
        let turned = transposed(&a, of(rank), of(vocabulary));
        let name = |end: &str| format!("base_model.model.model.embed_tokens.{end}");
        Self {
            peft: vec![
                (name("lora_embedding_A"), vec![rank, vocabulary], a),
                (name("lora_embedding_B"), vec![width, rank], b.clone()),
            ],
            gguf: vec![
                ("token_embd.weight.lora_a".to_owned(), vec![vocabulary, rank], turned),
                ("token_embd.weight.lora_b".to_owned(), vec![width, rank], b),
            ],
        }
    }

    /// The factors of the experts of a layer, which a file has stacked.
    pub(super) fn experts(
        gguf: &str,
        group: &str,
        rest: &str,
        [experts, outputs, inputs]: [u64; 3],
        rank: u64,
    ) -> Self {
        let each: Vec<Self> = (0..experts)
            .map(|at| {
                Self::linear(&format!("{gguf}.{at}"), &format!("{group}.{at}.{rest}"), [outputs, inputs], rank, None)
            })
            .collect();
        let stacked = |of: usize, end: &str| {
            let values = each.iter().flat_map(|pair| pair.gguf[of].2.clone()).collect();
            (format!("{gguf}.weight.{end}"), [&[experts], &*each[0].gguf[of].1].concat(), values)
        };
        let gguf = vec![stacked(0, "lora_a"), stacked(1, "lora_b")];
        Self { peft: each.into_iter().flat_map(|pair| pair.peft).collect(), gguf }
    }
}

impl<'n> Adapter<'n> {
    /// An adapter without tensors.
    pub(super) fn new(architecture: &'n str, alpha: f32) -> Self {
        Self { architecture, alpha, peft_alpha: alpha, pairs: Vec::new(), norms: Vec::new() }
    }

    /// Writes both forms, with numbers of type `kind`, and returns their paths.
    pub(super) fn write(&self, dir: &Dir, kind: GgmlType) -> (PathBuf, PathBuf) {
        let mut peft: Vec<Tensor> = self.pairs.iter().flat_map(|pair| pair.peft.clone()).collect();
        let mut gguf: Vec<Tensor> = self.pairs.iter().flat_map(|pair| pair.gguf.clone()).collect();
        for (ggml, module, width) in &self.norms {
            let values = numbers(*width, seed(ggml));
            peft.push((format!("base_model.model.{module}.weight"), vec![*width], values.clone()));
            gguf.push((format!("{ggml}.weight"), vec![*width], values));
        }
        let rank = self.pairs.first().map_or(1, |pair| pair.peft[0].1[0]);
        let config = json!({"peft_type": "LORA", "r": rank, "lora_alpha": self.peft_alpha});
        dir.file("peft/adapter_config.json", config.to_string());
        let data: Vec<Vec<u8>> = peft.iter().map(|(.., values)| bytes(kind, values)).collect();
        let dtype = match kind {
            GgmlType::F16 => Dtype::F16,
            GgmlType::BF16 => Dtype::BF16,
            _ => Dtype::F32,
        };
        let list: Vec<_> =
            peft.iter().zip(&data).map(|((name, shape, _), data)| (&**name, dtype, &**shape, &**data)).collect();
        dir.bytes("peft/adapter_model.safetensors", &list);
        let keys = [("general.type", "adapter"), ("general.architecture", self.architecture), ("adapter.type", "lora")];
        let list: Vec<_> =
            gguf.iter().map(|(name, shape, values)| (&**name, kind, &**shape, bytes(kind, values))).collect();
        dir.file("adapter.gguf", self::gguf(&keys, self.alpha, &[], &list));
        (dir.join("peft"), dir.join("adapter.gguf"))
    }
}

fn bytes(kind: GgmlType, values: &[f32]) -> Vec<u8> {
    let of = match kind {
        GgmlType::F16 => FloatType::F16,
        GgmlType::BF16 => FloatType::BF16,
        _ => FloatType::F32,
    };
    let mut bytes = vec![0; values.len() * of.size()];
    float::write(of, values, &mut bytes);
    bytes
}

/// A GGUF file of an adapter with these texts in its metadata, an alpha, and invocation tokens if there are any.
pub(super) fn gguf(
    keys: &[(&str, &str)],
    alpha: f32,
    tokens: &[u32],
    tensors: &[(&str, GgmlType, &[u64], Vec<u8>)],
) -> Vec<u8> {
    let mut metadata = Metadata::new();
    for (key, value) in keys {
        metadata.push(key, *value).expect("it is new");
    }
    metadata.push("adapter.lora.alpha", alpha).expect("it is new");
    if !tokens.is_empty() {
        metadata.push_array("adapter.alora.invocation_tokens", tokens.iter().copied()).expect("it is new");
    }
    file(metadata, tensors)
}

fn file(metadata: Metadata, tensors: &[(&str, GgmlType, &[u64], Vec<u8>)]) -> Vec<u8> {
    let list =
        tensors.iter().map(|(name, kind, shape, _)| (*name, *kind, Dims::from_shape(shape).expect("it is small")));
    let layout = Layout::new(metadata, list).expect("tests name tensors once");
    let mut writer = Writer::new(Vec::new(), layout).expect("a Vec takes it");
    for (.., bytes) in tensors {
        writer.write(bytes).expect("it is planned");
    }
    writer.finish().expect("everything was written")
}

/// The values of a base's tensor.
fn of_base(module: &str, count: u64) -> Vec<f32> {
    numbers(count, seed(module).wrapping_add(99))
}

/// A checkpoint with these layers and a norm.
pub(super) fn base(config: &str, linears: &[Linear<'_>]) -> Dir {
    let dir = Dir::new();
    dir.file("config.json", config);
    let mut tensors: Vec<Tensor> = linears
        .iter()
        .map(|(_, module, [rows, columns], _)| {
            (format!("{module}.weight"), vec![*rows, *columns], of_base(module, rows * columns))
        })
        .collect();
    tensors.push(("model.norm.weight".to_owned(), vec![32], of_base("model.norm", 32)));
    let data: Vec<Vec<u8>> = tensors.iter().map(|(.., values)| bytes(GgmlType::BF16, values)).collect();
    let list: Vec<_> =
        tensors.iter().zip(&data).map(|((name, shape, _), data)| (&**name, BASE, &**shape, &**data)).collect();
    dir.bytes("model.safetensors", &list);
    dir
}

/// The GGUF file that llama.cpp's converter makes of the base, as BF16.
pub(super) fn base_file(base: &Dir, linears: &[Linear<'_>]) -> Vec<u8> {
    assert!(base.join("model.safetensors").exists());
    let mut metadata = Metadata::new();
    metadata.push("general.architecture", "llama").expect("it is new");
    metadata.push("llama.attention.head_count", 4_u32).expect("it is new");
    metadata.push("llama.attention.head_count_kv", 2_u32).expect("it is new");
    let mut tensors: Vec<(String, Vec<u64>, Vec<u8>)> = linears
        .iter()
        .map(|(gguf, module, [rows, columns], heads)| {
            let values = of_base(module, rows * columns);
            let values = heads.map_or_else(|| values.clone(), |heads| alternating(&values, *columns, *rows, heads));
            (format!("{gguf}.weight"), vec![*rows, *columns], bytes(GgmlType::BF16, &values))
        })
        .collect();
    tensors.push(("output_norm.weight".to_owned(), vec![32], bytes(GgmlType::BF16, &of_base("model.norm", 32))));
    let list: Vec<_> =
        tensors.iter().map(|(name, shape, bytes)| (&**name, GgmlType::BF16, &**shape, bytes.clone())).collect();
    file(metadata, &list)
}
