//! `embed`, `perplexity` and `calibrate`.

use std::fs;

use serde_json::{Value, json};

use super::{
    automaton::{Automaton, BOS},
    bad_input::assert_refused,
    fed,
};
use crate::support::Sandbox;

fn document(sandbox: &Sandbox, args: &[&str]) -> Value {
    serde_json::from_str(&sandbox.ok([args, &["--json"]].concat())).unwrap()
}

/// A model to which a text of `ab` over and over is no news.
fn alternating() -> Automaton {
    Automaton::new().chain([BOS, 97, 98, 97])
}

#[test]
fn a_text_becomes_a_vector_of_length_one() {
    let sandbox = Sandbox::new();
    let dir = Automaton::new().write(&sandbox, "m");
    let embed = |args: &[&str]| document(&sandbox, &[&["embed", "./m"], args].concat());
    let found = embed(&["ab", "b", "--pooling", "last"]);
    assert_eq!((&found["version"], &found["model"], &found["pooling"]), (&1.into(), &"./m".into(), &"last".into()));
    let vectors = found["embeddings"].as_array().unwrap();
    // The state of a token is its own unit vector here.
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        assert_eq!(
            (vector[98].as_f64(), vector[97].as_f64(), vector.as_array().unwrap().len()),
            (Some(1.0), Some(0.0), 320)
        );
    }
    // BOS comes first, as the tokenizer says.
    let first = embed(&["ab", "--pooling", "cls"]);
    assert_eq!(first["embeddings"][0][BOS as usize], 1.0);
    fs::create_dir(dir.join("1_Pooling")).unwrap();
    fs::write(dir.join("1_Pooling/config.json"), r#"{"pooling_mode_mean_tokens": true}"#).unwrap();
    let mean = embed(&["ab"]);
    assert_eq!(mean["pooling"], "mean");
    for token in [BOS, 97, 98] {
        let found = mean["embeddings"][0][token as usize].as_f64().unwrap();
        assert!((found - 1.0 / 3.0_f64.sqrt()).abs() < 1e-6, "{found}");
    }
    // A text a line from stdin, and a vector a line.
    for args in [&["embed", "./m"][..], &["embed", "./m", "-"]] {
        let run = fed(&mut sandbox.command(args), b"ab\nb\n");
        assert_eq!((run.code, run.stdout.lines().count()), (0, 2), "{run:?}");
        assert_eq!(run.stdout.lines().next().unwrap().split(' ').count(), 320);
    }
}

