use std::collections::BTreeMap;

use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, RelativePath,
    document::{
        Arrangement, Base, Calibrated, Changes, Chunks, DocumentError, Draft, DraftHead, Facts, HeadRole, Import,
        MergedAdapter, Role, Rotated, Scaled, TensorTable, media_type,
    },
    store::Added,
};
use longshore_st_format::{Dtype, Shape};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::util::{Blob, chain, table};

const MANIFEST: &[u8] = include_bytes!("golden/manifest.json");
const CONFIG: &[u8] = include_bytes!("golden/config.json");
/// Written when a table had fewer facts.
const OLDER: &[u8] = include_bytes!("golden/config-older.json");

/// Makes a manifest with a layer of each kind.
pub(crate) fn manifest() -> Manifest {
    let blob = |kind: &str, size| Added::new(Digest::of(kind.as_bytes()), size);
    let path = |text| RelativePath::parse(text).unwrap();
    Manifest::new(
        Descriptor::config(blob(media_type::CONFIG, 2048)),
        vec![
            Descriptor::tensor("model.embed_tokens.weight", blob(media_type::TENSOR, 4096)),
            Descriptor::json(&path("config.json"), blob(media_type::JSON, 640)),
            Descriptor::file(&path("1_Pooling/vocab.txt"), blob(media_type::FILE, u64::MAX)),
        ],
    )
}

/// Makes a config that uses every field.
pub(crate) fn config() -> Config {
    let mut stacked = Blob::int4("model.layers.0.mlp.experts.down_proj.weight", 2, 32, 3);
    stacked.tensors[0].arrangement = Arrangement::Stack;
    stacked.tensors[0].sources = vec!["experts.0.down_proj.weight".into(), "experts.1.down_proj.weight".into()];
    let mut transposed = Blob::nvfp4_of("up.weight", &[2, 3], 5).in_component("transformer");
    transposed.tensors[0].arrangement = Arrangement::Transpose;
    transposed.tensors[0].sources = vec!["up".into()];
    let TensorTable { mut blobs, .. } = table(&[Blob::plain("model.embed_tokens.weight", 3, 1), stacked, transposed]);
    blobs[2].chunks = Some(Chunks::new([&b"first"[..], b"second"].map(Digest::of).to_vec()));
    let facts = crate::facts::facts();
    let import = Import {
        kind: "float".into(),
        quantize: Some("int4".into()),
        policy: Some("default".into()),
        profile: Some("plus".into()),
        metadata: BTreeMap::from([("format".into(), "pt".into())]),
        ..Import::default()
    };
    let mut table = TensorTable::new(facts, import, blobs);
    table.heads = vec![DraftHead::new(HeadRole::Mtp, "model.layers.1.")];
    let mut config = Config::new(table);
    config.renderer = Some("qwen3-coder".into());
    config.parser = Some("qwen3".into());
    config.requires = Some("0.19.0".into());
    config.remote_host = Some("host".into());
    config.remote_model = Some("remote".into());
    config.base_name = Some("base".into());
    config.draft = Some(Draft::new("SmallForCausalLM"));
    config.base = Some(Base::new(Digest::of(b"base"), Base::ADAPTER));
    let mut adapter = MergedAdapter::new(Digest::of(b"adapter"), 0.5);
    adapter.scales = BTreeMap::from([("model.embed_tokens.weight".into(), vec![2.0, 1.5])]);
    adapter.replaced = vec!["up.weight".into()];
    let mut changes = Changes::default();
    changes.adapters = vec![adapter];
    changes.rotation = Some(Rotated::new(7, 12, 256));
    changes.awq = Some(Scaled::new(0.25, Digest::of(b"statistics")));
    let (hessians, held) = (Digest::of(b"hessians"), Some(Digest::of(b"held")));
    changes.gptq = Some(Calibrated::new(hessians, held, vec!["model.layers.0.mlp.experts.down_proj.weight".into()]));
    config.changes = Some(changes);
    config
}

