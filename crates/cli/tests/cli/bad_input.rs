//! Sources that are not what they should be: status 1, a message that names the file, a store that verifies clean.

use std::{fs, path::Path};

use crate::support::{DEMO, Sandbox};

/// A safetensors file with this header and so many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn tensor(name: &str) -> Vec<u8> {
    file(&format!(r#"{{"{name}":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}}"#), 8)
}

fn index(entries: &[(&str, &str)]) -> Vec<u8> {
    let map: Vec<String> = entries.iter().map(|(tensor, shard)| format!(r#""{tensor}":"{shard}""#)).collect();
    format!(r#"{{"metadata":{{}},"weight_map":{{{}}}}}"#, map.join(",")).into_bytes()
}

const INDEX: &str = "model.safetensors.index.json";
const CONFIG: (&str, &[u8]) = ("config.json", br#"{"architectures":["LlamaForCausalLM"]}"#);

/// The fault, the words that the message has to contain, and the files beside `config.json`.
struct Case {
    what: &'static str,
    named: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
}

#[test]
fn is_refused_by_name() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "before"]);
    let cases = headers().into_iter().chain(places()).chain(shards()).chain(others());
    for (at, Case { what, named, files }) in cases.enumerate() {
        let dir = sandbox.path().join(format!("case-{at}"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(CONFIG.0), CONFIG.1).unwrap();
        for (name, bytes) in files {
            fs::write(dir.join(name), bytes).unwrap();
        }
        refused(&sandbox, what, &dir, named);
    }
}

const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// One file whose header is damaged.
fn headers() -> Vec<Case> {
    let good = tensor("a.weight");
    let prefix = |length: u64, rest: &[u8]| [&length.to_le_bytes()[..], rest].concat();
    [
        ("truncated", good[..good.len() - 3].to_vec()),
        ("cut in the header", good[..20].to_vec()),
        ("shorter than a length", vec![1, 2, 3]),
        ("no bytes", Vec::new()),
        ("header beyond the file", prefix(500, b"{}")),
        ("header of 2^63", prefix(1 << 63, b"{}")),
        ("header of 2^64 - 1", prefix(u64::MAX, b"{}")),
        ("garbage", file("{\"a\":nonsense", 8)),
        ("an array", file("[1,2,3]", 0)),
        ("not UTF-8", prefix(4, b"{\"\xff\"")),
    ]
    .map(|(what, bytes)| Case { what, named: "model.safetensors", files: vec![("model.safetensors", bytes)] })
    .into()
}

/// Tensors `a.weight` and `b.weight` of eight bytes each, where they are said to be.
fn two(second: &str, places: [[u64; 2]; 2], data: usize) -> Vec<u8> {
    let entry = |name: &str, [begin, end]: [u64; 2]| {
        format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{begin},{end}]}}"#)
    };
    file(&format!("{{{},{}}}", entry("a.weight", places[0]), entry(second, places[1])), data)
}

/// One file whose tensors are not where they should be.
fn places() -> Vec<Case> {
    let huge = r#"{"a.weight":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}"#;
    let one = r#"{"a.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    [
        ("a tensor twice", "a.weight", two("a.weight", [[0, 8], [8, 16]], 16)),
        ("an overflowing shape", "a.weight", file(huge, 8)),
        ("an overlap", "b.weight", two("b.weight", [[0, 8], [4, 12]], 12)),
        ("a gap", "b.weight", two("b.weight", [[0, 8], [12, 20]], 20)),
        ("data that no tensor has", "model.safetensors", file(one, 9)),
    ]
    .map(|(what, named, bytes)| Case { what, named, files: vec![("model.safetensors", bytes)] })
    .into()
}

/// Several files that do not fit each other.
fn shards() -> Vec<Case> {
    let [first, second] = SHARDS;
    let single = "model.safetensors";
    let a = || tensor("a.weight");
    let both = || two("b.weight", [[0, 8], [8, 16]], 16);
    let across = || index(&[("a.weight", first), ("b.weight", second)]);
    let case = |what, named, files: Vec<(&'static str, Vec<u8>)>| Case { what, named, files };
    vec![
        case("a tensor in two shards", second, vec![(first, a()), (second, a())]),
        case("a tensor in two indexed shards", second, vec![(first, a()), (second, both()), (INDEX, across())]),
        case("a missing shard", second, vec![(first, a()), (INDEX, across())]),
        case(
            "a missing tensor",
            "b.weight",
            vec![(single, a()), (INDEX, index(&[("a.weight", single), ("b.weight", single)]))],
        ),
        case("a climbing shard", INDEX, vec![(single, a()), (INDEX, index(&[("a.weight", "../model.safetensors")]))]),
        case("an absolute shard", INDEX, vec![(single, a()), (INDEX, index(&[("a.weight", "/etc/passwd")]))]),
        case("a garbage index", INDEX, vec![(single, a()), (INDEX, b"{".to_vec())]),
    ]
}

/// No weights, other weights, and experts with a hole among them.
fn others() -> Vec<Case> {
    let expert = |at| format!("model.layers.0.mlp.experts.{at}.up_proj.weight");
    let entry =
        |at, begin, end| format!(r#""{}":{{"dtype":"F32","shape":[1,2],"data_offsets":[{begin},{end}]}}"#, expert(at));
    let hole = file(&format!("{{{},{}}}", entry(0, 0, 8), entry(2, 8, 16)), 16);
    vec![
        Case { what: "no weights", named: "no model weights found", files: vec![] },
        Case { what: "pickled weights", named: "pytorch_model.bin", files: vec![("pytorch_model.bin", vec![0; 16])] },
        Case { what: "a hole among the experts", named: "experts.1", files: vec![("model.safetensors", hole)] },
    ]
}

#[test]
fn directories_without_a_model_are_refused() {
    let sandbox = Sandbox::new();
    let make = |name: &str, files: &[(&str, &[u8])]| {
        let dir = sandbox.path().join(name);
        fs::create_dir(&dir).unwrap();
        for (name, bytes) in files {
            fs::write(dir.join(name), bytes).unwrap();
        }
        dir
    };
    refused(&sandbox, "empty", &make("empty", &[]), "empty");
    refused(&sandbox, "no config", &make("bare", &[("model.safetensors", &tensor("a"))]), "config.json not found");
    let garbage = make("garbage", &[("config.json", b"{"), ("model.safetensors", &tensor("a"))]);
    refused(&sandbox, "a garbage config", &garbage, "config.json");
    let list = make("list", &[("config.json", b"[]"), ("model.safetensors", &tensor("a"))]);
    refused(&sandbox, "a config that is no object", &list, "config.json");
    refused(&sandbox, "nothing", &sandbox.path().join("absent"), "absent");
    let text = sandbox.path().join("notes.txt");
    fs::write(&text, "x").unwrap();
    refused(&sandbox, "another file", &text, "notes.txt");
}

/// A config with nothing but the architecture is enough, and one file needs none.
#[test]
fn the_least_that_is_a_source_imports() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path().join("least");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(CONFIG.0), CONFIG.1).unwrap();
    fs::write(dir.join("model.safetensors"), tensor("a.weight")).unwrap();
    sandbox.ok(["import", "least", "least"]);
    sandbox.ok(["import", "least/model.safetensors", "single"]);
    sandbox.ok(["verify"]);
}

