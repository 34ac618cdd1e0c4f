//! Contents of a store after an import.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use longshore_manifest::{Silent, Store, document::Role};
use longshore_packer::{Arrangement, ExportOptions, ImportOptions, Plan, PlannedTensor, Source};
use longshore_quant::{EncodeBuffers, Encoder, Profile, Scheme};
use longshore_st_format::{Dtype, Header, Limits};

use crate::{
    stores::{
        by_hand, export_to, files, float, import_as, is_clean, name, part, read, store, tensors, threads, try_import,
        weights,
    },
    support::{Dir, FLOAT_MODELS, fixture, open, plan},
};

const SCHEMES: [&str; 3] = ["none", "int4", "int8"];

/// Checks that hold for every import of `plan`.
fn obeys(store: &Store, model: &str, source: &Source, plan: &Plan) {
    let stored = read(store, model);
    let table = stored.config.longshore.as_ref().expect("it was imported");
    let layers = stored.manifest.layers.iter().filter(|layer| layer.is_tensor());
    let mut bytes = 0;
    for (layer, blob) in layers.zip(&plan.blobs) {
        let path = store.blob_path(&layer.digest);
        assert_eq!(layer.name.as_deref(), Some(&*blob.name));
        assert_eq!(path.metadata().expect("it is there").len(), layer.size);
        assert_eq!(Header::open(&path, &Limits::default()).expect("it is valid").1, *blob.layout.parsed());
        bytes += layer.size;
    }
    assert_eq!(bytes, plan.stored_bytes(), "{model}");
    assert_eq!(table.tensors().count(), plan.blobs.iter().map(|blob| blob.tensors.len()).sum::<usize>());

    let originals = tensors(source);
    for tensor in plan.blobs.iter().flat_map(|blob| &blob.tensors) {
        let expected = by_hand(source, &originals, tensor);
        let found = |role| part(store, &stored, &tensor.name, role);
        match tensor.scheme {
            None => assert_eq!(found(Role::Weight), expected, "{model} {}", tensor.name),
            Some(scheme) => {
                let [weight, scale, bias] = encode(tensor, scheme, &expected);
                assert_eq!(found(Role::Weight), weight, "{model} {}", tensor.name);
                assert_eq!(found(Role::Scale), scale, "{model} {}", tensor.name);
                if scheme.has_bias() {
                    assert_eq!(found(Role::Bias), bias, "{model} {}", tensor.name);
                }
            }
        }
    }
    for file in &source.companions {
        let layer = stored.manifest.files().find(|(name, _)| *name == file.name).expect("it is stored").1;
        assert_eq!(fs::read(store.blob_path(&layer.digest)).ok(), fs::read(&file.path).ok(), "{}", file.name);
    }
}

/// Quantizes a whole tensor at once, for comparison.
fn encode(tensor: &PlannedTensor, scheme: Scheme, bytes: &[u8]) -> [Vec<u8>; 3] {
    let float = float(tensor.dtype);
    let groups = bytes.len() / float.size() / usize::try_from(scheme.group_size()).expect("it is small");
    let lens = scheme.encoded_len(groups, float).expect("it is small");
    let mut parts = [vec![0; lens.weight], vec![0; lens.scale], vec![0; lens.bias]];
    let [weight, scale, bias] = &mut parts;
    let encoder = Encoder::new(scheme, float, Profile::default());
    encoder.encode(bytes, EncodeBuffers { weight, scale, bias }).expect("the buffers fit");
    parts
}

#[test]
fn every_float_model_under_every_scheme() {
    for model in FLOAT_MODELS {
        let (dir, target) = (fixture(model), Dir::new());
        let source = dir.open().expect("a fixture is a model");
        let store = store(&target);
        for scheme in SCHEMES {
            let model = format!("{model}:{scheme}");
            let outcome = import_as(&store, &model, &source, scheme);
            assert_eq!(outcome.digest, read(&store, &model).digest);
            assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);
            obeys(&store, &model, &source, &plan(&source, scheme, "default"));
        }
        is_clean(&store);
    }
}

#[test]
fn the_checkpoints_that_the_lists_were_made_from() {
    let models = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/models"));
    for path in FLOAT_MODELS.iter().map(|model| models.join(model)).filter(|path| path.exists()) {
        let target = Dir::new();
        let (source, store) = (open(&path).expect("it is a model"), store(&target));
        for scheme in SCHEMES {
            import_as(&store, scheme, &source, scheme);
            obeys(&store, scheme, &source, &plan(&source, scheme, "default"));
        }
        is_clean(&store);
    }
}

