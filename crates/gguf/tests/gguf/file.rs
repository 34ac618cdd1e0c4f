use longshore_gguf::{GgmlType, Gguf, OpenError, open};

use crate::raw::{Raw, RawTensor, floats};

fn sample() -> Vec<u8> {
    Raw::default()
        .tensor(floats("b", 1))
        .tensor(RawTensor { id: 24, extents: vec![3, 2], data: vec![1, 2, 3, 4, 5, 6], ..floats("a", 0) })
        .bytes()
}

fn check<B: AsRef<[u8]>>(file: &Gguf<B>) {
    let a = file.tensor("a").unwrap();
    assert_eq!(
        (a.name, a.ggml_type, a.dims.as_slice(), a.data),
        ("a", GgmlType::I8, &[3, 2][..], &[1, 2, 3, 4, 5, 6][..])
    );
    assert_eq!(file.tensor("b").unwrap().data, [0; 4]);
    assert!(file.tensor("c").is_none());
    assert_eq!(file.iter().map(|tensor| tensor.name).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(file.header().len(), 2);
}

#[test]
fn vectors_slices_and_maps_are_one() {
    let bytes = sample();
    check(&Gguf::new(&bytes[..]).unwrap());
    let owned = Gguf::new(bytes.clone()).unwrap();
    check(&owned);
    assert_eq!(owned.into_inner(), bytes);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let mapped = open(&path).unwrap();
    check(&mapped);
    // The map outlives the name.
    std::fs::remove_file(&path).unwrap();
    check(&mapped);
}

#[test]
fn errors_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.gguf");
    assert!(matches!(open(&path), Err(OpenError::Open { .. })));
    assert!(matches!(open(dir.path()), Err(OpenError::NotAFile { .. })));
    for bytes in [&b""[..], b"GGUF", &sample()[..40], &[0xff; 64], &[&sample()[..], b"x"].concat()] {
        std::fs::write(&path, bytes).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Header { .. }), "{error}");
        assert!(error.to_string().contains("bad.gguf"));
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
    let file = Gguf::new(Shrinking(sample(), std::cell::Cell::new(false))).unwrap();
    assert!(file.tensor("a").is_none());
    assert_eq!(file.iter().count(), 0);
}
