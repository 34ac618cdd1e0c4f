use std::path::{Path, PathBuf};

use longshore_gguf::{Header, Limits, MemberError as M, OpenError, SplitError as E, SplitKeys, SplitSet, Value};

use crate::{
    raw::{Raw, floats, string},
    util::{message, parse},
};

/// Three files of four tensors, of which the first has the metadata.
fn files() -> [Raw; 3] {
    [
        Raw::default().pair("general.architecture", 8, string("llama")).split(0, 3, 4).tensor(floats("a", 3)),
        Raw::default().split(1, 3, 4).tensor(floats("d", 1)).tensor(floats("b", 2)),
        Raw::default().split(2, 3, 4).tensor(floats("c", 4)),
    ]
}

fn put(dir: &Path, files: &[Raw]) -> Vec<PathBuf> {
    let count = files.len();
    let paths: Vec<_> = (1..=count).map(|no| dir.join(format!("m-{no:05}-of-{count:05}.gguf"))).collect();
    for (path, raw) in paths.iter().zip(files) {
        std::fs::write(path, raw.bytes()).unwrap();
    }
    paths
}

/// Opens a set by each of its files, and checks that the error is the same and names these facts.
fn refuse(files: &[Raw], at: usize, facts: &[&str]) -> M {
    let dir = tempfile::tempdir().unwrap();
    let paths = put(dir.path(), files);
    let errors = paths.iter().map(|path| SplitSet::open(path, &Limits::default()).unwrap_err());
    let mut errors: Vec<_> = errors.collect();
    for error in &errors {
        for fact in facts {
            assert!(message(error).contains(fact), "{} lacks {fact:?}", message(error));
        }
    }
    let error = errors.swap_remove(0);
    assert_eq!(error.path(), Some(&*paths[at]), "{}", message(&error));
    let E::Member { source, .. } = error else { panic!("{error}") };
    source
}

#[test]
fn any_member_opens_the_set() {
    let dir = tempfile::tempdir().unwrap();
    let paths = put(dir.path(), &files());
    for path in &paths {
        let set = SplitSet::open(path, &Limits::default()).unwrap();
        assert_eq!(set.members().iter().map(|member| member.path.clone()).collect::<Vec<_>>(), paths);
        assert_eq!((set.len(), set.is_empty()), (4, false));
        let order: Vec<_> =
            set.iter().map(|(member, tensor)| (member.path.clone(), tensor.name().to_owned())).collect();
        let expected = [(0, "a"), (1, "d"), (1, "b"), (2, "c")];
        assert_eq!(order, expected.map(|(at, name)| (paths[at].clone(), name.to_owned())));
        let (member, tensor) = set.get("b").unwrap();
        assert_eq!((&member.path, tensor.byte_len()), (&paths[1], 8));
        assert!(set.get("e").is_none());
        assert_eq!(set.metadata().get("general.architecture").and_then(Value::as_str), Some("llama"));
    }
}

#[test]
fn a_file_alone_is_a_set_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let alone = |name: &str, raw: Raw| {
        let path = dir.path().join(name);
        std::fs::write(&path, raw.bytes()).unwrap();
        SplitSet::open(&path, &Limits::default())
    };
    let plain = Raw::default().tensor(floats("a", 3));
    for name in
        ["m.gguf", "m-00001-of-00001.gguf", "blob", "m-00004-of-00003.gguf", "m-00000-of-00003.gguf", "m-1-of-3.gguf"]
    {
        assert_eq!(alone(name, plain.clone()).unwrap().members().len(), 1, "{name}");
    }
    // Keys that remain after merging, and after a split into one file.
    for count in [0, 1] {
        assert_eq!(alone("m.gguf", plain.clone().split(0, count, 7)).unwrap().len(), 1);
    }
    let error = alone("m-00001-of-00003.gguf", plain.clone()).unwrap_err();
    assert!(matches!(&error, E::Member { source: M::Alone { expected: 3, .. }, .. }), "a name does not make a set");
    assert!(message(&error).contains("m-00001-of-00003.gguf"));
    assert!(matches!(
        alone("m-00001-of-00003.gguf", plain.split(0, 1, 1)),
        Err(E::Member { source: M::Alone { .. }, .. })
    ));
}

#[test]
fn names_and_keys_must_agree() {
    let dir = tempfile::tempdir().unwrap();
    let paths = put(dir.path(), &files());
    for name in ["m.gguf", "m-00003-of-00003.gguf", "m-00002-of-00004.gguf", "m-2-of-3.gguf", "m-00002-of-00003.GGUF"] {
        let path = dir.path().join("other").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(&paths[1], &path).unwrap();
        let error = SplitSet::open(&path, &Limits::default()).unwrap_err();
        for fact in ["-00002-of-00003.gguf", name, "`split.no` 1", "`split.count` 3"] {
            assert!(message(&error).contains(fact), "{}", message(&error));
        }
        assert!(matches!(error, E::Member { source: M::FileName { no: 1, count: 3, .. }, .. }));
    }
}

