//! Weights that MLX quantized.

use longshore_manifest::document::Role;
use longshore_packer::PlanOptions;
use longshore_st_format::Dtype;

use super::{
    checkpoint::{Checkpoint, same},
    numbers::{
        bf16_bytes, bit_stream, e2m1, e4m3, e4m3_noise, e4m3_scales, e8m0, f16_bytes, f32_bytes, noise, short_floats,
    },
};

pub(super) struct Affine {
    codes: Vec<u8>,
    scales: Vec<f32>,
    biases: Vec<f32>,
    pub(super) values: Vec<f32>,
    bits: u8,
    groups: u64,
    dims: Vec<u64>,
}

impl Affine {
    pub(super) fn new(seed: u64, dims: &[u64], bits: u8, group: u64) -> Self {
        let elements = usize::try_from(dims.iter().product::<u64>()).expect("it is small");
        let in_group = usize::try_from(group).expect("it is small");
        let codes: Vec<u8> = noise(seed, elements).into_iter().map(|byte| byte >> (8 - bits)).collect();
        let scales = short_floats(seed + 1, elements / in_group);
        let biases: Vec<f32> =
            short_floats(seed + 2, elements / in_group).into_iter().map(|bias| -4.0 * bias).collect();
        let value = |(at, code): (usize, &u8)| f32::from(*code) * scales[at / in_group] + biases[at / in_group];
        let values = codes.iter().enumerate().map(value).collect();
        let groups = dims[dims.len() - 1] / group;
        Self { codes, scales, biases, values, bits, groups, dims: dims.to_vec() }
    }

    pub(super) fn add(&self, to: Checkpoint, module: &str, dtype: Dtype) -> Checkpoint {
        let write = match dtype {
            Dtype::F32 => f32_bytes,
            Dtype::F16 => f16_bytes,
            _ => bf16_bytes,
        };
        let (columns, outer) = self.dims.split_last().expect("it is a matrix");
        let with = |last| [outer, &[last]].concat();
        to.add(
            &format!("{module}.weight"),
            Dtype::U32,
            &with(columns * u64::from(self.bits) / 32),
            bit_stream(&self.codes, self.bits.into()),
        )
        .add(&format!("{module}.scales"), dtype, &with(self.groups), write(&self.scales))
        .add(&format!("{module}.biases"), dtype, &with(self.groups), write(&self.biases))
    }
}

