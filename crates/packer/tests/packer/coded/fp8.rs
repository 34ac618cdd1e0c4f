//! 8-bit floats. Rows B7 and B9 of the acceptance list, and checkpoints that the list refuses but that can be imported
//! here: those of B4 without a block size or with 64×64, and those with scales for each channel or tensor.

use longshore_manifest::document::Role;
use longshore_quant::FloatType;
use longshore_st_format::Dtype;

use super::{
    checkpoint::{Checkpoint, same},
    numbers::{bf16_bytes, e4m3, e4m3_noise, e8m0, f16_bytes, f32_bytes, noise, round_bf16, short_floats},
};
use crate::{
    stores::{import_as, is_clean, store, tensors},
    support::{options, plan},
};

const NAME: &str = "model.layers.0.mlp.up_proj.weight";

/// Writes scales in their stored type.
type Write = fn(&[f32]) -> Vec<u8>;

/// Every code multiplied by the scale of its block, matrix by matrix.
fn products(
    codes: &[u8],
    [rows, columns]: [usize; 2],
    [block_rows, block_columns]: [usize; 2],
    scales: &[f32],
) -> Vec<f32> {
    let grid = [rows.div_ceil(block_rows), columns.div_ceil(block_columns)];
    let value = |(at, code): (usize, &u8)| {
        let (matrix, row, column) = (at / (rows * columns), at / columns % rows, at % columns);
        e4m3(*code) * scales[(matrix * grid[0] + row / block_rows) * grid[1] + column / block_columns]
    };
    codes.iter().enumerate().map(value).collect()
}

fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| round_bf16(*value)).collect()
}

fn powers(seed: u64, count: usize) -> Vec<f32> {
    noise(seed, count).into_iter().map(|byte| e8m0(120 + byte % 12)).collect()
}

fn e8m0_bytes(scales: &[f32]) -> Vec<u8> {
    scales.iter().map(|scale| (scale.to_bits() >> 23).to_le_bytes()[0]).collect()
}

struct Row {
    what: &'static str,
    dims: &'static [u64],
    suffix: &'static str,
    scales: &'static [u64],
    block: [usize; 2],
    config: &'static str,
}

const FP8: &str = r#""quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}"#;
const ROWS: &[Row] = &[
    Row { what: "B7", dims: &[128, 256], suffix: "_scale_inv", scales: &[1, 2], block: [128, 128], config: FP8 },
    Row { what: "cut edges", dims: &[200, 320], suffix: "_scale_inv", scales: &[2, 3], block: [128, 128], config: FP8 },
    Row {
        what: "no block size",
        dims: &[200, 320],
        suffix: "_scale_inv",
        scales: &[2, 3],
        block: [128, 128],
        config: "",
    },
    Row { what: "_scale", dims: &[130, 64], suffix: "_scale", scales: &[2, 1], block: [128, 128], config: "" },
    Row {
        what: "larger than the matrix",
        dims: &[8, 96],
        suffix: "_scale_inv",
        scales: &[1, 1],
        block: [128, 128],
        config: FP8,
    },
    Row {
        what: "B4: 64x64",
        dims: &[100, 128],
        suffix: "_scale_inv",
        scales: &[2, 2],
        block: [64, 64],
        config: r#""quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 64]}"#,
    },
    Row {
        what: "1x128",
        dims: &[6, 320],
        suffix: "_scale",
        scales: &[6, 3],
        block: [1, 128],
        config: r#""quantization_config": {"config_groups": {"a": {"weights": {"num_bits": 8, "type": "float", "block_structure": [1, 128]}}}}"#,
    },
    Row { what: "1x128, not said", dims: &[6, 320], suffix: "_scale", scales: &[6, 3], block: [1, 128], config: "" },
    Row {
        what: "32x32, not said",
        dims: &[96, 160],
        suffix: "_scale_inv",
        scales: &[3, 5],
        block: [32, 32],
        config: "",
    },
    Row {
        what: "32x32, one block of rows",
        dims: &[32, 160],
        suffix: "_scale_inv",
        scales: &[1, 5],
        block: [32, 32],
        config: "",
    },
    Row {
        what: "32x32, one block of columns",
        dims: &[96, 32],
        suffix: "_scale_inv",
        scales: &[3, 1],
        block: [32, 32],
        config: "",
    },
    Row { what: "channel [N, 1]", dims: &[40, 96], suffix: "_scale", scales: &[40, 1], block: [1, 96], config: "" },
    Row { what: "channel [N]", dims: &[40, 96], suffix: "_scale", scales: &[40], block: [1, 96], config: "" },
    Row { what: "tensor []", dims: &[200, 160], suffix: "_scale", scales: &[], block: [200, 160], config: "" },
    Row { what: "tensor [1]", dims: &[200, 160], suffix: "_scale", scales: &[1], block: [200, 160], config: "" },
    Row { what: "stack", dims: &[3, 130, 96], suffix: "_scale_inv", scales: &[3, 2, 1], block: [128, 128], config: "" },
    Row { what: "stack, channel", dims: &[3, 6, 64], suffix: "_scale", scales: &[3, 6, 1], block: [1, 64], config: "" },
    Row {
        what: "stack, channel without an axis",
        dims: &[3, 6, 64],
        suffix: "_scale",
        scales: &[3, 6],
        block: [1, 64],
        config: "",
    },
    Row {
        what: "stack, one each",
        dims: &[3, 6, 64],
        suffix: "_scale",
        scales: &[3, 1, 1],
        block: [6, 64],
        config: "",
    },
    Row { what: "stack, one each [E]", dims: &[3, 6, 64], suffix: "_scale", scales: &[3], block: [6, 64], config: "" },
];

