//! Conversion of weights on the host: floats cast, codes decoded.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use longshore_manifest::{
    Progress, Weights,
    document::{Quantization, Role},
    weights::{
        OpenOptions, Source, Tensor, WeightsError,
        plan::{LoadPlanError, Selection, TensorParallel},
    },
};
use longshore_quant::{Decoder, FloatType, Scheme};
use longshore_st_format::{Dtype, Shape, fixtures};
use tempfile::TempDir;

use crate::util::{Blob, Scratch, commit, name};

/// A file of made-up tensors.
fn files(tensors: &[(&str, Dtype, &[u64])]) -> (TempDir, Source) {
    let dir = TempDir::new().unwrap();
    let tensors: Vec<_> =
        tensors.iter().map(|(name, dtype, dims)| ((*name).to_owned(), *dtype, Shape::from(dims.to_vec()))).collect();
    fixtures::write_file(dir.path().join("model.safetensors"), &BTreeMap::new(), &tensors).unwrap();
    let source = Source::open(dir.path()).unwrap();
    (dir, source)
}

fn quantized() -> (Scratch, Source) {
    let scratch = Scratch::new();
    let blobs = [Blob::plain("p.weight", 5, 1), Blob::int4("a.weight", 4, 32, 2), Blob::nvfp4("m.weight", 2, 3)];
    commit(&scratch.store, "m", &blobs);
    let source = Source::of_model(&scratch.store, &scratch.store.model(&name("m")).unwrap()).unwrap();
    (scratch, source)
}

fn decode(tensor: &Tensor<'_>, to: FloatType) -> Vec<u8> {
    let Quantization { quant_type, group_size } = tensor.quantization().unwrap();
    let scheme = Scheme::from_metadata(quant_type, *group_size).unwrap();
    let part = |role| tensor.companion(role).map(|array| array.data).unwrap_or_default();
    let stored = tensor.dtype().name().parse().unwrap();
    let mut decoder = Decoder::new(scheme, stored, to);
    if let Some(four) = part(Role::GlobalScale).first_chunk() {
        decoder = decoder.with_global_scale(f32::from_le_bytes(*four));
    }
    let mut out = vec![0; usize::try_from(tensor.shape().elements().unwrap()).unwrap() * to.size()];
    decoder.decode(part(Role::Weight), part(Role::Scale), part(Role::Bias), &mut out).unwrap();
    out
}

#[test]
fn floats_become_the_type_that_is_asked_for() {
    // Longer than a job, so that several fill it.
    let (_dir, source) = files(&[
        ("a", Dtype::BF16, &[3, 300_000]),
        ("b", Dtype::F32, &[7]),
        ("c", Dtype::F16, &[9]),
        ("d", Dtype::F64, &[5]),
        ("ids", Dtype::I64, &[4]),
        ("mask", Dtype::Bool, &[4]),
    ]);
    let plain = Weights::open_source(&source, &OpenOptions::default()).unwrap();
    let options = OpenOptions { dtype: Some(Dtype::F32), decode: true, ..OpenOptions::default() };
    let weights = Weights::open_source(&source, &options).unwrap();
    let widened: Vec<u8> = plain
        .get("a")
        .unwrap()
        .weight()
        .data
        .as_chunks::<2>()
        .0
        .iter()
        .flat_map(|two| [0, 0, two[0], two[1]])
        .collect();
    let a = weights.get("a").unwrap();
    assert!(a.weight().data == widened && a.dtype() == Dtype::F32 && a.is_made(Role::Weight));
    let narrowed: Vec<u8> = plain
        .get("d")
        .unwrap()
        .weight()
        .data
        .as_chunks::<8>()
        .0
        .iter()
        .flat_map(|eight| {
            #[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest is what is asked for")]
            (f64::from_le_bytes(*eight) as f32).to_le_bytes()
        })
        .collect();
    assert_eq!(weights.get("d").unwrap().weight().data, narrowed);
    // What has the type already, and what is no float, is mapped as it is.
    for name in ["b", "ids", "mask"] {
        let (found, expected) = (weights.get(name).unwrap(), plain.get(name).unwrap());
        assert_eq!((found.dtype(), found.weight().data), (expected.dtype(), expected.weight().data));
        assert!(!found.is_made(Role::Weight));
    }
    let mut made = weights.iter().filter(|tensor| tensor.is_made(Role::Weight));
    assert!(made.all(|tensor| tensor.weight().data.as_ptr().addr() % 64 == 0));
    let made = 4 * (3 * 300_000 + 9 + 5);
    assert_eq!(weights.bytes(), made + 28 + 32 + 4);
    let said = Weights::made_bytes_of(&source, &options).unwrap();
    assert!(said == weights.made_bytes() && (made..made + 3 * 64).contains(&said), "{said}");
}

