//! Quantized weights in every form that is read, made of noise.

use longshore_st_format::Dtype;

use super::{
    choices::Choices,
    numbers::{short, to_bf16},
};

/// How a weight is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Awq,
    Gptq,
    Fp8,
    ModelOpt,
    CompressedNvfp4,
    Packed,
    Blocks,
    Fp4Bytes,
    Mlx,
    MlxFloat,
}

pub(super) const FORMS: [Form; 10] = [
    Form::Awq,
    Form::Gptq,
    Form::Fp8,
    Form::ModelOpt,
    Form::CompressedNvfp4,
    Form::Packed,
    Form::Blocks,
    Form::Fp4Bytes,
    Form::Mlx,
    Form::MlxFloat,
];

/// Bits of a code and codes of a group, as they are or as a configuration says that they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) bits: usize,
    pub(super) group: usize,
}

/// A tensor of the source.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub(super) suffix: &'static str,
    pub(super) dtype: Dtype,
    pub(super) dims: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

/// The tensors of one module.
#[derive(Debug, Clone)]
pub(super) struct Weight {
    pub(super) form: Form,
    pub(super) module: String,
    pub(super) numbers: Numbers,
    pub(super) tensors: Vec<Tensor>,
}

impl Weight {
    /// A weight `[rows, columns]` of noise; `columns` is a multiple of 256.
    pub(super) fn new(
        form: Form,
        module: String,
        numbers: Numbers,
        [rows, columns]: [usize; 2],
        choices: &mut Choices<'_>,
    ) -> Self {
        let Numbers { bits, group } = numbers;
        let (groups, words) = (columns / group, columns * bits / 32);
        let mut add = |suffix, dtype: Dtype, dims: &[usize]| {
            let count: usize = dims.iter().product();
            let bytes = noise(dtype, suffix, count, choices);
            Tensor { suffix, dtype, dims: dims.to_vec(), bytes }
        };
        let tensors = match form {
            Form::Awq => vec![
                add("qweight", Dtype::I32, &[columns, rows / 8]),
                add("qzeros", Dtype::I32, &[groups, rows / 8]),
                add("scales", Dtype::BF16, &[groups, rows]),
            ],
            Form::Gptq => vec![
                add("qweight", Dtype::I32, &[words, rows]),
                add("qzeros", Dtype::I32, &[groups, rows * bits / 32]),
                add("scales", Dtype::BF16, &[groups, rows]),
            ],
            Form::Fp8 => vec![
                add("weight", Dtype::F8E4M3, &[rows, columns]),
                add("weight_scale_inv", Dtype::BF16, &[rows.div_ceil(group), columns / group]),
            ],
            Form::ModelOpt => vec![
                add("weight", Dtype::U8, &[rows, columns / 2]),
                add("weight_scale", Dtype::F8E4M3, &[rows, columns / 16]),
                add("weight_scale_2", Dtype::F32, &[]),
            ],
            Form::CompressedNvfp4 => vec![
                add("weight_packed", Dtype::U8, &[rows, columns / 2]),
                add("weight_scale", Dtype::F8E4M3, &[rows, columns / 16]),
                add("weight_global_scale", Dtype::F32, &[1]),
            ],
            Form::Packed => vec![
                add("weight_packed", Dtype::I32, &[rows, words]),
                add("weight_scale", Dtype::BF16, &[rows, groups]),
            ],
            Form::Blocks => vec![
                add("gate_up_proj_blocks", Dtype::U8, &[2, rows, columns / 32, 16]),
                add("gate_up_proj_scales", Dtype::U8, &[2, rows, columns / 32]),
            ],
            Form::Fp4Bytes => {
                vec![add("weight", Dtype::I8, &[rows, columns / 2]), add("scale", Dtype::F8E8M0, &[rows, columns / 32])]
            }
            Form::Mlx => vec![
                add("weight", Dtype::U32, &[rows, words]),
                add("scales", Dtype::BF16, &[rows, groups]),
                add("biases", Dtype::BF16, &[rows, groups]),
            ],
            Form::MlxFloat => {
                vec![add("weight", Dtype::U32, &[rows, columns / 8]), add("scales", Dtype::U8, &[rows, columns / 32])]
            }
        };
        Self { form, module, numbers, tensors }
    }

    /// The tensor with this suffix, if it has the type.
    pub(super) fn tensor(&self, suffix: &str) -> &Tensor {
        self.tensors.iter().find(|tensor| tensor.suffix == suffix).expect("the form has it")
    }
}

/// Bytes of a tensor: any codes, and scales of ordinary size.
fn noise(dtype: Dtype, suffix: &str, count: usize, choices: &mut Choices<'_>) -> Vec<u8> {
    let is_scale = suffix.contains("scale") || suffix == "biases";
    let bytes = choices.noise(if is_scale { count } else { count * usize::try_from(dtype.bits() / 8).expect("a few") });
    match dtype {
        Dtype::BF16 => bytes.into_iter().flat_map(|byte| to_bf16(short(byte)).to_le_bytes()).collect(),
        Dtype::F32 => bytes.into_iter().flat_map(|byte| short(byte).to_le_bytes()).collect(),
        Dtype::F8E4M3 if is_scale => bytes.into_iter().map(|byte| 0x18 + byte % 48).collect(),
        Dtype::F8E4M3 => bytes.into_iter().map(|byte| if byte & 0x7F == 0x7F { byte - 1 } else { byte }).collect(),
        Dtype::U8 | Dtype::F8E8M0 if is_scale => bytes.into_iter().map(|byte| 110 + byte % 30).collect(),
        _ => bytes,
    }
}