impl Row {
    fn extents(&self) -> ([usize; 2], usize, usize) {
        let dims: Vec<usize> = self.dims.iter().map(|dim| usize::try_from(*dim).expect("it is small")).collect();
        let shape = [dims[dims.len() - 2], dims[dims.len() - 1]];
        let scales: u64 = self.scales.iter().product();
        (shape, dims.iter().product(), usize::try_from(scales).expect("it is small"))
    }

    fn checkpoint(&self, codes: &[u8], dtype: Dtype, scales: Vec<u8>) -> Checkpoint {
        Checkpoint::with_config(self.config)
            .add(NAME, Dtype::F8E4M3, self.dims, codes.to_vec())
            .add(&format!("{NAME}{}", self.suffix), dtype, self.scales, scales)
            .add("model.norm.weight", Dtype::F32, &[2], f32_bytes(&[1.5, 0.1]))
            .add("lm_head.weight", Dtype::BF16, &[32, 64], bf16_bytes(&short_floats(5, 2048)))
    }
}

/// Scales that are powers of two give mxfp8 with the same values, whatever the block and the type of the scales.
#[test]
fn powers_of_two_are_kept_to_the_bit() {
    let types: [(Dtype, Write); 4] =
        [(Dtype::F32, f32_bytes), (Dtype::BF16, bf16_bytes), (Dtype::F16, f16_bytes), (Dtype::F8E8M0, e8m0_bytes)];
    for (at, row) in ROWS.iter().enumerate() {
        let (shape, elements, count) = row.extents();
        let (codes, scales) = (e4m3_noise(at as u64, elements), powers(at as u64 + 100, count));
        let (dtype, write) = types[at % 4];
        let imported = row.checkpoint(&codes, dtype, write(&scales)).import();
        assert_eq!(imported.scheme(NAME), "mxfp8", "{}", row.what);
        assert_eq!(imported.part(NAME, Role::Weight), codes, "{}", row.what);
        imported.has(NAME, row.dims, &products(&codes, shape, row.block, &scales));
        assert_eq!(
            imported.names(),
            ["lm_head.weight", NAME, "model.norm.weight"],
            "B7: the scale is no blob of its own"
        );
        assert_eq!(
            (imported.scheme("lm_head.weight"), imported.scheme("model.norm.weight")),
            ("none".into(), "none".into())
        );
        imported.has("lm_head.weight", &[32, 64], &short_floats(5, 2048));
        imported.has("model.norm.weight", &[2], &[1.5, 0.1]);
        assert_eq!(imported.entry(NAME).dtype, Dtype::BF16, "{}", row.what);
    }
}

