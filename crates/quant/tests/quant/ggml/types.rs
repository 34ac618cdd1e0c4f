use longshore_quant::ggml::{GgmlType, UnknownGgmlType};

#[test]
fn ids_and_names_are_ggmls() {
    assert_eq!(GgmlType::ALL.len(), 35);
    assert!(GgmlType::ALL.is_sorted_by_key(|known| known.id()));
    for known in GgmlType::ALL {
        assert_eq!(GgmlType::from_id(known.id()), Ok(*known));
        assert_eq!(known.name().parse(), Ok(*known));
        assert_eq!(known.to_string(), known.name());
    }
    assert_eq!(GgmlType::from_id(14), Ok(GgmlType::Q6K));
    assert_eq!("IQ4_NL".parse(), Ok(GgmlType::IQ4NL));
}

#[test]
fn what_is_no_type() {
    let removed = GgmlType::from_id(5).expect_err("it has been removed").to_string();
    assert_eq!(removed, "ggml type 5 is Q4_3, which ggml has removed: the size of its blocks is not known");
    assert_eq!(GgmlType::from_id(43), Err(UnknownGgmlType::Id { id: 43 }));
    assert_eq!(GgmlType::from_id(u32::MAX), Err(UnknownGgmlType::Id { id: u32::MAX }));
    for name in ["", "q4_0", "Q4_3", "Q4_0 "] {
        assert_eq!(name.parse::<GgmlType>(), Err(UnknownGgmlType::Name { found: name.into() }));
    }
}
