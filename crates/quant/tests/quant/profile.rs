//! Tests of the names of profiles and float types.

use longshore_quant::{FloatType, Profile};

#[test]
fn names_round_trip() {
    for profile in Profile::ALL {
        assert_eq!(profile.to_string().parse(), Ok(profile));
        assert_eq!(format!(" {} ", profile.name().to_uppercase()).parse(), Ok(profile));
    }
    assert_eq!(Profile::default(), Profile::Plus);
    let error = "fast".parse::<Profile>().expect_err("there is none");
    assert_eq!(error.to_string(), "expected a profile (mlx, mlx-metal, plus or best), found \"fast\"");
}

#[test]
fn float_types_have_the_names_of_safetensors() {
    for float in FloatType::ALL {
        assert_eq!(float.to_string().parse(), Ok(float));
    }
    let error = "F64".parse::<FloatType>().expect_err("it is not quantized");
    assert_eq!(error.to_string(), "expected a float type (F32, F16 or BF16), found \"F64\"");
    assert!("bf16".parse::<FloatType>().is_err());
}
