//! Tests of tables from the three ways in which ollama has written tensors.

use longshore_manifest::{
    Digest, Silent, Weights,
    document::{Role, TensorTable},
    store::TableError,
    weights::{CorruptError, OpenOptions, plan::Selection},
};

use super::{Arrays, Ollama};
use crate::util::{name, put, verify};

/// Describes every tensor by name, type, shape and code, in the order of the table.
fn tensors(table: &TensorTable) -> Vec<String> {
    let describe = |(blob, tensor): (&longshore_manifest::document::BlobEntry, _)| {
        let tensor: &longshore_manifest::document::TensorEntry = tensor;
        let component = blob.component.as_ref().map_or_else(String::new, |component| format!("{component}: "));
        let code = tensor.quantization.as_ref().map_or_else(|| "plain".to_owned(), ToString::to_string);
        format!("{component}{} {} {} {code}", tensor.name, tensor.dtype, tensor.shape)
    };
    table.tensors().map(describe).collect()
}

fn read(ollama: Ollama) -> Result<Vec<String>, TableError> {
    let store = ollama.done().store_kept();
    let model = store.1.model(&name("m")).unwrap();
    store.1.table(&model).map(|table| tensors(&table))
}

impl Ollama {
    /// Returns the store, which lives as long as its directory.
    pub(super) fn store_kept(self) -> (Self, longshore_manifest::Store) {
        let store = self.store();
        (self, store)
    }
}

