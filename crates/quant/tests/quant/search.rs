//! Tests of the search of `best`: its gains, and that it never loses.

use longshore_quant::{
    Decoder, EncodeBuffers, EncodeError, Encoder, FloatType, GlobalScale, Importance, ImportanceError, Level, Profile,
    Scheme,
};
use proptest::prelude::*;

use crate::support::{Encoded, bytes, decode, decode_with, encode, floats, gaussian};

/// Numbers with the heavy tails of Student's t-distribution with four degrees of freedom.
fn student(seed: u64, count: usize, sigma: f64) -> Vec<f32> {
    let normal = gaussian(seed, 5 * count, 1.0);
    normal
        .chunks_exact(5)
        .map(|n| {
            let square = |i: usize| f64::from(n[i]) * f64::from(n[i]);
            let chi_squared = square(1) + square(2) + square(3) + square(4);
            #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
            let value = (f64::from(n[0]) / (chi_squared / 4.0).sqrt() * sigma) as f32;
            value
        })
        .collect()
}

/// Relative RMSE in percent.
fn loss(scheme: Scheme, profile: Profile, global: bool, src: &[u8]) -> f64 {
    let weights = floats(FloatType::BF16, src);
    let mut encoder = Encoder::new(scheme, FloatType::BF16, profile).with_level(Level::detect());
    let mut decoder = Decoder::new(scheme, FloatType::BF16, FloatType::F32);
    if global {
        let max_abs = src.chunks(4096).map(|piece| FloatType::BF16.max_abs(piece)).fold(0.0, f32::max);
        let global = GlobalScale::from_max_abs(max_abs).expect("it is usable");
        encoder = encoder.with_global_scale(global);
        decoder = decoder.with_global_scale(global.multiplier());
    }
    let groups = weights.len() / usize::try_from(scheme.group_size()).expect("it is small");
    let len = scheme.encoded_len(groups, FloatType::BF16).expect("it fits");
    let (mut weight, mut scale, mut bias) = (vec![0; len.weight], vec![0; len.scale], vec![0; len.bias]);
    let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
    encoder.encode(src, out).expect("the buffers fit");
    let mut restored = vec![0; weights.len() * 4];
    decoder.decode(&weight, &scale, &bias, &mut restored).expect("the parts fit");
    let (mut error, mut norm) = (0.0, 0.0);
    for (weight, restored) in weights.iter().zip(floats(FloatType::F32, &restored)) {
        error += (f64::from(*weight) - f64::from(restored)).powi(2);
        norm += f64::from(*weight).powi(2);
    }
    (error / norm).sqrt() * 100.0
}

/// Losses in percent of `plus` and `best`, for 1024 × 2048 weights: normal with σ = 0.02, and of Student's
/// t-distribution.
#[test]
fn the_table_of_losses() {
    let normal = bytes(FloatType::BF16, &gaussian(1, 1024 * 2048, 0.02));
    let heavy = bytes(FloatType::BF16, &student(2, 1024 * 2048, 0.02));
    for (name, global, plus, best) in [
        ("int4", false, [9.10, 11.9], [8.30, 10.9]),
        ("int8", false, [0.54, 0.79], [0.52, 0.69]),
        ("int3", false, [19.0, 25.0], [16.8, 21.8]),
        ("mxfp4", false, [11.8, 13.9], [11.2, 12.8]),
        ("nvfp4", false, [10.35, 10.0], [8.95, 9.1]),
        ("nvfp4", true, [9.6, 9.25], [8.2, 8.35]),
    ] {
        let scheme: Scheme = name.parse().expect("it exists");
        for (profile, limits) in [(Profile::Plus, plus), (Profile::Best, best)] {
            for (src, limit) in [&normal, &heavy].into_iter().zip(limits) {
                let found = loss(scheme, profile, global, src);
                assert!(found <= limit, "{name} {profile}, global scale {global}: {found:.3} %, expected {limit} %");
            }
        }
    }
}