#[test]
fn codes_are_decoded_where_that_is_asked_for() {
    let (_scratch, source) = quantized();
    let plain = Weights::open_source(&source, &OpenOptions::default()).unwrap();
    for (dtype, float) in [(Dtype::F32, FloatType::F32), (Dtype::BF16, FloatType::BF16), (Dtype::F16, FloatType::F16)] {
        let options = OpenOptions { dtype: Some(dtype), decode: true, ..OpenOptions::default() };
        let weights = Weights::open_source(&source, &options).unwrap();
        assert_eq!(weights.quantization(), None);
        for tensor in weights.iter() {
            assert_eq!(tensor.dtype(), dtype);
            let codes = plain.get(tensor.name()).unwrap();
            assert_eq!(tensor.shape(), codes.shape());
            if codes.quantization().is_some() {
                assert_eq!(tensor.weight().data, decode(&codes, float), "{} {dtype}", tensor.name());
            }
        }
    }
    // Only floats are converted where decoding is not asked for.
    let options = OpenOptions { dtype: Some(Dtype::F16), ..OpenOptions::default() };
    let weights = Weights::open_source(&source, &options).unwrap();
    let codes = weights.get("m.weight").unwrap();
    assert_eq!(codes.quantization().unwrap().quant_type, "nvfp4");
    assert_eq!(codes.weight().data, plain.get("m.weight").unwrap().weight().data);
    // Without a type, to the one from which they were quantized.
    let options = OpenOptions { decode: true, ..OpenOptions::default() };
    let weights = Weights::open_source(&source, &options).unwrap();
    let own = plain.get("a.weight").unwrap().dtype();
    assert_eq!(weights.get("a.weight").unwrap().dtype(), own);
}

#[test]
fn shares_of_columns_are_decoded_as_the_whole_is() {
    let dir = TempDir::new().unwrap();
    let tensors = [
        ("o_proj.weight".to_owned(), Dtype::U32, Shape::new([4, 32])),
        ("o_proj.scales".to_owned(), Dtype::F16, Shape::new([4, 4])),
        ("o_proj.biases".to_owned(), Dtype::F16, Shape::new([4, 4])),
    ];
    fixtures::write_file(dir.path().join("model.safetensors"), &BTreeMap::new(), &tensors).unwrap();
    std::fs::write(dir.path().join("config.json"), r#"{"quantization": {"group_size": 64, "bits": 4}}"#).unwrap();
    let source = Source::open(dir.path()).unwrap();
    let options = |rank| {
        let selection = Selection { tensor_parallel: rank, ..Selection::default() };
        OpenOptions { selection, dtype: Some(Dtype::F32), decode: true, ..OpenOptions::default() }
    };
    let whole = Weights::open_source(&source, &options(None)).unwrap();
    let whole = whole.get("o_proj.weight").unwrap().weight().data.to_vec();
    for rank in 0..2 {
        let share = Weights::open_source(&source, &options(Some(TensorParallel { rank, of: 2 }))).unwrap();
        let share = share.get("o_proj.weight").unwrap();
        assert_eq!(share.shape().dims(), [4, 128]);
        let rank = usize::try_from(rank).unwrap();
        for (row, found) in share.weight().data.chunks(128 * 4).enumerate() {
            let at = (row * 256 + rank * 128) * 4;
            assert_eq!(found, &whole[at..at + 128 * 4]);
        }
    }
}

#[test]
fn what_cannot_be_converted_is_named() {
    for dtype in [Dtype::F8E4M3, Dtype::F8E5M2, Dtype::C64] {
        let (_dir, source) = files(&[("a", Dtype::F32, &[4]), ("odd", dtype, &[4])]);
        let options = OpenOptions { dtype: Some(Dtype::BF16), ..OpenOptions::default() };
        let error = Weights::open_source(&source, &options).unwrap_err();
        assert!(
            matches!(&error, WeightsError::Plan(LoadPlanError::Convert { tensor, found, .. }) if tensor == "odd" && *found == dtype),
            "{error}"
        );
        // Without a wish it is what it is, and so it is where it is not selected.
        assert!(Weights::open_source(&source, &OpenOptions::default()).is_ok());
        let selection = Selection { names: vec!["a".into()], ..Selection::default() };
        assert!(Weights::open_source(&source, &OpenOptions { selection, ..options }).is_ok());
    }
    let (_dir, source) = files(&[("a", Dtype::F32, &[4])]);
    let options = OpenOptions { dtype: Some(Dtype::I32), ..OpenOptions::default() };
    let error = Weights::open_source(&source, &options).unwrap_err();
    assert!(matches!(error, WeightsError::Plan(LoadPlanError::Dtype { found: Dtype::I32 })), "{error}");
}

#[test]
fn the_bytes_are_said_before_and_a_conversion_can_be_stopped() {
    #[derive(Default)]
    struct Watch {
        begun: Mutex<Vec<u64>>,
        done: AtomicU64,
        stop: bool,
    }
    impl Progress for Watch {
        fn begin(&self, _: &'static str, total: u64) {
            self.begun.lock().unwrap().push(total);
        }
        fn advance(&self, bytes: u64) {
            self.done.fetch_add(bytes, Ordering::Relaxed);
        }
        fn cancelled(&self) -> bool {
            self.stop
        }
    }
    let (_dir, source) = files(&[("a", Dtype::BF16, &[100])]);
    let watch = Watch::default();
    let mut options = OpenOptions { dtype: Some(Dtype::F32), progress: &watch, ..OpenOptions::default() };
    Weights::open_source(&source, &options).unwrap();
    assert_eq!((watch.begun.lock().unwrap()[..].to_vec(), watch.done.load(Ordering::Relaxed)), (vec![400], 400));
    let stop = Watch { stop: true, ..Watch::default() };
    options.progress = &stop;
    assert!(matches!(Weights::open_source(&source, &options), Err(WeightsError::Cancelled)));
}