#[test]
fn parts_in_blobs_of_their_own() {
    let ollama = Ollama::new()
        .unnamed("a.weight", "U32", &[2, 8])
        .unnamed("a.weight_scale", "BF16", &[2, 2])
        .unnamed("a.weight_qbias", "BF16", &[2, 2])
        .unnamed("b.weight_qbias", "F16", &[2, 1])
        .unnamed("b.weight", "U32", &[2, 16])
        .unnamed("b.weight_scale", "F16", &[2, 1])
        .unnamed("c.weight", "U32", &[4, 4])
        .unnamed("c.weight_scale", "U8", &[4, 2])
        .unnamed("norm.weight", "BF16", &[4])
        // These scales belong to no tensor: they are tensors themselves.
        .unnamed("norm.weight_scale", "BF16", &[4])
        .unnamed("router.per_expert_scale", "F32", &[4])
        .done();
    let store = ollama.store();
    let model = store.model(&name("m")).unwrap();
    let table = store.table(&model).unwrap();
    assert_eq!(
        tensors(&table),
        [
            "a.weight BF16 [2, 64] int4-g32",
            "b.weight F16 [2, 64] int8-g64",
            "c.weight BF16 [4, 32] nvfp4",
            "norm.weight BF16 [4] plain",
            "norm.weight_scale BF16 [4] plain",
            "router.per_expert_scale F32 [4] plain",
        ]
    );
    let weights = Weights::open(&store, &model, &OpenOptions::default()).unwrap();
    assert_eq!((weights.len(), weights.digests().count()), (6, 11));
    let layer = |of: &str| model.manifest.layers.iter().find(|layer| layer.name.as_deref() == Some(of)).unwrap();
    for (tensor, role, of) in [
        ("a.weight", Role::Scale, "a.weight_scale"),
        ("b.weight", Role::Bias, "b.weight_qbias"),
        ("c.weight", Role::Scale, "c.weight_scale"),
    ] {
        let blob = std::fs::read(store.blob_path(&layer(of).digest)).unwrap();
        let data = weights.get(tensor).unwrap().companion(role).unwrap().data;
        assert!(!data.is_empty() && blob.ends_with(data) && blob.len() > data.len(), "{of}");
    }
    let selection = Selection { names: vec!["a.weight".into()], ..Selection::default() };
    let options = OpenOptions { selection, ..OpenOptions::default() };
    assert_eq!(Weights::open(&store, &model, &options).unwrap().digests().count(), 3);
    assert!(verify(&store).bad.is_empty());

    // All loaded blobs are hashed, including scales in blobs of their own.
    let weights = || Weights::open(&store, &model, &OpenOptions::default()).unwrap();
    weights().verify(&Silent).unwrap();
    let scale = layer("a.weight_scale");
    let mut bytes = std::fs::read(store.blob_path(&scale.digest)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    put(&store.blob_path(&scale.digest), &bytes);
    let (digest, found) = (scale.digest, Digest::of(&bytes));
    let error = weights().verify(&Silent).unwrap_err();
    let CorruptError::Blob { digest: at, found: is, tensors, others: 0, .. } = error else { panic!("{error}") };
    assert_eq!((at, is, &tensors[..]), (digest, found, &["a.weight".to_owned()][..]));
}

/// Blobs without names are identified only by their bytes, so two tensors may share one.
#[test]
fn tensors_that_share_a_blob() {
    let blob = Arrays::new().array("data", "BF16", &[4]).encoded();
    let found = read(Ollama::new().tensor("a.weight", &blob).tensor("b.weight", &blob).tensor("b.weight", &blob));
    assert_eq!(found.unwrap(), ["a.weight BF16 [4] plain", "b.weight BF16 [4] plain"]);
    // A tensor may be called `data`.
    assert_eq!(read(Ollama::new().tensor("data", &blob)).unwrap(), ["data BF16 [4] plain"]);
}

#[test]
fn names_with_companions() {
    let int4 =
        Arrays::new().metadata("quant_type", "int4").metadata("group_size", "64").affine("q.weight", 4, 64, &[8], 128);
    let mx = Arrays::new().metadata("quant_type", "mxfp8").float("k.weight", 8, 32, &[8], 128);
    // The bias and the scale of a layer are not parts of a weight.
    let bias = Arrays::new().array("q.bias", "BF16", &[8]);
    let router = Arrays::new().array("router.scale", "F32", &[8]);
    let both = Arrays::new().array("gate", "BF16", &[8, 8]).array("gate.scale", "BF16", &[8]);
    let found = read(
        Ollama::new()
            .tensor("q.weight", &int4.mlx())
            .tensor("k.weight", &mx.encoded())
            .tensor("q.bias", &bias.mlx())
            .tensor("router.scale", &router.encoded())
            .tensor("gate", &both.encoded()),
    );
    assert_eq!(
        found.unwrap(),
        [
            "q.weight BF16 [8, 128] int4-g64",
            "k.weight BF16 [8, 128] mxfp8",
            "q.bias BF16 [8] plain",
            "router.scale F32 [8] plain",
            "gate BF16 [8, 8] plain",
            "gate.scale BF16 [8] plain",
        ]
    );
}

#[test]
fn groups() {
    // One type for all tensors, a type for each tensor, and no type, as written until March 2026.
    let uniform = Arrays::new()
        .metadata("quant_type", "int8")
        .metadata("group_size", "64")
        .affine("l.0.mlp.experts.gate_proj.weight", 8, 64, &[4, 8], 64)
        .affine("l.0.mlp.experts.up_proj.weight", 8, 64, &[4, 8], 64);
    let each = Arrays::new()
        .metadata("l.1.mlp.experts.down_proj.weight.quant_type", "int8")
        .metadata("l.1.mlp.experts.down_proj.weight.group_size", "64")
        .metadata("l.1.mlp.experts.gate_proj.weight.quant_type", "int4")
        .metadata("l.1.mlp.experts.gate_proj.weight.group_size", "64")
        .affine("l.1.mlp.experts.down_proj.weight", 8, 64, &[4, 8], 64)
        .affine("l.1.mlp.experts.gate_proj.weight", 4, 64, &[4, 8], 64);
    let silent = Arrays::new()
        .affine("l.2.mlp.experts.0.down_proj.weight", 8, 64, &[8], 64)
        .affine("l.2.mlp.experts.0.up_proj.weight", 4, 32, &[8], 64)
        .array("l.2.mlp.experts.1.up_proj.weight", "BF16", &[8, 64]);
    let found = read(
        Ollama::new()
            .tensor("l.0.mlp.experts", &uniform.mlx())
            .tensor("l.1.mlp.experts", &each.mlx())
            .tensor("l.2.mlp.experts", &silent.mlx()),
    );
    assert_eq!(
        found.unwrap(),
        [
            "l.0.mlp.experts.gate_proj.weight BF16 [4, 8, 64] int8-g64",
            "l.0.mlp.experts.up_proj.weight BF16 [4, 8, 64] int8-g64",
            "l.1.mlp.experts.down_proj.weight BF16 [4, 8, 64] int8-g64",
            "l.1.mlp.experts.gate_proj.weight BF16 [4, 8, 64] int4-g64",
            "l.2.mlp.experts.0.down_proj.weight BF16 [8, 64] int8-g64",
            "l.2.mlp.experts.0.up_proj.weight BF16 [8, 64] int4-g32",
            "l.2.mlp.experts.1.up_proj.weight BF16 [8, 64] plain",
        ]
    );
}

#[test]
fn global_scales() {
    let one = Arrays::new().metadata("quant_type", "nvfp4").float("a.weight", 4, 16, &[8], 32).array(
        "a.weight.global_scale",
        "F32",
        &[1],
    );
    let stacked = Arrays::new().float("b.weight", 4, 16, &[2, 8], 32).array("b.weight.global_scale", "F32", &[2, 1, 1]);
    let apart = Arrays::new().float("c.weight", 4, 16, &[8], 32);
    let second = Arrays::new().array("c.weight_scale_2", "F32", &[]);
    let ollama = Ollama::new()
        .tensor("a.weight", &one.encoded())
        .tensor("b.weight", &stacked.encoded())
        .tensor("c.weight", &apart.encoded())
        .tensor("c.weight_scale_2", &second.encoded())
        .done();
    let store = ollama.store();
    let weights = Weights::open(&store, &store.model(&name("m")).unwrap(), &OpenOptions::default()).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a.weight", "b.weight", "c.weight"]);
    let lengths = weights.iter().map(|tensor| tensor.companion(Role::GlobalScale).unwrap().data.len());
    assert_eq!(lengths.collect::<Vec<_>>(), [4, 8, 4]);
}

#[test]
fn pipelines_and_drafts() {
    let named = |key: &str| Arrays::new().array(key, "BF16", &[4]).encoded();
    let found = read(
        Ollama::new()
            .tensor("text_encoder/a.weight", &named("text_encoder/a.weight"))
            .tensor("transformer/a.weight", &named("a.weight"))
            .tensor("vae/b.weight", &named("data"))
            .tensor("text_encoder/b.weight", &named("b.weight"))
            .json("model_index.json", "{\"architecture\":\"FluxPipeline\",\"vae\":[\"diffusers\",\"AutoencoderKL\"]}"),
    );
    assert_eq!(
        found.unwrap(),
        [
            "text_encoder: a.weight BF16 [4] plain",
            "text_encoder: b.weight BF16 [4] plain",
            "transformer: a.weight BF16 [4] plain",
            "vae: b.weight BF16 [4] plain",
        ]
    );
    let found =
        read(Ollama::new().tensor("draft.a.weight", &named("draft.a.weight")).tensor("a.weight", &named("a.weight")));
    assert_eq!(found.unwrap(), ["draft.a.weight BF16 [4] plain", "a.weight BF16 [4] plain"]);
}

/// Each case would take minutes if the header of a blob were processed once for every layer that names it.
#[test]
fn many_layers_name_one_blob() {
    const MANY: usize = 3000;
    let key = |at: usize| format!("l.{at}.weight");
    let blob = (0..MANY).fold(Arrays::new(), |blob, at| blob.data(&key(at), "BF16", &[1], vec![0; 2])).encoded();
    let index = r#"{"architecture":"FluxPipeline"}"#;
    let many = |name: &dyn Fn(usize) -> String| {
        (0..MANY)
            .fold(Ollama::new().tensor("other", &Arrays::new().array("other", "BF16", &[1]).encoded()), |made, at| {
                made.same(&name(at), &blob)
            })
    };
    for made in [many(&|_| "l".to_owned()), many(&|at| format!("l.{at}"))] {
        let found = read(made.json("model_index.json", index)).unwrap();
        assert_eq!((found.len(), &*found[0]), (MANY + 1, "other BF16 [1] plain"));
    }
}

/// A blob whose only array is called `data` is a tensor of each layer that names it.
#[test]
fn layers_that_name_one_blob_without_a_name() {
    let blob = Arrays::new().array("data", "BF16", &[4]).encoded();
    let made = (0..3000).fold(Ollama::new(), |made, at| made.same(&format!("l.{at}.weight"), &blob));
    let found = read(made).unwrap();
    assert_eq!((found.len(), &*found[2999]), (3000, "l.2999.weight BF16 [4] plain"));
}
