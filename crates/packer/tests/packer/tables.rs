//! Exports with tensor tables that no import writes, but that another release or a damaged disk may give.

use std::{fs, sync::Arc};

use longshore_manifest::{
    Digest, Silent,
    document::{Part, Role, TensorTable},
    store::Model,
};
use longshore_packer::{Arrangement, ExportError, ExportOptions, export};
use longshore_quant::{Decoder, FloatType, Scheme};
use longshore_st_format::{Dtype, Shape};

use crate::{
    stores::{dequantize, import_as, part, read, store, tensors},
    support::{Dir, open},
};

/// A model of one plain tensor, two experts and one tensor without elements.
struct Setting {
    target: Dir,
    store: longshore_manifest::Store,
    model: Model,
}

impl Setting {
    fn new(scheme: &str) -> Self {
        let (dir, target) = (Dir::new(), Dir::new());
        dir.file("config.json", "{}");
        dir.weights(
            "model.safetensors",
            &[
                ("a.weight", &[64, 64]),
                ("b.empty", &[0, 3]),
                ("l.experts.0.w.weight", &[64, 64]),
                ("l.experts.1.w.weight", &[64, 64]),
            ],
        );
        let store = store(&target);
        import_as(&store, "m", &dir.open().expect("it is a model"), scheme);
        let model = read(&store, "m");
        Self { target, store, model }
    }

    /// Exports with a changed table. The export must fail and write nothing.
    fn fails(&self, edit: impl FnOnce(&mut TensorTable)) -> ExportError {
        let out = self.target.join("out");
        let options = ExportOptions { dequantize: Some(FloatType::F32), ..ExportOptions::default() };
        let error = export(&self.store, &edited(&self.model, edit), &out, &options, &Silent).expect_err("it is wrong");
        assert!(!out.exists());
        error
    }
}

fn edited(model: &Model, edit: impl FnOnce(&mut TensorTable)) -> Model {
    let mut model = model.clone();
    let mut table = (**model.config.longshore.as_ref().expect("it was imported")).clone();
    edit(&mut table);
    model.config.longshore = Some(Arc::new(table));
    model
}

fn is_restore(error: &ExportError, name: &str) -> bool {
    matches!(error, ExportError::Restore { tensor, .. } if tensor == name)
}

#[test]
fn transforms_that_do_not_fit_their_shapes() {
    let setting = Setting::new("none");
    for transform in [Arrangement::Stack, Arrangement::Transpose] {
        let error = setting.fails(|table| {
            let tensor = &mut table.blobs[0].tensors[0];
            tensor.arrangement = transform;
            tensor.sources = vec!["x".into(), "y".into(), "z".into()];
        });
        assert!(is_restore(&error, "a.weight"), "{error}");
    }
    let error = setting.fails(|table| table.blobs[2].tensors[0].arrangement = Arrangement::None);
    assert!(is_restore(&error, "l.experts.w.weight"), "{error}");
    assert!(error.to_string().contains("None of 2 source tensors does not make BF16 [2, 64, 64]"), "{error}");
}

#[test]
fn two_tensors_from_one_source() {
    let setting = Setting::new("none");
    let error = setting.fails(|table| table.blobs[0].tensors[0].sources = vec!["l.experts.0.w.weight".into()]);
    assert!(is_restore(&error, "l.experts.0.w.weight"), "{error}");
    let error = setting.fails(|table| table.blobs[2].tensors[0].sources[1] = "l.experts.0.w.weight".into());
    assert!(is_restore(&error, "l.experts.0.w.weight"), "{error}");
}

#[test]
fn shapes_that_overflow_the_other_way_round() {
    let setting = Setting::new("none");
    let error = setting.fails(|table| {
        let tensor = &mut table.blobs[1].tensors[0];
        // Multiplied from the left, the extents give 0. In the transposed order, [1 << 40, 1 << 40, 0], the product
        // overflows.
        tensor.shape = Shape::new([1 << 40, 0, 1 << 40]);
        tensor.parts[0].shape = tensor.shape.clone();
        tensor.arrangement = Arrangement::Transpose;
    });
    assert!(is_restore(&error, "b.empty"), "{error}");
}

#[test]
fn elements_narrower_than_a_byte_are_not_transposed() {
    let setting = Setting::new("none");
    let error = setting.fails(|table| {
        let tensor = &mut table.blobs[0].tensors[0];
        (tensor.dtype, tensor.shape) = (Dtype::F4, Shape::new([128, 128]));
        (tensor.parts[0].dtype, tensor.parts[0].shape) = (Dtype::F4, tensor.shape.clone());
        tensor.arrangement = Arrangement::Transpose;
    });
    assert!(is_restore(&error, "a.weight"), "{error}");
}

#[test]
fn codes_that_do_not_fit_their_scheme() {
    let setting = Setting::new("int4");
    let find = |table: &TensorTable| {
        let quantized = |blob: &longshore_manifest::document::BlobEntry| blob.tensors[0].quantization.is_some();
        table.blobs.iter().position(quantized).expect("something is quantized")
    };
    for (scheme, group) in [("int8", 64), ("int4", 32), ("int4", 48), ("int9", 64), ("nvfp4", 16), ("", 1)] {
        let mut name = String::new();
        let error = setting.fails(|table| {
            let at = find(table);
            let tensor = &mut table.blobs[at].tensors[0];
            name.clone_from(&tensor.name);
            let quantization = tensor.quantization.as_mut().expect("it is quantized");
            (quantization.quant_type, quantization.group_size) = (scheme.to_owned(), group);
        });
        assert!(is_restore(&error, &name), "{error}");
    }
    let error = setting.fails(|table| {
        let at = find(table);
        table.blobs[at].tensors[0].dtype = Dtype::I32;
    });
    assert!(matches!(error, ExportError::Restore { .. }), "{error}");
}

#[test]
fn a_global_scale_multiplies() {
    let setting = Setting::new("nvfp4");
    let Setting { target, store, model } = &setting;
    let name = "l.experts.w.weight";
    let found = |role| part(store, model, name, role);
    let mut expected = vec![0; 2 * 64 * 64 * 4];
    Decoder::new(Scheme::NVFP4, FloatType::BF16, FloatType::F32)
        .with_global_scale(0.375)
        .decode(&found(Role::Weight), &found(Role::Scale), &[], &mut expected)
        .expect("the parts fit");

    // The same blob with the scale at its end.
    let table = model.config.longshore.as_ref().expect("it was imported");
    let (blob, _) = table.tensors().find(|(_, tensor)| tensor.name == name).expect("it is stored");
    let mut bytes = fs::read(store.blob_path(&blob.digest)).expect("it is stored");
    let offset = bytes.len() as u64;
    bytes.extend_from_slice(&0.375_f32.to_le_bytes());
    let digest = Digest::of(&bytes);
    fs::write(store.blob_path(&digest), bytes).expect("the store is ours");
    let global =
        Part { role: Role::GlobalScale, dtype: Dtype::F32, shape: Shape::new([]), offset, length: 4, blob: None };
    let at = table.blobs.iter().position(|found| found.digest == blob.digest).expect("it is in the table");
    let scaled = edited(model, |table| {
        table.blobs[at].digest = digest;
        table.blobs[at].tensors[0].parts.push(global);
    });
    let out = target.join("out");
    export(store, &scaled, &out, &dequantize(FloatType::F32), &Silent).expect("it can be decoded");
    let exported = tensors(&open(&out).expect("it is a model"));
    let experts = ["l.experts.0.w.weight", "l.experts.1.w.weight"].map(|expert| exported[expert].2.as_slice());
    assert!(experts.concat() == expected);
}
