//! Parts of tensors, as the host takes them.

use longshore_loader_mlx::{LoadOptions, Memory, MlxWeights, OpenError};
use longshore_manifest::weights::{
    OpenOptions, Source, Weights,
    plan::{LoadPlanError, Selection, TensorParallel},
};
use longshore_st_format::{Dtype, fixtures};
use mlx_rs::Array;

use crate::support::{Dir, Stored};

/// The bytes of an array, in its order.
fn bytes(array: &Array) -> Vec<u8> {
    let bytes = array.view::<u8>().unwrap();
    bytes.eval().unwrap();
    bytes.as_slice::<u8>().to_vec()
}

fn same(source: &Source, selection: &Selection) {
    let options = OpenOptions { selection: selection.clone(), ..OpenOptions::default() };
    let host = Weights::open_source(source, &options).unwrap();
    for memory in [Memory::Automatic, Memory::Copied] {
        let mut weights = MlxWeights::open_source(source, selection).unwrap();
        assert_eq!((weights.len(), weights.bytes()), (host.len(), host.bytes()));
        weights.load(&LoadOptions { memory, ..Default::default() }).unwrap();
        for tensor in host.iter() {
            let found = weights.get(tensor.name()).unwrap().weight();
            let dims: Vec<u64> = found.shape().iter().map(|dim| u64::try_from(*dim).unwrap()).collect();
            assert_eq!(dims, tensor.weight().shape.dims(), "{}", tensor.name());
            assert_eq!(bytes(found), tensor.weight().data, "{}", tensor.name());
        }
    }
}

fn share(rank: u64, of: u64) -> Selection {
    Selection { tensor_parallel: Some(TensorParallel { rank, of }), ..Selection::default() }
}

#[test]
fn shares_have_the_bytes_of_the_hosts() {
    let stored = Stored::new();
    let (model, dir) = (stored.import("llama", "none"), Dir::new());
    fixtures::model("llama").write(dir.path()).unwrap();
    for source in [Source::of_model(&stored.store, &model).unwrap(), Source::open(dir.path()).unwrap()] {
        for rank in 0..2 {
            same(&source, &share(rank, 2));
        }
    }
    // Stacked experts, each divided by itself, and some of them.
    let model = stored.import("qwen3-moe", "none");
    let source = Source::of_model(&stored.store, &model).unwrap();
    same(&source, &share(1, 2));
    same(&source, &Selection { experts: Some(vec![3, 1]), ..share(0, 2) });
    same(&source, &Selection { experts: Some(vec![0, 2]), ..Selection::default() });
}

#[test]
fn a_share_that_there_is_not_is_refused() {
    let dir = Dir::new();
    dir.fill("model.safetensors", &[("a.q_proj.weight", Dtype::F32, &[6, 2])]);
    let source = Source::open(dir.path()).unwrap();
    let error = MlxWeights::open_source(&source, &share(0, 4)).unwrap_err();
    assert!(
        matches!(&error, OpenError::Plan(LoadPlanError::Uneven { tensor, of: 4, .. }) if tensor == "a.q_proj.weight")
    );
}

#[test]
fn a_file_that_has_changed_is_refused() {
    let dir = Dir::new();
    dir.fill("model.safetensors", &[("a", Dtype::F32, &[6, 2])]);
    let source = Source::open(dir.path()).unwrap();
    dir.fill("other", &[("a", Dtype::F32, &[2, 6])]);
    std::fs::rename(dir.join("other"), dir.join("model.safetensors")).unwrap();
    let error = MlxWeights::open_source(&source, &Selection::default()).unwrap_err();
    assert!(matches!(error, OpenError::File(longshore_loader_mlx::FileError::Changed { .. })), "{error}");
}
