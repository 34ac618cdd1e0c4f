//! Values of tensors in F32, piece by piece, and their comparison.

use std::collections::BTreeMap;

use longshore_manifest::{
    Weights,
    document::Arrangement,
    weights::{Difference, OpenOptions, Source, WeightsError, difference, plan::Selection},
};
use longshore_st_format::{Dtype, Layout, Shape, Writer, fixtures};
use tempfile::TempDir;

use crate::util::{Blob, Scratch, commit, name};

fn opened(scratch: &Scratch, model: &str) -> Weights {
    let selection = Selection { offsets: true, ..Selection::default() };
    let options = OpenOptions { selection, ..OpenOptions::default() };
    Weights::open(&scratch.store, &scratch.store.model(&name(model)).unwrap(), &options).unwrap()
}

/// All values, read in pieces of `groups` groups.
fn read(weights: &Weights, name: &str, groups: u64) -> Vec<f32> {
    let mut values = weights.get(name).unwrap().values().unwrap();
    let mut found = Vec::new();
    while (found.len() as u64) < values.len() {
        let at = found.len() as u64;
        let len = (groups * values.group()).min(values.len() - at);
        let mut piece = vec![0.0; usize::try_from(len).unwrap()];
        values.read(at, &mut piece);
        found.extend(piece);
    }
    found
}

#[test]
fn codes_have_the_values_that_decoding_gives() {
    let scratch = Scratch::new();
    let blobs = [Blob::plain("p", 5, 1), Blob::int4("a", 4, 32, 2), Blob::nvfp4("m", 3, 3)];
    commit(&scratch.store, "m", &blobs);
    let weights = opened(&scratch, "m");
    let source = Source::of_model(&scratch.store, &scratch.store.model(&name("m")).unwrap()).unwrap();
    let options = OpenOptions { dtype: Some(Dtype::F32), decode: true, ..OpenOptions::default() };
    let decoded = Weights::open_source(&source, &options).unwrap();
    for tensor in decoded.iter() {
        let expected: Vec<u32> =
            tensor.weight().data.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect();
        for groups in [1, 3, 1000] {
            let found: Vec<u32> = read(&weights, tensor.name(), groups).into_iter().map(f32::to_bits).collect();
            assert_eq!(found, expected, "{} in pieces of {groups}", tensor.name());
        }
    }
}

#[test]
fn numbers_of_every_kind() {
    let dir = TempDir::new().unwrap();
    let tensors: [(&str, Dtype, Vec<u8>, &[f32]); 10] = [
        ("bf16", Dtype::BF16, vec![0x80, 0x3f, 0x20, 0xc0], &[1.0, -2.5]),
        ("bool", Dtype::Bool, vec![1, 0], &[1.0, 0.0]),
        ("f16", Dtype::F16, vec![0x00, 0x3c, 0x00, 0xc1], &[1.0, -2.5]),
        ("f32", Dtype::F32, [1.5_f32, -2.5].iter().flat_map(|value| value.to_le_bytes()).collect(), &[1.5, -2.5]),
        ("f64", Dtype::F64, [0.1_f64, -2.5].iter().flat_map(|value| value.to_le_bytes()).collect(), &[0.1, -2.5]),
        ("i16", Dtype::I16, [-3_i16, 3].iter().flat_map(|value| value.to_le_bytes()).collect(), &[-3.0, 3.0]),
        (
            "i64",
            Dtype::I64,
            [-3_i64, 1 << 40].iter().flat_map(|value| value.to_le_bytes()).collect(),
            &[-3.0, 1_099_511_627_776.0],
        ),
        ("i8", Dtype::I8, vec![0xff, 5], &[-1.0, 5.0]),
        (
            "u32",
            Dtype::U32,
            [7_u32, 16_777_217].iter().flat_map(|value| value.to_le_bytes()).collect(),
            &[7.0, 16_777_216.0],
        ),
        ("u8", Dtype::U8, vec![0xff, 5], &[255.0, 5.0]),
    ];
    let arrays = tensors.iter().map(|(name, dtype, ..)| (*name, *dtype, Shape::new([2])));
    let layout = Layout::new(&BTreeMap::new(), arrays).unwrap();
    let order: Vec<String> = layout.parts().map(|part| part.name.to_owned()).collect();
    let mut writer = Writer::new(Vec::new(), layout).unwrap();
    for name in order {
        let (.., bytes, _) = tensors.iter().find(|(found, ..)| *found == name).unwrap();
        writer.write(bytes).unwrap();
    }
    let path = dir.path().join("model.safetensors");
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    let weights = Weights::open_source(&Source::open(&path).unwrap(), &OpenOptions::default()).unwrap();
    for (name, .., expected) in tensors {
        assert_eq!(read(&weights, name, 1), expected, "{name}");
        assert_eq!(read(&weights, name, 2), expected, "{name}");
    }
    fixtures::write_file(&path, &BTreeMap::new(), &[("f8".to_owned(), Dtype::F8E4M3, Shape::new([4]))]).unwrap();
    let weights = Weights::open_source(&Source::open(&path).unwrap(), &OpenOptions::default()).unwrap();
    let error = weights.get("f8").unwrap().values().unwrap_err();
    assert!(matches!(error, WeightsError::Decode { .. }), "{error}");
}

#[test]
fn values_are_compared_whatever_their_form() {
    let scratch = Scratch::new();
    let (mut moved, plain) = (Blob::plain("p", 3, 1), Blob::plain("p", 3, 1));
    (moved.tensors[0].offset, moved.tensors[0].arrangement) = (2, Arrangement::Reshape);
    commit(&scratch.store, "plain", &[plain]);
    commit(&scratch.store, "moved", &[moved]);
    commit(&scratch.store, "longer", &[Blob::plain("p", 4, 1)]);
    let tensor = |model: &str| opened(&scratch, model);
    let (plain, moved, longer) = (tensor("plain"), tensor("moved"), tensor("longer"));
    let (a, b, c) = (plain.get("p").unwrap(), moved.get("p").unwrap(), longer.get("p").unwrap());
    assert_eq!(difference(&a, &a).unwrap(), None);
    let (values, less) = (read(&plain, "p", 1), read(&moved, "p", 1));
    assert!(values.iter().zip(&less).all(|(value, less)| (value - 2.0).to_bits() == less.to_bits() || value.is_nan()));
    let Some(Difference::Values { largest, max_a }) = difference(&a, &b).unwrap() else { panic!("they differ") };
    assert!(largest > 0.0 && max_a > 0.0, "{largest} {max_a}");
    let shapes = Difference::Shapes { a: Shape::new([3, 4]), b: Shape::new([4, 4]) };
    let found = difference(&a, &c).unwrap();
    assert_eq!(format!("{found:?}"), format!("{:?}", Some(shapes)));
}
