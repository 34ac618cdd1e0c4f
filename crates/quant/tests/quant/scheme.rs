//! Tests of the names, parts and lengths of schemes.

use longshore_quant::{FloatType, Format, PartKind, Scheme, SchemeError};

#[test]
fn every_scheme_is_listed_once() {
    let mut names: Vec<String> = Scheme::all().map(|scheme| scheme.to_string()).collect();
    assert_eq!(names[..7], ["int2", "int3", "int4", "int5", "int6", "int8", "int2-g32"]);
    assert_eq!(names[18..], ["nvfp4", "mxfp4", "mxfp8"]);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 21);
}

#[test]
fn requests_parse_and_display() {
    for scheme in Scheme::all() {
        assert_eq!(scheme.to_string().parse(), Ok(scheme));
        assert_eq!(format!("  {}\n", scheme.to_string().to_uppercase()).parse(), Ok(scheme));
        assert_eq!(Scheme::from_metadata(scheme.quant_type(), scheme.group_size()), Ok(scheme));
    }
    for (request, scheme) in [
        ("q4", Scheme::INT4),
        ("fp4", Scheme::INT4),
        ("int4-g64", Scheme::INT4),
        ("Q8", Scheme::INT8),
        ("fp8", Scheme::INT8),
        ("nvfp4", Scheme::NVFP4),
        ("mxfp4", Scheme::MXFP4),
        ("mxfp8", Scheme::MXFP8),
    ] {
        assert_eq!(request.parse(), Ok(scheme), "{request}");
    }
    assert_eq!(Scheme::INT4.to_string(), "int4");
    assert_eq!(Scheme::affine(4, 32).map(|s| s.to_string()), Ok("int4-g32".to_owned()));
    assert_eq!(format!("[{:>8}]", Scheme::NVFP4), "[   nvfp4]");
}

#[test]
fn other_requests_are_refused_with_what_is_accepted() {
    for request in [
        "",
        "none",
        "int1",
        "int7",
        "int4-",
        "int4-g",
        "int4-g16",
        "int4-g064",
        "int4g64",
        "int4-g64-g64",
        "nvfp4-g16",
        "mxfp4-g32",
        "bf16",
    ] {
        assert_eq!(request.parse::<Scheme>(), Err(SchemeError::Unknown { found: request.into() }), "{request}");
    }
    let message = "int7".parse::<Scheme>().expect_err("there is none").to_string();
    assert_eq!(
        message,
        "expected a quantization type (int2, int3, int4, int5, int6 or int8, each with an optional -g32, -g64 or -g128; nvfp4; \
         mxfp4; mxfp8; or an alias: q4 and fp4 for int4, q8 and fp8 for int8), found \"int7\""
    );
}

#[test]
fn a_format_has_its_groups_and_no_others() {
    let message = |result: Result<Scheme, SchemeError>| result.expect_err("it does not exist").to_string();
    assert_eq!(message(Scheme::affine(7, 64)), "expected 2, 3, 4, 5, 6 or 8 bits per code, found 7");
    assert_eq!(message(Scheme::affine(4, 16)), "expected a group size of 32, 64 or 128 for int4, found 16");
    assert_eq!(message(Scheme::from_metadata("nvfp4", 32)), "expected a group size of 16 for nvfp4, found 32");
    assert_eq!(message(Scheme::from_metadata("mxfp8", 64)), "expected a group size of 32 for mxfp8, found 64");
    assert!(matches!(Scheme::from_metadata("int9", 64), Err(SchemeError::Unknown { .. })));
}

#[test]
fn what_a_scheme_says_of_itself() {
    assert_eq!(Scheme::INT8.format(), Format::Affine { bits: 8 });
    assert_eq!((Scheme::NVFP4.bits(), Scheme::NVFP4.group_size()), (4, 16));
    assert!(Scheme::INT4.is_affine() && Scheme::INT4.has_bias());
    assert!(!Scheme::MXFP8.is_affine() && !Scheme::MXFP8.has_bias());
    let int3 = Scheme::affine(3, 128).expect("it exists");
    assert_eq!(int3.eight_bit(), Scheme::affine(8, 128).expect("it exists"));
    assert_eq!(Scheme::NVFP4.eight_bit(), Scheme::MXFP8);
    for (scheme, float, expected) in [
        (Scheme::INT4, FloatType::BF16, 4.5),
        (Scheme::INT4, FloatType::F32, 5.0),
        (Scheme::INT8, FloatType::F16, 8.5),
        (Scheme::NVFP4, FloatType::BF16, 4.5),
        (Scheme::MXFP4, FloatType::BF16, 4.25),
        (Scheme::MXFP8, FloatType::F32, 8.25),
    ] {
        assert!((scheme.bits_per_weight(float) - expected).abs() < 1e-12, "{scheme} {float}");
    }
}

