//! The slow decoder: one element at a time, from the definitions of the forms.

use super::{
    numbers::{bf16, code, e2m1, e4m3, e8m0, to_bf16},
    weight::{Form, Numbers, Tensor, Weight},
};

/// Extents and values of a tensor.
pub(super) type Values = (Vec<u64>, Vec<f32>);

const AWQ_ORDER: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The name and the values of the float tensor that `weight` is by the numbers of the configuration. `None` if the
/// tensors do not fit the numbers.
pub(super) fn decode(weight: &Weight, said: Numbers) -> Option<(String, Values)> {
    let Numbers { bits, group } = said;
    let of_rows = |tensor: &Tensor| [tensor.dims[0], tensor.dims[1]];
    let name = format!("{}.weight", weight.module);
    let (dims, values): (Vec<usize>, Vec<f32>) = match weight.form {
        Form::Awq => {
            let (codes, zeros, scales) = transposed(weight);
            let [inputs, words] = of_rows(codes);
            let outputs = words * 8;
            let place = |line: usize, output: usize| line * outputs + output / 8 * 8 + AWQ_ORDER[output % 8];
            let value = |output: usize, input: usize| {
                let (code, zero) =
                    (code(&codes.bytes, place(input, output), 4), code(&zeros.bytes, place(input / group, output), 4));
                (f32::from(code) - f32::from(zero)) * float(scales, input / group * outputs + output)
            };
            (bits == 4 && inputs == group * scales.dims[0]).then(|| matrix(outputs, inputs, value))?
        }
        Form::Gptq => {
            let (codes, zeros, scales) = transposed(weight);
            let [words, outputs] = of_rows(codes);
            let (per_word, inputs) = (32 / bits, words * 32 / bits);
            let value = |output: usize, input: usize| {
                let at = (input / per_word * outputs + output) * per_word + input % per_word;
                let (code, zero) =
                    (code(&codes.bytes, at, bits), code(&zeros.bytes, input / group * outputs + output, bits));
                (f32::from(code) - f32::from(zero) - 1.0) * float(scales, input / group * outputs + output)
            };
            let fits = inputs == group * scales.dims[0] && zeros.dims[1] * 32 == outputs * bits;
            fits.then(|| matrix(outputs, inputs, value))?
        }
        Form::Fp8 => {
            let (codes, scales) = (weight.tensor("weight"), weight.tensor("weight_scale_inv"));
            let [rows, columns] = of_rows(codes);
            let block = weight.numbers.group;
            matrix(rows, columns, |row, column| {
                let scale = float(scales, row / block * scales.dims[1] + column / block);
                bf16(to_bf16(e4m3(codes.bytes[row * columns + column]) * scale))
            })
        }
        Form::ModelOpt | Form::CompressedNvfp4 => {
            let is_modelopt = weight.form == Form::ModelOpt;
            let (codes, global) =
                if is_modelopt { ("weight", "weight_scale_2") } else { ("weight_packed", "weight_global_scale") };
            let (codes, scales, global) = (weight.tensor(codes), weight.tensor("weight_scale"), weight.tensor(global));
            let global = f32::from_le_bytes(global.bytes[..4].try_into().expect("it is one F32"));
            let global = if is_modelopt { global } else { 1.0 / global };
            let columns = codes.dims[1] * 2;
            matrix(codes.dims[0], columns, |row, column| {
                let at = row * columns + column;
                e2m1(code(&codes.bytes, at, 4)) * (e4m3(scales.bytes[at / 16]) * global)
            })
        }
        Form::Packed => {
            let (codes, scales) = (weight.tensor("weight_packed"), weight.tensor("weight_scale"));
            let [rows, columns] = [codes.dims[0], codes.dims[1] * 32 / bits];
            let middle = f32::from(1_u8 << (bits - 1));
            let value = |row: usize, column: usize| {
                let code = code(&codes.bytes, row * columns + column, bits);
                (f32::from(code) - middle) * float(scales, (row * columns + column) / group)
            };
            (columns == group * scales.dims[1]).then(|| matrix(rows, columns, value))?
        }
        Form::Blocks => {
            let (codes, scales) = (weight.tensor("gate_up_proj_blocks"), weight.tensor("gate_up_proj_scales"));
            let [experts, outputs, inputs] = [codes.dims[0], codes.dims[1], codes.dims[2] * 32];
            // The float checkpoint has the other orientation.
            let (_, values) = matrix(experts * inputs, outputs, |row, output| {
                let at = (row / inputs * outputs + output) * inputs + row % inputs;
                e2m1(code(&codes.bytes, at, 4)) * e8m0(scales.bytes[at / 32])
            });
            let dims = [experts, inputs, outputs].map(|dim| dim as u64).to_vec();
            return Some((format!("{}.gate_up_proj", weight.module), (dims, values)));
        }
        Form::Fp4Bytes | Form::MlxFloat => {
            let scales = if weight.form == Form::Fp4Bytes { "scale" } else { "scales" };
            let (codes, scales) = (weight.tensor("weight"), weight.tensor(scales));
            let columns = scales.dims[1] * 32;
            matrix(codes.dims[0], columns, |row, column| {
                let at = row * columns + column;
                e2m1(code(&codes.bytes, at, 4)) * e8m0(scales.bytes[at / 32])
            })
        }
        Form::Mlx => {
            let (codes, scales, biases) = (weight.tensor("weight"), weight.tensor("scales"), weight.tensor("biases"));
            let (rows, of_row) = (codes.dims[0], codes.dims[1] * 32);
            let columns = of_row / bits;
            let value = |row: usize, column: usize| {
                let (at, of_group) = (row * columns + column, (row * columns + column) / group);
                f32::from(code(&codes.bytes, at, bits)) * float(scales, of_group) + float(biases, of_group)
            };
            let fits = of_row % bits == 0 && columns == group * scales.dims[1];
            fits.then(|| matrix(rows, columns, value))?
        }
    };
    Some((name, (dims.into_iter().map(|dim| dim as u64).collect(), values)))
}

fn transposed(weight: &Weight) -> (&Tensor, &Tensor, &Tensor) {
    (weight.tensor("qweight"), weight.tensor("qzeros"), weight.tensor("scales"))
}

fn matrix(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f32) -> (Vec<usize>, Vec<f32>) {
    let values = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    (vec![rows, columns], values.map(|(row, column)| value(row, column)).collect())
}

/// An element of a BF16 tensor.
fn float(tensor: &Tensor, at: usize) -> f32 {
    bf16(u16::from_le_bytes([tensor.bytes[2 * at], tensor.bytes[2 * at + 1]]))
}