#[test]
fn the_bytes_of_documents_do_not_change() {
    assert_eq!(String::from_utf8(manifest().to_bytes()).unwrap(), String::from_utf8_lossy(MANIFEST));
    assert_eq!(String::from_utf8(config().to_bytes()).unwrap(), String::from_utf8_lossy(CONFIG));
}

#[test]
fn documents_round_trip() {
    assert_eq!(Manifest::parse(MANIFEST).unwrap(), manifest());
    assert_eq!(Config::parse(CONFIG).unwrap(), config());
    assert_eq!(Config::parse(&Config::default().to_bytes()).unwrap(), Config::default());
}

#[test]
fn documents_with_fewer_facts_are_read() {
    let (older, now) = (Config::parse(OLDER).unwrap(), config());
    assert_eq!(older.to_bytes(), OLDER, "what is unknown is not written");
    let of = |config: &Config| TensorTable::clone(config.longshore.as_ref().unwrap());
    let (older, mut now) = (of(&older), of(&now));
    now.blobs.iter_mut().for_each(|blob| blob.chunks = None);
    assert_eq!(older.facts, crate::facts::older());
    assert_eq!((older.import, older.blobs), (now.import, now.blobs));
}

/// Spec §1.4 and Appendix B: absent fields of ollama are not written, and the others are in ollama's order.
#[test]
fn ollamas_fields_in_ollamas_order() {
    let mut config = Config::default();
    config.model_format = "safetensors".into();
    config.file_type = "nvfp4".into();
    config.renderer = Some("qwen3-coder".into());
    config.parser = Some("qwen3".into());
    config.requires = Some("0.19.0".into());
    config.capabilities = ["completion", "tools", "thinking"].map(str::to_owned).to_vec();
    let example = concat!(
        r#"{"model_format":"safetensors","model_family":"","model_families":null,"model_type":"","file_type":"nvfp4","#,
        r#""renderer":"qwen3-coder","parser":"qwen3","requires":"0.19.0","capabilities":["completion","tools","thinking"],"#,
        r#""architecture":"","os":""}"#,
    );
    assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), format!("{example}\n"));
    let s1 = concat!(
        r#"{"model_format":"safetensors","model_family":"","model_families":null,"model_type":"","file_type":"","#,
        r#""requires":"0.14.0","capabilities":["completion"],"architecture":"","os":"","rootfs":{"type":"","diff_ids":null}}"#,
    );
    assert_eq!(s1.len(), 214);
    assert_eq!(Config::parse(s1.as_bytes()).unwrap().requires.as_deref(), Some("0.14.0"));
}

/// Spec §1.4, `file_type` in column H.
#[test]
fn the_file_type_is_the_effective_one() {
    let of = |quantize: Option<&str>, blobs: &[Blob]| {
        let TensorTable { blobs, .. } = table(blobs);
        let import = Import { quantize: quantize.map(str::to_owned), ..Import::default() };
        Config::new(TensorTable::new(Facts::default(), import, blobs)).file_type
    };
    let (plain, int4, nvfp4) = (Blob::plain("a", 3, 1), Blob::int4("b", 2, 32, 3), Blob::nvfp4_of("c", &[2, 3], 5));
    assert_eq!(of(None, std::slice::from_ref(&plain)), "");
    assert_eq!(of(Some("int4"), std::slice::from_ref(&plain)), "", "nothing was quantized");
    assert_eq!(of(Some("int4-g32"), &[plain.clone(), int4.clone()]), "int4");
    assert_eq!(of(Some("nvfp4"), &[int4.clone(), nvfp4.clone()]), "nvfp4");
    assert_eq!(of(None, &[plain, int4.clone()]), "int4");
    assert_eq!(of(None, &[int4, nvfp4]), "", "a mixture has none");
}

#[test]
fn a_draft_has_the_tensors_with_its_prefix() {
    let draft = Draft::new("X");
    assert!(draft.has("draft.w") && !draft.has("drafty") && !draft.has("w"));
    assert!(!Draft::default().has("w"), "no prefix has none");
}

