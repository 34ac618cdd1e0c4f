//! Factors of columns by what these are multiplied with, beside checkpoints that were changed by hand.

use std::{collections::BTreeMap, sync::Arc};

use longshore_manifest::{Silent, Store};
use longshore_packer::{
    Awq, HessianFile, ImportError, ImportOptions, ImportanceFile, Plan, PlanError, PlanOptions, RepairOptions, repair,
};
use longshore_quant::Profile;
use longshore_st_format::{Dtype, Layout, Shape};
use longshore_transform::channels;
use serde_json::{Value, json};

use crate::{
    calibrated::{Hessians, gptq},
    rotated::numbers,
    stores::{dequantize, export_to, name, read, store, threads, try_import},
    support::{Dir, chain, open, options},
};

const LAYER: &str = "model.layers.0";

/// Tensors by their names within the layer, or in full, each with its shape.
type Tensors = BTreeMap<String, (Vec<u64>, Vec<f32>)>;

/// Mean squares that differ between channels by a factor of a thousand.
fn squares(count: u64, seed: u32) -> Vec<f32> {
    numbers(count, seed).iter().map(|number| (3.5 * number).exp()).collect()
}

fn tensors(shapes: &[(&str, &[u64])]) -> Tensors {
    let made = |(seed, (name, shape)): (u32, &(&str, &[u64]))| {
        ((*name).to_owned(), (shape.to_vec(), numbers(shape.iter().product(), seed)))
    };
    (1..).zip(shapes).map(made).collect()
}

/// A layer of Llama: 4 heads of queries share 2 of keys and values.
fn llama() -> (Value, Tensors) {
    let config = json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "attention_bias": true});
    let shapes: [(&str, &[u64]); 12] = [
        ("input_layernorm.weight", &[128]),
        ("post_attention_layernorm.weight", &[128]),
        ("self_attn.q_proj.weight", &[128, 128]),
        ("self_attn.k_proj.weight", &[64, 128]),
        ("self_attn.v_proj.weight", &[64, 128]),
        ("self_attn.q_proj.bias", &[128]),
        ("self_attn.v_proj.bias", &[64]),
        ("self_attn.o_proj.weight", &[128, 128]),
        ("mlp.gate_proj.weight", &[192, 128]),
        ("mlp.up_proj.weight", &[192, 128]),
        ("mlp.down_proj.weight", &[128, 192]),
        ("model.norm.weight", &[128]),
    ];
    (config, tensors(&shapes))
}

/// A layer of Mixtral with two experts.
fn mixtral() -> (Value, Tensors) {
    let config = json!({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 128,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2});
    let shapes: [(&str, &[u64]); 12] = [
        ("input_layernorm.weight", &[128]),
        ("post_attention_layernorm.weight", &[128]),
        ("self_attn.q_proj.weight", &[128, 128]),
        ("self_attn.v_proj.weight", &[128, 128]),
        ("self_attn.o_proj.weight", &[128, 128]),
        ("block_sparse_moe.gate.weight", &[2, 128]),
        ("block_sparse_moe.experts.0.w1.weight", &[64, 128]),
        ("block_sparse_moe.experts.0.w2.weight", &[128, 64]),
        ("block_sparse_moe.experts.0.w3.weight", &[64, 128]),
        ("block_sparse_moe.experts.1.w1.weight", &[64, 128]),
        ("block_sparse_moe.experts.1.w2.weight", &[128, 64]),
        ("block_sparse_moe.experts.1.w3.weight", &[64, 128]),
    ];
    (config, tensors(&shapes))
}

