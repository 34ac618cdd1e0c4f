//! Calibration against sums over the inputs that an observer sees.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use longshore_run::{
    CalibrateError, CalibrateOptions, KvLoss, KvProgress, LoadOptions, Model, Observer, RunError, Windows, calibrate,
    kv_losses,
    manifest::st_format::{Dtype, SafeTensors},
};
use serde_json::{Value, json};

use crate::checkpoint::Case;

/// Sums of squares and of products in F64, by weight and expert.
#[derive(Default)]
struct Sums(BTreeMap<(String, Option<usize>), (u64, Vec<f64>)>);

impl Observer for Sums {
    fn input(&mut self, weights: &[&str], expert: Option<usize>, columns: usize, x: &[f32]) {
        for name in weights {
            let entry = self.0.entry(((*name).to_owned(), expert));
            let (rows, sums) = entry.or_insert_with(|| (0, vec![0.0; columns * columns]));
            for row in x.chunks(columns) {
                *rows += 1;
                for (a, sums) in row.iter().zip(sums.chunks_mut(columns)) {
                    row.iter().zip(sums).for_each(|(b, sum)| *sum += f64::from(*a) * f64::from(*b));
                }
            }
        }
    }
}

fn sums(model: &Model, windows: Windows<'_>) -> Sums {
    let mut sums = Sums::default();
    for window in 0..windows.count() {
        model.session().observe(&windows.get(window), &mut sums).expect("the tokens are fine");
    }
    sums
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn check(name: &str, options: &CalibrateOptions<'_>, passes: usize) {
    let (folder, model) = Case::named(name).open(LoadOptions { batch: 7, ..LoadOptions::default() });
    let tokens: Vec<u32> = (0..60).map(|at| (at * 29 + 3) % 64).collect();
    let windows = Windows { tokens: &tokens, bos: Some(2), size: 16 };
    let out = folder.path().join("stats.safetensors");
    let metadata = BTreeMap::from([("model".to_owned(), "sha256:1".to_owned())]);
    let mut heard = (0, 0);
    let done = calibrate(&model, windows, options, &metadata, &out, &mut |done, all| heard = (done, all));
    let done = done.expect("the tokens are fine");
    assert_eq!((done.tokens, done.passes, heard), (64, passes, (64 * passes, 64 * passes)));
    let bytes = fs::read(&out).expect("it was written");
    let file = SafeTensors::new(&bytes[..]).expect("it is a safetensors file");
    let document = |key: &str| -> Value {
        let text = file.header().metadata().get(key).map_or("null", String::as_str).to_owned();
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    assert_eq!(document("model"), json!("sha256:1"));
    let (rows, arrays) = (document("rows"), document("hessians"));
    let expected = sums(&model, windows);
    let experts: BTreeMap<&String, usize> =
        expected.0.keys().filter_map(|(name, expert)| Some((name, (*expert)? + 1))).collect();
    for ((weight, expert), (count, sums)) in &expected.0 {
        let found = file.tensor(weight).unwrap_or_else(|| panic!("{weight} is missing"));
        assert_eq!(found.dtype, Dtype::F32);
        let columns = sums.len().isqrt();
        let is_stack = experts.contains_key(weight) && !weight.contains("experts.0.") && found.shape.rank() == 2;
        let at = if is_stack { expert.expect("it is a stack") } else { 0 };
        let seen = if is_stack { &rows[weight][at] } else { &rows[weight] };
        assert_eq!(seen.as_u64(), Some(*count), "{weight}");
        let close = |found: f32, sum: f64| {
            let expected = sum / *count as f64;
            assert!(
                (f64::from(found) - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
                "{weight}: {found} {expected}"
            );
        };
        for (channel, found) in floats(found.data)[at * columns..][..columns].iter().enumerate() {
            close(*found, sums[channel * columns + channel]);
        }
        let wanted = options.hessians && options.layers.is_none_or(|layers| layers(weight));
        assert_eq!(arrays.get(weight).is_some(), wanted, "{weight}");
        if let Some(array) = arrays.get(weight).and_then(Value::as_str) {
            let found = file.tensor(array).unwrap_or_else(|| panic!("{array} is missing"));
            let found = &floats(found.data)[at * columns * columns..][..columns * columns];
            found.iter().zip(sums).for_each(|(found, sum)| close(*found, *sum));
        }
    }
    if options.hessians && name == "llama" && options.layers.is_none() {
        let array = |part: &str| arrays[format!("model.layers.0.self_attn.{part}_proj.weight")].clone();
        assert_eq!((array("q"), array("q")), (array("k"), array("v")));
    }
}

#[test]
fn means_are_those_of_the_inputs() {
    for name in ["llama", "qwen3-moe", "gpt-oss", "deepseek-v3"] {
        check(name, &CalibrateOptions::default(), 1);
    }
}

#[test]
fn products_take_as_many_passes_as_the_memory_needs() {
    let all = CalibrateOptions { hessians: true, ..CalibrateOptions::default() };
    for name in ["llama", "qwen3-moe", "gpt-oss"] {
        check(name, &all, 2);
    }
    let layers = |name: &str| name.contains("layers.0.");
    // A layer has inputs of 48, 32, 32 and 32 channels, which take 18, 8, 8 and 8 KiB.
    check("llama", &CalibrateOptions { memory: 24 << 10, layers: Some(&layers), ..all }, 3);
}

#[test]
fn what_cannot_be_collected_is_an_error_and_leaves_no_file() {
    let (folder, model) = Case::named("llama").open(LoadOptions::default());
    let windows = Windows { tokens: &[1, 2, 3, 4], bos: None, size: 4 };
    let run = |options: &CalibrateOptions<'_>, windows, out: &Path| {
        calibrate(&model, windows, options, &BTreeMap::new(), out, &mut |_, _| {}).expect_err("it cannot work")
    };
    let out = folder.path().join("stats");
    let none = |_: &str| false;
    let options = CalibrateOptions { hessians: true, layers: Some(&none), memory: 1 << 20 };
    assert!(matches!(run(&options, windows, &out), CalibrateError::NoLayers));
    let options = CalibrateOptions { hessians: true, layers: None, memory: 100 };
    assert!(matches!(run(&options, windows, &out), CalibrateError::Memory { .. }));
    let options = CalibrateOptions::default();
    assert!(matches!(run(&options, Windows { size: 5, ..windows }, &out), CalibrateError::Run(_)));
    let (nowhere, mut heard) = (folder.path().join("no/stats"), false);
    let found = calibrate(&model, windows, &options, &BTreeMap::new(), &nowhere, &mut |_, _| heard = true);
    assert!(matches!(found, Err(CalibrateError::Write { .. })) && !heard, "{found:?}");
    let left = fs::read_dir(folder.path()).expect("it is there").count();
    assert_eq!(left, 2);
}

fn losses(name: &str, rank: usize, memory: usize) -> Result<Vec<KvLoss>, CalibrateError> {
    let (_folder, model) = Case::named(name).open(LoadOptions { batch: 7, ..LoadOptions::default() });
    let tokens: Vec<u32> = (0..60).map(|at| (at * 29 + 3) % 64).collect();
    let windows = Windows { tokens: &tokens, bos: Some(2), size: 16 };
    let mut seen = (0, 0);
    let found = kv_losses(&model, windows, rank, memory, &mut |progress| match progress {
        KvProgress::Tokens { done, .. } => seen.0 = done,
        KvProgress::Layers { done, all } => seen.1 = done.min(all),
        _ => {}
    });
    // Each layer is told of, and all tokens.
    assert!(found.as_ref().map_or(true, |found| seen.1 == found.len() && seen.0 > 0), "{name}: {seen:?}");
    found
}

/// Layers take longer than tokens, and an interrupt is heard between two of them.
#[test]
fn low_rank_is_stopped_after_a_layer() {
    let cancel = Arc::new(AtomicBool::new(false));
    let (_folder, model) =
        Case::named("llama").open(LoadOptions { cancel: Some(Arc::clone(&cancel)), ..Default::default() });
    let tokens: Vec<u32> = (0..60).map(|at| (at * 29 + 3) % 64).collect();
    let windows = Windows { tokens: &tokens, bos: Some(2), size: 16 };
    let mut layers = 0;
    let found = kv_losses(&model, windows, 8, usize::MAX, &mut |progress| {
        if let KvProgress::Layers { done, .. } = progress {
            layers = done;
            cancel.store(true, Ordering::Relaxed);
        }
    });
    assert!(matches!(found, Err(CalibrateError::Run(RunError::Cancelled))), "{found:?}");
    assert_eq!(layers, 1);
}

#[test]
fn keys_and_values_of_low_rank_lose_by_their_inputs() {
    // One matrix for queries, keys and values, and three, give the same kind of report.
    for name in ["llama", "phi3", "qwen3-moe"] {
        let full = losses(name, 32, usize::MAX).expect("it has keys and values");
        assert!(full.iter().all(|loss| (loss.plain, loss.weighted) == (0.0, 0.0)), "{name}: {full:?}");
        assert_eq!(full.iter().map(|loss| (loss.layer, loss.full)).collect::<Vec<_>>(), [(0, 32), (1, 32)], "{name}");
        let [half, quarter] = [16, 8].map(|rank| losses(name, rank, usize::MAX).expect("it has keys and values"));
        for (half, quarter) in half.iter().zip(&quarter) {
            assert!(half.weighted <= half.plain && quarter.weighted <= quarter.plain, "{name}: {half:?} {quarter:?}");
            assert!(
                0.0 < half.weighted && half.weighted < quarter.weighted && quarter.plain < 1.0,
                "{name}: {quarter:?}"
            );
        }
        // One layer at a time gives the same.
        assert_eq!(losses(name, 16, 9000).expect("it has keys and values"), half, "{name}");
    }
    for (name, words) in [("deepseek-v3", "compressed already"), ("falcon-grouped", "one matrix for queries")] {
        let error = losses(name, 8, usize::MAX).expect_err("it has none").to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
}