#[test]
fn a_manifest_tells_its_blobs_and_files() {
    let manifest = manifest();
    assert_eq!(manifest.blobs().map(|blob| blob.size).collect::<Vec<_>>(), [2048, 4096, 640, u64::MAX]);
    let files: Vec<_> = manifest.files().map(|(path, layer)| (path.to_string(), layer.size)).collect();
    assert_eq!(files, [("config.json".to_owned(), 640), ("1_Pooling/vocab.txt".to_owned(), u64::MAX)]);
    assert_eq!(manifest.layers.iter().filter(|layer| layer.is_tensor()).count(), 1);
}

#[test]
fn a_table_tells_its_tensors() {
    let config = config();
    let table = config.longshore.unwrap();
    let tensors: Vec<_> = table.tensors().map(|(blob, tensor)| (blob.component.as_deref(), tensor)).collect();
    assert_eq!(tensors.iter().map(|(component, _)| *component).collect::<Vec<_>>(), [None, None, Some("transformer")]);
    let (plain, stacked, nvfp4) = (tensors[0].1, tensors[1].1, tensors[2].1);
    assert_eq!((plain.elements(), plain.byte_len()), (12, 48));
    assert_eq!(plain.source_names().collect::<Vec<_>>(), ["model.embed_tokens.weight"]);
    assert_eq!(
        stacked.source_names().collect::<Vec<_>>(),
        ["experts.0.down_proj.weight", "experts.1.down_proj.weight"]
    );
    assert_eq!((stacked.elements(), stacked.byte_len()), (2 * 64, 64 + 8 + 8));
    assert_eq!(stacked.weight().dtype, Dtype::U32);
    assert_eq!(nvfp4.part(Role::GlobalScale).unwrap().shape, Shape::default());
    assert!(nvfp4.part(Role::Bias).is_none());
    assert_eq!(stacked.quantization.as_ref().unwrap().to_string(), "int4-g32");
    assert_eq!(nvfp4.quantization.as_ref().unwrap().to_string(), "nvfp4");
}

#[test]
fn unknown_fields_are_passed_over() {
    for document in [MANIFEST, CONFIG] {
        let mut value: Value = serde_json::from_slice(document).unwrap();
        let count = add_fields(&mut value);
        assert!(count > 4, "{count}");
        let text = serde_json::to_vec(&value).unwrap();
        if document == MANIFEST {
            assert_eq!(Manifest::parse(&text).unwrap(), manifest());
        } else {
            assert_eq!(Config::parse(&text).unwrap(), config());
        }
    }
}

/// Adds an unknown field to every object except those with free keys: the source's metadata, the components' classes, and the factors
/// of tensors.
fn add_fields(value: &mut Value) -> usize {
    match value {
        Value::Object(fields) => {
            let inner: usize = fields
                .iter_mut()
                .filter(|(key, _)| !["metadata", "components", "scales"].contains(&key.as_str()))
                .map(|(_, value)| add_fields(value))
                .sum();
            fields.insert("later".into(), json!({"size": 4_194_304, "digests": ["…"]}));
            inner + 1
        }
        Value::Array(values) => values.iter_mut().map(add_fields).sum(),
        _ => 0,
    }
}

#[test]
fn a_config_of_another_program_has_no_table() {
    let text = br#"{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"8.0B",
        "file_type":"Q4_0","renderer":"r","parser":"p","architecture":"amd64","os":"linux",
        "rootfs":{"type":"layers","diff_ids":null}}"#;
    let config = Config::parse(text).unwrap();
    assert_eq!((config.model_format.as_str(), config.file_type.as_str()), ("gguf", "Q4_0"));
    assert_eq!(config.model_families, Some(vec!["llama".to_owned()]));
    assert!(config.longshore.is_none());
}

