use longshore_st_format::{Dtype, OpenError, SafeTensors, Shape, open};

use crate::util::file;

const JSON: &str =
    r#"{"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}}"#;

fn sample() -> Vec<u8> {
    let mut bytes = file(JSON, 0);
    bytes.extend(1..=6);
    bytes
}

fn check<B: AsRef<[u8]>>(file: &SafeTensors<B>) {
    let a = file.tensor("a").unwrap();
    assert_eq!((a.name, a.dtype, a.shape, a.data), ("a", Dtype::U8, &Shape::new([2, 2]), &[1, 2, 3, 4][..]));
    assert_eq!(file.tensor("b").unwrap().data, [5, 6]);
    assert!(file.tensor("c").is_none());
    assert_eq!(file.iter().map(|tensor| tensor.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(file.header().len(), 2);
}

#[test]
fn vectors_slices_and_maps_are_one() {
    let bytes = sample();
    check(&SafeTensors::new(&bytes[..]).unwrap());
    let owned = SafeTensors::new(bytes.clone()).unwrap();
    check(&owned);
    assert_eq!(owned.into_inner(), bytes);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    let mapped = open(&path).unwrap();
    check(&mapped);
    // The map stays valid after the file's name is removed.
    std::fs::remove_file(&path).unwrap();
    check(&mapped);
}

#[test]
fn errors_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.safetensors");
    assert!(matches!(open(&path), Err(OpenError::Open { .. })));
    assert!(matches!(open(dir.path()), Err(OpenError::NotAFile { .. })));
    for bytes in [&b""[..], b"\0", &sample()[..40], &[0xff; 64], &file("{}", 1)] {
        std::fs::write(&path, bytes).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Header { .. }), "{error}");
        assert!(error.to_string().contains("bad.safetensors"));
        assert_eq!(error.path(), path);
    }
    #[cfg(unix)]
    assert!(matches!(open("/dev/null"), Err(OpenError::NotAFile { .. })));
}

#[test]
fn bytes_that_shrink_lose_their_tensors_and_nothing_else() {
    struct Shrinking(Vec<u8>, std::cell::Cell<bool>);
    impl AsRef<[u8]> for Shrinking {
        fn as_ref(&self) -> &[u8] {
            if self.1.replace(true) { &self.0[..20] } else { &self.0 }
        }
    }
    let file = SafeTensors::new(Shrinking(sample(), std::cell::Cell::new(false))).unwrap();
    assert!(file.tensor("a").is_none());
    assert_eq!(file.iter().count(), 0);
}
