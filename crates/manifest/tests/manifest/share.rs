//! Parts of tensors on the host: shares of tensor-parallel devices, and experts.

use std::collections::BTreeMap;

use longshore_manifest::{
    Weights,
    document::Role,
    weights::{
        OpenOptions, Source, WeightsError,
        plan::{Layers, LoadPlan, LoadPlanError, LoadPlanOptions, Selection, ShardAxis, TensorParallel},
    },
};
use longshore_st_format::{Dtype, Shape, fixtures};
use tempfile::TempDir;

/// A llama of two layers that four devices can share, in bytes of BF16.
fn llama() -> (TempDir, Source) {
    let (dir, mut tensors) = (TempDir::new().unwrap(), Vec::new());
    let mut add = |name: String, dims: &[u64]| tensors.push((name, Dtype::BF16, Shape::from(dims.to_vec())));
    add("model.embed_tokens.weight".into(), &[256, 64]);
    add("lm_head.weight".into(), &[256, 64]);
    add("model.norm.weight".into(), &[64]);
    for layer in 0..2 {
        let name = |module: &str| format!("model.layers.{layer}.{module}.weight");
        for (module, dims) in [
            ("self_attn.q_proj", [64, 64]),
            ("self_attn.k_proj", [32, 64]),
            ("self_attn.v_proj", [32, 64]),
            ("self_attn.o_proj", [64, 64]),
            ("mlp.gate_proj", [128, 64]),
            ("mlp.up_proj", [128, 64]),
            ("mlp.down_proj", [64, 128]),
        ] {
            add(name(module), &dims);
        }
        add(name("input_layernorm"), &[64]);
    }
    fixtures::write_file(dir.path().join("model.safetensors"), &BTreeMap::new(), &tensors).unwrap();
    let source = Source::open(dir.path()).unwrap();
    (dir, source)
}

fn open(source: &Source, selection: Selection) -> Result<Weights, WeightsError> {
    Weights::open_source(source, &OpenOptions { selection, ..OpenOptions::default() })
}

fn share(rank: u64, of: u64) -> Selection {
    Selection { tensor_parallel: Some(TensorParallel { rank, of }), ..Selection::default() }
}

#[test]
fn four_shares_are_the_whole_to_the_bit() {
    let (_dir, source) = llama();
    let whole = open(&source, Selection::default()).unwrap();
    let shares: Vec<_> = (0..4).map(|rank| open(&source, share(rank, 4)).unwrap()).collect();
    for tensor in whole.iter() {
        let parts: Vec<_> = shares.iter().map(|share| share.get(tensor.name()).unwrap()).collect();
        let data = tensor.weight().data;
        let rule = TensorParallel { rank: 0, of: 4 }.shard_of(tensor.name());
        let Some(rule) = rule else {
            assert!(parts.iter().all(|part| part.weight().data == data && !part.is_made(Role::Weight)));
            continue;
        };
        let (rows, columns) = (tensor.shape().dims()[0], tensor.shape().dims()[1]);
        let mut joined = Vec::new();
        match rule.axis {
            // A share of rows is a range of the file.
            ShardAxis::Rows => {
                for part in &parts {
                    assert_eq!(part.shape().dims(), [rows / 4, columns]);
                    assert!(!part.is_made(Role::Weight));
                    joined.extend_from_slice(part.weight().data);
                }
            }
            ShardAxis::Columns => {
                let width = usize::try_from(columns / 4 * 2).unwrap();
                for row in 0..usize::try_from(rows).unwrap() {
                    for part in &parts {
                        assert_eq!(part.shape().dims(), [rows, columns / 4]);
                        assert!(part.is_made(Role::Weight));
                        joined.extend_from_slice(&part.weight().data[row * width..(row + 1) * width]);
                    }
                }
            }
        }
        assert_eq!(joined, data, "{}", tensor.name());
    }
}

