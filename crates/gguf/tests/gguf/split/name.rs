use longshore_gguf::{MemberName, MemberNameError};

#[test]
fn names_of_members() {
    for (text, prefix, no, count) in [
        ("m-00001-of-00003.gguf", "m", 0, 3),
        ("a-b-of-c-65535-of-65535.gguf", "a-b-of-c", 65_534, 65_535),
        ("--00001-of-00001.gguf", "-", 0, 1),
        ("..-00001-of-00001.gguf", "..", 0, 1),
        ("ä-00001-of-00002-00002-of-00002.gguf", "ä-00001-of-00002", 1, 2),
    ] {
        let name: MemberName = text.parse().unwrap();
        assert_eq!((name.prefix(), name.no(), name.count(), &*name.to_string()), (prefix, no, count, text));
        assert_eq!(name.sibling(no), Some(name.clone()));
        assert_eq!(name.sibling(count), None);
    }
    for bad in [
        "",
        "m.gguf",
        "-00001-of-00001.gguf",
        "m-00000-of-00001.gguf",
        "m-00002-of-00001.gguf",
        "m-00001-of-00000.gguf",
        "m-1-of-1.gguf",
        "m-000001-of-000001.gguf",
        "m-00001-of-99999.gguf",
        "m-0000١-of-00001.gguf",
        "m-+0001-of-00001.gguf",
        "m-00001-of-00001.GGUF",
        "m-00001-of-00001.gguf ",
        "d/m-00001-of-00001.gguf",
        "C:m-00001-of-00001.gguf",
    ] {
        assert!(bad.parse::<MemberName>().is_err(), "{bad:?}");
    }
    assert!(matches!(MemberName::new("../m", 0, 1), Err(MemberNameError::Prefix { .. })));
    assert!(matches!(MemberName::new("m", 1, 1), Err(MemberNameError::Number { no: 1, count: 1 })));
}