#[test]
fn only_schema_version_2_is_a_manifest() {
    for (version, found) in [("1", 1), ("3", 3), ("4294967295", u32::MAX)] {
        let text =
            String::from_utf8_lossy(MANIFEST).replace("\"schemaVersion\":2", &format!("\"schemaVersion\":{version}"));
        let error = Manifest::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, DocumentError::Version { what: "manifest", found: f, expected: 2 } if f == found));
    }
    let later = String::from_utf8_lossy(CONFIG).replace("\"longshore\":{\"version\":1", "\"longshore\":{\"version\":2");
    let error = Config::parse(later.as_bytes()).unwrap_err();
    assert!(matches!(error, DocumentError::Version { what: "tensor table", found: 2, expected: 1 }));
    assert_eq!(error.to_string(), "the tensor table has version 2, expected 1");
}

#[test]
fn what_is_no_document_is_refused_and_the_cause_is_said_once() {
    let text = String::from_utf8_lossy(MANIFEST).into_owned();
    for bad in [
        String::new(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        text[..text.len() / 2].to_owned(),
        text.clone() + "{}",
        text.replacen("sha256:", "sha256:../../", 1),
        text.replacen("sha256:", "sha512:", 1),
        text.replacen("4096", "-4096", 1),
        text.replacen("4096", "1e400", 1),
        text.replacen("\"layers\":[", "\"layers\":[null,", 1),
        text.replacen("\"schemaVersion\":2", "\"schemaVersion\":2,\"schemaVersion\":2", 1),
        "[".repeat(100_000),
    ] {
        let error = Manifest::parse(bad.as_bytes()).unwrap_err();
        assert!(matches!(error, DocumentError::Json { what: "manifest", .. }), "{bad:.80}");
        assert_eq!(chain(&error).len(), 2);
    }
    assert!(matches!(Config::parse(b"\xff\xfe"), Err(DocumentError::Json { what: "config", .. })));
}

#[test]
fn a_companion_file_that_would_leave_its_directory_is_refused() {
    for path in ["../config.json", "/etc/passwd", "a/../../b", "", "a\\\\b", "C:b"] {
        let text = String::from_utf8_lossy(MANIFEST).replace("1_Pooling/vocab.txt", path);
        let error = Manifest::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, DocumentError::Inconsistent { what: "manifest", .. }), "{path}: {error}");
    }
}

#[test]
fn companion_files_that_cannot_lie_in_one_directory_are_refused() {
    let with = |names: &[&str]| {
        let mut manifest = manifest();
        let files = names.iter().map(|name| Descriptor { name: Some((*name).into()), ..manifest.layers[1].clone() });
        manifest.layers = files.collect();
        Manifest::parse(&manifest.to_bytes())
    };
    for (names, expected) in [
        (&["a", "b", "a"][..], "the file \"a\" is listed twice"),
        (&["a", "a/b"], "the file \"a/b\" lies below \"a\", which is a file too"),
        (&["a/b/c/d", "a/b"], "the file \"a/b/c/d\" lies below \"a/b\", which is a file too"),
    ] {
        let error = with(names).unwrap_err();
        assert_eq!(error.to_string(), format!("the manifest is inconsistent: {expected}"));
        assert!(matches!(error, DocumentError::Inconsistent { what: "manifest", .. }));
    }
    with(&["a", "ab/c", "b/a", "b/ab", "a.json"]).unwrap();
    // A tensor may have the name of a file.
    let mut both = manifest();
    both.layers[0].name = Some("config.json/a".into());
    Manifest::parse(&both.to_bytes()).unwrap();
}