/// Columns of the packed codes and of the scales for a last dimension of 256, as readers infer them.
#[test]
fn parts_have_the_shapes_that_readers_expect() {
    for (scheme, weight, scale) in [
        ("int4-g32", 256 / 8, 256 / 32),
        ("int4", 256 / 8, 256 / 64),
        ("int8-g32", 256 / 4, 256 / 32),
        ("int8", 256 / 4, 256 / 64),
        ("nvfp4", 256 / 8, 256 / 16),
        ("mxfp4", 256 / 8, 256 / 32),
        ("mxfp8", 256 / 4, 256 / 32),
        ("int4-g128", 256 / 8, 256 / 128),
        ("int6", 256 * 6 / 32, 256 / 64),
        ("int3", 256 * 3 / 32, 256 / 64),
    ] {
        let scheme: Scheme = scheme.parse().expect("it exists");
        let parts = scheme.parts(FloatType::BF16, &[3, 5, 256]).expect("it fits");
        assert_eq!((parts.weight.shape.as_slice(), parts.weight.kind.dtype()), (&[3, 5, weight][..], "U32"));
        let dtype = if scheme.is_affine() { "BF16" } else { "U8" };
        assert_eq!((parts.scale.shape.as_slice(), parts.scale.kind.dtype()), (&[3, 5, scale][..], dtype));
        assert_eq!(parts.bias, scheme.has_bias().then_some(parts.scale));
    }
}

#[test]
fn the_lengths_of_parts_are_those_of_their_buffers() {
    for scheme in Scheme::all() {
        for float in FloatType::ALL {
            let parts = scheme.parts(float, &[6, 256]).expect("it fits");
            let groups = 6 * 256 / usize::try_from(scheme.group_size()).expect("it is small");
            let len = scheme.encoded_len(groups, float).expect("it is small");
            let bytes = |len: Option<u64>| len.and_then(|len| usize::try_from(len).ok());
            assert_eq!(bytes(parts.weight.byte_len()), Some(len.weight));
            assert_eq!(bytes(parts.scale.byte_len()), Some(len.scale));
            assert_eq!(bytes(parts.bias.map_or(Some(0), |bias| bias.byte_len())), Some(len.bias));
        }
    }
    assert_eq!(Scheme::INT8.encoded_len(usize::MAX, FloatType::F32), None);
    assert_eq!(PartKind::Float(FloatType::F16).size(), 2);
}

#[test]
fn shapes_that_do_not_fit_are_refused_with_the_numbers() {
    let message =
        |scheme: Scheme, shape: &[u64]| scheme.parts(FloatType::F32, shape).expect_err("it does not fit").to_string();
    assert_eq!(message(Scheme::INT4, &[]), "expected a tensor of rank 2 or more to encode as int4, found rank 0");
    assert_eq!(message(Scheme::NVFP4, &[64]), "expected a tensor of rank 2 or more to encode as nvfp4, found rank 1");
    assert_eq!(
        message(Scheme::INT8, &[64, 96]),
        "expected a last dimension that is a multiple of the group of 64 to encode as int8, found 96"
    );
    // The longest possible row does not overflow, and its length in bytes is reported as too large.
    let parts = Scheme::INT8.parts(FloatType::F32, &[4, u64::MAX - 63]).expect("it is whole groups");
    assert_eq!(parts.weight.shape, [4, (u64::MAX - 63) / 4]);
    assert_eq!(parts.weight.byte_len(), None);
    assert_eq!(Scheme::INT8.parts(FloatType::F32, &[0, 64]).map(|parts| parts.weight.byte_len()), Ok(Some(0)));
}