/// Writes a checkpoint, or a file of statistics, of F32.
fn write(dir: &Dir, file: &str, metadata: &BTreeMap<String, String>, tensors: &Tensors) {
    let whole = |name: &str| if name.starts_with("model.") { name.to_owned() } else { format!("{LAYER}.{name}") };
    let parts = tensors.iter().map(|(name, (dims, _))| (whole(name), Dtype::F32, Shape::from(&**dims)));
    let layout = Layout::new(metadata, parts).expect("names differ");
    let mut bytes = layout.header().to_vec();
    for part in layout.parts() {
        let (_, (_, values)) = tensors.iter().find(|(name, _)| whole(name) == part.name).expect("it has no others");
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    dir.file(file, bytes);
}

fn checkpoint(config: &Value, tensors: &Tensors) -> Dir {
    let dir = Dir::new();
    dir.file("config.json", config.to_string());
    write(&dir, "model.safetensors", &BTreeMap::new(), tensors);
    dir
}

fn importance(dir: &Dir, file: &str, squares: &Tensors) -> Arc<ImportanceFile> {
    write(dir, file, &BTreeMap::new(), squares);
    Arc::new(ImportanceFile::open(dir.join(file)).expect("it is valid"))
}

/// Multiplies the columns of a tensor, and then its rows.
fn multiply(tensors: &mut Tensors, name: &str, columns: Option<&[f32]>, rows: Option<&[f32]>) {
    let (dims, values) = tensors.get_mut(name).unwrap_or_else(|| panic!("{name} is there"));
    let width = usize::try_from(*dims.last().expect("it is no scalar")).expect("it is small");
    for (row, values) in values.chunks_exact_mut(width).enumerate() {
        let of_row = rows.map_or(1.0, |rows| rows[row]);
        for (column, value) in values.iter_mut().enumerate() {
            *value *= columns.map_or(1.0, |columns| columns[column]) * of_row;
        }
    }
}

fn inverse(factors: &[f32]) -> Vec<f32> {
    factors.iter().map(|factor| 1.0 / factor).collect()
}

/// Divides mean squares by the squares of factors.
fn divide(squares: &mut Tensors, name: &str, factors: &[f32]) {
    let (_, squares) = squares.get_mut(name).unwrap_or_else(|| panic!("{name} is there"));
    squares.iter_mut().zip(factors).for_each(|(square, factor)| *square /= factor * factor);
}

fn squares_of(of: &[(&str, &[u64])]) -> Tensors {
    let made = |(seed, (name, shape)): (u32, &(&str, &[u64]))| {
        ((*name).to_owned(), (shape.to_vec(), squares(shape.iter().product(), seed)))
    };
    (71..).zip(of).map(made).collect()
}

/// Statistics of Llama's layer. Weights that read one input have the same.
fn of_llama() -> Tensors {
    let mut found = squares_of(&[
        ("self_attn.q_proj.weight", &[128]),
        ("self_attn.o_proj.weight", &[128]),
        ("mlp.gate_proj.weight", &[128]),
        ("mlp.down_proj.weight", &[192]),
    ]);
    for (of, other) in [
        ("self_attn.q_proj", "self_attn.k_proj"),
        ("self_attn.q_proj", "self_attn.v_proj"),
        ("mlp.gate_proj", "mlp.up_proj"),
    ] {
        found.insert(format!("{other}.weight"), found[&format!("{of}.weight")].clone());
    }
    found
}

/// Changes Llama's layer and its statistics as an import is expected to. Returns the factors of each weight's columns.
fn by_hand(tensors: &mut Tensors, squares: &mut Tensors, power: f64) -> BTreeMap<String, Vec<f32>> {
    let of = |name: &str| channels::factors(&squares[name].1, power);
    let (first, second, down) = (of("self_attn.q_proj.weight"), of("mlp.gate_proj.weight"), of("mlp.down_proj.weight"));
    // Heads 0 and 1 read the first head of values, heads 2 and 3 the second.
    let heads: Vec<&[f32]> = squares["self_attn.o_proj.weight"].1.chunks_exact(32).collect();
    let mean = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f32::midpoint(*a, *b)).collect::<Vec<_>>();
    let values = channels::factors(&[mean(heads[0], heads[1]), mean(heads[2], heads[3])].concat(), power);
    let output = [&values[..32], &values[..32], &values[32..], &values[32..]].concat();
    multiply(tensors, "input_layernorm.weight", Some(&inverse(&first)), None);
    multiply(tensors, "post_attention_layernorm.weight", Some(&inverse(&second)), None);
    multiply(tensors, "self_attn.q_proj.weight", Some(&first), None);
    multiply(tensors, "self_attn.k_proj.weight", Some(&first), None);
    multiply(tensors, "self_attn.v_proj.weight", Some(&first), Some(&inverse(&values)));
    multiply(tensors, "self_attn.v_proj.bias", Some(&inverse(&values)), None);
    multiply(tensors, "self_attn.o_proj.weight", Some(&output), None);
    multiply(tensors, "mlp.gate_proj.weight", Some(&second), None);
    multiply(tensors, "mlp.up_proj.weight", Some(&second), Some(&inverse(&down)));
    multiply(tensors, "mlp.down_proj.weight", Some(&down), None);
    let found: BTreeMap<_, _> = [
        ("self_attn.q_proj.weight", &first),
        ("self_attn.k_proj.weight", &first),
        ("self_attn.v_proj.weight", &first),
        ("self_attn.o_proj.weight", &output),
        ("mlp.gate_proj.weight", &second),
        ("mlp.up_proj.weight", &second),
        ("mlp.down_proj.weight", &down),
    ]
    .into_iter()
    .map(|(name, factors)| (name.to_owned(), factors.clone()))
    .collect();
    for (name, factors) in &found {
        divide(squares, name, factors);
    }
    found
}