#[test]
fn a_table_that_contradicts_itself_is_refused() {
    // Pointers to tensors of the golden config: a plain one, a stacked int4 one, an nvfp4 one.
    let plain = "/longshore/blobs/0/tensors/0";
    let int4 = "/longshore/blobs/1/tensors/0";
    let nvfp4 = "/longshore/blobs/2/tensors/0";
    let global_scales = |experts: u64| json!({"role": "global_scale", "dtype": "F32", "shape": [experts, 1, 1], "offset": 0, "length": 4 * experts});
    let cases: &[(&str, Value, &str)] = &[
        (&format!("{plain}/parts"), json!([]), "it has no weight"),
        (&format!("{plain}/parts/0/role"), json!("scale"), "it has no weight"),
        (&format!("{plain}/parts/0/length"), json!(47), "its Weight has 47 bytes, expected 48 for F32 [3, 4]"),
        (&format!("{plain}/parts/0/offset"), json!(u64::MAX - 47), "its Weight lies at 18446744073709551568"),
        (&format!("{plain}/parts/0/shape"), json!([4, 3]), "it is plain F32 [3, 4], but its parts are not"),
        (&format!("{plain}/dtype"), json!("I32"), "it is plain I32 [3, 4], but its parts are not"),
        (&format!("{plain}/shape"), json!([u64::MAX, 2]), "more elements than can be counted"),
        (&format!("{plain}/parts/0/shape"), json!([u64::MAX, 2]), "passes 2^64 bits"),
        (&format!("{plain}/name"), json!("x"), ""),
        (&format!("{plain}/sources"), json!(["x"]), ""),
        (&format!("{plain}/sources"), json!(["x", "y"]), "it is [3, 4] of 2 sources with the transform None"),
        (&format!("{plain}/transform"), json!("stack"), "expected as many sources as its first extent"),
        (&format!("{plain}/transform"), json!("transpose"), "expected three axes or more"),
        (&format!("{int4}/sources"), json!(["x"]), "of 1 sources with the transform Stack, expected as many"),
        (&format!("{int4}/sources"), json!(["x", "y", "z"]), "of 3 sources with the transform Stack"),
        (&format!("{nvfp4}/sources"), json!([]), ""),
        (&format!("{nvfp4}/sources"), json!(["x", "y"]), "with the transform Transpose, expected one source at most"),
        (&format!("{int4}/quantization/scheme"), json!("int7"), "quantized as \"int7\", which is not a known scheme"),
        (&format!("{int4}/quantization/scheme"), json!("int8"), "its Weight is U32 [2, 8], expected U32 [2, 16]"),
        (&format!("{int4}/quantization/group_size"), json!(64), "its Scale is BF16 [2, 2], expected BF16 [2, 1]"),
        (&format!("{int4}/quantization/group_size"), json!(48), "groups of 48 elements, which do not divide [2, 64]"),
        (&format!("{int4}/dtype"), json!("F16"), "its Scale is BF16 [2, 2], expected F16 [2, 2]"),
        (&format!("{int4}/dtype"), json!("I16"), "it is int4 of I16, expected F32, F16 or BF16"),
        (&format!("{int4}/shape"), json!([2, 32]), "its Weight is U32 [2, 8], expected U32 [2, 4]"),
        (&format!("{int4}/parts/0/dtype"), json!("I32"), "its Weight is I32 [2, 8], expected U32 [2, 8]"),
        (&format!("{int4}/parts/2/shape"), json!([4, 1]), "its Bias is BF16 [4, 1], expected BF16 [2, 2]"),
        (&format!("{int4}/parts/2/role"), json!("global_scale"), "it is int4 and has no bias for each group"),
        (&format!("{nvfp4}/quantization/scheme"), json!("mxfp4"), "it is mxfp4 and has a global scale"),
        (&format!("{nvfp4}/quantization/scheme"), json!("mxfp8"), "expected U32 [2, 3, 8] for BF16 [2, 3, 32]"),
        (&format!("{nvfp4}/parts/2/role"), json!("bias"), "it is nvfp4 and has a bias for each group"),
        (&format!("{nvfp4}/parts/2/shape"), json!([1, 1]), ""),
        (&format!("{nvfp4}/parts/2"), global_scales(2), ""),
        (
            &format!("{nvfp4}/parts/2"),
            global_scales(3),
            "its GlobalScale is F32 [3, 1, 1], expected one F32, or one for",
        ),
        (&format!("{nvfp4}/parts/2/dtype"), json!("I32"), "its GlobalScale is I32 [], expected one F32"),
        (&format!("{nvfp4}/shape"), json!([3, 2, 32]), "its Weight is U32 [2, 3, 4], expected U32 [3, 2, 4]"),
        (&format!("{int4}/parts/2/role"), json!("scale"), "it has two parts of role Scale"),
        (&format!("{int4}/parts/1/role"), json!("global_scale"), "it is quantized and has no scale"),
        (&format!("{int4}/quantization/group_size"), json!(0), "groups of 0 elements"),
        (&format!("{int4}/quantization"), Value::Null, "but its parts are not: 3 of them"),
    ];
    for (pointer, value, expected) in cases {
        let mut document: Value = serde_json::from_slice(CONFIG).unwrap();
        let (object, key) = pointer.rsplit_once('/').unwrap();
        match document.pointer_mut(object).unwrap() {
            Value::Array(values) => values[key.parse::<usize>().unwrap()] = value.clone(),
            values => values[key] = value.clone(),
        }
        let parsed = Config::parse(&serde_json::to_vec(&document).unwrap());
        if expected.is_empty() {
            parsed.unwrap();
            continue;
        }
        let error = parsed.unwrap_err();
        let DocumentError::Inconsistent { what: "tensor table", problem } = &error else {
            panic!("{pointer}: {error}")
        };
        assert!(problem.contains(expected), "{pointer}: {problem}");
        assert!(problem.starts_with("tensor \""), "{problem}");
    }
}

