//! Tests of the map of experts, of many families and forms.

use std::{fs, path::Path, sync::Arc};

use longshore_experts::{ExpertKey, ExpertMap, ExpertMapError, ExpertRange, ResidentKind};
use longshore_gguf::{Dims, GgmlType, Layout, Metadata, Writer};
use longshore_manifest::{
    Digest, Silent, Store, Weights,
    document::{BlobEntry, Facts, Import, Part, Role, TensorEntry, TensorTable},
    weights::{OpenOptions, Source, plan::Selection},
};
use longshore_packer::{ImportOptions, Plan, PlanOptions, quant::policy::Policy};
use longshore_st_format::{Dtype, Limits, Shape, fixtures};

/// Number of experts in each layer that has any.
const FAMILIES: [(&str, u32); 7] = [
    ("deepseek-v3", 4),
    ("gpt-oss", 4),
    ("gpt-oss-mxfp4", 4),
    ("mixtral", 4),
    ("nemotron-h", 4),
    ("qwen3-moe", 8),
    ("qwen3-next", 4),
];

fn read(source: &Source, range: &ExpertRange) -> Vec<u8> {
    let file = fs::read(source.path(&range.blob)).unwrap();
    file[usize::try_from(range.offset).unwrap()..usize::try_from(range.end).unwrap()].to_vec()
}

/// Compares every part of every expert with what the selection of that expert loads, and all bytes with those of the table.
fn check(source: &Source, experts: Option<u32>) -> ExpertMap {
    let map = ExpertMap::new(source).unwrap();
    assert!(!map.is_empty());
    for layer in map.layers() {
        assert!(experts.is_none_or(|experts| layer.experts() == (0..experts)), "layer {}", layer.number());
    }
    let mut bytes = map.shared_bytes();
    for expert in map.keys().map(|key| key.expert).max().into_iter().flat_map(|most| 0..=most) {
        let selection = Selection { experts: Some(vec![u64::from(expert)]), offsets: true, ..Selection::default() };
        let chosen = Weights::open_source(source, &OpenOptions { selection, ..OpenOptions::default() });
        // Stacks under ggml's names are not known to selections.
        let chosen = chosen.ok();
        for key in map.keys().filter(|key| key.expert == expert) {
            let parts = map.parts(key).unwrap();
            assert!(parts.iter().any(|part| part.role == Role::Weight));
            let own: u64 = parts.iter().map(|part| part.range.len()).sum();
            assert_eq!((map.bytes(key), own), (Some(own), own));
            assert_eq!(map.ranges(key).unwrap().iter().map(ExpertRange::len).sum::<u64>(), own);
            bytes += own;
            for part in &parts {
                assert_eq!(part.shape.byte_len(part.dtype).unwrap(), part.range.len());
                let Some(found) = chosen.as_ref().and_then(|chosen| chosen.get(&part.tensor.name)) else { continue };
                let array = found.companion(part.role).unwrap();
                assert!(array.data == read(source, &part.range), "{key}: {} {:?}", part.tensor.name, part.role);
            }
        }
    }
    // Nothing is left out, and nothing is counted twice.
    assert_eq!(bytes, source.table().tensors().map(|(_, tensor)| tensor.byte_len()).sum::<u64>());
    map
}

fn directory(name: &str, dir: &Path) -> Source {
    fixtures::model(name).write(dir).unwrap();
    Source::open(dir).unwrap()
}

#[test]
fn directories_of_every_family() {
    for (name, experts) in FAMILIES {
        let dir = tempfile::tempdir().unwrap();
        let map = check(&directory(name, dir.path()), Some(experts));
        let routers = map.resident().filter(|resident| resident.kind == ResidentKind::Router).count();
        let layers = map.layers().count();
        assert!(routers >= layers && routers <= 3 * layers, "{name}: {routers} routers of {layers} layers");
        let has_shared = map.resident().any(|resident| resident.kind == ResidentKind::SharedExpert);
        assert_eq!(has_shared, ["deepseek-v3", "nemotron-h", "qwen3-next"].contains(&name), "{name}");
    }
}

#[test]
fn stored_models_of_every_family_and_scheme() {
    for (name, experts) in FAMILIES {
        for scheme in [None, Some("int4-g32"), Some("nvfp4"), Some("mxfp8")] {
            let dir = tempfile::tempdir().unwrap();
            fixtures::model(name).write(dir.path().join("source")).unwrap();
            let source = longshore_packer::Source::open(&dir.path().join("source"), &Limits::default()).unwrap();
            let options = PlanOptions {
                scheme: scheme.filter(|_| !name.ends_with("mxfp4")).map(|scheme| scheme.parse().unwrap()),
                policy: Policy::named("uniform").unwrap(),
                global_scale: scheme == Some("nvfp4") && !name.ends_with("mxfp4"),
                ..PlanOptions::default()
            };
            let store = Store::open(dir.path().join("store")).unwrap();
            let model = "m:x".parse().unwrap();
            let plan = Plan::new(source, &options).unwrap();
            plan.import(&store, &model, &ImportOptions::default(), &Silent).unwrap();
            let source = Source::of_model(&store, &store.model(&model).unwrap()).unwrap();
            let map = check(&source, Some(experts));
            // An import packs an expert into few places.
            for key in map.keys() {
                assert!(map.ranges(key).unwrap().len() <= 12, "{name}: {key}");
            }
        }
    }
}