fn awq(scheme: &str, statistics: &Arc<ImportanceFile>, power: f64) -> PlanOptions {
    PlanOptions { awq: Some(Awq::new(Arc::clone(statistics), power)), ..options(scheme, "uniform") }
}

fn import(store: &Store, model: &str, dir: &Dir, options: &PlanOptions, how: &ImportOptions) {
    let plan = Plan::new(dir.open().expect("it is a model"), options);
    let plan = plan.unwrap_or_else(|error| panic!("{model}: {}", chain(&error)));
    try_import(store, model, &plan, how).unwrap_or_else(|error| panic!("{model}: {}", chain(&error)));
}

/// The digests of a model's blobs, by their names.
fn layers(store: &Store, model: &str) -> BTreeMap<String, String> {
    let layers = read(store, model).manifest.layers;
    let tensors = layers.into_iter().filter(longshore_manifest::document::Descriptor::is_tensor);
    tensors.map(|layer| (layer.name.unwrap_or_default(), layer.digest.to_string())).collect()
}

#[test]
fn weights_and_statistics_are_those_of_a_checkpoint_that_was_changed_by_hand() {
    let ((config, mut changed), mut squares) = (llama(), of_llama());
    let (dir, target) = (checkpoint(&config, &changed), Dir::new());
    let statistics = importance(&dir, "statistics/f.safetensors", &squares);
    by_hand(&mut changed, &mut squares, 0.5);
    let hand = checkpoint(&config, &changed);
    let of_hand = importance(&hand, "statistics/f.safetensors", &squares);
    let store = store(&target);
    for (scheme, profile) in
        [("int4", Profile::Best), ("int8", Profile::Plus), ("nvfp4", Profile::Best), ("int4", Profile::Mlx)]
    {
        let how = |file: &Arc<ImportanceFile>, count| ImportOptions {
            profile,
            importance: Some(Arc::clone(file)),
            ..threads(count)
        };
        import(&store, "made", &dir, &awq(scheme, &statistics, 0.5), &how(&statistics, 1));
        import(&store, "hand", &hand, &options(scheme, "uniform"), &how(&of_hand, 2));
        assert_eq!(layers(&store, "made"), layers(&store, "hand"), "{scheme} {profile}");
        let before = layers(&store, "made");
        import(&store, "made", &dir, &awq(scheme, &statistics, 0.5), &how(&statistics, 3));
        assert_eq!(layers(&store, "made"), before, "{scheme}: threads make no difference");
    }
    let made = read(&store, "made").config.changes.and_then(|changes| changes.awq).expect("it is recorded");
    assert_eq!((made.power.to_bits(), made.statistics), (0.5_f64.to_bits(), statistics.digest()));
    // No power is no change, and none is recorded.
    import(&store, "none", &dir, &awq("int4", &statistics, 0.0), &threads(1));
    import(&store, "plain", &dir, &options("int4", "uniform"), &threads(1));
    assert_eq!(read(&store, "none").digest, read(&store, "plain").digest);
}

/// Products of inputs whose channels depend on their neighbours, with these mean squares.
fn products(squares: &[f32]) -> Vec<f32> {
    let near = |a: usize, b: usize| 0.6_f32.powi(i32::try_from(a.abs_diff(b)).expect("it is small"));
    let product = |a: usize, b: usize| near(a, b) * (squares[a] * squares[b]).sqrt();
    (0..squares.len().pow(2)).map(|at| product(at / squares.len(), at % squares.len())).collect()
}

/// A file of Hessians, whose columns are divided by factors.
fn hessians(dir: &Dir, squares: &Tensors, factors: &BTreeMap<String, Vec<f32>>) -> Arc<HessianFile> {
    let whole: Vec<_> = squares.keys().map(|name| (name, format!("hessian/{name}"))).collect();
    let of_weights: serde_json::Map<_, _> =
        whole.iter().map(|(name, array)| (format!("{LAYER}.{name}"), json!(array))).collect();
    let arrays = whole.iter().map(|(name, array)| {
        let (dims, values) = &squares[*name];
        let mut found = products(values);
        if let Some(factors) = factors.get(*name) {
            let count = factors.len();
            found.iter_mut().enumerate().for_each(|(at, value)| *value /= factors[at / count] * factors[at % count]);
        }
        (&**array, vec![dims[0]; 2], found)
    });
    let metadata = BTreeMap::from([("hessians".to_owned(), Value::from(of_weights).to_string())]);
    Hessians { arrays: arrays.collect(), metadata }.open(dir).expect("it is valid")
}

