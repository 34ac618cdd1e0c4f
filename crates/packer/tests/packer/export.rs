//! Exports compared with the source.

use std::{collections::BTreeMap, fs, path::Path};

use longshore_manifest::{Store, document::Role};
use longshore_packer::{ExportOptions, Source, SourceTensor};
use longshore_quant::{Decoder, ErrorMeasure, FloatType, Scheme};
use longshore_st_format::{Dtype, Limits, ShardIndex};

use crate::{
    stores::{
        Plain, by_hand, companions, dequantize, export_to, files, float, import_as, is_clean, max_abs, part, read,
        store, tensors, threads, try_import,
    },
    support::{Dir, FLOAT_MODELS, fixture, open, plan},
};

/// Imports without quantization, exports, and compares the export with the source.
fn round_trip(source: &Source, shard_bytes: u64) {
    let target = Dir::new();
    let store = store(&target);
    import_as(&store, "m", source, "none");
    let out = target.join("out");
    let options = ExportOptions { shard_bytes, ..ExportOptions::default() };
    let outcome = export_to(&store, "m", &out, &options);
    let exported = open(&out).expect("what is exported can be imported");
    assert_eq!(tensors(&exported), tensors(source));
    assert_eq!(companions(&exported), companions(source));
    assert_eq!((outcome.tensors, outcome.files), (source.tensors.len(), source.companions.len()));
    assert_eq!(outcome.shards, exported.shards.len());
    let sizes = files(&out).values().map(|bytes| bytes.len() as u64).sum::<u64>();
    assert_eq!(outcome.bytes, sizes);
    if exported.metadata == source.metadata {
        assert_eq!(import_as(&store, "again", &exported, "none").digest, read(&store, "m").digest);
    }
    is_clean(&store);
}

#[test]
fn every_float_model_comes_back() {
    for model in FLOAT_MODELS {
        let dir = fixture(model);
        round_trip(&dir.open().expect("a fixture is a model"), u64::MAX);
    }
}

#[test]
fn the_checkpoints_that_the_lists_were_made_from_come_back() {
    let models = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/models"));
    for path in FLOAT_MODELS.iter().map(|model| models.join(model)).filter(|path| path.exists()) {
        round_trip(&open(&path).expect("it is a model"), 1 << 20);
    }
}

#[test]
fn files_are_cut_at_the_limit() {
    let dir = fixture("qwen3-moe");
    let source = dir.open().expect("a fixture is a model");
    for limit in [0, 1, 10_000, 100_000] {
        round_trip(&source, limit);
    }
    let target = Dir::new();
    let store = store(&target);
    import_as(&store, "m", &source, "none");
    let out = target.join("out");
    let options = ExportOptions { shard_bytes: 100_000, ..ExportOptions::default() };
    let count = export_to(&store, "m", &out, &options).shards;
    let text = fs::read(out.join("model.safetensors.index.json")).expect("there are several files");
    let index = ShardIndex::parse(&text, &Limits::default()).expect("it is an index");
    assert!(count > 1);
    assert_eq!((index.len(), index.shards().count()), (source.tensors.len(), count));
    assert_eq!(index.shards().next(), Some(&*format!("model-00001-of-{count:05}.safetensors")));
    assert_eq!(index.total_size(), Some(source.tensor_bytes()));
    let exported = open(&out).expect("it is a model");
    for (at, shard) in exported.shards.iter().enumerate() {
        let of_shard = exported.tensors.iter().filter(|tensor| tensor.shard == at);
        let sizes: Vec<_> = of_shard.map(SourceTensor::byte_len).collect();
        assert!(sizes.len() == 1 || sizes.iter().sum::<u64>() <= 100_000, "{}", shard.name);
    }
}