#[test]
fn models_at_hand() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models");
    for (name, experts) in FAMILIES.into_iter().filter(|(name, _)| models.join(name).is_dir()) {
        check(&Source::open(models.join(name)).unwrap(), Some(experts));
    }
}

/// Writes a GGUF file of tensors whose bytes depend on their place.
fn gguf(path: &Path, architecture: &str, tensors: &[(&str, GgmlType, &[u64])]) {
    let mut metadata = Metadata::new();
    metadata.push("general.architecture", architecture).unwrap();
    for (key, value) in [("block_count", 2_u32), ("expert_count", 4), ("expert_used_count", 2), ("context_length", 64)]
    {
        metadata.push(&format!("{architecture}.{key}"), value).unwrap();
    }
    let layout = Layout::new(
        metadata,
        tensors.iter().map(|(name, kind, shape)| (*name, *kind, Dims::from_shape(shape).unwrap())),
    );
    let layout = layout.unwrap();
    let lengths: Vec<u64> = layout.parsed().iter().map(longshore_gguf::TensorInfo::byte_len).collect();
    let mut writer = Writer::new(Vec::new(), layout).unwrap();
    for (seed, len) in lengths.into_iter().enumerate() {
        let bytes: Vec<u8> = (0..len).map(|at| u8::try_from((at * 7 + seed as u64) % 251).unwrap()).collect();
        writer.write(&bytes).unwrap();
    }
    fs::write(path, writer.finish().unwrap()).unwrap();
}

#[test]
fn stacks_of_gguf_files_under_both_kinds_of_names() {
    let dir = tempfile::tempdir().unwrap();
    for (architecture, group) in [
        ("qwen3moe", "model.layers.1.mlp.experts"),
        ("llama", "model.layers.1.block_sparse_moe.experts"),
        ("novel", "blk.1"),
    ] {
        let path = dir.path().join(format!("{architecture}.gguf"));
        let tensors: &[(&str, GgmlType, &[u64])] = &[
            ("token_embd.weight", GgmlType::F32, &[5, 32]),
            ("blk.0.ffn_up.weight", GgmlType::F32, &[8, 32]),
            ("blk.1.ffn_gate_inp.weight", GgmlType::F32, &[4, 32]),
            ("blk.1.ffn_gate_exps.weight", GgmlType::Q8_0, &[4, 3, 32]),
            ("blk.1.ffn_up_exps.weight", GgmlType::Q4_0, &[4, 3, 32]),
            ("blk.1.ffn_down_exps.weight", GgmlType::F16, &[4, 32, 3]),
            ("blk.1.ffn_up_shexp.weight", GgmlType::F32, &[3, 32]),
        ];
        gguf(&path, architecture, tensors);
        let opened = longshore_packer::open(&path, &Silent).unwrap();
        let map = check(&opened.weights, Some(4));
        let [layer] = &map.layers().collect::<Vec<_>>()[..] else { panic!("one layer has experts") };
        assert_eq!((layer.number(), layer.group()), (1, group));
        assert_eq!(layer.bytes(), 4 * 3 * (34 + 18 + 64));
        let kinds: Vec<_> = map.resident().map(|resident| resident.kind).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == ResidentKind::Router).count(), 1, "{architecture}");
        assert_eq!(kinds.iter().filter(|kind| **kind == ResidentKind::SharedExpert).count(), 1, "{architecture}");
        assert_eq!(kinds.len(), 4);
    }
}

/// A table of plain tensors of bytes that lie one after the other in a blob.
fn table(tensors: &[(&str, &[u64])]) -> Arc<TensorTable> {
    let mut offset = 100;
    let tensors = tensors.iter().map(|(name, dims)| {
        let shape = Shape::from(*dims);
        let length = shape.byte_len(Dtype::U8).unwrap();
        offset += length;
        let (role, dtype, offset) = (Role::Weight, Dtype::U8, offset - length);
        let part = Part { role, dtype, shape: shape.clone(), offset, length, blob: None };
        TensorEntry::new(*name, dtype, shape, vec![part])
    });
    let blob = BlobEntry::new(Digest::of(b"blob"), tensors.collect());
    Arc::new(TensorTable::new(Facts { layers: Some(4), ..Facts::default() }, Import::default(), vec![blob]))
}

fn map(tensors: &[(&str, &[u64])]) -> Result<ExpertMap, ExpertMapError> {
    ExpertMap::of_table(table(tensors), None)
}