#[test]
fn every_width_and_group() {
    let types = [Dtype::BF16, Dtype::F16, Dtype::F32];
    for (at, bits) in [2, 3, 4, 5, 6, 8].into_iter().enumerate() {
        for (other, group) in [32, 64, 128].into_iter().enumerate() {
            let affine = Affine::new(7 * at as u64 + other as u64, &[6, 256], bits, group);
            let dtype = types[(at + other) % 3];
            let mode = if other == 1 { r#", "mode": "affine""# } else { "" };
            let config = format!(r#""quantization": {{"bits": {bits}, "group_size": {group}{mode}}}"#);
            let imported = affine.add(Checkpoint::with_config(&config), "m", dtype).import();
            let entry = imported.entry("m.weight");
            let quantization = entry.quantization.as_ref().expect("it is quantized");
            assert_eq!(
                (quantization.quant_type.as_str(), quantization.group_size),
                (format!("int{bits}").as_str(), u32::try_from(group).expect("small"))
            );
            assert_eq!((entry.dtype, entry.shape.dims()), (dtype, &[6, 256][..]));
            assert_eq!(imported.names(), ["m.weight"]);
            imported.has("m.weight", &[6, 256], &affine.values);
        }
    }
}

/// B8, and modules whose scheme differs from the rest.
#[test]
fn overrides() {
    let config =
        r#""quantization": {"bits": 4, "group_size": 64, "head": {"bits": 8, "group_size": 32}, "model.gate": false}"#;
    let (plain, head) = (Affine::new(1, &[4, 128], 4, 64), Affine::new(2, &[4, 128], 8, 32));
    let checkpoint = head.add(plain.add(Checkpoint::with_config(config), "model.up", Dtype::BF16), "head", Dtype::BF16);
    let imported =
        checkpoint.add("model.gate.weight", Dtype::BF16, &[2, 64], bf16_bytes(&short_floats(3, 128))).import();
    assert_eq!(
        (imported.scheme("model.up.weight"), imported.scheme("head.weight")),
        ("int4".into(), "int8-g32".into())
    );
    imported.has("model.up.weight", &[4, 128], &plain.values);
    imported.has("head.weight", &[4, 128], &head.values);
    imported.has("model.gate.weight", &[2, 64], &short_floats(3, 128));
}

#[test]
fn experts_stack_and_are_stacks() {
    let config = r#""quantization": {"bits": 4, "group_size": 32}"#;
    let stack = Affine::new(1, &[3, 8, 64], 4, 32);
    let name = "model.layers.0.mlp.switch_mlp.up_proj";
    let imported = stack.add(Checkpoint::with_config(config), name, Dtype::BF16).import();
    assert_eq!(imported.plan.blobs[0].name, "model.layers.0.mlp.switch_mlp");
    imported.has(&format!("{name}.weight"), &[3, 8, 64], &stack.values);

    let mut checkpoint = Checkpoint::with_config(config);
    let mut expected = Vec::new();
    for expert in 0..3 {
        let one = Affine::new(expert + 5, &[8, 64], 4, 32);
        let module = format!("model.layers.0.mlp.experts.{expert}.up_proj");
        checkpoint = one.add(checkpoint, &module, Dtype::F16);
        expected.push((format!("{module}.weight"), one.values));
    }
    let imported = checkpoint.import();
    assert_eq!(imported.names(), ["model.layers.0.mlp.experts.up_proj.weight"]);
    for (name, values) in &expected {
        same(name, &imported.exported()[name], &[8, 64], values);
    }
}

#[test]
fn float_modes() {
    let nibbles = |bytes: &[u8]| bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]).collect::<Vec<_>>();
    let powers = |seed, count| noise(seed, count).into_iter().map(|byte| 110 + byte % 20).collect::<Vec<u8>>();
    for (mode, group) in [("nvfp4", 16), ("mxfp4", 32), ("mxfp8", 32)] {
        let bytes = if mode == "mxfp8" { e4m3_noise(1, 4 * 64) } else { noise(1, 4 * 32) };
        let groups = 64 / group;
        let scales = if mode == "nvfp4" { e4m3_scales(2, 4 * groups) } else { powers(2, 4 * groups) };
        let scale = |at: usize| if mode == "nvfp4" { e4m3(scales[at / group]) } else { e8m0(scales[at / group]) };
        let values: Vec<f32> = if mode == "mxfp8" {
            bytes.iter().enumerate().map(|(at, code)| e4m3(*code) * scale(at)).collect()
        } else {
            nibbles(&bytes).iter().enumerate().map(|(at, code)| e2m1(*code) * scale(at)).collect()
        };
        for config in
            [format!(r#""quantization": {{"mode": "{mode}", "group_size": {group}, "bits": 4}}"#), String::new()]
        {
            let imported = Checkpoint::with_config(&config)
                .add("m.weight", Dtype::U32, &[4, bytes.len() as u64 / 16], bytes.clone())
                .add("m.scales", Dtype::U8, &[4, groups as u64], scales.clone())
                .import();
            assert_eq!((imported.scheme("m.weight"), imported.names()), (mode.into(), vec!["m.weight"]));
            imported.has("m.weight", &[4, 64], &values);
            assert!(!imported.warnings.iter().any(|warning| warning.contains("NaN")));
        }
    }
}

/// MLX up to 0.32.1 wrote NaN for its largest weights.
#[test]
fn codes_that_are_nan_by_mistake() {
    let mut bytes = e4m3_noise(1, 64);
    (bytes[3], bytes[40]) = (0x7F, 0xFF);
    let checkpoint = Checkpoint::new().add("m.weight", Dtype::U32, &[1, 16], bytes.clone()).add(
        "m.scales",
        Dtype::U8,
        &[1, 2],
        vec![127, 128],
    );
    let floats = PlanOptions { floats: true, requantize: true, ..crate::support::options("none", "default") };
    for imported in [checkpoint.import(), checkpoint.import_with(&floats)] {
        let exported = imported.exported();
        let values = &exported["m.weight"].elements;
        assert_eq!((values[3], values[40]), (448.0, -896.0));
        assert!(imported.warnings.iter().any(|warning| warning.contains("read as NaN: 2")), "{:?}", imported.warnings);
    }
    bytes[3] = 0x7E;
    bytes[40] = 0xFE;
    assert_eq!(checkpoint.import().part("m.weight", Role::Weight), bytes);
}

#[test]
fn what_does_not_fit() {
    const FOUR: &str = r#""quantization": {"bits": 4, "group_size": 64}"#;
    let affine = |config: &str| Affine::new(1, &[4, 256], 4, 64).add(Checkpoint::with_config(config), "m", Dtype::BF16);
    let weight = |config: &str| Checkpoint::with_config(config).zeros("m.weight", Dtype::U32, &[4, 32]);
    for (checkpoint, words) in [
        (affine(""), "config.json does not say its bits and group_size"),
        (affine(r#""quantization": {"bits": 4}"#), "config.json does not say its group_size,"),
        (
            affine(r#""quantization": {"bits": 4, "group_size": 64, "m": false}"#),
            "config.json does not say its bits and group_size",
        ),
        (affine(r#""quantization": {"bits": 8, "group_size": 64}"#), "makes 128 columns"),
        (affine(r#""quantization": {"bits": 4, "group_size": 32}"#), "it has 4 scales"),
        (affine(r#""quantization": {"bits": 7, "group_size": 64}"#), "bits"),
        (affine(r#""quantization": {"bits": 4, "group_size": 64, "mode": "mxfp4"}"#), "says mode \"mxfp4\""),
        (weight(FOUR), "has no \"m.scales\""),
        (weight(FOUR).zeros("m.scales", Dtype::BF16, &[4, 4]), "has no \"m.biases\""),
        (
            weight(FOUR).zeros("m.scales", Dtype::BF16, &[3, 4]).zeros("m.biases", Dtype::BF16, &[3, 4]),
            "expected BF16 [4, 4]",
        ),
        (
            weight(FOUR).zeros("m.scales", Dtype::BF16, &[4, 4]).zeros("m.biases", Dtype::F16, &[4, 4]),
            "is F16 [4, 4], expected BF16",
        ),
        (weight(FOUR).zeros("m.scales", Dtype::BF16, &[]).zeros("m.biases", Dtype::BF16, &[]), "it has 0 scales"),
        (weight(FOUR).zeros("m.scales", Dtype::U8, &[4, 5]), "5 scales for rows of 32 words"),
        (Checkpoint::new().zeros("m.weight", Dtype::U32, &[4]).zeros("m.scales", Dtype::U8, &[1]), "two or three axes"),
        (
            Affine::new(1, &[4, 64], 4, 64).add(Checkpoint::with_config(FOUR), "m", Dtype::BF16).zeros(
                "m.weight.scale",
                Dtype::F32,
                &[1],
            ),
            "\"m.weight.scale\"",
        ),
    ] {
        let refusal = checkpoint.refusal();
        assert!(refusal.contains(words) && refusal.contains("\"m."), "{words}: {refusal}");
    }
    // An infinite bias makes its group infinite.
    let infinite = weight(FOUR).zeros("m.scales", Dtype::BF16, &[4, 4]).add(
        "m.biases",
        Dtype::BF16,
        &[4, 4],
        [vec![0x80, 0x7F], vec![0; 30]].concat(),
    );
    assert!(infinite.refusal().contains("holds infinities or NaNs (64 so far)"), "{}", infinite.refusal());
}