/// Fails if the documents of the store do not know a scheme.
#[test]
fn every_scheme_is_stored_and_read() {
    let (dir, target) = (fixture("gpt-oss"), Dir::new());
    let (source, store) = (dir.open().expect("a fixture is a model"), store(&target));
    for scheme in Scheme::all().map(|scheme| scheme.to_string()) {
        import_as(&store, &scheme, &source, &scheme);
        obeys(&store, &scheme, &source, &plan(&source, &scheme, "default"));
    }
    is_clean(&store);
}

#[test]
fn any_number_of_threads_gives_the_same_store() {
    let mut stores = BTreeSet::new();
    for count in [1, 2, 3, 16] {
        let target = Dir::new();
        let store = store(&target);
        for model in ["gpt-oss", "qwen3-moe", "nemotron-h"] {
            let dir = fixture(model);
            let source = dir.open().expect("a fixture is a model");
            for scheme in SCHEMES {
                let plan = plan(&source, scheme, "default");
                let model = format!("{model}:{scheme}");
                try_import(&store, &model, &plan, &threads(count)).expect("it can be imported");
            }
        }
        assert!(stores.is_empty() || stores.contains(&files(store.root())), "{count} threads");
        stores.insert(files(store.root()));
    }
}

/// Threads without a blob of their own help with the rows of a large tensor: one that is read in order, and one that is transposed, so that
/// each piece has many runs.
#[test]
fn one_large_tensor_is_quantized_by_all_threads_to_the_same_bytes() {
    let dir = Dir::new();
    dir.typed_weights("plain.safetensors", &[("large.weight", Dtype::F32, &[1024, 1088])]);
    dir.file("transposed/config.json", r#"{"architectures": ["GptOssForCausalLM"]}"#);
    let experts: [(&str, Dtype, &[u64]); 1] = [("l.mlp.experts.down_proj", Dtype::BF16, &[2, 8192, 576])];
    dir.typed_weights("transposed/model.safetensors", &experts);
    for model in ["plain.safetensors", "transposed"] {
        let source = open(&dir.join(model)).expect("it is a model");
        for scheme in ["int4", "nvfp4"] {
            let plan = plan(&source, scheme, "uniform");
            assert!(plan.blobs.iter().any(|blob| blob.scheme.is_some()));
            let mut stores = BTreeSet::new();
            for count in [1, 2, 3] {
                let target = Dir::new();
                let store = store(&target);
                let options = ImportOptions { measure: true, ..threads(count) };
                plan.import(&store, &name("m"), &options, &Silent).expect("it can be imported");
                stores.insert(files(store.root()));
            }
            assert_eq!(stores.len(), 1, "{model} {scheme}");
        }
    }
}

/// A thread without a blob of its own hashes a large tensor that is kept as it is, also where it is compared with a stored one.
#[test]
fn one_large_tensor_is_kept_by_any_number_of_threads_as_the_same_bytes() {
    let dir = Dir::new();
    dir.typed_weights("large.safetensors", &[("large.weight", Dtype::F32, &[5, 1024, 1088])]);
    let plan = plan(&open(&dir.join("large.safetensors")).expect("it is a model"), "none", "uniform");
    let mut stores = BTreeSet::new();
    for count in [1, 2, 3] {
        let target = Dir::new();
        let store = store(&target);
        for _ in 0..2 {
            try_import(&store, "m", &plan, &threads(count)).expect("it can be imported");
            is_clean(&store);
            stores.insert(files(store.root()));
        }
    }
    assert_eq!(stores.len(), 1);
}

#[test]
fn a_second_name_costs_nothing() {
    let (dir, target) = (fixture("mixtral"), Dir::new());
    let (source, store) = (dir.open().expect("a fixture is a model"), store(&target));
    let first = import_as(&store, "first", &source, "int4");
    assert_eq!(first.reused_bytes, 0);
    let before = files(&store.root().join("blobs"));
    let second = import_as(&store, "second", &source, "int4");
    assert_eq!((second.digest, second.new_bytes, second.reused_bytes), (first.digest, 0, first.new_bytes));
    assert_eq!(files(&store.root().join("blobs")), before);
    // Another scheme keeps some tensors unquantized, so that their blobs are shared.
    let other = import_as(&store, "other", &source, "int8");
    assert!(other.new_bytes > 0 && other.reused_bytes > 0, "{other:?}");
    is_clean(&store);
}

#[test]
fn a_store_within_its_source_is_no_part_of_the_model() {
    for place in ["store", "a/b/store"] {
        let dir = fixture("qwen3-moe");
        let store = Store::open(dir.join(place)).expect("the directory is ours");
        let open = || dir.open().expect("a fixture is a model");
        let before = open();
        let first = import_as(&store, "m", &before, "none");
        let after = open();
        let names = |source: &Source| source.companions.iter().map(|file| file.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "{place}");
        let warnings = after.warnings.join("\n");
        assert!(warnings.contains("store (it is a store)"), "{place}: {warnings}");
        let second = import_as(&store, "m", &after, "none");
        assert_eq!((second.digest, second.new_bytes), (first.digest, 0), "{place}");
        is_clean(&store);
    }
}

#[test]
fn a_changed_tensor_is_stored_beside_the_old_one() {
    let (dir, target) = (Dir::new(), Dir::new());
    dir.file("config.json", "{}");
    dir.bytes("model.safetensors", &[("a", Dtype::U8, &[3], &[1, 2, 3]), ("b", Dtype::U8, &[4], &[1; 4])]);
    let source = dir.open().expect("it is a model");
    let store = store(&target);
    import_as(&store, "m", &source, "none");
    dir.bytes("model.safetensors", &[("a", Dtype::U8, &[3], &[1, 2, 4]), ("b", Dtype::U8, &[4], &[1; 4])]);
    let changed = dir.open().expect("it is a model");
    let outcome = import_as(&store, "n", &changed, "none");
    assert!(outcome.reused_bytes > 0);
    assert_eq!(weights(&store, "m").get("a").expect("it is stored").weight().data, [1, 2, 3]);
    assert_eq!(weights(&store, "n").get("a").expect("it is stored").weight().data, [1, 2, 4]);
    is_clean(&store);
}

#[test]
fn a_damaged_blob_is_replaced() {
    let (dir, target) = (fixture("qwen3-moe"), Dir::new());
    let (source, store) = (dir.open().expect("a fixture is a model"), store(&target));
    import_as(&store, "m", &source, "int4");
    let whole = files(&store.root().join("blobs"));
    // Changes the first byte, one in the middle and the last, then truncates the file.
    for (at, (name, bytes)) in whole.iter().enumerate() {
        let path = store.root().join("blobs").join(name);
        match at % 4 {
            3 => cut(&path, bytes.len() as u64 - 1),
            place => flip(&path, [0, bytes.len() as u64 / 2, bytes.len() as u64 - 1][place]),
        }
    }
    let config = config_blob(&store);
    let outcome = import_as(&store, "again", &source, "int4");
    assert!(outcome.new_bytes > 0);
    let again = files(&store.root().join("blobs"));
    for (name, bytes) in &whole {
        // The table has no layer name, so only a re-hash finds it damaged.
        assert!(again[name] == *bytes || *name == config, "{name} was not replaced");
    }
}

/// The file name of the config document's blob.
fn config_blob(store: &Store) -> String {
    let manifest = files(&store.root().join("manifests"));
    let document = manifest.values().next().expect("a model was imported");
    let manifest = longshore_manifest::Manifest::parse(document).expect("it was just written");
    manifest.config.digest.file_name()
}

/// Changes one byte of a blob, which is read-only and is made writable for a moment.
fn flip(path: &PathBuf, at: u64) {
    let mut file = writable(path);
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).expect("it is a file");
    file.read_exact(&mut byte).expect("it is that long");
    file.seek(SeekFrom::Start(at)).expect("it is a file");
    file.write_all(&[byte[0] ^ 0x40]).expect("it is writable");
}

