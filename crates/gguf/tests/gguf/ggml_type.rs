use longshore_gguf::{GgmlType, UnknownGgmlType, ValueType};

/// Ids, names, elements and bytes of a block, written down a second time.
const TABLE: &str = "
0 F32 1 4        1 F16 1 2        2 Q4_0 32 18     3 Q4_1 32 20     6 Q5_0 32 22     7 Q5_1 32 24     8 Q8_0 32 34
9 Q8_1 32 36     10 Q2_K 256 84   11 Q3_K 256 110  12 Q4_K 256 144  13 Q5_K 256 176  14 Q6_K 256 210  15 Q8_K 256 292
16 IQ2_XXS 256 66  17 IQ2_XS 256 74  18 IQ3_XXS 256 98  19 IQ1_S 256 50  20 IQ4_NL 32 18  21 IQ3_S 256 110  22 IQ2_S 256 82
23 IQ4_XS 256 136  24 I8 1 1  25 I16 1 2  26 I32 1 4  27 I64 1 8  28 F64 1 8  29 IQ1_M 256 56  30 BF16 1 2
34 TQ1_0 256 54  35 TQ2_0 256 66  39 MXFP4 32 17  40 NVFP4 64 36  41 Q1_0 128 18  42 Q2_0 64 18
";

#[test]
fn types_are_those_of_the_table() {
    let words: Vec<_> = TABLE.split_whitespace().collect();
    assert_eq!(words.len() / 4, GgmlType::ALL.len());
    for (row, &known) in words.chunks(4).zip(GgmlType::ALL) {
        let number = |index: usize| row[index].parse::<u64>().unwrap();
        assert_eq!(u64::from(known.id()), number(0));
        assert_eq!((known.name(), known.to_string()), (row[1], row[1].to_owned()));
        assert_eq!((known.block_size(), known.block_bytes()), (number(2), number(3)), "{known}");
        assert_eq!(GgmlType::from_id(known.id()), Ok(known));
        assert_eq!(known.name().parse(), Ok(known));
        assert_eq!(known.row_bytes(known.block_size() * 3), Some(known.block_bytes() * 3));
        assert_eq!(known.row_bytes(0), Some(0));
        assert_eq!(known.row_bytes(known.block_size() + 1).is_some(), known.block_size() == 1);
    }
    assert_eq!(GgmlType::F64.row_bytes(u64::MAX), None);
}

#[test]
fn unknown_ids_and_names_are_refused() {
    let known: Vec<_> = GgmlType::ALL.iter().map(|known| known.id()).collect();
    for id in (0..100).filter(|id| !known.contains(id)) {
        let error = GgmlType::from_id(id).unwrap_err();
        let removed = [4, 5, 31, 32, 33, 36, 37, 38].contains(&id);
        assert_eq!(matches!(error, UnknownGgmlType::Removed { .. }), removed, "{id}");
        assert!(error.to_string().contains(&format!("ggml type {id}")));
    }
    for name in ["", "q4_k", "Q4K", "Q4_2", "BF16 "] {
        let error = name.parse::<GgmlType>().unwrap_err();
        assert!(error.to_string().contains(&format!("{name:?}")));
    }
}

#[test]
fn value_types_count_from_zero() {
    for (id, &known) in (0..).zip(ValueType::ALL) {
        assert_eq!((known.id(), ValueType::from_id(id)), (id, Some(known)));
    }
    assert_eq!(ValueType::from_id(13), None);
    let names: Vec<_> = ValueType::ALL.iter().map(|known| known.name()).collect();
    assert_eq!(names.join(" "), "u8 i8 u16 i16 u32 i32 f32 bool string array u64 i64 f64");
    let lens: Vec<_> = ValueType::ALL.iter().map(|known| known.byte_len().unwrap_or(0)).collect();
    assert_eq!(lens, [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8]);
}