#[test]
fn a_component_is_a_segment_of_a_path() {
    let long = "a".repeat(128);
    let refused = |name: &str| {
        let config = Config::new(table(&[Blob::plain("w", 1, 2).in_component(name)]));
        Config::parse(&config.to_bytes()).err()
    };
    for name in ["vae", "text_encoder_2", "a.b-C", "..a", &long] {
        assert!(refused(name).is_none(), "{name}");
    }
    for name in
        ["", ".", "..", "a/b", "a\\b", "a b", "\u{e9}", "a\0", &format!("{long}a"), "...", "vae.", "nul", "Aux.b"]
    {
        let error = refused(name).unwrap_or_else(|| panic!("{name:?}"));
        assert!(matches!(error, DocumentError::Inconsistent { what: "tensor table", .. }), "{error}");
        assert!(error.to_string().contains("is not a directory name"), "{error}");
    }
}

#[test]
fn a_tensor_is_listed_once_for_each_component() {
    let blob = Blob::plain("w", 2, 1);
    let twice = Config::new(table(&[blob.clone(), Blob::plain("w", 3, 2)]));
    let error = Config::parse(&twice.to_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "the tensor table is inconsistent: tensor \"w\": it is listed twice");
    let components = Config::new(table(&[blob.clone().in_component("a"), blob.in_component("b")]));
    Config::parse(&components.to_bytes()).unwrap();
}

#[test]
fn words_that_are_not_known_are_refused_and_not_guessed() {
    for (known, unknown) in [
        ("\"transform\":\"stack\"", "\"transform\":\"rotate\""),
        ("\"role\":\"bias\"", "\"role\":\"zero_point\""),
        ("\"dtype\":\"U32\"", "\"dtype\":\"U31\""),
    ] {
        let text = String::from_utf8_lossy(CONFIG);
        assert!(text.contains(known));
        let error = Config::parse(text.replacen(known, unknown, 1).as_bytes()).unwrap_err();
        assert!(matches!(error, DocumentError::Json { what: "config", .. }), "{unknown}");
    }
}

proptest! {
    #[test]
    fn any_manifest_round_trips(layers in prop::collection::vec((any::<u64>(), ".{0,20}", prop::option::of(".{0,40}")), 0..8)) {
        let layers = layers.into_iter().map(|(size, kind, name)| {
            // Names of companion files are checked by other rules.
            let media_type = if kind.is_empty() { media_type::TENSOR.to_owned() } else { format!("x/{kind}") };
            Descriptor { digest: Digest::of(media_type.as_bytes()), media_type, size, name }
        });
        let manifest = Manifest::new(manifest().config, layers.collect());
        prop_assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
    }

    #[test]
    fn no_change_of_a_byte_makes_a_config_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = CONFIG.to_vec();
        *at.get_mut(&mut bytes) = byte;
        let _ = Config::parse(&bytes);
        let _ = Config::parse(&bytes[..cut.index(bytes.len())]);
    }
}
