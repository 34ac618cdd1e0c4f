use std::fs;

use longshore_manifest::{
    Digest, Silent, Weights,
    document::{Quantization, Role},
    store::Model,
    weights::{
        CorruptError, OpenOptions, WeightsError, check,
        plan::{LoadPlanError, Selection, Shard},
    },
};
use longshore_st_format::Dtype;

use crate::util::{Blob, Scratch, chain, commit, name, replace};

fn open(scratch: &Scratch, options: &OpenOptions<'_>) -> Result<Weights, WeightsError> {
    Weights::open(&scratch.store, &model(scratch), options)
}

fn model(scratch: &Scratch) -> Model {
    scratch.store.model(&name("m")).unwrap()
}

fn with_blobs(blobs: &[Blob]) -> Scratch {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", blobs);
    scratch
}

fn blobs() -> [Blob; 3] {
    [Blob::plain("z.weight", 5, 1), Blob::int4("a.weight", 4, 32, 2), Blob::nvfp4("m.weight", 2, 3)]
}

#[test]
fn tensors_are_sorted_by_name() {
    let weights = open(&with_blobs(&blobs()), &OpenOptions::default()).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a.weight", "m.weight", "z.weight"]);
    assert_eq!(weights.iter().map(|tensor| tensor.name()).collect::<Vec<_>>(), ["a.weight", "m.weight", "z.weight"]);
    assert_eq!((weights.len(), weights.is_empty()), (3, false));
    assert!(weights.contains("a.weight"));
    for unknown in ["a.weight.scale", "", "zz", "a.weigh"] {
        assert!(!weights.contains(unknown) && weights.get(unknown).is_none());
    }
}

#[test]
fn a_tensor_is_what_was_stored() {
    let blobs = blobs();
    let weights = open(&with_blobs(&blobs), &OpenOptions::default()).unwrap();
    let [plain, int4, nvfp4] = &blobs;

    let tensor = weights.get("z.weight").unwrap();
    assert_eq!((tensor.dtype(), tensor.shape().dims()), (Dtype::F32, &[5, 4][..]));
    assert!(tensor.quantization().is_none() && tensor.component().is_none());
    assert_eq!(tensor.weight().data, plain.data(Role::Weight));
    assert!(tensor.companion(Role::Scale).is_none());

    let tensor = weights.get("a.weight").unwrap();
    // The logical shape and type differ from those of the codes.
    assert_eq!((tensor.dtype(), tensor.shape().dims()), (Dtype::BF16, &[4, 64][..]));
    assert_eq!((tensor.weight().dtype, tensor.weight().shape.dims()), (Dtype::U32, &[4, 8][..]));
    assert_eq!(tensor.quantization().unwrap().to_string(), "int4-g32");
    assert_eq!(tensor.weight().data, int4.data(Role::Weight));
    for role in [Role::Scale, Role::Bias] {
        let companion = tensor.companion(role).unwrap();
        assert_eq!((companion.dtype, companion.shape.dims()), (Dtype::BF16, &[4, 2][..]));
        assert_eq!(companion.data, int4.data(role));
    }
    assert!(tensor.companion(Role::GlobalScale).is_none());

    let global = weights.get("m.weight").unwrap().companion(Role::GlobalScale).unwrap();
    assert_eq!((global.dtype, global.shape.rank(), global.data), (Dtype::F32, 0, nvfp4.data(Role::GlobalScale)));
    let bytes: u64 = blobs.iter().map(|blob| blob.tensors[0].byte_len()).sum();
    assert_eq!(weights.bytes(), bytes);
}

#[test]
fn nothing_is_copied() {
    let blobs = blobs();
    let weights = open(&with_blobs(&blobs), &OpenOptions::default()).unwrap();
    for blob in &blobs {
        let tensor = weights.get(&blob.name).unwrap();
        let roles = [Role::Weight, Role::Scale, Role::Bias, Role::GlobalScale];
        let arrays: Vec<_> = roles
            .into_iter()
            .filter_map(|role| {
                let data = if role == Role::Weight { tensor.weight() } else { tensor.companion(role)? }.data;
                Some((data.as_ptr().addr(), blob.tensors[0].part(role)?.offset))
            })
            .collect();
        // Every array lies in one map, at the same distance from its start as in the file. A map starts on a page.
        let bases: Vec<_> = arrays.iter().map(|(at, offset)| at - usize::try_from(*offset).unwrap()).collect();
        assert!(bases.iter().all(|base| *base == bases[0] && base % 4096 == 0), "{bases:x?}");
        // A second call returns the same memory.
        assert_eq!(weights.get(&blob.name).unwrap().weight().data.as_ptr(), tensor.weight().data.as_ptr());
    }
}

#[test]
fn a_blob_may_be_deleted_while_it_is_mapped() {
    let blobs = blobs();
    let scratch = with_blobs(&blobs);
    let weights = open(&scratch, &OpenOptions::default()).unwrap();
    if cfg!(unix) {
        scratch.store.remove(&name("m")).unwrap();
        assert_eq!(weights.get("z.weight").unwrap().weight().data, blobs[0].data(Role::Weight));
    }
}