#[test]
fn a_missing_member_is_named() {
    for missing in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let paths = put(dir.path(), &files());
        std::fs::remove_file(&paths[missing]).unwrap();
        let error = SplitSet::open(&paths[(missing + 1) % 3], &Limits::default()).unwrap_err();
        assert_eq!(error.path(), Some(&*paths[missing]));
        assert!(matches!(error, E::Open(OpenError::Open { .. })));
    }
}

#[test]
fn keys_are_three_of_the_right_types() {
    let without = |key: &'static str| {
        let mut files = files();
        files[1].pairs.retain(|(other, ..)| other != key.as_bytes());
        files
    };
    let dir = tempfile::tempdir().unwrap();
    for key in ["split.no", "split.count", "split.tensors.count"] {
        let paths = put(dir.path(), &without(key));
        for path in &paths {
            let error = SplitSet::open(path, &Limits::default()).unwrap_err();
            assert_eq!(error.path(), Some(&*paths[1]), "{}", message(&error));
            assert!(matches!(error, E::Member { source: M::MissingKey { key: found }, .. } if found == key));
        }
    }
    let keys = |keys: &[(&str, u32, Vec<u8>)]| {
        let raw = keys.iter().fold(Raw::default(), |raw, (key, kind, value)| raw.pair(key, *kind, value));
        SplitKeys::of(parse(&raw.bytes()).unwrap().metadata())
    };
    let three = |no: u16, count: u16, tensors: i32| {
        keys(&[
            ("split.no", 2, no.to_le_bytes().to_vec()),
            ("split.count", 2, count.to_le_bytes().to_vec()),
            ("split.tensors.count", 5, tensors.to_le_bytes().to_vec()),
        ])
    };
    assert!(matches!(three(1, 2, 7), Ok(Some(SplitKeys { no: 1, count: 2, tensors: 7, .. }))));
    assert!(matches!(three(2, 2, 7), Err(M::KeyValue { key: "split.no", found: 2, .. })));
    assert!(matches!(three(0, 2, -1), Err(M::KeyValue { key: "split.tensors.count", found: -1, .. })));
    assert_eq!(three(5, 1, -1), Ok(None));
    assert_eq!(keys(&[]), Ok(None));
    let wrong = keys(&[("split.count", 4, vec![2, 0, 0, 0])]).unwrap_err();
    assert_eq!(wrong.to_string(), "`split.count` is a u32: expected a u16");
    let wrong = keys(&[("split.count", 2, vec![2, 0]), ("split.no", 0, vec![0])]).unwrap_err();
    assert_eq!(wrong.to_string(), "`split.no` is a u8: expected a u16");
    let tensors = ("split.tensors.count", 4, vec![2, 0, 0, 0]);
    let wrong = keys(&[("split.count", 2, vec![2, 0]), ("split.no", 2, vec![0, 0]), tensors]).unwrap_err();
    assert_eq!(wrong.to_string(), "`split.tensors.count` is a u32: expected a i32");
}

#[test]
fn members_say_the_same() {
    let other = |at: usize, raw: Raw| {
        let mut files = files();
        files[at] = raw;
        files
    };
    // Opened by the one that is wrong, its own name is found to be so.
    let dir = tempfile::tempdir().unwrap();
    let paths = put(dir.path(), &other(1, Raw::default().split(2, 3, 4).tensor(floats("d", 1)).tensor(floats("b", 2))));
    let error = SplitSet::open(&paths[0], &Limits::default()).unwrap_err();
    assert!(matches!(error, E::Member { source: M::Differs { key: "split.no", expected: 1, found: 2 }, .. }));
    let error = SplitSet::open(&paths[1], &Limits::default()).unwrap_err();
    assert!(matches!(error, E::Member { source: M::FileName { no: 2, .. }, .. }));

    for count in [0, 1, 2, 4] {
        let paths = put(dir.path(), &other(2, Raw::default().split(2, count, 4).tensor(floats("c", 4))));
        let error = SplitSet::open(&paths[0], &Limits::default()).unwrap_err();
        assert_eq!(error.path(), Some(&*paths[2]));
        let E::Member { source, .. } = &error else { panic!("{error}") };
        match source {
            M::Differs { key: "split.count", expected: 3, found } => assert_eq!(*found, u64::from(count)),
            // The number alone is beyond this count.
            M::KeyValue { key: "split.no", found: 2, .. } => assert_eq!(count, 2),
            other => panic!("{other}"),
        }
    }
    let error = refuse(
        &other(1, Raw::default().split(1, 3, 5).tensor(floats("d", 1)).tensor(floats("b", 2))),
        1,
        &["split.tensors.count"],
    );
    assert!(matches!(error, M::Differs { key: "split.tensors.count", expected: 4, found: 5 }));
}