#[test]
fn a_model_without_experts_is_resident() {
    let map = map(&[("model.layers.0.mlp.up_proj.weight", &[2, 3])]).unwrap();
    assert!(map.is_empty() && map.blobs().is_empty());
    assert_eq!((map.shared_bytes(), map.largest()), (6, 0));
    assert_eq!((map.parts(ExpertKey::new(0, 0)), map.component()), (None, None));
    let mut of_pipeline = (*table(&[("layers.0.mlp.up_proj.weight", &[2, 3])])).clone();
    of_pipeline.blobs[0].component = Some("text_encoder".into());
    let map = ExpertMap::of_table(of_pipeline.into(), Some("text_encoder")).unwrap();
    assert_eq!(map.component(), Some("text_encoder"));
    let error = ExpertMap::of_table(table(&[]), Some("unet")).unwrap_err();
    assert_eq!(error, ExpertMapError::Component { component: "unet".into(), found: Vec::new() });
}

#[test]
fn ranges_of_several_experts_are_their_union() {
    let map = map(&[("l.2.mlp.experts.up_proj.weight", &[4, 5, 2]), ("l.2.mlp.experts.down_proj.weight", &[4, 2, 5])]);
    let map = map.unwrap();
    let blob = Digest::of(b"blob");
    let range = |offset, end| ExpertRange { blob, offset, end };
    assert_eq!(map.ranges_of(2, &[1, 2, 9]), [range(110, 130), range(150, 170)]);
    assert_eq!(map.ranges_of(2, &[3, 0]), [range(100, 110), range(130, 150), range(170, 180)]);
    assert_eq!(map.ranges_of(3, &[0]), []);
    assert_eq!(map.blobs().into_iter().collect::<Vec<_>>(), [(blob, 180)]);
}

#[test]
fn biases_and_scales_of_each_expert_belong_to_it() {
    let map = map(&[
        ("l.0.mlp.experts.up_proj.weight", &[3, 5, 2]),
        ("l.0.mlp.experts.up_proj_bias", &[3, 5]),
        ("l.0.mlp.experts.up_proj.weight_scale_2", &[3]),
        ("l.0.mlp.experts.odd.weight_scale", &[7]),
        ("l.0.mlp.experts.router.weight", &[3, 4]),
    ]);
    let map = map.unwrap();
    assert_eq!(map.bytes(ExpertKey::new(0, 2)), Some(16));
    assert_eq!(map.shared_bytes(), 19);
}

#[test]
fn ggmls_names_stand_beside_those_of_a_checkpoint() {
    let map = map(&[
        ("blk.0.ffn_gate_exps.weight", &[2, 5, 2]),
        ("blk.0.ffn_gate_exps.bias", &[2, 5]),
        ("model.layers.0.mlp.experts.down_proj", &[2, 3, 2]),
        ("blk.1.ffn_up.0.weight", &[3, 2]),
        ("blk.1.ffn_up.1.weight", &[3, 2]),
    ]);
    let map = map.unwrap();
    let layers: Vec<_> = map.layers().map(|layer| (layer.number(), layer.group(), layer.bytes())).collect();
    assert_eq!(layers, [(0, "model.layers.0.mlp.experts", 42), (1, "blk.1", 12)]);
}

#[test]
fn experts_of_a_draft_head_come_after_the_decoder() {
    let map = map(&[
        ("model.layers.0.mlp.experts.0.up_proj.weight", &[3, 2]),
        ("mtp.layers.0.mlp.experts.0.up_proj.weight", &[3, 2]),
    ]);
    assert_eq!(map.unwrap().layers().map(|layer| layer.number()).collect::<Vec<_>>(), [0, 4]);
}

#[test]
fn experts_that_cannot_be_told_apart_are_errors() {
    let error = |tensors: &[(&str, &[u64])]| map(tensors).unwrap_err();
    let (one, stack): (&[u64], &[u64]) = (&[3, 2], &[2, 3, 2]);
    let missing = error(&[("l.5.experts.0.up.weight", one), ("l.5.experts.2.up.weight", one)]);
    assert_eq!(
        missing.to_string(),
        "layer 5: no tensor of expert 1 in \"l.5.experts\" for \"up.weight\", which expert 2 has"
    );
    let twice = error(&[("l.5.experts.0.up.weight", one), ("l.5.experts.00.up.weight", one)]);
    assert!(matches!(twice, ExpertMapError::Duplicate { layer: 5, .. }), "{twice}");
    let count = error(&[("l.5.experts.up.weight", stack), ("l.5.experts.down.weight", &[3, 3, 2])]);
    assert!(matches!(count, ExpertMapError::Count { layer: 5, found: 3, expected: 2, .. }), "{count}");
    let beside = error(&[("l.5.experts.up.weight", stack), ("blk.5.ffn_up_exps.weight", &[3, 3, 2])]);
    assert!(matches!(beside, ExpertMapError::Count { layer: 5, .. }), "{beside}");
    let two = error(&[("l.5.mlp.experts.up.weight", stack), ("l.5.vision.experts.up.weight", stack)]);
    assert!(matches!(two, ExpertMapError::Ambiguous { layer: 5, .. }), "{two}");
    let large = error(&[("l.5.experts.4294967296.up.weight", one)]);
    assert!(matches!(large, ExpertMapError::TooLarge { .. }), "{large}");
    let layer = error(&[("l.99999999999.experts.0.up.weight", one)]);
    assert!(matches!(layer, ExpertMapError::TooLarge { .. }), "{layer}");
}
