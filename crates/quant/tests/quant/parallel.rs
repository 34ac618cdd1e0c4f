//! Checks that the bytes are the same with any number of threads.

use longshore_quant::{Decoder, EncodeBuffers, EncodeError, Encoder, FloatType, Importance, Profile, Scheme};

use crate::support::{bytes, gaussian};

#[test]
fn threads_change_nothing() {
    for (scheme, profile) in [
        (Scheme::INT4, Profile::Plus),
        (Scheme::INT8, Profile::Mlx),
        (Scheme::NVFP4, Profile::Plus),
        (Scheme::MXFP8, Profile::Plus),
        (Scheme::INT4, Profile::Best),
    ] {
        let group = usize::try_from(scheme.group_size()).expect("it is small");
        // A number of groups that is not a multiple of a batch, and makes several pieces.
        let groups = if profile == Profile::Best { 4096 + 13 } else { 3 * 4096 + 13 };
        let mut values = gaussian(9, groups * group, 0.02);
        values[group * 5000 % (groups * group)] = f32::NAN;
        let src = bytes(FloatType::BF16, &values);
        let per_column: Vec<f32> = gaussian(3, 3 * group, 1.0).into_iter().map(f32::abs).collect();
        let importance = Importance::new(&per_column).expect("they are usable").starting_at(group);
        let encoder = Encoder::new(scheme, FloatType::BF16, profile);
        let decoder = Decoder::new(scheme, FloatType::BF16, FloatType::BF16);
        let len = scheme.encoded_len(groups, FloatType::BF16).expect("it fits");
        let run = |threads: usize| {
            let (mut weight, mut scale, mut bias) = (vec![0; len.weight], vec![0; len.scale], vec![0; len.bias]);
            let mut restored = vec![0; src.len()];
            let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
            let stats = if threads == 0 {
                let stats = encoder.encode_weighted(&src, importance, out).expect("the buffers fit");
                decoder.decode(&weight, &scale, &bias, &mut restored).expect("the parts fit");
                stats
            } else {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
                let stats = pool.install(|| encoder.encode_parallel(&src, Some(importance), out));
                let parts = [&weight[..], &scale, &bias];
                pool.install(|| decoder.decode_parallel(parts[0], parts[1], parts[2], &mut restored))
                    .expect("the parts fit");
                stats.expect("the buffers fit")
            };
            (weight, scale, bias, restored, stats)
        };
        let expected = run(0);
        for threads in [1, 2, 3] {
            assert!(run(threads) == expected, "{scheme} {profile} on {threads} threads");
        }
    }
}

#[test]
fn lengths_are_checked_first() {
    let encoder = Encoder::new(Scheme::INT4, FloatType::BF16, Profile::Plus);
    let (mut weight, mut scale, mut bias) = ([0; 32], [0; 2], [0; 1]);
    let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
    let found = encoder.encode_parallel(&[0; 128], None, out);
    assert_eq!(found, Err(EncodeError::BufferLength { part: "bias", expected: 2, found: 1 }));
}