/// Other scales give int8, or mxfp8 under `v0.32`. `--quantize none` gives the products, rounded once.
#[test]
fn other_scales() {
    let types: [(Dtype, Write); 3] = [(Dtype::F32, f32_bytes), (Dtype::BF16, bf16_bytes), (Dtype::F16, f16_bytes)];
    for (at, row) in ROWS.iter().enumerate() {
        let (shape, elements, count) = row.extents();
        let codes = e4m3_noise(at as u64, elements);
        let mut scales = short_floats(at as u64 + 100, count);
        scales[0] = 0.6875;
        let (dtype, write) = types[at % 3];
        let checkpoint = row.checkpoint(&codes, dtype, write(&scales));
        let values = products(&codes, shape, row.block, &scales);
        let floats = checkpoint.import_floats();
        assert_eq!(floats.scheme(NAME), "none", "{}", row.what);
        floats.has(NAME, row.dims, &rounded(&values));
        assert_eq!(floats.exported()[NAME].dtype, Dtype::BF16);
        if elements >= 1024 && row.dims.len() == 2 && row.dims[1].is_multiple_of(64) {
            let eight = checkpoint.import();
            assert_eq!(eight.scheme(NAME), "int8", "{}", row.what);
            let found = &eight.exported()[NAME].elements;
            let (mut error, mut power) = (0.0, 0.0);
            for (found, value) in found.iter().zip(&values) {
                error += f64::from(found - value).powi(2);
                power += f64::from(*value).powi(2);
            }
            assert!(error < power * 1.5e-4, "{}: {error} of {power}", row.what);
            for scheme in ["int4", "nvfp4", "mxfp8"] {
                let asked = checkpoint.import_as(scheme, "uniform");
                assert_eq!(asked.scheme(NAME), scheme, "{}", row.what);
            }
        }
        let theirs = checkpoint.import_as("none", "v0.32");
        let fits = elements >= 1024 && row.dims.last().is_some_and(|columns| columns.is_multiple_of(32));
        assert_eq!(theirs.scheme(NAME), if fits { "mxfp8" } else { "none" }, "{}", row.what);
        assert_eq!(theirs.scheme("lm_head.weight"), "none", "BF16 tensors of an FP8 checkpoint stay");
    }
}

/// A requested scheme gives the same codes as for float weights with the decoded values.
#[test]
fn a_scheme_that_is_asked_for_sees_the_decoded_weights() {
    let (codes, scales) = (e4m3_noise(1, 192 * 320), short_floats(2, 6));
    let values = products(&codes, [192, 320], [128, 128], &scales);
    let quantized = Checkpoint::new().add(NAME, Dtype::F8E4M3, &[192, 320], codes).add(
        &format!("{NAME}_scale_inv"),
        Dtype::F32,
        &[2, 3],
        f32_bytes(&scales),
    );
    let plain = Checkpoint::new().add(NAME, Dtype::BF16, &[192, 320], bf16_bytes(&values));
    for scheme in ["int4", "int8", "nvfp4", "mxfp4", "mxfp8"] {
        let (decoded, plain) = (quantized.import_as(scheme, "uniform"), plain.import_as(scheme, "uniform"));
        for role in [Role::Weight, Role::Scale] {
            assert_eq!(decoded.part(NAME, role), plain.part(NAME, role), "{scheme} {role:?}");
        }
    }
}