#[test]
fn a_share_of_four_is_a_quarter_of_the_bytes() {
    let (_dir, source) = llama();
    let whole = open(&source, Selection::default()).unwrap().bytes();
    for rank in 0..4 {
        let plan = LoadPlan::new(source.table(), &share(rank, 4), &LoadPlanOptions::default()).unwrap();
        assert!(plan.read_bytes() * 100 <= whole * 26, "{} of {whole}", plan.read_bytes());
        assert_eq!(open(&source, share(rank, 4)).unwrap().bytes(), plan.read_bytes());
    }
}

#[test]
fn a_count_that_does_not_divide_names_the_tensor_and_its_extent() {
    let (_dir, source) = llama();
    let error = open(&source, share(0, 3)).unwrap_err();
    assert!(matches!(error, WeightsError::Plan(LoadPlanError::Uneven { of: 3, .. })), "{error}");
    let error = error.to_string();
    assert!(error.contains("lm_head.weight") && error.contains("256 rows are not 3 equal shares"), "{error}");
    assert!(matches!(open(&source, share(4, 4)), Err(WeightsError::Plan(LoadPlanError::Rank { .. }))));
    assert!(matches!(open(&source, share(0, 0)), Err(WeightsError::Plan(LoadPlanError::Rank { .. }))));
}

#[test]
fn a_share_of_a_model_in_which_nothing_is_divided_is_refused() {
    let dir = TempDir::new().unwrap();
    let tensors = ["blk.0.attn_q.weight", "norm.weight"].map(|name| (name.to_owned(), Dtype::F32, Shape::new([4])));
    fixtures::write_file(dir.path().join("model.safetensors"), &BTreeMap::new(), &tensors).unwrap();
    let source = Source::open(dir.path()).unwrap();
    let error = open(&source, share(1, 4)).unwrap_err();
    assert!(matches!(error, WeightsError::Plan(LoadPlanError::NoShares { of: 4 })), "{error}");
    let plan = LoadPlan::new(source.table(), &share(1, 4), &LoadPlanOptions::default());
    assert_eq!(plan.unwrap_err(), LoadPlanError::NoShares { of: 4 });
    // One share is all of it.
    assert_eq!(open(&source, share(0, 1)).unwrap().len(), 2);
    // What is whole in a model that can be shared may be selected alone.
    let (_dir, llama) = llama();
    let norms = Selection { globs: vec!["*norm.weight".into()], ..share(1, 4) };
    assert_eq!(open(&llama, norms).unwrap().len(), 3);
}

#[test]
fn a_selection_that_matches_nothing_says_what_is_near() {
    let (_dir, source) = llama();
    let selection = Selection { globs: vec!["*.q_prj.*".into()], ..Selection::default() };
    let error = open(&source, selection).unwrap_err().to_string();
    assert!(error.contains("\"*.q_prj.*\"") && error.contains("self_attn.q_proj.weight"), "{error}");
    let selection = Selection { layers: Some(Layers { range: 5..9, others: false }), ..Selection::default() };
    let error = open(&source, selection).unwrap_err().to_string();
    assert!(error.contains("the layers 5..9") && error.contains("0..2"), "{error}");
    let selection = Selection { names: vec!["model.nrm.weight".into()], ..Selection::default() };
    let error = open(&source, selection).unwrap_err().to_string();
    assert!(error.contains("model.norm.weight"), "{error}");
}

#[test]
fn layers_and_experts_of_a_directory() {
    let dir = TempDir::new().unwrap();
    fixtures::model("qwen3-moe").write(dir.path()).unwrap();
    let source = Source::open(dir.path()).unwrap();
    let whole = open(&source, Selection::default()).unwrap();
    let selection = Selection {
        layers: Some(Layers { range: 0..1, others: false }),
        experts: Some(vec![0, 1]),
        ..Selection::default()
    };
    let some = open(&source, selection).unwrap();
    assert!(some.names().all(|name| name.contains(".layers.0.") && !name.contains(".experts.2.")));
    assert!(some.names().any(|name| name.contains(".experts.1.")));
    for tensor in some.iter() {
        assert_eq!(tensor.weight().data, whole.get(tensor.name()).unwrap().weight().data);
    }
}
