//! Integers of AWQ, GPTQ and compressed-tensors.

use longshore_st_format::Dtype;

use super::{
    checkpoint::{Checkpoint, same},
    numbers::{bf16_bytes, bit_stream, f16_bytes, f32_bytes, noise, short_floats},
};

/// A matrix of codes `[outputs, inputs]`, with zeros and scales for groups of inputs, `[groups, outputs]`.
pub(super) struct Matrix {
    outputs: usize,
    inputs: usize,
    bits: usize,
    group: usize,
    codes: Vec<u8>,
    zeros: Vec<u8>,
    scales: Vec<f32>,
}

const GROUP: usize = 32;

impl Matrix {
    fn new(seed: u64, shape: [usize; 2], bits: usize, zero: Option<u8>) -> Self {
        Self::in_groups(seed, shape, bits, zero, GROUP)
    }

    pub(super) fn in_groups(
        seed: u64,
        [outputs, inputs]: [usize; 2],
        bits: usize,
        zero: Option<u8>,
        group: usize,
    ) -> Self {
        let narrow = |byte: u8| byte >> (8 - bits);
        let count = outputs * inputs / group;
        let codes = noise(seed, outputs * inputs).into_iter().map(narrow).collect();
        // GPTQ in version 1 cannot store a zero point of 0.
        let zeros = noise(seed + 1, count).into_iter().map(|byte| zero.unwrap_or(narrow(byte).max(1))).collect();
        Self { outputs, inputs, bits, group, codes, zeros, scales: short_floats(seed + 2, count) }
    }

    pub(super) fn values(&self) -> Vec<f32> {
        let value = |(at, code): (usize, &u8)| {
            let (output, input) = (at / self.inputs, at % self.inputs);
            let place = input / self.group * self.outputs + output;
            (f32::from(*code) - f32::from(self.zeros[place])) * self.scales[place]
        };
        self.codes.iter().enumerate().map(value).collect()
    }

    fn code(&self, output: usize, input: usize) -> u8 {
        self.codes[output * self.inputs + input]
    }

    /// Writes the matrix as AWQ does: eight outputs to a word, in AWQ's order.
    pub(super) fn awq(&self, to: Checkpoint, module: &str, write: fn(&[f32]) -> Vec<u8>, dtype: Dtype) -> Checkpoint {
        const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
        let pack = |rows: usize, code: &dyn Fn(usize, usize) -> u8| {
            let mut codes = Vec::new();
            for row in 0..rows {
                for eight in 0..self.outputs / 8 {
                    codes.extend(ORDER.map(|place| code(row, eight * 8 + place)));
                }
            }
            bit_stream(&codes, 4)
        };
        let (weight, zeros) = (
            pack(self.inputs, &|input, output| self.code(output, input)),
            pack(self.inputs / self.group, &|group, output| self.zeros[group * self.outputs + output]),
        );
        let (inputs, outputs, groups) = (self.inputs as u64, self.outputs as u64, (self.inputs / self.group) as u64);
        to.add(&format!("{module}.qweight"), Dtype::I32, &[inputs, outputs / 8], weight)
            .add(&format!("{module}.qzeros"), Dtype::I32, &[groups, outputs / 8], zeros)
            .add(&format!("{module}.scales"), dtype, &[groups, outputs], write(&self.scales))
    }

    /// Writes the matrix as GPTQ does: a word holds several inputs of one output. A word of zeros holds several
    /// outputs, each reduced by `less`.
    pub(super) fn gptq(
        &self,
        to: Checkpoint,
        module: &str,
        less: u8,
        write: fn(&[f32]) -> Vec<u8>,
        dtype: Dtype,
    ) -> Checkpoint {
        let per_word = 32 / self.bits;
        let mut codes = Vec::new();
        for word in 0..self.inputs / per_word {
            for output in 0..self.outputs {
                codes.extend((0..per_word).map(|place| self.code(output, word * per_word + place)));
            }
        }
        let zeros: Vec<u8> = self.zeros.iter().map(|zero| zero - less).collect();
        let (inputs, outputs, groups) = (self.inputs as u64, self.outputs as u64, (self.inputs / self.group) as u64);
        let per_word = per_word as u64;
        to.add(&format!("{module}.qweight"), Dtype::I32, &[inputs / per_word, outputs], bit_stream(&codes, self.bits))
            .add(&format!("{module}.qzeros"), Dtype::I32, &[groups, outputs / per_word], bit_stream(&zeros, self.bits))
            .add(&format!("{module}.scales"), dtype, &[groups, outputs], write(&self.scales))
    }