/// Weighted squared error of each group.
fn errors(scheme: Scheme, float: FloatType, src: &[u8], found: &Encoded, weight: impl Fn(usize) -> f32) -> Vec<f64> {
    let (weights, restored) = (floats(float, src), decode(scheme, float, found));
    let group = usize::try_from(scheme.group_size()).expect("it is small");
    let squares: Vec<f64> = weights
        .iter()
        .zip(restored)
        .enumerate()
        .map(|(i, (a, b))| f64::from(weight(i)) * (f64::from(*a) - f64::from(b)).powi(2))
        .collect();
    squares.chunks_exact(group).map(|squares| squares.iter().sum()).collect()
}

fn never_worse(scheme: Scheme, float: FloatType, src: &[u8]) {
    let of = |profile| errors(scheme, float, src, &encode(&Encoder::new(scheme, float, profile), src), |_| 1.0);
    let (best, mlx) = (of(Profile::Best), of(Profile::Mlx));
    for (i, (best, mlx)) in best.iter().zip(&mlx).enumerate() {
        // MLX makes NaN of some groups. A NaN of `best` is not worse than that.
        assert!(best <= mlx || mlx.is_nan(), "{scheme} {float}, group {i}: {best:e}, with mlx {mlx:e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Ordinary weights, weights with few distinct values, and groups far from zero.
    #[test]
    fn best_is_never_worse_than_mlx(
        scheme in proptest::sample::select(Scheme::all().collect::<Vec<_>>()),
        float in proptest::sample::select(FloatType::ALL.to_vec()),
        seed in any::<u64>(),
        sigma in -14i32..10,
        shift in prop_oneof![Just(0.0), -100.0f32..100.0],
        coarse in prop_oneof![Just(None), (1u8..8).prop_map(Some)],
    ) {
        let group = usize::try_from(scheme.group_size()).expect("it is small");
        let values: Vec<f32> = gaussian(seed, 11 * group, 1.0)
            .into_iter()
            .map(|value| coarse.map_or(value, |steps| (value * f32::from(steps)).round() / f32::from(steps)))
            .map(|value| (value + shift) * 2f32.powi(sigma))
            .collect();
        never_worse(scheme, float, &bytes(float, &values));
    }

    /// The same for arbitrary bits.
    #[test]
    fn nor_on_raw_bits(
        scheme in proptest::sample::select(Scheme::all().collect::<Vec<_>>()),
        float in proptest::sample::select(FloatType::ALL.to_vec()),
        src in prop::collection::vec(any::<u8>(), 4 * 128 * 3),
    ) {
        let group_bytes = usize::try_from(scheme.group_size()).expect("it is small") * float.size();
        never_worse(scheme, float, &src[..src.len() / group_bytes * group_bytes]);
    }

    /// A matrix may be cut at any group, if each piece knows its first column.
    #[test]
    fn weighted_pieces_make_the_whole(
        scheme in proptest::sample::select(Scheme::all().collect::<Vec<_>>()),
        seed in any::<u64>(),
        cut in 0usize..=21,
    ) {
        let group = usize::try_from(scheme.group_size()).expect("it is small");
        let src = bytes(FloatType::F32, &gaussian(seed, 21 * group, 0.02));
        let per_column: Vec<f32> = gaussian(seed ^ 1, 3 * group, 1.0).into_iter().map(|x| x * x).collect();
        let importance = Importance::new(&per_column).expect("they are usable");
        let encoder = Encoder::new(scheme, FloatType::F32, Profile::Best);
        let whole = encode_weighted(&encoder, importance, &src);
        let at = cut * group;
        let head = encode_weighted(&encoder, importance, &src[..at * 4]);
        let tail = encode_weighted(&encoder, importance.starting_at(at), &src[at * 4..]);
        prop_assert_eq!([head.weight, tail.weight].concat(), whole.weight);
        prop_assert_eq!([head.scale, tail.scale].concat(), whole.scale);
        prop_assert_eq!([head.bias, tail.bias].concat(), whole.bias);
    }
}

/// Encodes at every level, and compares the results.
fn encode_weighted(encoder: &Encoder, importance: Importance<'_>, src: &[u8]) -> Encoded {
    let scheme = encoder.scheme();
    let groups = src.len() / encoder.float().size() / usize::try_from(scheme.group_size()).expect("it is small");
    let len = scheme.encoded_len(groups, encoder.float()).expect("it fits");
    let mut found = Vec::new();
    for level in Level::available() {
        let (mut weight, mut scale, mut bias) = (vec![0; len.weight], vec![0; len.scale], vec![0; len.bias]);
        let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
        let stats = encoder.with_level(level).encode_weighted(src, importance, out).expect("the buffers fit");
        found.push(Encoded { weight, scale, bias, stats });
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{scheme}: the levels differ");
    found.swap_remove(0)
}

#[test]
fn importance_moves_the_error_to_where_it_does_not_count() {
    for scheme in ["int2", "int3", "int4", "nvfp4", "mxfp4"].map(|name| name.parse::<Scheme>().expect("it exists")) {
        let columns = 256;
        let src = bytes(FloatType::BF16, &gaussian(5, 64 * columns, 0.02));
        let per_column: Vec<f32> = gaussian(6, columns, 1.0).into_iter().map(|x| (3.0 * x).exp2()).collect();
        let importance = Importance::new(&per_column).expect("they are usable");
        let encoder = Encoder::new(scheme, FloatType::BF16, Profile::Best);
        let weighted = |found: &Encoded| -> f64 {
            errors(scheme, FloatType::BF16, &src, found, |i| per_column[i % columns]).iter().sum()
        };
        let (with, without) = (encode_weighted(&encoder, importance, &src), encode(&encoder, &src));
        // Powers of two leave mxfp4 little choice.
        let gain = if scheme == Scheme::MXFP4 { 0.99 } else { 0.85 };
        assert!(weighted(&with) < gain * weighted(&without), "{scheme}");
        // Equal importance of all columns is the same as none.
        let equal = vec![7.5; columns];
        let equal = Importance::new(&equal).expect("they are usable");
        assert_eq!(encode_weighted(&encoder, equal, &src), without, "{scheme}");
        let nothing = vec![0.0; columns];
        let nothing = Importance::new(&nothing).expect("they are usable");
        assert_eq!(encode_weighted(&encoder, nothing, &src), without, "{scheme}");
    }
}

#[test]
fn unusable_importances_are_refused() {
    assert_eq!(Importance::new(&[]), Err(ImportanceError::Empty));
    let found = Importance::new(&[1.0, -2.0]).expect_err("it is negative");
    assert_eq!(found.to_string(), "expected an importance that is finite and not negative, found -2 for column 1");
    assert!(matches!(Importance::new(&[f32::NAN]), Err(ImportanceError::Value { column: 0, .. })));
    let per_column = [1.0; 96];
    let importance = Importance::new(&per_column).expect("they are usable");
    let encoder = Encoder::new(Scheme::INT4, FloatType::BF16, Profile::Best);
    let (mut weight, mut scale, mut bias) = ([0; 32], [0; 2], [0; 2]);
    let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
    let found = encoder.encode_weighted(&[0; 128], importance, out);
    assert_eq!(found.map(|_| ()), Err(EncodeError::Importance { group: 64, columns: 96, first: 0 }));
    // The rows are whole groups here, but the source begins within one.
    let per_column = [1.0; 128];
    let importance = Importance::new(&per_column).expect("they are usable").starting_at(128 + 32);
    let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
    let found = encoder.encode_weighted(&[0; 128], importance, out);
    assert_eq!(found.map(|_| ()), Err(EncodeError::Importance { group: 64, columns: 128, first: 32 }));
}

/// A group of one or two values is restored exactly where the format can represent them.
#[test]
fn simple_groups_are_exact() {
    let values: Vec<f32> = (0..64 * 16).map(|i| if i % 3 == 0 { -0.5 } else { 1.0 }).collect();
    for scheme in ["int2", "int3", "int4", "int5", "int6", "int8", "mxfp4", "nvfp4", "mxfp8"] {
        let scheme: Scheme = scheme.parse().expect("it exists");
        let src = bytes(FloatType::BF16, &values);
        let found = encode(&Encoder::new(scheme, FloatType::BF16, Profile::Best), &src);
        let mut out = vec![0; src.len() * 2];
        let decoder = Decoder::new(scheme, FloatType::BF16, FloatType::F32);
        decode_with(&decoder, [&found.weight, &found.scale, &found.bias], &mut out);
        for (value, restored) in values.iter().zip(floats(FloatType::F32, &out)) {
            assert!((value - restored).abs() < 0.01, "{scheme}: {value} became {restored}");
        }
    }
}
