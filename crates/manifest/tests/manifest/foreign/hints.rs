//! Tests of how the type of codes is found where shapes leave a choice.

use longshore_manifest::store::TableError;

use super::{Arrays, Ollama, fixtures::config};
use crate::util::name;

/// Returns the type of the only tensor.
fn found(ollama: Ollama) -> Result<String, TableError> {
    let ollama = ollama.done();
    let store = ollama.store();
    let table = store.table(&store.model(&name("m")).unwrap())?;
    let (_, tensor) = table.tensors().next().unwrap();
    Ok(tensor.quantization.as_ref().map_or_else(|| "plain".into(), ToString::to_string))
}

/// Codes of int4 in groups of 64, or of int8 in groups of 32: eight words for each scale.
fn eight() -> Arrays {
    Arrays::new().affine("x.weight", 4, 64, &[8], 128)
}

fn of(arrays: &Arrays) -> Ollama {
    Ollama::new().tensor("x.weight", &arrays.mlx())
}

#[test]
fn metadata_beats_shapes() {
    for (quant_type, group, expected) in
        [("int4", "64", "int4-g64"), ("int8", "32", "int8-g32"), ("Q8", "32", "int8-g32"), ("fp4", "64", "int4-g64")]
    {
        let arrays = eight().metadata("quant_type", quant_type).metadata("group_size", group);
        assert_eq!(found(of(&arrays)).unwrap(), expected);
    }
    // The shapes imply the group size if it is not stated.
    assert_eq!(found(of(&eight().metadata("quant_type", "int8"))).unwrap(), "int8-g32");
    // int4 in groups of 128 has the shapes of int8 in groups of 64.
    let wide = || Arrays::new().affine("x.weight", 4, 128, &[8], 128);
    assert_eq!(found(of(&wide().metadata("quant_type", "int4").metadata("group_size", "128"))).unwrap(), "int4-g128");
    assert_eq!(found(of(&wide())).unwrap(), "int8-g64");
    // Metadata about a tensor takes precedence over metadata about its blob.
    let own = eight().metadata("quant_type", "int4").metadata("group_size", "64");
    let own = own.metadata("x.weight.quant_type", "int8").metadata("x.weight.group_size", "32");
    assert_eq!(found(of(&own)).unwrap(), "int8-g32");
}

#[test]
fn a_choice_is_an_error() {
    let error = found(of(&eight())).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, TableError::Ambiguous { .. }), "{text}");
    for part in ["\"x.weight\"", "sha256:", "codes U32 [8, 16]", "int4-g64 or int8-g32"] {
        assert!(text.contains(part), "{text}");
    }
    let odd = Arrays::new().affine("x.weight", 6, 64, &[8], 128);
    assert!(matches!(found(of(&odd)), Err(TableError::Ambiguous { .. })));
}

#[test]
fn other_documents_choose() {
    assert_eq!(found(of(&eight()).config(config("int4"))).unwrap(), "int4-g64");
    assert_eq!(found(of(&eight()).config(config("int8"))).unwrap(), "int8-g32");
    let index = of(&eight()).json("model_index.json", "{\"group_size\": 32, \"quantization\": \"Q8\"}");
    assert_eq!(found(index).unwrap(), "int8-g32");
    // The checkpoint was written by MLX, with an mlx-lm that wrote no mode.
    let bits = |bits: u32, group: u32| format!("{{\"quantization\":{{\"bits\":{bits},\"group_size\":{group}}}}}");
    assert_eq!(found(of(&eight()).json("config.json", &bits(4, 64))).unwrap(), "int4-g64");
    assert_eq!(found(of(&eight()).json("config.json", &bits(8, 32))).unwrap(), "int8-g32");
    // The stated type does not fit this tensor.
    assert!(found(of(&eight()).json("config.json", &bits(8, 64))).is_err());
    let six = Arrays::new().affine("x.weight", 6, 64, &[8], 128);
    assert_eq!(found(of(&six).json("config.json", &bits(6, 64))).unwrap(), "int6-g64");
}

/// ollama labels every tensor with the usual type of the checkpoint, even if the checkpoint states another type for
/// some modules.
#[test]
fn a_module_of_its_own_type() {
    let text =
        "{\"quantization\":{\"bits\":4,\"group_size\":64,\"mode\":\"affine\",\"x\":{\"bits\":8,\"group_size\":64}}}";
    let arrays =
        Arrays::new().metadata("quant_type", "int4").metadata("group_size", "64").affine("x.weight", 8, 64, &[8], 128);
    assert_eq!(found(of(&arrays).json("config.json", text)).unwrap(), "int8-g64");
}

#[test]
fn a_scale_in_one_byte_tells() {
    for (bits, group, expected) in [(4, 16, "nvfp4"), (4, 32, "mxfp4"), (8, 32, "mxfp8")] {
        let arrays = Arrays::new().float("x.weight", bits, group, &[8], 128);
        assert_eq!(found(of(&arrays)).unwrap(), expected);
        // The type stated for the whole model does not matter.
        assert_eq!(found(of(&arrays).config(config("int4"))).unwrap(), expected);
    }
}