#[test]
fn a_diffusers_component_keeps_its_name() {
    let (dir, target) = (Dir::new(), Dir::new());
    dir.file("config.json", r#"{"_class_name": "FluxTransformer2DModel"}"#);
    dir.weights("diffusion_pytorch_model.safetensors", &[("a.weight", &[8, 64]), ("b.weight", &[8, 64])]);
    let (source, store) = (dir.open().expect("it is a model"), store(&target));
    import_as(&store, "m", &source, "none");
    let (whole, cut) = (target.join("whole"), target.join("cut"));
    export_to(&store, "m", &whole, &ExportOptions::default());
    assert!(whole.join("diffusion_pytorch_model.safetensors").is_file());
    let options = ExportOptions { shard_bytes: 1, ..ExportOptions::default() };
    export_to(&store, "m", &cut, &options);
    assert!(cut.join("diffusion_pytorch_model-00001-of-00002.safetensors").is_file());
    assert!(cut.join("diffusion_pytorch_model.safetensors.index.json").is_file());
    for out in [whole, cut] {
        assert_eq!(tensors(&open(&out).expect("it is a model")), tensors(&source));
    }
}

#[test]
fn names_and_dtypes_of_every_kind_come_back() {
    let dir = Dir::new();
    dir.file("config.json", "{}");
    dir.file("1_Pooling/config.json", "{}");
    dir.file("a/b/tokenizer.model", [0, 255, 7]);
    let names: Vec<_> = Dtype::ALL.iter().map(|dtype| format!("t.{dtype}")).collect();
    let mut all: Vec<(&str, Dtype, &[u64])> = Vec::new();
    for (name, dtype) in names.iter().zip(Dtype::ALL).filter(|(_, dtype)| dtype.bits() >= 8) {
        all.push((name, *dtype, &[5]));
    }
    all.extend([
        ("no elements", Dtype::BF16, &[0, 64][..]),
        ("l.experts.0.none", Dtype::F32, &[0, 3]),
        ("l.experts.1.none", Dtype::F32, &[0, 3]),
        ("l.experts.0.scalar", Dtype::U64, &[]),
        ("l.experts.1.scalar", Dtype::U64, &[]),
        ("a scalar/with a slash", Dtype::I64, &[]),
        ("größe · 大きさ · \"size\"\\", Dtype::F16, &[3]),
    ]);
    dir.typed_weights("model.safetensors", &all);
    round_trip(&dir.open().expect("it is a model"), 64);
}

#[test]
fn a_dequantized_export_is_close_to_the_source() {
    for model in ["llama", "qwen3-moe", "gpt-oss", "nemotron-h"] {
        let dir = fixture(model);
        let source = dir.open().expect("a fixture is a model");
        for scheme in ["int4", "int8"] {
            let target = Dir::new();
            let store = store(&target);
            import_as(&store, "m", &source, scheme);
            for output in [FloatType::F32, FloatType::F16, FloatType::BF16] {
                let out = target.join(output.name());
                export_to(&store, "m", &out, &dequantize(output));
                check_decoded(&store, &source, scheme, &tensors(&open(&out).expect("it is a model")), output);
            }
        }
    }
}

/// Compares an export with the stored parts, which are decoded here, and with the source.
fn check_decoded(store: &Store, source: &Source, scheme: &str, exported: &BTreeMap<String, Plain>, output: FloatType) {
    let originals = tensors(source);
    assert!(exported.keys().eq(originals.keys()));
    let stored = read(store, "m");
    for planned in plan(source, scheme, "default").blobs.iter().flat_map(|blob| &blob.tensors) {
        let names: Vec<_> = planned.sources().map(|at| &source.tensors[at].name).collect();
        let Some(scheme) = planned.scheme else {
            assert!(names.iter().all(|name| exported[*name] == originals[*name]), "{}", planned.name);
            continue;
        };
        let found = |role| part(store, &stored, &planned.name, role);
        let (weight, scale, bias) = (found(Role::Weight), found(Role::Scale), found(Role::Bias));
        let original = by_hand(source, &originals, planned);
        let float = float(planned.dtype);
        let mut decoded = vec![0; original.len() / float.size() * output.size()];
        Decoder::new(scheme, float, output).decode(&weight, &scale, &bias, &mut decoded).expect("the parts fit");

        // The export has the orientation of the source, so the same transform makes both comparable.
        let dtype: Dtype = output.name().parse().expect("it is a dtype");
        for name in &names {
            assert_eq!((&exported[*name].0, &exported[*name].1), (&dtype, &originals[*name].1), "{name}");
        }
        let mut turned = planned.clone();
        turned.dtype = dtype;
        assert!(by_hand(source, exported, &turned) == decoded, "{} as {output}", planned.name);
        if output == FloatType::F32 {
            within_a_step(scheme, float, &original, &decoded, &scale, &bias);
        }
    }
}

/// Checks that no element is off by more than a step, plus the rounding of the bias.
fn within_a_step(scheme: Scheme, float: FloatType, original: &[u8], decoded: &[u8], scale: &[u8], bias: &[u8]) {
    let group = usize::try_from(scheme.group_size()).expect("it is small");
    let groups = original.chunks(group * float.size()).zip(decoded.chunks(group * 4));
    let steps = scale.chunks(float.size()).zip(bias.chunks(float.size()));
    for ((original, decoded), (scale, bias)) in groups.zip(steps) {
        let error = ErrorMeasure::between(float, original, FloatType::F32, decoded).expect("they have one length");
        let bound = max_abs(float, scale) + max_abs(float, bias) / 128.0;
        assert!(error.max_abs() <= bound, "{} > {bound}", error.max_abs());
        assert_eq!(error.non_finite(), 0);
    }
}

#[test]
fn transposed_experts_of_every_shape() {
    let target = Dir::new();
    let store = store(&target);
    // Shapes with few rows and many columns, and the reverse. Tiles end at neither edge.
    for (at, dims) in [[2, 64, 3], [2, 1984, 700], [1, 64, 9_001], [1, 320, 4_099]].iter().enumerate() {
        let dir = Dir::new();
        dir.file("config.json", r#"{"architectures": ["GptOssForCausalLM"]}"#);
        dir.weights("model.safetensors", &[("l.mlp.experts.down_proj", dims)]);
        let source = dir.open().expect("it is a model");
        for scheme in ["none", "int4"] {
            let model = format!("m{at}-{scheme}");
            let plan = plan(&source, scheme, "uniform");
            try_import(&store, &model, &plan, &threads(2)).expect("it can be imported");
            let out = target.join(&model);
            export_to(&store, &model, &out, &dequantize(FloatType::F32));
            let exported = tensors(&open(&out).expect("it is a model"));
            let planned = &plan.blobs[0].tensors[0];
            if scheme == "none" {
                assert_eq!(exported, tensors(&source));
                continue;
            }
            let stored = read(&store, &model);
            let found = |role| part(&store, &stored, &planned.name, role);
            let mut decoded = vec![0; usize::try_from(planned.source_len() * 2).expect("it is small")];
            Decoder::new(Scheme::INT4, FloatType::BF16, FloatType::F32)
                .decode(&found(Role::Weight), &found(Role::Scale), &found(Role::Bias), &mut decoded)
                .expect("the parts fit");
            let mut turned = planned.clone();
            turned.dtype = Dtype::F32;
            assert!(by_hand(&source, &exported, &turned) == decoded, "{dims:?}");
        }
    }
}