#[test]
fn a_text_that_cannot_be_embedded() {
    let sandbox = Sandbox::new();
    let dir = Automaton::new().write(&sandbox, "m");
    let run = sandbox.run(["embed", "./m", "a"]);
    assert_refused(&run, 1, &["./m does not say how to pool: expected 1_Pooling/config.json", "hint: --pooling mean"]);
    let long = "x".repeat(70);
    let run = sandbox.run(["embed", "./m", "--pooling", "mean", &long]);
    assert_refused(&run, 1, &["has 71 tokens, expected at most 64", "hint: --truncate"]);
    assert_eq!(sandbox.run(["embed", "./m", "--pooling", "mean", "--truncate", &long]).code, 0);
    fs::write(dir.join("sentence_bert_config.json"), r#"{"max_seq_length": 8}"#).unwrap();
    let run = sandbox.run(["embed", "./m", "--pooling", "mean", "xxxxxxxx"]);
    assert_refused(&run, 1, &["has 9 tokens, expected at most 8"]);
    fs::create_dir(dir.join("1_Pooling")).unwrap();
    fs::write(dir.join("1_Pooling/config.json"), r#"{"pooling_mode": "max"}"#).unwrap();
    let run = sandbox.run(["embed", "./m", "a"]);
    assert_refused(&run, 1, &["1_Pooling/config.json of ./m asks for max", "hint: --pooling"]);
    assert_eq!(sandbox.run(["embed", "./m", "--pooling", "median", "a"]).code, 2);
}

#[test]
fn models_are_measured_against_the_first() {
    let sandbox = Sandbox::new();
    alternating().write(&sandbox, "good");
    Automaton::new().chain([BOS, 97, 120]).chain([98, 97]).write(&sandbox, "bad");
    alternating().vocabulary(400).write(&sandbox, "wide");
    sandbox.ok(["import", "./good", "stored", "-q"]);
    fs::write(sandbox.path().join("text"), "ab".repeat(50)).unwrap();
    let args = ["perplexity", "./good", "./bad", "./wide", "stored", "--text", "text", "--window", "21"];
    let found = document(&sandbox, &args);
    // BOS and 20 tokens a window; all but BOS are scored.
    assert_eq!((&found["tokens"], &found["window"], &found["path"]), (&100.into(), &21.into(), &"exact".into()));
    let models = found["models"].as_array().unwrap();
    let names: Vec<_> = models.iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["./good", "./bad", "./wide", "stored:latest"]);
    let number = |at: usize, field: &str| models[at][field].as_f64().unwrap();
    assert!((number(0, "perplexity") - 1.0).abs() < 1e-3, "{found}");
    // Half of what the second expects is wrong.
    assert!(number(1, "perplexity") > 1000.0 && (number(1, "top1") - 0.5).abs() < 0.06, "{found}");
    assert!(number(1, "kl") > 1.0 && number(1, "delta_nll") > 1.0, "{found}");
    assert!(number(1, "delta_standard_error").abs() < 1.0, "{found}");
    assert_eq!(
        (&models[2]["kl"], &models[2]["top1"], &models[2]["delta_nll"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert!((number(2, "perplexity") - 1.0).abs() < 1e-3, "{found}");
    for same in [0, 3] {
        assert_eq!((number(same, "kl"), number(same, "top1"), number(same, "delta_nll")), (0.0, 1.0, 0.0), "{found}");
    }
    assert!((number(0, "bits_per_weight") - 32.0).abs() < 1e-9);
    assert_eq!(models[0]["fast"], Value::Null);
    // The windows give the mean, and the paired difference with its standard error.
    let sums =
        |at: usize| models[at]["windows"].as_array().unwrap().iter().map(|window| window["nll"].as_f64().unwrap());
    assert!(models[1]["windows"].as_array().unwrap().iter().all(|window| window["tokens"] == 20), "{found}");
    assert!((sums(1).sum::<f64>() / 100.0 - number(1, "perplexity").ln()).abs() < 1e-9, "{found}");
    let deltas: Vec<f64> = sums(1).zip(sums(0)).map(|(one, first)| (one - first) / 20.0).collect();
    let mean = deltas.iter().sum::<f64>() / 5.0;
    let error = (deltas.iter().map(|delta| (delta - mean).powi(2)).sum::<f64>() / 4.0 / 5.0).sqrt();
    assert!((mean - number(1, "delta_nll")).abs() < 1e-9, "{found}");
    assert!((error - number(1, "delta_standard_error")).abs() < 1e-9, "{found}");
    let both = document(&sandbox, &[&args[..], &["--both"]].concat());
    assert_eq!(both["path"], "both");
    assert!(both["models"][1]["fast"]["kl"].as_f64().unwrap().abs() < 1e-3, "{both}");
    assert_eq!(document(&sandbox, &[&args[..], &["--fast"]].concat())["path"], "fast");
    let table = sandbox.ok(args);
    assert!(table.starts_with("MODEL ") && table.ends_with("100 tokens scored in 5 windows of 21 tokens\n"), "{table}");
}

#[test]
fn a_text_that_cannot_be_measured() {
    let sandbox = Sandbox::new();
    alternating().write(&sandbox, "m");
    let path = sandbox.path().join("text");
    fs::write(&path, "abab").unwrap();
    let run = sandbox.run(["perplexity", "./m", "--text", "text", "--window", "21"]);
    assert_refused(&run, 1, &["text has 4 tokens, expected a window of 21 at least", "hint: "]);
    let run = sandbox.run(["perplexity", "./m", "--text", "text"]);
    assert_refused(&run, 1, &["./m: the sequence would have 512 tokens, expected at most 64", "hint: --window 64"]);
    assert_refused(&sandbox.run(["perplexity", "./m", "--text", "text", "--window", "1"]), 2, &["--window"]);
    fs::write(&path, b"abc\xe9\xff").unwrap();
    let words = ["text is not UTF-8: byte 3 begins no character"];
    assert_refused(&sandbox.run(["perplexity", "./m", "--text", "text"]), 1, &words);
    assert_refused(&sandbox.run(["calibrate", "./m", "--text", "text", "out"]), 1, &words);
    assert_refused(&sandbox.run(["perplexity", "./m", "--text", "nowhere"]), 1, &["nowhere"]);
    assert_refused(&sandbox.run(["perplexity", "./m", "--text", "text", "--both", "--fast"]), 2, &["--both"]);
}

/// The header of a safetensors file.
fn header(bytes: &[u8]) -> Value {
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    serde_json::from_slice(&bytes[8..8 + length]).unwrap()
}

#[test]
fn statistics_are_what_an_import_reads() {
    let sandbox = Sandbox::new();
    alternating().write(&sandbox, "m");
    sandbox.ok(["import", "./m", "stored", "-q"]);
    fs::write(sandbox.path().join("text"), "ab".repeat(200)).unwrap();
    let found = document(&sandbox, &["calibrate", "stored", "--text", "text", "stats.safetensors"]);
    // Six windows of BOS and 63 tokens.
    assert_eq!((&found["tokens"], &found["passes"], &found["hessians"]), (&384.into(), &1.into(), &0.into()));
    let bytes = fs::read(sandbox.path().join("stats.safetensors")).unwrap();
    let header_of = header(&bytes);
    let name = "model.layers.0.self_attn.q_proj.weight";
    assert_eq!((&header_of[name]["dtype"], &header_of[name]["shape"]), (&"F32".into(), &json!([320])));
    let metadata = &header_of["__metadata__"];
    let text = |member: &str| -> Value { serde_json::from_str(metadata[member].as_str().unwrap()).unwrap() };
    assert_eq!(text("rotated"), false);
    assert!(text("model").as_str().unwrap().starts_with("sha256:"));
    assert_eq!(text("text_sha256").as_str().unwrap().len(), 64);
    assert_eq!(text("rows")[name], 384);
    sandbox.ok([
        "import",
        "./m",
        "q",
        "-q",
        "--quantize",
        "int4",
        "--profile",
        "best",
        "--importance",
        "stats.safetensors",
    ]);
    // The file is not replaced.
    let again = sandbox.run(["calibrate", "stored", "--text", "text", "stats.safetensors"]);
    assert_refused(&again, 2, &["stats.safetensors exists: expected a new file"]);
}

#[test]
fn hessians_are_measured_where_they_are_asked_for() {
    let sandbox = Sandbox::new();
    alternating().write(&sandbox, "m");
    fs::write(sandbox.path().join("text"), "ab".repeat(200)).unwrap();
    let args = ["calibrate", "./m", "--text", "text", "h.safetensors", "--hessians"];
    let found = document(&sandbox, &[&args[..], &["--layers", "*.self_attn.*", "--memory", "1M"]].concat());
    // What q, k and v read, and what o reads.
    assert_eq!(found["hessians"], 2);
    let header = header(&fs::read(sandbox.path().join("h.safetensors")).unwrap());
    let names: Value = serde_json::from_str(header["__metadata__"]["hessians"].as_str().unwrap()).unwrap();
    let array = names["model.layers.0.self_attn.k_proj.weight"].as_str().unwrap();
    assert_eq!(header[array]["shape"], json!([320, 320]));
    // A directory has no digest, and may hold what was rotated and exported.
    assert_eq!(header["__metadata__"]["model"], Value::Null);
    assert_eq!(header["__metadata__"]["rotated"], Value::Null);
    fs::remove_file(sandbox.path().join("h.safetensors")).unwrap();
    let run = sandbox.run([&args[..], &["--memory", "1K"]].concat());
    assert_refused(&run, 2, &["bytes, expected at most 1024", "hint: --memory"]);
    let run = sandbox.run([&args[..], &["--layers", "nothing.*"]].concat());
    assert_refused(&run, 1, &["--layers: ", "hint: quote the pattern"]);
    assert!(!sandbox.path().join("h.safetensors").exists());
    assert_refused(&sandbox.run(["calibrate", "./m", "--text", "text", "x", "--memory", "1G"]), 2, &["--hessians"]);
}

#[test]
fn keys_and_values_of_low_rank_are_reported_and_nothing_is_written() {
    let sandbox = Sandbox::new();
    alternating().write(&sandbox, "m");
    fs::write(sandbox.path().join("text"), "ab".repeat(200)).unwrap();
    let args = ["calibrate", "./m", "--text", "text", "--kv-rank", "9999"];
    let found = document(&sandbox, &args);
    assert_eq!((&found["rank"], &found["tokens"]), (&9999.into(), &384.into()));
    let layer = &found["layers"][0];
    assert_eq!(
        (&layer["layer"], &layer["plain"], &layer["weighted"]),
        (&0.into(), &json!(0.0), &json!(0.0)),
        "{found}"
    );
    let text = sandbox.ok(args);
    assert!(text.contains("FULL RANK") && text.contains("0.0000") && text.contains("of 384 tokens"), "{text}");
    let run = sandbox.run(["calibrate", "./m", "--text", "text", "out", "--kv-rank", "4"]);
    assert_refused(&run, 2, &["--kv-rank"]);
    assert_refused(&sandbox.run(["calibrate", "./m", "--text", "text"]), 2, &["OUT"]);
    assert!(!sandbox.path().join("out").exists());
}

#[test]
fn statistics_choose_codes_and_policies() {
    let sandbox = Sandbox::new();
    alternating().write(&sandbox, "m");
    sandbox.ok(["import", "./m", "stored", "-q"]);
    for (text, words) in [("text", "ab".repeat(400)), ("other", "aab".repeat(200))] {
        fs::write(sandbox.path().join(text), words).unwrap();
        let out = format!("{text}.safetensors");
        sandbox.ok(["calibrate", "stored", "--text", text, &out, "--hessians", "-q"]);
    }
    let import = ["import", "./m", "gptq", "--quantize", "int4", "--profile", "gptq"];
    let files = ["--hessians", "text.safetensors", "--held", "other.safetensors"];
    sandbox.ok([&import[..], &files[..2]].concat());
    let shown = document(&sandbox, &["show", "gptq"]);
    assert_eq!(shown["import"]["profile"], "gptq");
    sandbox.ok([&import[..], &files].concat());
    sandbox.ok(["verify"]);
    assert_refused(&sandbox.run(import), 2, &["--hessians"]);
    let floats = ["import", "./m", "x", "--quantize", "mxfp4", "--profile", "gptq", "--hessians", "text.safetensors"];
    assert_refused(&sandbox.run(floats), 2, &["integer types", "becomes mxfp", "hint: --profile best"]);
    let useless = ["import", "./m", "x", "--quantize", "int4", "--hessians", "text.safetensors"];
    assert_refused(&sandbox.run(useless), 2, &["--hessians would have no effect"]);

    let fit = ["policy", "fit", "stored", "--stats", "text.safetensors", "-o", "fitted.toml", "--bits"];
    let found = document(&sandbox, &[&fit[..], &["14"]].concat());
    assert!(found["bits_per_weight"].as_f64().unwrap() <= 14.0, "{found}");
    sandbox.ok(["policy", "show", "fitted.toml"]);
    sandbox.ok(["import", "./m", "fitted", "--quantize", "int4", "--policy", "fitted.toml"]);
    assert_refused(&sandbox.run([&fit[..], &["14"]].concat()), 2, &["fitted.toml exists"]);
    fs::remove_file(sandbox.path().join("fitted.toml")).unwrap();
    assert_refused(&sandbox.run([&fit[..], &["0.5"]].concat()), 1, &["0.5 bits per weight are too few"]);
    assert_refused(&sandbox.run([&fit[..], &["none"]].concat()), 2, &["such as 4.6"]);
    let quantized = ["policy", "fit", "gptq", "--stats", "text.safetensors", "-o", "q.toml", "--bits", "6"];
    assert_refused(&sandbox.run(quantized), 1, &["expected a model of floats"]);
}

#[test]
fn columns_have_factors_of_their_inputs() {
    let sandbox = Sandbox::new();
    alternating().write(&sandbox, "m");
    sandbox.ok(["import", "./m", "stored", "-q"]);
    fs::write(sandbox.path().join("text"), "ab".repeat(400)).unwrap();
    sandbox.ok(["calibrate", "stored", "--text", "text", "s.safetensors", "--hessians", "-q"]);
    let import = ["import", "./m", "q", "--quantize", "int4", "--policy", "uniform"];
    let run = |how: &[&str]| sandbox.run([&import[..], how].concat());
    let of = |how: &[&str]| {
        assert_eq!(run(how).code, 0);
        document(&sandbox, &["show", "q"])["digest"].clone()
    };
    let gptq = ["--profile", "gptq", "--hessians", "s.safetensors"];
    let quarter = of(&[&gptq[..], &["--awq"]].concat());
    assert_eq!(quarter, of(&[&gptq[..], &["--awq=0.25"]].concat()), "that is the default");
    assert_ne!(quarter, of(&[&gptq[..], &["--awq=0.5"]].concat()));
    assert_ne!(quarter, of(&gptq));
    // Codes that are not searched for have such columns too.
    let run = run(&["--importance", "s.safetensors", "--awq"]);
    assert!(run.code == 0 && run.stderr.contains("note: columns of"), "{}", run.stderr);
    let shown = sandbox.ok(["show", "q"]);
    assert!(shown.contains("power 0.25, by statistics"), "{shown}");
    sandbox.ok(["verify"]);
    let refused = |how: &[&str], code, words: &[&str]| {
        assert_refused(&sandbox.run([&import[..], how].concat()), code, words);
    };
    refused(&["--awq"], 2, &["--awq needs statistics", "hint: --importance FILE or --hessians FILE"]);
    refused(&["--awq=2", "--importance", "s.safetensors"], 2, &["from 0 to 1"]);
    refused(&["--awq", "--importance", "none"], 1, &["none"]);
    refused(&["--awq", "--hessians", "none", "--profile", "gptq"], 1, &["none"]);
    refused(
        &["--awq", "--importance", "s.safetensors", "--hessians", "s.safetensors"],
        2,
        &["--hessians would have no effect"],
    );
    assert_eq!(sandbox.run([&import[..], &["--awq", "--hessians", "s.safetensors"]].concat()).code, 0);
    // Statistics of the model as it is now are none of the model as it was.
    sandbox.ok(["calibrate", "q", "--text", "text", "t.safetensors", "-q"]);
    let words =
        ["with factors of columns to the power 0.25", "weights are without factors", "hint: calibrate a stored model"];
    refused(&["--profile", "best", "--importance", "t.safetensors"], 1, &words);
    let floats = ["import", "./m", "x", "--awq", "--importance", "s.safetensors"];
    assert_refused(&sandbox.run(floats), 1, &["no weight of a layer is quantized", "hint: add --quantize TYPE"]);
}

#[test]
fn statistics_of_a_rotated_model_name_its_seed() {
    let sandbox = Sandbox::new();
    alternating().write(&sandbox, "m");
    sandbox.ok(["import", "./m", "rotated", "--rotate", "7", "-q"]);
    fs::write(sandbox.path().join("text"), "ab".repeat(200)).unwrap();
    sandbox.ok(["calibrate", "rotated", "--text", "text", "stats.safetensors", "-q"]);
    let header = header(&fs::read(sandbox.path().join("stats.safetensors")).unwrap());
    assert_eq!(header["__metadata__"]["rotated"], "7");
    let import = |seed: &'static str| {
        let how = ["--quantize", "int4", "--profile", "best", "--importance", "stats.safetensors", "--rotate", seed];
        sandbox.run([&["import", "./m", "q"][..], &how].concat())
    };
    assert_eq!(import("7").code, 0);
    let refused = ["rotated by seed 7, and the weights are rotated by seed 8", "hint: calibrate a stored model"];
    assert_refused(&import("8"), 1, &refused);
    // Neither vectors nor adapters are those of the checkpoint.
    let run = sandbox.run(["embed", "rotated", "a", "--pooling", "mean"]);
    assert_refused(
        &run,
        1,
        &["the residual stream of rotated:latest was rotated", "hint: import the checkpoint without"],
    );
}