/// B7: "sources N weights then N scales", one stacked tensor for each projection.
#[test]
fn experts_are_stacked() {
    for (is_exact, scheme) in [(true, "mxfp8"), (false, "int8")] {
        let mut checkpoint = Checkpoint::new();
        let mut expected = Vec::new();
        // More than ten experts, so that their numeric order differs from the order of their names.
        for expert in 0..11_u64 {
            let (codes, name) =
                (e4m3_noise(expert, 130 * 64), format!("model.layers.3.mlp.experts.{expert}.w1.weight"));
            let scales = if is_exact { powers(expert + 50, 2) } else { short_floats(expert + 50, 2) };
            expected.push((name.clone(), products(&codes, [130, 64], [128, 128], &scales)));
            checkpoint = checkpoint
                .add(&format!("{name}_scale"), Dtype::BF16, &[2, 1], bf16_bytes(&scales))
                .add(&name, Dtype::F8E4M3, &[130, 64], codes)
                .add(&name.replace(".weight", ".input_scale"), Dtype::F32, &[], f32_bytes(&[1.0]));
        }
        let stack = "model.layers.3.mlp.experts.w1.weight";
        let imported = checkpoint.import();
        assert_eq!(imported.names(), [stack]);
        assert_eq!(imported.scheme(stack), scheme);
        assert_eq!(imported.plan.blobs[0].name, "model.layers.3.mlp.experts");
        let planned = &imported.plan.blobs[0].tensors[0];
        assert_eq!(planned.shape.dims(), [11, 130, 64]);
        let dir = checkpoint.write();
        let source = dir.open().expect("it is a model");
        let names: Vec<_> = planned.sources().map(|at| source.tensors[at].name.clone()).collect();
        let weights: Vec<_> = expected.iter().map(|(name, _)| name.clone()).collect();
        let scales: Vec<_> = weights.iter().map(|name| format!("{name}_scale")).collect();
        assert_eq!(names, [weights, scales].concat());
        let floats = if is_exact { imported } else { checkpoint.import_floats() };
        let exported = floats.exported();
        assert_eq!(exported.len(), 11);
        for (name, values) in &expected {
            let values = if is_exact { values.clone() } else { rounded(values) };
            same(name, &exported[name], &[130, 64], &values);
        }
    }
}

