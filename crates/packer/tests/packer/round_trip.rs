//! Every checkpoint that can be imported is restored by an export.

use std::collections::{BTreeMap, BTreeSet};

use longshore_packer::{ExportOptions, Plan};
use longshore_st_format::Dtype;
use proptest::prelude::*;

use crate::{
    stores::{export_to, import_as, is_clean, read, store, tensors, threads, try_import},
    support::{Dir, open, options},
};

#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    name: String,
    dtype: Dtype,
    dims: Vec<u64>,
    /// Index of the shard that holds the tensor.
    shard: usize,
}

/// A tensor as the writer of a weight file takes it.
type Listed<'a> = (&'a str, Dtype, &'a [u64]);

fn dtype() -> impl Strategy<Value = Dtype> {
    let whole: Vec<_> = Dtype::ALL.iter().copied().filter(|dtype| dtype.bits() >= 8).collect();
    prop_oneof![Just(Dtype::BF16), Just(Dtype::F16), Just(Dtype::F32), prop::sample::select(whole)]
}

fn dims(rank: usize) -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![4 => 1_u64..70, 1 => Just(64), 1 => Just(0)], 0..=rank)
}

fn plain() -> impl Strategy<Value = Vec<Tensor>> {
    let name = prop_oneof![
        "[a-z]{1,8}(\\.[a-z0-9]{1,6}){0,3}\\.(weight|bias)",
        "layers\\.[0-9]\\.(mlp|attn)\\.[a-z_]{1,8}\\.weight",
        "[ -~äß大/\\\\\"\u{1f600}]{1,12}",
    ];
    (name, dtype(), dims(3), 0..4_usize)
        .prop_map(|(name, dtype, dims, shard)| vec![Tensor { name, dtype, dims, shard }])
}

/// The experts of a layer, one to twelve of them, distributed over the shards.
fn experts() -> impl Strategy<Value = Vec<Tensor>> {
    (0..3_u8, "[a-z]{1,4}", dtype(), dims(2), 1..13_usize, 0..4_usize).prop_map(
        |(layer, module, dtype, dims, count, shard)| {
            let name = |index| format!("model.layers.{layer}.mlp.experts.{index}.{module}.weight");
            let tensor =
                |index| Tensor { name: name(index), dtype, dims: dims.clone(), shard: (index * shard + shard) % 4 };
            (0..count).map(tensor).collect()
        },
    )
}

/// Fused, transposed experts as gpt-oss stores them.
fn transposed() -> impl Strategy<Value = Vec<Tensor>> {
    (0..3_u8, dtype(), prop::array::uniform3(1_u64..100), 0..4_usize).prop_map(|(layer, dtype, dims, shard)| {
        let name = format!("model.layers.{layer}.mlp.experts.gate_up_proj");
        vec![Tensor { name, dtype, dims: dims.to_vec(), shard }]
    })
}

/// The tensors of a checkpoint.
pub(crate) fn groups() -> impl Strategy<Value = Vec<Vec<Tensor>>> {
    prop::collection::vec(prop_oneof![3 => plain(), 1 => experts(), 1 => transposed()], 1..12)
}

/// Writes those tensors whose names are unique. `None` if there is no tensor.
pub(crate) fn write(groups: &[Vec<Tensor>], is_indexed: bool) -> Option<Dir> {
    let dir = Dir::new();
    dir.file("config.json", r#"{"architectures": ["GptOssForCausalLM"]}"#);
    let mut names = BTreeSet::new();
    let mut shards: BTreeMap<usize, Vec<Listed<'_>>> = BTreeMap::new();
    for tensor in groups.iter().flatten().filter(|tensor| names.insert(&tensor.name)) {
        let shard = if is_indexed { tensor.shard } else { 0 };
        shards.entry(shard).or_default().push((&tensor.name, tensor.dtype, &tensor.dims));
    }
    let count = shards.len();
    let mut places = Vec::new();
    for (at, tensors) in shards.values().enumerate() {
        let file = format!("model-{:05}-of-{count:05}.safetensors", at + 1);
        dir.typed_weights(&file, tensors);
        places.extend(tensors.iter().map(|(name, ..)| ((*name).to_owned(), file.clone())));
    }
    if is_indexed {
        dir.index(&places.iter().map(|(name, file)| (name.as_str(), file.as_str())).collect::<Vec<_>>());
    }
    (!names.is_empty()).then_some(dir)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_imported_comes_back(
        groups in groups(),
        is_indexed in any::<bool>(),
        shard_bytes in prop_oneof![Just(u64::MAX), 0_u64..40_000],
        count in 1_usize..5,
    ) {
        let Some(dir) = write(&groups, is_indexed) else { return Ok(()) };
        // Random names may be ones that no checkpoint has, and two groups may contradict each other. Such sources are
        // refused.
        let Ok(source) = dir.open() else { return Ok(()) };
        let Ok(plan) = Plan::new(source.clone(), &options("none", "default")) else { return Ok(()) };
        let target = Dir::new();
        let store = store(&target);
        let outcome = try_import(&store, "m", &plan, &threads(count)).expect("it was planned");
        prop_assert!(outcome.warnings.is_empty());
        let options = ExportOptions { shard_bytes, ..ExportOptions::default() };
        let out = target.join("out");
        export_to(&store, "m", &out, &options);
        let exported = open(&out).expect("what is exported can be imported");
        prop_assert_eq!(tensors(&exported), tensors(&source));

        // A second round trip changes nothing more.
        let again = import_as(&store, "again", &exported, "none");
        export_to(&store, "again", &target.join("twice"), &ExportOptions::default());
        let twice = import_as(&store, "twice", &open(&target.join("twice")).expect("it is a model"), "none");
        prop_assert_eq!(twice.digest, again.digest);
        prop_assert_eq!(read(&store, "twice").digest, again.digest);
        is_clean(&store);
    }
}