#[test]
fn hessians_are_divided_by_the_factors_too() {
    let ((config, mut changed), mut squares) = (llama(), of_llama());
    let (dir, target) = (checkpoint(&config, &changed), Dir::new());
    let statistics = importance(&dir, "squares.safetensors", &squares);
    let before = squares.clone();
    let factors = by_hand(&mut changed, &mut squares, 0.25);
    let hand = checkpoint(&config, &changed);
    let of_hand = importance(&hand, "squares.safetensors", &squares);
    let [made, of_made] = [&BTreeMap::new(), &factors].map(|factors| hessians(&dir, &before, factors));
    let store = store(&target);
    for held in [false, true] {
        let how = |file: &Arc<HessianFile>, importance: &Arc<ImportanceFile>| ImportOptions {
            importance: Some(Arc::clone(importance)),
            ..gptq(file, held.then_some(file), 2)
        };
        import(&store, "made", &dir, &awq("int4", &statistics, 0.25), &how(&made, &statistics));
        import(&store, "hand", &hand, &options("int4", "uniform"), &how(&of_made, &of_hand));
        assert_eq!(layers(&store, "made"), layers(&store, "hand"), "held: {held}");
        let done = read(&store, "made").config.changes.expect("it is recorded");
        assert!(done.awq.is_some() && done.gptq.is_some_and(|gptq| !gptq.tensors.is_empty()));
    }
}

#[test]
fn experts_have_inner_factors_of_their_own() {
    let (config, mut changed) = mixtral();
    let (dir, target) = (checkpoint(&config, &changed), Dir::new());
    let squares = squares_of(&[
        ("self_attn.v_proj.weight", &[128]),
        ("self_attn.o_proj.weight", &[128]),
        ("block_sparse_moe.experts.w1.weight", &[2, 128]),
        ("block_sparse_moe.experts.w2.weight", &[2, 64]),
    ]);
    let statistics = importance(&dir, "squares.safetensors", &squares);
    let of = |name: &str| &squares[name].1;
    let first = channels::factors(of("self_attn.v_proj.weight"), 0.5);
    let output = channels::factors(of("self_attn.o_proj.weight"), 0.5);
    let second = channels::factors(&channels::mean(of("block_sparse_moe.experts.w1.weight"), 128), 0.5);
    let (inverse_first, inverse_second, inverse_output) = (inverse(&first), inverse(&second), inverse(&output));
    multiply(&mut changed, "input_layernorm.weight", Some(&inverse_first), None);
    multiply(&mut changed, "post_attention_layernorm.weight", Some(&inverse_second), None);
    multiply(&mut changed, "self_attn.q_proj.weight", Some(&first), None);
    multiply(&mut changed, "self_attn.v_proj.weight", Some(&first), Some(&inverse_output));
    multiply(&mut changed, "self_attn.o_proj.weight", Some(&output), None);
    multiply(&mut changed, "block_sparse_moe.gate.weight", Some(&second), None);
    for (number, squares) in of("block_sparse_moe.experts.w2.weight").chunks_exact(64).enumerate() {
        let own = channels::factors(squares, 0.5);
        let part = |part: &str| format!("block_sparse_moe.experts.{number}.{part}.weight");
        multiply(&mut changed, &part("w1"), Some(&second), None);
        multiply(&mut changed, &part("w3"), Some(&second), Some(&inverse(&own)));
        multiply(&mut changed, &part("w2"), Some(&own), None);
    }
    let (hand, store) = (checkpoint(&config, &changed), store(&target));
    // Experts that share mean squares get some each once these are divided.
    let alike = squares_of(&[("block_sparse_moe.experts.w2.weight", &[64])]);
    let shared = importance(&dir, "shared.safetensors", &alike);
    let own = alike["block_sparse_moe.experts.w2.weight"].1.repeat(2);
    let mut divided = Tensors::from([("block_sparse_moe.experts.w2.weight".into(), (vec![2, 64], own))]);
    let factors = of("block_sparse_moe.experts.w2.weight").chunks_exact(64);
    let factors: Vec<f32> = factors.flat_map(|squares| channels::factors(squares, 0.5)).collect();
    divide(&mut divided, "block_sparse_moe.experts.w2.weight", &factors);
    let divided = importance(&hand, "divided.safetensors", &divided);
    let how = |file: &Arc<ImportanceFile>| ImportOptions {
        profile: Profile::Best,
        importance: Some(Arc::clone(file)),
        ..threads(2)
    };
    import(&store, "made", &dir, &awq("int4", &statistics, 0.5), &how(&shared));
    import(&store, "hand", &hand, &options("int4", "uniform"), &how(&divided));
    assert_eq!(layers(&store, "made"), layers(&store, "hand"));
}

