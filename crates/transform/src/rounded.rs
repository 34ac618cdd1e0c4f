//! Affine codes for scales and biases that were rounded after they were chosen.
//!
//! An encoder of F32 elements stores F32 scales. Weights that were changed in F32, and whose type is narrower, need the
//! scales in that type: these are rounded here, and the codes are those nearest to the weights under the rounded ones.

use longshore_quant::{EncodeBuffers, FloatType};

use crate::{
    codes::{nearest, pack, top},
    float,
};

/// Elements of the largest group.
const MAX_GROUP: usize = 128;
/// Groups whose scales are rounded at a time.
const GROUPS: usize = 64;

/// Rounds the scales and biases of affine groups of `group` elements from F32 to `stored`, and chooses the codes of
/// `values` anew, of `bits` bits. The result is that of each group alone.
///
/// `scales` and `biases` are F32, one for each group. `out` has the lengths that
/// [`Scheme::encoded_len`](longshore_quant::Scheme::encoded_len) gives for `stored`.
///
/// # Panics
///
/// Panics if a group has more elements than any scheme, or `bits` is not from 1 to 8.
#[expect(clippy::needless_pass_by_value, reason = "buffers are lent as in an encoder")]
pub fn affine(
    [bits, group]: [u8; 2],
    stored: FloatType,
    values: &[f32],
    [scales, biases]: [&[u8]; 2],
    out: EncodeBuffers<'_>,
) {
    let (group, size, top) = (usize::from(group), stored.size(), top(bits));
    let mut codes = [0; MAX_GROUP];
    let codes = &mut codes[..group];
    let [mut steps, mut zeros] = [[0.0; GROUPS]; 2];
    let of_groups = |each: usize| each * GROUPS;
    let from = scales.chunks(of_groups(4)).zip(biases.chunks(of_groups(4)));
    let to = out.scale.chunks_mut(of_groups(size)).zip(out.bias.chunks_mut(of_groups(size)));
    let packed_len = group * usize::from(bits) / 8;
    let blocks = values.chunks(of_groups(group)).zip(out.weight.chunks_mut(of_groups(packed_len)));
    for (((values, packed), from), to) in blocks.zip(from).zip(to) {
        round(stored, from.0, to.0, &mut steps);
        round(stored, from.1, to.1, &mut zeros);
        let groups = values.chunks_exact(group).zip(packed.chunks_exact_mut(packed_len));
        for ((values, packed), (step, zero)) in groups.zip(steps.iter().zip(&zeros)) {
            for (code, value) in codes.iter_mut().zip(values) {
                *code = nearest((value - zero) / step, top);
            }
            pack(bits, codes, packed);
        }
    }
}

/// Rounds F32 numbers to `stored`, and gives them as they were rounded.
fn round(stored: FloatType, from: &[u8], to: &mut [u8], rounded: &mut [f32; GROUPS]) {
    float::read(FloatType::F32, from, rounded);
    float::write(stored, rounded, to);
    float::read(stored, to, rounded);
}

#[cfg(test)]
mod tests {
    use longshore_quant::{Encoder, Profile, Scheme};

    use super::*;

    #[test]
    fn scales_that_need_no_rounding_give_the_codes_of_the_encoder() {
        let values: Vec<f32> =
            (0..256_u16).map(|at| float::round(FloatType::BF16, (f32::from(at) * 0.37).sin())).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        for scheme in Scheme::all().filter(|scheme| scheme.is_affine()) {
            let group = u8::try_from(scheme.group_size()).expect("groups are short");
            let groups = values.len() / usize::from(group);
            let mut found = Vec::new();
            for stored in [FloatType::F32, FloatType::BF16] {
                let len = |float| scheme.encoded_len(groups, float).expect("it is short");
                let (wide, own) = (len(FloatType::F32), len(stored));
                let [mut weight, mut scale, mut bias] = [vec![0; wide.weight], vec![0; wide.scale], vec![0; wide.bias]];
                let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
                Encoder::new(scheme, FloatType::F32, Profile::Plus).encode(&bytes, out).expect("whole groups");
                let [mut codes, mut scales, mut biases] = [vec![0; own.weight], vec![0; own.scale], vec![0; own.bias]];
                let out = EncodeBuffers { weight: &mut codes, scale: &mut scales, bias: &mut biases };
                affine([scheme.bits(), group], stored, &values, [&scale, &bias], out);
                if stored == FloatType::F32 {
                    assert_eq!((codes, scales, biases), (weight, scale, bias), "{scheme}");
                } else {
                    found = [codes, scales, biases].concat();
                }
            }
            // The weights are BF16, so that an encoder of BF16 has the same extremes, and rounds the same scales.
            let bytes: Vec<u8> = bytes.chunks_exact(4).flat_map(|value| [value[2], value[3]]).collect();
            let own = scheme.encoded_len(groups, FloatType::BF16).expect("it is short");
            let [mut weight, mut scale, mut bias] = [vec![0; own.weight], vec![0; own.scale], vec![0; own.bias]];
            let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
            Encoder::new(scheme, FloatType::BF16, Profile::Plus).encode(&bytes, out).expect("whole groups");
            assert_eq!(found, [weight, scale, bias].concat(), "{scheme}");
        }
    }
}