/// Names of compressed-tensors and `ModelOpt`. Their activation scales are dropped.
#[test]
fn other_writers() {
    let (codes, values) =
        (e4m3_noise(3, 32 * 64), e4m3_noise(3, 32 * 64).iter().map(|code| e4m3(*code) * 0.5).collect::<Vec<_>>());
    for (config, scale, dims) in [
        (
            r#""quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float", "strategy": "tensor"}}}}"#,
            "weight_scale",
            &[1][..],
        ),
        (r#""quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}"#, "weight_scale", &[]),
        ("", "scale", &[]),
    ] {
        let imported = Checkpoint::with_config(config)
            .add("m.weight", Dtype::F8E4M3, &[32, 64], codes.clone())
            .add(&format!("m.{scale}"), Dtype::F32, dims, f32_bytes(&[0.5]))
            .add("m.input_scale", Dtype::F32, dims, f32_bytes(&[3.0]))
            .import();
        assert_eq!((imported.names(), imported.scheme("m.weight")), (vec!["m.weight"], "mxfp8".into()), "{config}");
        imported.has("m.weight", &[32, 64], &values);
    }
}

#[test]
fn without_a_scale_codes_stay() {
    let codes = e4m3_noise(4, 32 * 64);
    let checkpoint = Checkpoint::new()
        .add("a.weight", Dtype::F8E4M3, &[32, 64], codes.clone())
        .add("a.norm_scale", Dtype::F32, &[1], f32_bytes(&[2.0]))
        .add("b.input_scale", Dtype::F32, &[1], f32_bytes(&[2.0]))
        .add("b.weight", Dtype::F8E4M3, &[32, 64], codes.clone());
    // An unknown tensor that may be a scale is not ignored.
    let refusal = checkpoint.refusal();
    assert!(refusal.contains("\"a.weight\"") && refusal.contains("\"a.norm_scale\" may be its scale"), "{refusal}");
    let checkpoint = Checkpoint::new().add("a.weight", Dtype::F8E4M3, &[32, 64], codes.clone()).add(
        "a.child.weight_scale",
        Dtype::F32,
        &[1],
        f32_bytes(&[2.0]),
    );
    for imported in [checkpoint.import(), checkpoint.import_floats(), checkpoint.import_as("int4", "uniform")] {
        assert!(imported.warnings.iter().any(|warning| warning.contains("no scale") && warning.contains("a.weight")));
        assert_eq!((imported.scheme("a.weight"), imported.entry("a.weight").dtype), ("none".into(), Dtype::F8E4M3));
        assert_eq!(imported.part("a.weight", Role::Weight), codes);
    }
}

/// A tensor whose shape mxfp8 does not fit does not make the other tensors lossy. A tensor with a scale that is no
/// power of two does, because it shows that the other scales are powers of two by chance.
#[test]
fn exactness_is_the_checkpoints() {
    let with = |name: &str, columns: u64, scale: f32, to: Checkpoint| {
        let codes = e4m3_noise(columns, usize::try_from(32 * columns).expect("it is small"));
        to.add(&format!("{name}.weight"), Dtype::F8E4M3, &[32, columns], codes).add(
            &format!("{name}.weight_scale"),
            Dtype::F32,
            &[1],
            f32_bytes(&[scale]),
        )
    };
    let odd = with("a", 64, 0.25, with("b", 48, 0.5, Checkpoint::new()));
    let imported = odd.import();
    assert_eq!((imported.scheme("a.weight"), imported.scheme("b.weight")), ("mxfp8".into(), "none".into()));
    let half = |count| e4m3_noise(48, count).iter().map(|code| e4m3(*code) * 0.5).collect::<Vec<_>>();
    imported.has("b.weight", &[32, 48], &half(32 * 48));
    let lossy = with("a", 64, 0.25, with("b", 64, 0.3, Checkpoint::new())).import();
    assert_eq!((lossy.scheme("a.weight"), lossy.scheme("b.weight")), ("int8".into(), "int8".into()));
}

#[test]
fn nan_codes_are_refused_unless_allowed() {
    for (scale, code) in [(0.5, 0x7F), (0.3, 0xFF)] {
        let mut codes = e4m3_noise(5, 64 * 64);
        codes[77] = code;
        let checkpoint = Checkpoint::new().add("a.weight", Dtype::F8E4M3, &[64, 64], codes).add(
            "a.weight_scale",
            Dtype::F32,
            &[],
            f32_bytes(&[scale]),
        );
        let refusal = checkpoint.refusal();
        assert!(refusal.contains("\"a.weight\" holds infinities or NaNs (1 so far)"), "{refusal}");
        let imported = checkpoint.import_non_finite();
        assert!(scale < 0.5 || imported.exported()["a.weight"].elements[77].is_nan());
        assert!(imported.warnings.iter().any(|warning| warning.contains("infinite or NaN")), "{:?}", imported.warnings);
    }
}

/// Tensors of 8-bit floats that are no matrices are kept.
#[test]
fn vectors_stay() {
    let dir = Checkpoint::new().add("norm.weight", Dtype::F8E4M3, &[64], e4m3_noise(1, 64)).write();
    let source = dir.open().expect("it is a model");
    let target = crate::support::Dir::new();
    let store = store(&target);
    import_as(&store, "m", &source, "int4");
    is_clean(&store);
    let planned = &plan(&source, "none", "default").blobs[0].tensors[0];
    assert_eq!((planned.dtype, planned.scheme, planned.operation()), (Dtype::F8E4M3, None, "none"));
    assert_eq!(tensors(&source)["norm.weight"].2, e4m3_noise(1, 64));
}

/// The last product of a matrix overflows BF16 and F32. Infinities are refused if codes are chosen.
#[test]
fn products_may_overflow() {
    let mut codes = vec![0x38; 64 * 64];
    codes[64 * 64 - 1] = 0x7E;
    let checkpoint = Checkpoint::new().add("a.weight", Dtype::F8E4M3, &[64, 64], codes).add(
        "a.weight_scale",
        Dtype::F32,
        &[1],
        f32_bytes(&[3e38]),
    );
    let refusal = checkpoint.refusal();
    assert!(refusal.contains("\"a.weight\" holds infinities"), "{refusal}");
    let floats = checkpoint.import_floats();
    assert_eq!(floats.exported()["a.weight"].elements[4095].to_bits(), f32::INFINITY.to_bits());
    // The largest power of two exceeds the range in one element only.
    let exact = Checkpoint::new()
        .add("a.weight", Dtype::F8E4M3, &[1, 32], [vec![0x08; 31], vec![0x38]].concat())
        .add("a.weight_scale", Dtype::F32, &[1], f32_bytes(&[e8m0(254)]))
        .import();
    exact.has("a.weight", &[1, 32], &[vec![2f32.powi(121); 31], vec![2f32.powi(127)]].concat());
}

/// Weights and scales in different files.
#[test]
fn scales_in_another_shard() {
    let (codes, scales) = (e4m3_noise(6, 64 * 64), [0.25]);
    let dir = Checkpoint::new()
        .add("a.weight", Dtype::F8E4M3, &[64, 64], codes.clone())
        .add("a.weight_scale", Dtype::F32, &[1], f32_bytes(&scales))
        .in_shards();
    let imported = super::checkpoint::Imported::new(&dir, &options("none", "default"), false);
    imported.has("a.weight", &[64, 64], &products(&codes, [64, 64], [64, 64], &scales));
    assert_eq!(imported.exported_as(FloatType::BF16)["a.weight"].dtype, Dtype::BF16);
}

#[test]
fn scales_that_do_not_fit() {
    let weight = || Checkpoint::new().zeros("a.weight", Dtype::F8E4M3, &[64, 256]);
    for (checkpoint, words) in [
        (weight().zeros("a.weight_scale", Dtype::F32, &[3]), "expected one scale for the tensor"),
        (weight().zeros("a.weight_scale", Dtype::F32, &[1, 3]), "expected one scale for the tensor"),
        (weight().zeros("a.weight_scale", Dtype::F32, &[256]), "expected one scale for the tensor"),
        (weight().zeros("a.weight_scale", Dtype::F32, &[0]), "expected one scale for the tensor"),
        (weight().zeros("a.weight_scale", Dtype::I32, &[1]), "is I32 [1], expected F32, F16, BF16 or F8_E8M0"),
        (weight().zeros("a.weight_scale", Dtype::F8E4M3, &[64, 256]), "is F8_E4M3 [64, 256], expected F32"),
        (Checkpoint::new().zeros("a.weight", Dtype::F8E4M3, &[2, 2, 2, 32]), "more than three axes"),
        (Checkpoint::new().zeros("a.weight", Dtype::F8E4M3, &[1, (1 << 20) + 32]), "rows are longer"),
    ] {
        let refusal = checkpoint.refusal();
        assert!(refusal.contains(words) && refusal.contains("\"a.weight\""), "{refusal}");
    }
}

/// A block size that the configuration states counts, even if the scales have the shape that blocks of 128 would give.
#[test]
fn stated_blocks() {
    let with = |block: &str| {
        let config = format!(r#""quantization_config": {{"quant_method": "fp8", "weight_block_size": {block}}}"#);
        Checkpoint::with_config(&config).add("a.weight", Dtype::F8E4M3, &[200, 256], e4m3_noise(5, 200 * 256)).add(
            "a.weight_scale_inv",
            Dtype::F32,
            &[2, 2],
            f32_bytes(&[0.25, 0.5, 1.0, 2.0]),
        )
    };
    for (block, words) in [("[64, 64]", "[4, 4] for blocks of 64x64"), ("[256, 128]", "[1, 2] for blocks of 256x128")] {
        let refusal = with(block).refusal();
        assert!(refusal.contains(words) && refusal.contains("[2, 2]"), "{refusal}");
    }
    assert_eq!(with("[128, 128]").import().scheme("a.weight"), "mxfp8");
}

/// 8-bit floats in a component of a pipeline, which finds its scales among its own files.
#[test]
fn text_encoders() {
    let dir = crate::support::Dir::new();
    dir.file(
        "model_index.json",
        r#"{"_class_name": "FluxPipeline", "text_encoder": ["transformers", "T5EncoderModel"], "transformer": ["diffusers", "FluxTransformer2DModel"]}"#,
    );
    let codes = e4m3_noise(6, 64 * 64);
    Checkpoint::new()
        .add("a.weight", Dtype::F8E4M3, &[64, 64], codes.clone())
        .add("a.weight_scale", Dtype::F32, &[1], f32_bytes(&[0.25]))
        .write_to(&dir, "text_encoder/");
    dir.file("transformer/config.json", r#"{"_class_name": "FluxTransformer2DModel"}"#);
    dir.typed_weights("transformer/diffusion_pytorch_model.safetensors", &[("z.weight", Dtype::BF16, &[4, 32])]);
    let imported = super::checkpoint::Imported::new(&dir, &options("none", "default"), false);
    assert_eq!((imported.scheme("a.weight"), imported.scheme("z.weight")), ("mxfp8".into(), "none".into()));
    let values: Vec<f32> = codes.iter().map(|code| e4m3(*code) * 0.25).collect();
    same("a.weight", &imported.exported_of("text_encoder")["a.weight"], &[64, 64], &values);
}