#[test]
fn experts_that_have_seen_nothing_count_for_nothing() {
    let (config, tensors) = mixtral();
    let (dir, target) = (checkpoint(&config, &tensors), Dir::new());
    let name = "block_sparse_moe.experts.w1.weight";
    let of_experts = |second: &[f32]| {
        let values = [&squares(128, 9), second].concat();
        Tensors::from([(name.to_owned(), (vec![2, 128], values))])
    };
    let unseen = importance(&dir, "unseen.safetensors", &of_experts(&[1.0; 128]));
    let alike = importance(&dir, "alike.safetensors", &of_experts(&squares(128, 9)));
    let store = store(&target);
    import(&store, "unseen", &dir, &awq("int4", &unseen, 0.5), &threads(1));
    import(&store, "alike", &dir, &awq("int4", &alike, 0.5), &threads(1));
    assert_eq!(layers(&store, "unseen"), layers(&store, "alike"));
    // A router of another width reads another input.
    let (config, mut tensors) = mixtral();
    tensors.insert("block_sparse_moe.gate.weight".into(), (vec![2, 64], numbers(128, 3)));
    let other = checkpoint(&config, &tensors);
    Plan::new(other.open().expect("it is a model"), &awq("int4", &unseen, 0.5)).expect_err("its factors do not fit");
}

/// A layer of Phi-3, whose queries, keys and values are one matrix, and so are gate and up projection.
#[test]
fn rows_within_fused_weights_are_divided() {
    let config = json!({"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": 128, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64});
    let mut changed = tensors(&[
        ("input_layernorm.weight", &[128]),
        ("post_attention_layernorm.weight", &[128]),
        ("self_attn.qkv_proj.weight", &[256, 128]),
        ("self_attn.o_proj.weight", &[128, 128]),
        ("mlp.gate_up_proj.weight", &[128, 128]),
        ("mlp.down_proj.weight", &[128, 64]),
    ]);
    let (dir, target) = (checkpoint(&config, &changed), Dir::new());
    let squares = squares_of(&[("self_attn.o_proj.weight", &[128]), ("mlp.down_proj.weight", &[64])]);
    let statistics = importance(&dir, "squares.safetensors", &squares);
    let heads: Vec<&[f32]> = squares["self_attn.o_proj.weight"].1.chunks_exact(32).collect();
    let mean = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f32::midpoint(*a, *b)).collect::<Vec<_>>();
    let values = channels::factors(&[mean(heads[0], heads[1]), mean(heads[2], heads[3])].concat(), 0.5);
    let down = channels::factors(&squares["mlp.down_proj.weight"].1, 0.5);
    let output = [&values[..32], &values[..32], &values[32..], &values[32..]].concat();
    multiply(&mut changed, "self_attn.qkv_proj.weight", None, Some(&[vec![1.0; 192], inverse(&values)].concat()));
    multiply(&mut changed, "self_attn.o_proj.weight", Some(&output), None);
    multiply(&mut changed, "mlp.gate_up_proj.weight", None, Some(&[vec![1.0; 64], inverse(&down)].concat()));
    multiply(&mut changed, "mlp.down_proj.weight", Some(&down), None);
    let (hand, store) = (checkpoint(&config, &changed), store(&target));
    import(&store, "made", &dir, &awq("int4", &statistics, 0.5), &threads(2));
    import(&store, "hand", &hand, &options("int4", "uniform"), &threads(2));
    assert_eq!(layers(&store, "made"), layers(&store, "hand"));
}