fn cut(path: &PathBuf, len: u64) {
    writable(path).set_len(len).expect("it is writable");
}

#[expect(clippy::permissions_set_readonly_false, reason = "the file lies in a directory of our own")]
fn writable(path: &PathBuf) -> File {
    let mut permissions = path.metadata().expect("it is there").permissions();
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).expect("it is ours");
    File::options().read(true).write(true).open(path).expect("it is ours")
}

#[test]
fn every_dtype_beside_the_floats() {
    let (dir, target) = (Dir::new(), Dir::new());
    dir.file("config.json", "{}");
    let list: Vec<_> = Dtype::ALL.iter().filter(|dtype| !matches!(dtype.bits(), 4 | 6)).collect();
    let names: Vec<_> = list.iter().map(|dtype| format!("t.{dtype}")).collect();
    let mut all: Vec<(&str, Dtype, &[u64])> =
        names.iter().zip(&list).map(|(name, dtype)| (name.as_str(), **dtype, &[5][..])).collect();
    all.extend([
        ("no elements.weight", Dtype::BF16, &[0, 64][..]),
        ("nor/here", Dtype::F32, &[64, 0]),
        ("a scalar", Dtype::I64, &[]),
        ("größe · 大きさ · \"size\"\\", Dtype::F16, &[3]),
        ("layers.0.w.weight", Dtype::BF16, &[64, 64]),
        ("layers.0.f.weight", Dtype::F32, &[64, 64]),
        ("layers.0.h.weight", Dtype::F16, &[64, 64]),
        ("layers.0.i.weight", Dtype::I64, &[64, 64]),
    ]);
    dir.typed_weights("model.safetensors", &all);
    let source = dir.open().expect("it is a model");
    let store = store(&target);
    for scheme in ["none", "int4"] {
        let plan = plan(&source, scheme, "uniform");
        try_import(&store, scheme, &plan, &threads(3)).expect("it can be imported");
        obeys(&store, scheme, &source, &plan);
    }
    let stored = weights(&store, "int4");
    assert_eq!(stored.iter().filter(|tensor| tensor.quantization().is_some()).count(), 3);
    is_clean(&store);
}