#[test]
fn how_tensors_are_coded_is_said_and_whether_all_are_coded_alike() {
    let of = |blobs: &[Blob]| open(&with_blobs(blobs), &OpenOptions::default()).unwrap();
    let plain = Blob::plain("p", 1, 1);
    let none = of(std::slice::from_ref(&plain));
    assert_eq!((none.quantization(), none.group_size()), (None, None));
    let uniform = of(&[plain.clone(), Blob::int4("a", 2, 32, 1), Blob::int4("b", 2, 32, 2)]);
    let expected = Quantization { quant_type: "int4".into(), group_size: 32 };
    let found = uniform.quantization().unwrap();
    assert_eq!((&found.quantization, found.is_mixed, uniform.group_size()), (&expected, false, Some(32)));
    assert_eq!(found.to_string(), "int4-g32");
    let groups = of(&[Blob::int4("a", 2, 32, 1), Blob::int4("b", 2, 64, 2)]);
    assert!(groups.quantization().unwrap().is_mixed && groups.group_size().is_none());
    // Of several codings, the most frequent is said where none was asked for.
    let mixed = of(&[Blob::int4("a", 2, 16, 1), Blob::nvfp4("b", 2, 2), Blob::nvfp4("c", 2, 3), plain]);
    assert_eq!((mixed.quantization().unwrap().to_string().as_str(), mixed.group_size()), ("nvfp4, mixed", Some(16)));
}

/// Makes two encoders that share a blob, and a transformer with a tensor of the same name.
fn pipeline() -> Scratch {
    let shared = Blob::plain("weight", 4, 1);
    with_blobs(&[
        shared.clone().in_component("text_encoder_2"),
        Blob::plain("weight", 9, 2).in_component("transformer"),
        Blob::plain("other", 3, 3).in_component("transformer"),
        shared.in_component("text_encoder"),
    ])
}

fn of_component(component: &str) -> OpenOptions<'static> {
    let selection = Selection { component: Some(component.into()), ..Selection::default() };
    OpenOptions { selection, ..OpenOptions::default() }
}

#[test]
fn one_component_can_be_opened() {
    let scratch = pipeline();
    let mut options = of_component("transformer");
    let weights = open(&scratch, &options).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["other", "weight"]);
    assert_eq!(weights.get("weight").unwrap().shape().dims(), [9, 4]);
    assert_eq!(weights.digests().count(), 2);
    options.selection.component = Some("text_encoder".into());
    let weights = open(&scratch, &options).unwrap();
    assert_eq!(weights.get("weight").unwrap().shape().dims(), [4, 4]);
    assert_eq!(weights.get("weight").unwrap().component(), Some("text_encoder"));
}

#[test]
fn all_components_together_are_in_a_fixed_order() {
    let weights = open(&pipeline(), &OpenOptions::default()).unwrap();
    let all: Vec<_> = weights.iter().map(|tensor| (tensor.name(), tensor.component().unwrap())).collect();
    let expected =
        [("other", "transformer"), ("weight", "text_encoder"), ("weight", "text_encoder_2"), ("weight", "transformer")];
    assert_eq!(all, expected);
    assert_eq!(weights.get("weight").unwrap().component(), Some("text_encoder"));
}

#[test]
fn an_unknown_component_is_an_error_that_names_the_known_ones() {
    let options = of_component("vae");
    let error = open(&pipeline(), &options).unwrap_err();
    let expected = "no tensors in the component \"vae\" of m:latest; \
        it has [\"text_encoder\", \"text_encoder_2\", \"transformer\"]";
    assert_eq!(error.to_string(), expected);
    let error = open(&with_blobs(&blobs()), &options).unwrap_err();
    assert!(error.to_string().ends_with(" of m:latest; it has no components"), "{error}");
    assert!(matches!(error, WeightsError::Component { found, .. } if found.is_empty()));
}

#[test]
fn what_is_not_selected_is_not_opened() {
    let blobs = blobs();
    let scratch = with_blobs(&blobs);
    fs::remove_file(scratch.store.blob_path(&Digest::of(&blobs[0].bytes))).unwrap();
    let selection = Selection { globs: vec!["a.*".into(), "m.*".into()], ..Selection::default() };
    let mut options = OpenOptions { selection, ..OpenOptions::default() };
    let weights = open(&scratch, &options).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a.weight", "m.weight"]);
    assert_eq!(weights.digests().collect::<Vec<_>>(), [&blobs[1], &blobs[2]].map(|blob| Digest::of(&blob.bytes)));
    assert_eq!(weights.bytes(), blobs[1].tensors[0].byte_len() + blobs[2].tensors[0].byte_len());
    assert_eq!(weights.get("m.weight").unwrap().weight().data, blobs[2].data(Role::Weight));

    options.selection.globs = vec!["a.wieght".into()];
    let error = open(&scratch, &options).unwrap_err();
    assert!(
        matches!(&error, WeightsError::Plan(LoadPlanError::NoMatch { near, .. }) if near[0] == "a.weight"),
        "{error}"
    );
    assert!(format!("{options:?}").contains("a.wieght"));
}