#[test]
fn a_gain_that_is_stored_as_its_distance_from_one_is_divided_as_a_gain() {
    let config = json!({"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 128,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2});
    let mut changed = tensors(&[
        ("input_layernorm.weight", &[128]),
        ("post_attention_layernorm.weight", &[128]),
        ("pre_feedforward_layernorm.weight", &[128]),
        ("post_feedforward_layernorm.weight", &[128]),
        ("mlp.gate_proj.weight", &[64, 128]),
        ("mlp.up_proj.weight", &[64, 128]),
        ("mlp.down_proj.weight", &[128, 64]),
    ]);
    let (dir, target) = (checkpoint(&config, &changed), Dir::new());
    let squares = squares_of(&[("mlp.gate_proj.weight", &[128])]);
    let statistics = importance(&dir, "squares.safetensors", &squares);
    let second = channels::factors(&squares["mlp.gate_proj.weight"].1, 0.5);
    let (_, gains) = changed.get_mut("pre_feedforward_layernorm.weight").expect("it is there");
    gains.iter_mut().zip(inverse(&second)).for_each(|(gain, factor)| *gain = (*gain + 1.0) * factor - 1.0);
    multiply(&mut changed, "mlp.gate_proj.weight", Some(&second), None);
    multiply(&mut changed, "mlp.up_proj.weight", Some(&second), None);
    let (hand, store) = (checkpoint(&config, &changed), store(&target));
    import(&store, "made", &dir, &awq("int4", &statistics, 0.5), &threads(2));
    import(&store, "hand", &hand, &options("int4", "uniform"), &threads(2));
    assert_eq!(layers(&store, "made"), layers(&store, "hand"));
}

#[test]
fn statistics_that_grow_beyond_all_numbers_stay_numbers() {
    let ((config, tensors), mut squares) = (llama(), of_llama());
    let (dir, target) = (checkpoint(&config, &tensors), Dir::new());
    squares.get_mut("self_attn.q_proj.weight").expect("it is there").1[0] = 1e-20;
    squares.get_mut("self_attn.k_proj.weight").expect("it is there").1[0] = 3e38;
    let statistics = importance(&dir, "squares.safetensors", &squares);
    let how = ImportOptions { profile: Profile::Best, importance: Some(Arc::clone(&statistics)), ..threads(1) };
    import(&store(&target), "m", &dir, &awq("int4", &statistics, 1.0), &how);
}

#[test]
fn a_rotated_model_has_factors_once_it_is_stored() {
    let ((config, mut tensors), squares) = (llama(), of_llama());
    tensors.insert("model.embed_tokens.weight".into(), (vec![32, 128], numbers(32 * 128, 5)));
    let (dir, target) = (checkpoint(&config, &tensors), Dir::new());
    let rotated = || dir.open().expect("it is a model").rotated(7).expect("it can be");
    let statistics = importance(&dir, "squares.safetensors", &squares);
    let error = Plan::new(rotated(), &awq("int4", &statistics, 0.5)).expect_err("one of both");
    assert!(chain(&error).contains("rotated in the same import"), "{}", chain(&error));
    let store = store(&target);
    let plan = Plan::new(rotated(), &PlanOptions::default()).expect("all is known");
    try_import(&store, "rotated", &plan, &threads(1)).expect("it is imported");
    let stored = open(&store.manifest_path(&name("rotated"))).expect("it is stored");
    let plan = Plan::new(stored, &awq("int4", &statistics, 0.5)).expect("all is known");
    assert!(plan.warnings.iter().any(|warning| warning.contains("does not say whether")), "{:?}", plan.warnings);
    try_import(&store, "both", &plan, &threads(1)).expect("it is imported");
    let done = read(&store, "both").config.changes.expect("it is recorded");
    assert!(done.rotation.is_some() && done.awq.is_some());
    // Statistics of a model that was not rotated are refused, whatever they are for.
    let unrotated = BTreeMap::from([("rotated".to_owned(), "false".to_owned())]);
    write(&dir, "plain.safetensors", &unrotated, &squares);
    let statistics = Arc::new(ImportanceFile::open(dir.join("plain.safetensors")).expect("it is valid"));
    let stored = open(&store.manifest_path(&name("rotated"))).expect("it is stored");
    let error = Plan::new(stored, &awq("int4", &statistics, 0.5)).expect_err("it is of another stream");
    assert!(
        matches!(error, PlanError::AwqStatistics { .. }) && chain(&error).contains("not rotated"),
        "{}",
        chain(&error)
    );
}

/// The error of planning.
fn refused(dir: &Dir, options: &PlanOptions) -> String {
    let error = Plan::new(dir.open().expect("it is a model"), options).expect_err("it is refused");
    assert!(matches!(error, PlanError::Awq { .. } | PlanError::AwqStatistics { .. }), "{error:?}");
    chain(&error)
}

#[test]
fn what_cannot_have_factors_is_refused_by_name() {
    let ((config, tensors), squares) = (llama(), of_llama());
    let dir = checkpoint(&config, &tensors);
    let statistics = importance(&dir, "squares.safetensors", &squares);
    let expect = |dir: &Dir, options: &PlanOptions, words: &str| {
        let found = refused(dir, options);
        assert!(found.contains(words), "{found}");
    };
    expect(&dir, &awq("int4", &statistics, 1.5), "the power is 1.5");
    expect(&dir, &awq("int4", &statistics, f64::NAN), "the power is NaN");
    expect(&dir, &awq("none", &statistics, 0.5), "no weight of a layer is quantized");
    let with = |change: &dyn Fn(&mut Value, &mut Tensors)| {
        let (mut config, mut tensors) = llama();
        change(&mut config, &mut tensors);
        checkpoint(&config, &tensors)
    };
    let options = awq("int4", &statistics, 0.5);
    let dir = with(&|config, _| config["architectures"] = json!(["OtherForCausalLM"]));
    expect(&dir, &options, "\"OtherForCausalLM\", expected one of Gemma2ForCausalLM");
    let dir = with(&|_, tensors| {
        tensors.insert("self_attn.gate_proj.weight".into(), (vec![64, 128], vec![0.5; 64 * 128]));
    });
    expect(&dir, &options, "model.layers.0.self_attn.gate_proj.weight\" is none that is known");
    let dir = with(&|_, tensors| drop(tensors.remove("input_layernorm.weight")));
    expect(&dir, &options, "layer 0 has no tensor input_layernorm.weight");
    for heads in [json!(null), json!(0)] {
        let dir = with(&|config, _| config["num_attention_heads"] = heads.clone());
        expect(&dir, &options, "has 128 inputs, and config.json no number of heads, of keys and values 2 heads");
    }
    let dir = with(&|_, tensors| {
        let (shape, values) = tensors["self_attn.v_proj.weight"].clone();
        tensors.insert("self_attn.v_proj.weight".into(), ([2 * shape[0], shape[1]].to_vec(), values.repeat(2)));
        tensors.remove("self_attn.v_proj.bias");
    });
    let error = Plan::new(dir.open().expect("it is a model"), &options).expect_err("it has other heads");
    assert!(!chain(&error).is_empty());
    let dir = with(&|_, tensors| {
        tensors.insert("model.layers.00.mlp.up_proj.weight".into(), (vec![192, 128], vec![0.5; 192 * 128]));
    });
    expect(&dir, &options, "is in the layer twice");
    let dir = with(&|_, tensors| {
        tensors.insert("mlp.gate_up_proj.weight".into(), (vec![384, 128], vec![0.5; 384 * 128]));
    });
    expect(&dir, &options, "stands beside mlp.gate_up_proj.weight");
    // Statistics of another model.
    let (dir, mut other) = (checkpoint(&config, &tensors), of_llama());
    other.insert("self_attn.q_proj.weight".into(), (vec![64], vec![1.0; 64]));
    expect(&dir, &awq("int4", &importance(&dir, "other.safetensors", &other), 0.5), "self_attn.q_proj.weight");
    let alien = squares_of(&[("other.weight", &[128])]);
    let alien = importance(&dir, "alien.safetensors", &alien);
    expect(&dir, &awq("int4", &alien, 0.5), "the file has no statistics of weights that are quantized");
}

#[test]
fn weights_without_statistics_are_told_and_left() {
    let ((config, tensors), mut squares) = (llama(), of_llama());
    let dir = checkpoint(&config, &tensors);
    squares.remove("mlp.down_proj.weight");
    let statistics = importance(&dir, "squares.safetensors", &squares);
    let plan =
        Plan::new(dir.open().expect("it is a model"), &awq("int4", &statistics, 0.5)).expect("the rest has factors");
    let told = plan.warnings.iter().filter(|warning| warning.contains("mlp.down_proj")).count();
    assert_eq!(told, 1, "{:?}", plan.warnings);
    assert!(plan.notes.iter().any(|note| note.contains("columns of 6 weights")), "{:?}", plan.notes);
}

#[test]
fn a_model_with_factors_takes_no_others_and_no_adapter() {
    let ((config, tensors), squares) = (llama(), of_llama());
    let (dir, target) = (checkpoint(&config, &tensors), Dir::new());
    let statistics = importance(&dir, "squares.safetensors", &squares);
    let store = store(&target);
    import(&store, "made", &dir, &awq("int4", &statistics, 0.5), &threads(1));
    let stored = || open(&store.manifest_path(&name("made"))).expect("it is stored");
    let again = PlanOptions { requantize: true, ..awq("int8", &statistics, 0.5) };
    let error = Plan::new(stored(), &again).expect_err("it has factors");
    assert!(chain(&error).contains("such factors already"), "{}", chain(&error));
    let adapter = Dir::new();
    adapter.file("adapter_config.json", json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1}).to_string());
    let prefix = format!("base_model.model.{LAYER}.self_attn.q_proj");
    adapter.typed_weights(
        "adapter_model.safetensors",
        &[
            (&format!("{prefix}.lora_A.weight"), Dtype::F32, &[1, 128]),
            (&format!("{prefix}.lora_B.weight"), Dtype::F32, &[128, 1]),
        ],
    );
    let limits = longshore_st_format::Limits::default();
    let merged = stored().with_adapter(adapter.path(), 1.0, &limits).expect("it is an adapter");
    let error = Plan::new(merged, &PlanOptions { requantize: true, ..options("int8", "uniform") });
    assert!(matches!(error, Err(PlanError::AdapterScaled { .. })), "{error:?}");
    // Merged first, it is multiplied with the weight that it belongs to.
    let merged =
        dir.open().expect("it is a model").with_adapter(adapter.path(), 1.0, &limits).expect("it is an adapter");
    Plan::new(merged, &awq("int4", &statistics, 0.5)).expect("both are done");
    // The record stays with what is made of the stored model.
    let plan = Plan::new(stored(), &PlanOptions { requantize: true, ..options("int8", "uniform") }).expect("it is");
    try_import(&store, "again", &plan, &threads(1)).expect("it is imported");
    assert!(read(&store, "again").config.changes.is_some_and(|changes| changes.awq.is_some()));
}