#[test]
fn chunks_end_within_tensors_and_experts() {
    let (dir, target) = (Dir::new(), Dir::new());
    dir.file("config.json", r#"{"architectures": ["TestForCausalLM"]}"#);
    // Experts of 257 × 192 BF16 elements, or of 333,333 bytes, so that chunks of 256 KiB end at arbitrary places in
    // them.
    let names: Vec<String> =
        (0..5).flat_map(|i| [format!("l.experts.{i}.w.weight"), format!("l.experts.{i}.b")]).collect();
    let mut list: Vec<(&str, Dtype, &[u64])> = Vec::new();
    for pair in names.chunks_exact(2) {
        list.extend([(pair[0].as_str(), Dtype::BF16, &[257, 192][..]), (pair[1].as_str(), Dtype::U8, &[333_333])]);
    }
    list.extend([
        ("l.wide.weight", Dtype::F32, &[3, 128 * 1024 + 64][..]),
        ("l.tall.weight", Dtype::BF16, &[16_411, 64]),
        ("l.odd.weight", Dtype::U8, &[1_048_577]),
    ]);
    dir.typed_weights("model.safetensors", &list);
    let (source, store) = (dir.open().expect("it is a model"), store(&target));
    for scheme in SCHEMES {
        let plan = plan(&source, scheme, "uniform");
        try_import(&store, scheme, &plan, &threads(2)).expect("it can be imported");
        obeys(&store, scheme, &source, &plan);
    }
    is_clean(&store);
}

#[test]
fn transposed_experts_of_every_shape() {
    let target = Dir::new();
    let store = store(&target);
    // A small matrix, tiles of whole rows, and few or many rows that are longer than a tile.
    let shapes: [[u64; 3]; 5] = [[2, 64, 3], [3, 1984, 1500], [1, 70_016, 65], [2, 1_100_032, 2], [1, 33_088, 1_030]];
    for (at, dims) in shapes.iter().enumerate() {
        let dir = Dir::new();
        dir.file("config.json", r#"{"architectures": ["GptOssForCausalLM"]}"#);
        dir.weights("model.safetensors", &[("l.mlp.experts.down_proj", dims)]);
        let source = dir.open().expect("it is a model");
        for scheme in ["none", "int4"] {
            let model = format!("m{at}:{scheme}");
            let plan = plan(&source, scheme, "uniform");
            assert_eq!(plan.blobs[0].tensors[0].arrangement, Arrangement::Transpose);
            assert_eq!(plan.blobs[0].tensors[0].scheme.is_some(), scheme == "int4", "{dims:?}");
            try_import(&store, &model, &plan, &threads(2)).expect("it can be imported");
            obeys(&store, &model, &source, &plan);
        }
    }
    is_clean(&store);
}

/// F64 is kept where nothing is asked. Where it is quantized, the codes are those of the nearest F32.
#[test]
fn doubles_are_kept_and_quantized_as_floats() {
    let wide: Vec<f64> = (0..512 * 128_u32).map(|at| f64::from(at).sin() * 1e-2).collect();
    let bytes: Vec<u8> = wide.iter().flat_map(|value| value.to_le_bytes()).collect();
    #[expect(clippy::cast_possible_truncation, reason = "rounding to F32 is what is tested")]
    let narrow: Vec<u8> = wide.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect();
    let checkpoint = |dtype: Dtype, bytes: &[u8], size: usize| {
        let dir = Dir::new();
        dir.file("config.json", r#"{"architectures": ["GptOssForCausalLM"]}"#);
        let list: [(&str, &[u64]); 6] = [
            ("a.weight", &[512, 128]),
            ("b", &[]),
            ("norm.weight", &[64]),
            ("l.experts.0.w.weight", &[64, 64]),
            ("l.experts.1.w.weight", &[64, 64]),
            ("k.mlp.experts.down_proj", &[2, 64, 48]),
        ];
        let len = |dims: &[u64]| size * usize::try_from(dims.iter().product::<u64>()).expect("it is small");
        let list = list.map(|(name, dims)| (name, dtype, dims, &bytes[..len(dims)]));
        dir.bytes("model.safetensors", &list);
        dir
    };
    let (doubles, floats) = (checkpoint(Dtype::F64, &bytes, 8), checkpoint(Dtype::F32, &narrow, 4));
    let (source, of_floats) = (doubles.open().expect("it is a model"), floats.open().expect("it is a model"));
    let target = Dir::new();
    let (out, store) = (target.join("out"), store(&target));

    let plain = plan(&source, "none", "default");
    assert!(plain.warnings.iter().all(|warning| !warning.contains("F64")), "{:?}", plain.warnings);
    try_import(&store, "m:none", &plain, &threads(2)).expect("it can be imported");
    obeys(&store, "m:none", &source, &plain);
    assert!(weights(&store, "m:none").iter().all(|tensor| tensor.weight().dtype == Dtype::F64));
    export_to(&store, "m:none", &out, &ExportOptions::default());
    assert_eq!(tensors(&open(&out).expect("it is a model")), tensors(&source));

    // The stored model is a source like the checkpoint.
    let again = open(&store.manifest_path(&name("m:none"))).expect("it is a model");
    try_import(&store, "again", &plan(&again, "none", "default"), &threads(2)).expect("it can be imported");
    assert_eq!(read(&store, "again").manifest.layers, read(&store, "m:none").manifest.layers);

    for scheme in ["int8", "int4-g32", "nvfp4", "mxfp8"] {
        let coded = plan(&source, scheme, "uniform");
        let operations: Vec<_> = coded
            .blobs
            .iter()
            .flat_map(|blob| &blob.tensors)
            .map(|tensor| (&*tensor.name, tensor.operation()))
            .collect();
        let expected = [
            ("a.weight", "f32"),
            ("b", "none"),
            ("norm.weight", "none"),
            ("k.mlp.experts.down_proj", "f32_transpose"),
            ("l.experts.w.weight", "f32_stack"),
        ];
        assert_eq!(operations, expected, "{scheme}");
        let warning = "tensors of F64 are rounded to F32 to be quantized: 3 of them, the first is a.weight";
        assert!(coded.warnings.iter().any(|found| found == warning), "{:?}", coded.warnings);
        try_import(&store, "doubles", &coded, &threads(2)).expect("it can be imported");
        try_import(&store, "again", &plan(&again, scheme, "uniform"), &threads(2)).expect("it can be imported");
        try_import(&store, "floats", &plan(&of_floats, scheme, "uniform"), &threads(2)).expect("it can be imported");
        let layers = |model: &str| {
            let layers = read(&store, model).manifest.layers;
            let is_coded = |name: &str| name == "a.weight" || name.contains("experts");
            layers.into_iter().filter(move |layer| layer.name.as_deref().is_some_and(is_coded)).collect::<Vec<_>>()
        };
        assert_eq!(layers("doubles"), layers("floats"), "{scheme}");
        assert_eq!(layers("again"), layers("floats"), "{scheme}");
        assert_eq!(layers("doubles").len(), 3);
        let stored = read(&store, "doubles");
        assert_eq!(part(&store, &stored, "b", Role::Weight), bytes[..8]);
        assert_eq!(part(&store, &stored, "norm.weight", Role::Weight), bytes[..512]);
    }
    is_clean(&store);
}