    fn index(&self) -> Vec<u8> {
        (0..self.inputs).flat_map(|input| i32::try_from(input / GROUP).expect("small").to_le_bytes()).collect()
    }
}

const AWQ: &str = r#""quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": true, "version": "gemm"}"#;

fn gptq_config(bits: usize, more: &str) -> String {
    format!(r#""quantization_config": {{"quant_method": "gptq", "bits": {bits}, "group_size": 32{more}}}"#)
}

#[test]
fn awq() {
    // More outputs than are transposed at a time, in no multiple of 32.
    for (shape, write, dtype) in [
        ([40, 64], f16_bytes as fn(&[f32]) -> Vec<u8>, Dtype::F16),
        ([72, 96], bf16_bytes, Dtype::BF16),
        ([8, 64], f32_bytes, Dtype::F32),
        ([200, 32_768], f16_bytes, Dtype::F16),
    ] {
        let matrix = Matrix::new(3, shape, 4, None);
        let checkpoint = matrix.awq(Checkpoint::with_config(AWQ), "m", write, dtype);
        let imported = checkpoint.import();
        assert_eq!((imported.names(), imported.scheme("m.weight")), (vec!["m.weight"], "int4-g32".into()));
        assert_eq!(imported.entry("m.weight").dtype, Dtype::F32, "biases are exact in F32");
        imported.has("m.weight", &shape.map(|dim| dim as u64), &matrix.values());
    }
    let middle = Matrix::new(3, [40, 64], 4, Some(8));
    let symmetric = AWQ.replace("true", "false");
    let imported = middle.awq(Checkpoint::with_config(&symmetric), "m", f16_bytes, Dtype::F16).import();
    assert_eq!(imported.entry("m.weight").dtype, Dtype::F16);
    imported.has("m.weight", &[40, 64], &middle.values());
}

#[test]
fn gptq() {
    for (version, less, more) in
        [("v1", 1, ""), ("v1", 1, r#", "checkpoint_format": "gptq""#), ("v2", 0, r#", "checkpoint_format": "gptq_v2""#)]
    {
        for bits in [2, 4, 8] {
            let matrix = Matrix::new(bits as u64, [48, 96], bits, None);
            let config = gptq_config(bits, &format!(r#", "sym": false, "desc_act": false{more}"#));
            let checkpoint = matrix.gptq(Checkpoint::with_config(&config), "m", less, f16_bytes, Dtype::F16);
            let imported = checkpoint.clone().import();
            assert_eq!(imported.scheme("m.weight"), format!("int{bits}-g32"));
            assert_eq!(imported.entry("m.weight").dtype, Dtype::F32, "{version}");
            imported.has("m.weight", &[48, 96], &matrix.values());
            let trivial = checkpoint.add("m.g_idx", Dtype::I32, &[96], matrix.index()).import();
            assert_eq!(trivial.names(), ["m.weight"]);
            trivial.has("m.weight", &[48, 96], &matrix.values());

            // Symmetric codes: zeros in the middle of the range need no F32 biases.
            let middle = Matrix::new(bits as u64, [48, 96], bits, Some(1 << (bits - 1)));
            let config = gptq_config(bits, &format!(r#", "sym": true, "desc_act": false{more}"#));
            let imported = middle.gptq(Checkpoint::with_config(&config), "m", less, f16_bytes, Dtype::F16).import();
            assert_eq!(imported.entry("m.weight").dtype, Dtype::F16);
            imported.has("m.weight", &[48, 96], &middle.values());
        }
    }
    let liar = Matrix::new(4, [48, 96], 4, None);
    let config = gptq_config(4, r#", "sym": true"#);
    let refusal = liar.gptq(Checkpoint::with_config(&config), "m", 1, f16_bytes, Dtype::F16).refusal();
    assert!(refusal.contains("\"m.weight\"") && refusal.contains("zeros in the middle"), "{refusal}");
}

/// Scales in F32 have no wider type for biases: exact biases are accepted, others refused.
#[test]
fn f32_scales() {
    let mut matrix = Matrix::new(1, [48, 96], 4, None);
    let config = gptq_config(4, r#", "sym": false"#);
    matrix.gptq(Checkpoint::with_config(&config), "m", 1, f32_bytes, Dtype::F32).import().has(
        "m.weight",
        &[48, 96],
        &matrix.values(),
    );
    matrix.scales[7] = 0.1;
    matrix.zeros[7] = 7;
    let refusal = matrix.gptq(Checkpoint::with_config(&config), "m", 1, f32_bytes, Dtype::F32).refusal();
    assert!(refusal.contains("\"m.weight\"") && refusal.contains("products with zeros"), "{refusal}");
}

#[test]
fn experts() {
    let (mut checkpoint, mut expected) = (Checkpoint::with_config(AWQ), Vec::new());
    for expert in 0..3 {
        let matrix = Matrix::new(10 * expert, [40, 64], 4, None);
        let module = format!("model.layers.0.mlp.experts.{expert}.up_proj");
        checkpoint = matrix.awq(checkpoint, &module, f16_bytes, Dtype::F16);
        expected.push((format!("{module}.weight"), matrix.values()));
    }
    let imported = checkpoint.import();
    assert_eq!(imported.names(), ["model.layers.0.mlp.experts.up_proj.weight"]);
    for (name, values) in &expected {
        same(name, &imported.exported()[name], &[40, 64], values);
    }
}

#[test]
fn orders_of_inputs() {
    let matrix = Matrix::new(4, [48, 96], 4, None);
    let with = |more: &str, index: Vec<u8>| {
        let config = gptq_config(4, more);
        let to = Checkpoint::with_config(&config).add("m.g_idx", Dtype::I32, &[96], index);
        matrix.gptq(to, "m", 1, f16_bytes, Dtype::F16)
    };
    let refusal = with(r#", "desc_act": true"#, matrix.index()).refusal();
    assert!(refusal.contains("\"m.qweight\"") && refusal.contains("desc_act"), "{refusal}");
    for more in ["", r#", "desc_act": false"#] {
        let mut index = matrix.index();
        index.swap(0, 4 * 40);
        let refusal = with(more, index).refusal();
        assert!(refusal.contains("\"m.weight\"") && refusal.contains("inputs in another order"), "{refusal}");
        let mut index = matrix.index();
        index[0] = 3;
        let refusal = with(more, index).refusal();
        assert!(
            refusal.contains("\"m.weight\"") && refusal.contains("expected a group below 3 for input 0, found 3"),
            "{refusal}"
        );
    }
}

#[test]
fn compressed_tensors() {
    for bits in [4_u8, 8] {
        for group in [32_usize, 64] {
            let config = format!(
                r#""quantization_config": {{"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {{"group_0": {{"weights": {{"num_bits": {bits}, "type": "int", "symmetric": true, "strategy": "group", "group_size": {group}}}}}}}}}"#
            );
            let codes: Vec<u8> = noise(1, 6 * 128).into_iter().map(|byte| byte >> (8 - bits)).collect();
            let scales = short_floats(2, 6 * 128 / group);
            let middle = f32::from(1_u8 << (bits - 1));
            let values: Vec<f32> =
                codes.iter().enumerate().map(|(at, code)| (f32::from(*code) - middle) * scales[at / group]).collect();
            let imported = Checkpoint::with_config(&config)
                .add("m.weight_packed", Dtype::I32, &[6, 4 * u64::from(bits)], bit_stream(&codes, bits.into()))
                .add("m.weight_scale", Dtype::BF16, &[6, 128 / group as u64], bf16_bytes(&scales))
                .add("m.weight_shape", Dtype::I64, &[2], [6_i64.to_le_bytes(), 128_i64.to_le_bytes()].concat())
                .import();
            assert_eq!(imported.names(), ["m.weight"]);
            imported.has("m.weight", &[6, 128], &values);
        }
    }
}

/// Patterns of GPTQ give modules bits and groups of their own, or exclude them.
#[test]
fn gptq_dynamic() {
    const DOWN: &str = "model.layers.0.mlp.down_proj";
    const UP: &str = "model.layers.0.mlp.up_proj";
    const OUT: &str = "model.layers.0.self_attn.o_proj";
    let config = |dynamic: &str| {
        format!(
            r#""hidden_size": 128, "quantization_config": {{"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true, "desc_act": false, "dynamic": {{{dynamic}}}}}"#
        )
    };
    let down = Matrix::in_groups(1, [128, 256], 8, Some(128), 64);
    let up = Matrix::in_groups(2, [256, 128], 4, Some(8), 128);
    let checkpoint = |dynamic: &str| {
        let to = Checkpoint::with_config(&config(dynamic));
        let to = down.gptq(to, DOWN, 1, f16_bytes, Dtype::F16);
        up.gptq(to, UP, 1, f16_bytes, Dtype::F16)
    };
    let plain = short_floats(3, 128 * 128);
    for dynamic in [
        r#""+:.*down_proj": {"bits": 8, "group_size": 64}, "-:.*o_proj": {}"#,
        r#""-:.*o_proj": {}, "model[.]layers[.]\\d+[.]mlp[.]down": {"bits": 8, "group_size": 64}, "+:.*down_proj": {"bits": 2}"#,
        r#""+:model[.]language_model[.]layers[.]0[.]mlp[.]down": {"bits": 8, "group_size": 64}, "-:.*o_proj": {}"#,
    ] {
        let imported =
            checkpoint(dynamic).add(&format!("{OUT}.weight"), Dtype::BF16, &[128, 128], bf16_bytes(&plain)).import();
        let (down_name, up_name) = (format!("{DOWN}.weight"), format!("{UP}.weight"));
        assert_eq!((imported.scheme(&down_name), imported.scheme(&up_name)), ("int8".into(), "int4-g128".into()));
        assert_eq!(imported.entry(&down_name).dtype, Dtype::F16, "zeros are in the middle");
        imported.has(&down_name, &[128, 256], &down.values());
        imported.has(&up_name, &[256, 128], &up.values());
        assert_eq!(imported.scheme(&format!("{OUT}.weight")), "none");
        imported.has(&format!("{OUT}.weight"), &[128, 128], &plain);
    }
    // Codes of other bits than the pattern's, of an excluded module, and a pattern that is none.
    for (dynamic, words) in [
        ("", "expected I32"),
        (r#""+:.*down_proj": {"bits": 8, "group_size": 32}"#, "8 bits in groups of 32"),
        (r#""-:.*down_proj": {}"#, "its module is not quantized"),
        (r#""+:.*(?=down)": {"bits": 8}"#, "which cannot be read"),
    ] {
        let refusal = checkpoint(dynamic).refusal();
        assert!(refusal.contains(words), "{words}: {refusal}");
    }
    let warned =
        checkpoint(r#""+:.*down_proj": {"bits": 8, "group_size": 64}, "+:.*lm_head": {"bits": 8}, "-:.*gate": {}"#)
            .import();
    assert!(warned.warnings.iter().any(|warning| warning.contains("+:.*lm_head")), "{:?}", warned.warnings);
    assert!(warned.notes().iter().any(|note| note.contains("-:.*gate")), "{:?}", warned.notes());
}

/// What config.json does not say is not told as if it did.
#[test]
fn numbers_that_nobody_says() {
    let refusal = |bits: &str| {
        let config =
            format!(r#""quantization_config": {{"quant_method": "gptq", {bits} "group_size": 64, "sym": true}}"#);
        let matrix = Matrix::in_groups(1, [64, 256], 4, Some(8), 128);
        matrix.gptq(Checkpoint::with_config(&config), "m", 1, f16_bytes, Dtype::F16).refusal()
    };
    let said = refusal(r#""bits": 4,"#);
    assert!(said.contains("config.json says 4 bits in groups of 64, but 256 columns"), "{said}");
    let unsaid = refusal("");
    assert!(unsaid.contains("it is read as 4 bits in groups of 64, but 256 columns"), "{unsaid}");
}
