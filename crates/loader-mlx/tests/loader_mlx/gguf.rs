//! Tensors of ggml's blocks: in schemes of MLX where these hold them, else decoded.

use std::fs;

use longshore_gguf::{Dims, GgmlType, Layout, Metadata, TensorInfo, Writer};
use longshore_loader_mlx::MlxWeights;
use longshore_manifest::weights::{BlockForm, OpenOptions, Source, Weights, plan::Selection};
use longshore_packer::PlanOptions;
use longshore_quant::FloatType;

use crate::support::{Dir, Stored};

#[test]
fn blocks_are_opened_in_schemes_or_decoded() {
    let dir = Dir::new();
    let mut metadata = Metadata::new();
    metadata.push("general.architecture", "unheard-of").unwrap();
    let tensors = [("a", GgmlType::Q8_0), ("b", GgmlType::Q4K), ("c", GgmlType::Q6K), ("d", GgmlType::F32)];
    let dims = Dims::from_shape(&[3, 256]).unwrap();
    let layout = Layout::new(metadata, tensors.map(|(name, kind)| (name, kind, dims))).unwrap();
    let lengths: Vec<_> = layout.parsed().iter().map(TensorInfo::byte_len).collect();
    let mut writer = Writer::new(Vec::new(), layout).unwrap();
    for len in lengths {
        writer.write(&vec![0x11; usize::try_from(len).unwrap()]).unwrap();
    }
    fs::write(dir.join("x.gguf"), writer.finish().unwrap()).unwrap();
    let stored = Stored::new();
    let model = stored.import_dir(&dir, &PlanOptions::default());

    let weights = stored.open(&model);
    let options = OpenOptions { blocks: BlockForm::Mlx, ..OpenOptions::default() };
    let host = Weights::open(&stored.store, &model, &options).unwrap();
    assert!(weights.names().eq(host.names()) && weights.names().eq(["a", "b", "c", "d"]));
    assert_eq!((weights.len(), weights.bytes()), (host.len(), host.bytes()));
    for tensor in host.iter() {
        assert_eq!(weights.quantization_of(tensor.name()), tensor.quantization(), "{}", tensor.name());
    }
    let coding = |name: &str| weights.quantization_of(name).map(ToString::to_string);
    assert_eq!(coding("a").as_deref(), Some("int8-g32"));
    assert_eq!((coding("b").as_deref(), coding("c")), (Some("int4-g32"), None));

    // A decoded tensor has the type that is asked for.
    let source = Source::of_model(&stored.store, &model).unwrap();
    let wider = MlxWeights::open_source_as(&source, &Selection::default(), Some(FloatType::F32)).unwrap();
    assert_eq!(wider.bytes(), weights.bytes() + 3 * 256 * 2);
}