#[test]
fn a_blob_that_is_cut_off_is_an_error() {
    let blobs = blobs();
    let scratch = with_blobs(&blobs);
    let path = scratch.store.blob_path(&Digest::of(&blobs[1].bytes));
    let whole = &blobs[1].bytes;
    let last = blobs[1].tensors[0].parts.iter().map(|part| part.offset + part.length).max().unwrap();
    for cut in [whole.len() - 1, 64, 0] {
        replace(&path, &whole[..cut]);
        let error = open(&scratch, &OpenOptions::default()).unwrap_err();
        let WeightsError::Short { path: named, found, expected, tensor } = &error else { panic!("{error}") };
        assert_eq!((named, *found, tensor.as_str()), (&path, cut as u64, "a.weight"));
        assert!(*expected > *found && *expected <= last);
        assert!(error.to_string().contains(&format!("has {cut} bytes, expected at least the ")), "{error}");
    }
}

#[test]
fn a_blob_that_is_missing_is_an_error() {
    let blobs = blobs();
    let scratch = with_blobs(&blobs);
    let digest = Digest::of(&blobs[2].bytes);
    fs::remove_file(scratch.store.blob_path(&digest)).unwrap();
    let error = open(&scratch, &OpenOptions::default()).unwrap_err();
    assert!(matches!(&error, WeightsError::Blob { digest: found, .. } if *found == digest));
    let texts = chain(&error);
    assert_eq!(texts[0], format!("cannot open the blob {digest} of tensor \"m.weight\""));
    assert_eq!(texts[1], format!("cannot open {}", scratch.store.blob_path(&digest).display()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_blob_that_is_cut_short_while_it_is_mapped_is_an_error_and_no_signal() {
    let blobs = [Blob::plain("long", 100_000, 1), Blob::plain("other", 4, 2)];
    let scratch = with_blobs(&blobs);
    let weights = open(&scratch, &OpenOptions::default()).unwrap();
    weights.populate().unwrap();
    weights.verify(&Silent).unwrap();
    let path = scratch.store.blob_path(&Digest::of(&blobs[0].bytes));
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
    for error in [weights.populate().unwrap_err(), weights.verify(&Silent).unwrap_err()] {
        let CorruptError::Read { digest, tensors, source } = &error else { panic!("{error}") };
        assert_eq!((*digest, &tensors[..]), (Digest::of(&blobs[0].bytes), &["long".to_owned()][..]));
        assert_eq!(source.to_string(), "it was cut short while it was mapped, or its disk failed");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn pages_that_are_not_selected_are_not_asked_for() {
    let blobs = [Blob::plain("long", 100_000, 1)];
    let scratch = with_blobs(&blobs);
    let shards = vec![("*".to_owned(), Shard::rows(0, 4))];
    let quarter = OpenOptions { selection: Selection { shards, ..Selection::default() }, ..OpenOptions::default() };
    let (quarter, whole) = (open(&scratch, &quarter).unwrap(), open(&scratch, &OpenOptions::default()).unwrap());
    let path = scratch.store.blob_path(&Digest::of(&blobs[0].bytes));
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    // A quarter and what is left of its last page.
    let len = quarter.bytes().next_multiple_of(64 << 10);
    assert!(len < whole.bytes());
    fs::File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
    quarter.populate().unwrap();
    whole.populate().unwrap_err();
}

#[test]
fn what_is_checked_is_what_would_be_opened() {
    let blobs = blobs();
    let scratch = with_blobs(&blobs);
    let table = scratch.store.table(&model(&scratch)).unwrap();
    check(&scratch.store, &table).unwrap();
    let path = scratch.store.blob_path(&Digest::of(&blobs[1].bytes));
    replace(&path, &blobs[1].bytes[..64]);
    let (checked, opened) = (check(&scratch.store, &table), open(&scratch, &OpenOptions::default()));
    assert_eq!(checked.unwrap_err().to_string(), opened.unwrap_err().to_string());
    fs::remove_file(&path).unwrap();
    assert!(matches!(check(&scratch.store, &table), Err(WeightsError::Blob { tensor, .. }) if tensor == "a.weight"));
}

#[test]
fn a_blob_is_read_at_any_offset() {
    let blobs = blobs();
    let scratch = with_blobs(&blobs);
    let blob = scratch.store.open_blob(&Digest::of(&blobs[0].bytes)).unwrap();
    let len = blobs[0].bytes.len();
    assert_eq!(blob.byte_len().unwrap(), len as u64);
    let mut buffer = [0; 10];
    blob.read_exact_at(&mut buffer, 5).unwrap();
    assert_eq!(buffer, blobs[0].bytes[5..15]);
    let error = blob.read_exact_at(&mut buffer, len as u64 - 9).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(error.source.to_string(), format!("it has {len} bytes, expected at least {}", len + 1));
    assert!(scratch.store.open_blob(&Digest::of(b"no blob")).is_err());
}