#[test]
fn a_tensor_is_in_one_member() {
    let mut files = files();
    files[2].tensors[0].name = b"b".to_vec();
    let error = refuse(&files, 2, &["tensor \"b\"", "member 1"]);
    assert!(matches!(error, M::DuplicateTensor { tensor, earlier: 1 } if &*tensor == "b"));
}

#[test]
fn the_number_of_tensors_is_right() {
    let with_total = |total| {
        let mut all = files();
        for raw in &mut all {
            raw.pairs.last_mut().unwrap().2 = i32::to_le_bytes(total).to_vec();
        }
        all
    };
    let error = refuse(&with_total(5), 2, &["`split.tensors.count` is 5", "found 4"]);
    assert!(matches!(error, M::TensorCount { expected: 5, found: 4 }));
    // Too many are found as soon as there are, before later files are read.
    let error = refuse(&with_total(2), 1, &["`split.tensors.count` is 2", "found 3"]);
    assert!(matches!(error, M::TensorCount { expected: 2, found: 3 }));
    let error = refuse(&with_total(1 << 20), 0, &["1048576", "262144"]);
    assert!(matches!(error, M::TooManyTensors { found: 1_048_576, limit: 262_144 }));
}

#[test]
fn later_members_say_nothing_else_of_the_model() {
    let with = |key: &str, value: &str| {
        let mut files = files();
        files[1] = files[1].clone().pair(key, 8, string(value));
        files
    };
    let dir = tempfile::tempdir().unwrap();
    let same = put(dir.path(), &with("general.architecture", "llama"));
    assert!(SplitSet::open(&same[2], &Limits::default()).is_ok());
    for (key, value) in [("general.architecture", "gemma"), ("general.name", "x")] {
        let error = refuse(&with(key, value), 1, &[&format!("{key:?}")]);
        assert!(matches!(error, M::ForeignKey { key: found } if &*found == key));
    }
}

#[test]
fn each_member_has_its_own_alignment() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, third] = files();
    let [second, third] = [(second, 64), (third, 8)].map(|(raw, alignment)| raw.aligned(alignment));
    let paths = put(dir.path(), &[first, second, third]);
    let set = SplitSet::open(&paths[0], &Limits::default()).unwrap();
    assert_eq!(set.members().iter().map(|member| member.header.alignment()).collect::<Vec<_>>(), [32, 64, 8]);
    assert_eq!(set.get("b").unwrap().1.offset(), 64);
}

#[test]
fn headers_alone_are_checked_alike() {
    let headers: Vec<Header> = files().iter().map(|raw| parse(&raw.bytes()).unwrap()).collect();
    let new = |names: &[&str], order: &[usize]| {
        SplitSet::new(names.iter().zip(order).map(|(name, at)| (*name, headers[*at].clone())), &Limits::default())
    };
    let names = ["d/x-00001-of-00003.gguf", "x-00002-of-00003.gguf", "/x-00003-of-00003.gguf"];
    assert_eq!(new(&names, &[0, 1, 2]).unwrap().len(), 4);
    assert!(matches!(new(&[], &[]), Err(E::Empty)));
    assert!(matches!(new(&names[..2], &[0, 1]), Err(E::Member { source: M::Members { expected: 3, found: 2 }, .. })));
    assert!(new(&names, &[0, 2, 1]).is_err());
    for total in [3, 5] {
        let members = names.iter().zip((0..).zip(files())).map(|(name, (no, raw))| {
            let raw = Raw { tensors: raw.tensors, ..Raw::default() }.split(no, 3, total);
            (*name, parse(&raw.bytes()).unwrap())
        });
        let error = SplitSet::new(members, &Limits::default()).unwrap_err();
        assert!(matches!(error, E::Member { source: M::TensorCount { found: 4, .. }, .. }), "{error}");
    }
    let swapped = ["x-00001-of-00003.gguf", "x-00003-of-00003.gguf", "x-00002-of-00003.gguf"];
    assert!(new(&swapped, &[0, 2, 1]).is_err());
    let other = ["x-00001-of-00003.gguf", "y-00002-of-00003.gguf", "x-00003-of-00003.gguf"];
    assert!(
        matches!(new(&other, &[0, 1, 2]), Err(E::Member { source: M::FileName { found, .. }, .. }) if &*found == "y-00002-of-00003.gguf")
    );
}