#[test]
fn products_that_a_type_does_not_hold_are_refused() {
    let ((config, mut tensors), squares) = (llama(), of_llama());
    tensors.insert("input_layernorm.weight".into(), (vec![128], vec![f32::MAX; 128]));
    let (dir, target) = (checkpoint(&config, &tensors), Dir::new());
    let options = awq("int4", &importance(&dir, "squares.safetensors", &squares), 1.0);
    let plan = Plan::new(dir.open().expect("it is a model"), &options).expect("values are not read yet");
    let error = try_import(&store(&target), "m", &plan, &threads(1)).expect_err("gains overflow");
    assert!(
        matches!(&error, ImportError::ScaledNonFinite { tensor, .. } if tensor.contains("input_layernorm")),
        "{error:?}"
    );
    let how = ImportOptions { allow_non_finite: true, ..threads(1) };
    try_import(&store(&target), "m", &plan, &how).expect("it is allowed");
}

#[test]
fn a_damaged_model_is_repaired_with_its_statistics() {
    let ((config, tensors), squares) = (llama(), of_llama());
    let (dir, target) = (checkpoint(&config, &tensors), Dir::new());
    let statistics = importance(&dir, "squares.safetensors", &squares);
    let store = store(&target);
    import(&store, "m", &dir, &awq("int4", &statistics, 0.5), &threads(1));
    let out = target.join("before");
    export_to(&store, "m", &out, &dequantize(longshore_quant::FloatType::F32));
    let layer = read(&store, "m")
        .manifest
        .layers
        .into_iter()
        .find(|layer| layer.name.as_deref() == Some("model.layers.0.self_attn.v_proj.weight"));
    let path = store.blob_path(&layer.expect("it is there").digest);
    let mut bytes = std::fs::read(&path).expect("it is there");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    std::fs::write(&path, bytes).expect("it is ours");
    let mend = |options: &RepairOptions| {
        repair(&store, dir.open().expect("it is a model"), options, &Silent).expect("it is looked at").left
    };
    let hint = mend(&RepairOptions::default()).first().and_then(|blob| blob.hint.clone()).unwrap_or_default();
    assert!(hint.contains(&statistics.digest().to_string()) && hint.contains("--importance"), "{hint}");
    let options = RepairOptions { importance: Some(statistics), ..RepairOptions::default() };
    let left = mend(&options);
    assert!(left.is_empty(), "{left:?}");
    let after = target.join("after");
    export_to(&store, "m", &after, &dequantize(longshore_quant::FloatType::F32));
    let read = |dir: &std::path::Path| std::fs::read(dir.join("model.safetensors")).expect("it is there");
    assert_eq!(read(&out), read(&after));
}
