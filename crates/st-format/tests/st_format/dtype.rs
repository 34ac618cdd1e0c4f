use longshore_st_format::{Dtype, Shape};

#[test]
fn names_and_widths_are_those_of_the_safetensors_crate() {
    for &dtype in Dtype::ALL {
        let theirs: safetensors::Dtype = serde_json::from_str(&format!("{:?}", dtype.name())).unwrap();
        assert_eq!(theirs.bitsize(), dtype.bits() as usize, "{dtype}");
        assert_eq!(theirs.to_string(), dtype.name());
        assert_eq!(dtype.name().parse(), Ok(dtype));
        assert_eq!(serde_json::to_string(&dtype).unwrap(), format!("{:?}", dtype.name()));
        assert_eq!(serde_json::from_str::<Dtype>(&format!("{:?}", dtype.name())).unwrap(), dtype);
    }
    // The error message of `safetensors` about an unknown variant lists all variants of its enum. All of them must be
    // in `ALL`.
    let message = serde_json::from_str::<safetensors::Dtype>("\"?\"").unwrap_err().to_string();
    let theirs = message.split('`').skip(3).step_by(2).collect::<Vec<_>>();
    assert_eq!(theirs.len(), Dtype::ALL.len(), "{message}");
    assert!(theirs.iter().all(|name| name.parse::<Dtype>().is_ok()), "{message}");
}

#[test]
fn unknown_names_are_named() {
    for name in ["", "f32", "F32 ", "F8", "FLOAT"] {
        let error = name.parse::<Dtype>().unwrap_err();
        assert_eq!(&*error.found, name);
        assert!(error.to_string().contains(&format!("{name:?}")));
    }
}

#[test]
fn shapes_are_json_arrays() {
    let shape = Shape::new([2, 0, 3]);
    assert_eq!(serde_json::to_string(&shape).unwrap(), "[2,0,3]");
    assert_eq!(serde_json::from_str::<Shape>("[2,0,3]").unwrap(), shape);
    assert_eq!(format!("{} {}", shape, Shape::new([])), "[2, 0, 3] []");
    assert!(serde_json::from_str::<Shape>("[-1]").is_err());
}