#[test]
fn what_cannot_be_quantized_is_named() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path().join("nan");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(CONFIG.0), CONFIG.1).unwrap();
    let header = r#"{"model.layers.0.mlp.up_proj.weight":{"dtype":"F32","shape":[32,64],"data_offsets":[0,8192]}}"#;
    let mut bytes = file(header, 8192);
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(dir.join("model.safetensors"), bytes).unwrap();
    let run = sandbox.run(["import", "nan", "m", "--quantize", "int4"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stderr.contains("model.layers.0.mlp.up_proj.weight") && run.stderr.contains("--allow-nonfinite"),
        "{run:?}"
    );
    sandbox.ok(["import", "nan", "m", "--quantize", "int4", "--allow-nonfinite"]);
    sandbox.ok(["import", "nan", "m"]);
}

fn refused(sandbox: &Sandbox, what: &str, source: &Path, named: &str) {
    for verb in [&["import"][..], &["inspect"]] {
        let name = (verb == ["import"]).then_some("new");
        let run = sandbox.run(verb.iter().copied().map(Path::new).chain([source]).chain(name.map(Path::new)));
        if verb == ["inspect"] && run.code == 0 {
            // A source that cannot be planned can still be inspected.
            continue;
        }
        assert_eq!(run.code, 1, "{what}: {run:?}");
        let first = run.stderr.lines().find(|line| line.starts_with("error: "));
        let first = first.unwrap_or_else(|| panic!("{what}: {run:?}"));
        let path = source.file_name().unwrap().to_string_lossy();
        assert!(first.contains(&*path), "{what}: {first}");
        assert!(run.stderr.contains(named), "{what}: {run:?}");
        assert!(!run.stderr.contains("panicked"), "{what}: {run:?}");
    }
    let listed = sandbox.ok(["list", "-q"]);
    assert!(!listed.contains("new:latest"), "{what}: {listed}");
    sandbox.ok(["verify"]);
    let left = fs::read_dir(sandbox.store().join("tmp")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{what}: temporaries are left");
}

/// A model of another store whose largest blob is damaged: status 1, the blob's name, and nothing new in the target.
#[test]
fn a_damaged_model_of_another_store() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m", "--quantize", "int4"]);
    let blobs = fs::read_dir(sandbox.store().join("blobs")).unwrap().map(|entry| entry.unwrap().path());
    let largest = blobs.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes[middle + 1] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let manifest = sandbox.store().join("manifests/registry.ollama.ai/library/m/latest");
    let run = sandbox.run(["--store", "other", "import", manifest.to_str().unwrap(), "c"]);
    assert_eq!(run.code, 1, "{run:?}");
    let name = largest.file_name().unwrap().to_string_lossy();
    let first = run.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(first.contains(&*name) && first.contains("is damaged"), "{run:?}");
    assert!(run.stderr.contains("\nhint: longshore verify --repair"), "{run:?}");
    let left = |dir: &str| fs::read_dir(sandbox.path().join("other").join(dir)).map_or(0, Iterator::count);
    assert_eq!((left("blobs"), left("tmp")), (0, 0));
    assert!(!sandbox.ok(["--store", "other", "list", "--json"]).contains("latest"));
}

/// A link out of the source is followed only where it was asked for.
#[cfg(unix)]
#[test]
fn a_link_out_of_the_source() {
    let sandbox = Sandbox::new();
    let source = sandbox.checkpoint("llama");
    fs::write(sandbox.path().join("secret"), "{}").unwrap();
    std::os::unix::fs::symlink("../secret", source.join("tokenizer_2.json")).unwrap();
    let run = sandbox.run(["import", "llama", "m"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("error: llama/tokenizer_2.json is a link out of the source"), "{run:?}");
    assert!(run.stderr.contains("tokenizer_2.json, or import with --follow-links"), "{run:?}");
    sandbox.ok(["import", "llama", "m", "--follow-links"]);
    let run = sandbox.run(["export", "m", "store/out"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("lies in the store") && run.stderr.contains("hint: "), "{run:?}");
    assert!(!sandbox.store().join("out").exists());
}
