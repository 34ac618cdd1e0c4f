//! Checks that every level gives the bytes of the portable kernels, for arbitrary bits of the source.
//!
//! [`encode`](crate::support::encode) and [`decode_with`] compare all levels of this machine. A batch of the fastest
//! kernels is eight groups, so the tensors here have a few groups more or fewer.

use longshore_quant::{Decoder, Encoder, FloatType, GlobalScale, Level, Profile, Scheme};
use proptest::prelude::*;

use crate::support::{PROFILES, decode_with, encode};

/// A fast generator, for tests that use millions of numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 20) % end
    }
}

/// Bits of one element: an exponent field at most `spread` below `exponent`, and a random sign and mantissa. With
/// `short`, only the upper bits of the mantissa are set.
fn element(float: FloatType, random: &mut Random, exponent: i64, spread: u64, short: bool) -> Vec<u8> {
    let (exponent_bits, mantissa_bits) = match float {
        FloatType::F32 => (8, 23),
        FloatType::F16 => (5, 10),
        FloatType::BF16 => (8, 7),
    };
    let top = (1i64 << exponent_bits) - 1;
    let offset = i64::try_from(random.below(spread + 1)).expect("it is small");
    let exponent = (exponent - offset).clamp(0, top).cast_unsigned();
    let mantissa = random.next() & ((1 << mantissa_bits) - 1);
    let mantissa = if short { mantissa >> (mantissa_bits - 3) << (mantissa_bits - 3) } else { mantissa };
    let sign = random.next() & 1;
    let bits = (sign << exponent_bits | exponent) << mantissa_bits | mantissa;
    bits.to_le_bytes()[..float.size()].to_vec()
}

/// Groups whose elements lie around an exponent, some with few bits so that quotients tie, with a few zeros and rare
/// special values.
fn source(float: FloatType, random: &mut Random, elements: usize, group: usize) -> Vec<u8> {
    let top = if float == FloatType::F16 { 31 } else { 255 };
    let mut out = Vec::with_capacity(elements * float.size());
    let (mut exponent, mut spread, mut short) = (0, 0, false);
    for i in 0..elements {
        if i % (8 * group) == 0 {
            exponent = match random.below(4) {
                0 => random.below(top + 1),
                1 => top / 2 - 6 + random.below(4),
                _ => top / 2 - 10 + random.below(16),
            };
        }
        if i % group == 0 {
            (spread, short) = ([0, 3, 8][usize::try_from(random.below(3)).expect("it is small")], random.below(3) == 0);
        }
        match random.below(400) {
            0 => out.extend(vec![0; float.size()]),
            1 if random.below(50) == 0 => out.extend(&random.next().to_le_bytes()[..float.size()]),
            _ => out.extend(element(float, random, exponent.cast_signed(), spread, short)),
        }
    }
    out
}

#[test]
fn ordinary_numbers_and_their_limits() {
    let mut random = Random(0x1234_5678_9ABC_DEF1);
    for scheme in Scheme::all() {
        let group = usize::try_from(scheme.group_size()).expect("it is small");
        for float in FloatType::ALL {
            for profile in Profile::ALL {
                let encoder = Encoder::new(scheme, float, profile);
                // A search looks at each weight twenty times, so it gets fewer batches.
                let batches = if profile == Profile::Best { 2 } else { 16 };
                for round in 0..24 {
                    let groups = 8 * batches + usize::from(round % 9u8);
                    encode(&encoder, &source(float, &mut random, groups * group, group));
                }
            }
        }
    }
}

#[test]
fn global_scales() {
    let mut random = Random(0xFEDC_BA98_7654_3211);
    for float in FloatType::ALL {
        for profile in Profile::ALL {
            for exponent in (-120..120).step_by(3) {
                let max_abs = 2f32.powi(exponent) * 1.37;
                let Ok(global) = GlobalScale::from_max_abs(max_abs) else { continue };
                let encoder = Encoder::new(Scheme::NVFP4, float, profile).with_global_scale(global);
                encode(&encoder, &source(float, &mut random, 16 * 67, 16));
                // Magnitudes around the one that the global scale is made for, down to groups with the smallest scale.
                let (least, most) = if float == FloatType::F16 { (-14, 15) } else { (-126, 127) };
                for below in [0, 5, 9, 14, 20] {
                    let exponent = ((exponent - below).clamp(least, most) - least + 1).into();
                    let near: Vec<u8> =
                        (0..16 * 64).flat_map(|_| element(float, &mut random, exponent, 9, false)).collect();
                    encode(&encoder, &near);
                }
            }
        }
    }
}

/// All ties of every width, positive and negative, under an exact scale.
#[test]
fn ties() {
    for scheme in crate::support::affine_schemes() {
        let group = usize::try_from(scheme.group_size()).expect("it is small");
        let top = f32::from(u8::MAX >> (8 - scheme.bits()));
        let step = 1.0 / 64.0;
        let mut values = Vec::new();
        for sign in [1.0, -1.0] {
            let mut halves = (0..2 * u16::from(u8::MAX)).map(f32::from).filter(|half| half / 2.0 <= top).cycle();
            for _ in 0..8 {
                values.extend([0.0, sign * top * step]);
                values.extend((2..group).map(|_| sign * step * 0.5 * halves.next().expect("it is endless")));
            }
        }
        for float in FloatType::ALL {
            for profile in PROFILES {
                let encoder = Encoder::new(scheme, float, profile);
                encode(&encoder, &crate::support::bytes(float, &values));
            }
        }
    }
}

/// All half-way points of E2M1 and E4M3, their neighbours, and values beyond the largest one.
#[test]
fn ties_of_small_floats() {
    for (scheme, largest) in [(Scheme::NVFP4, 6.0f32), (Scheme::MXFP4, 6.0), (Scheme::MXFP8, 448.0)] {
        let group = usize::try_from(scheme.group_size()).expect("it is small");
        let mut values = Vec::new();
        for step in (0..=u16::MAX).map(|half| f32::from_bits(u32::from(half) << 16)) {
            if step.is_finite() && step.abs() <= largest && step > 1e-6 {
                for value in [step, step.next_up(), step.next_down()] {
                    if values.len() % group == 0 {
                        values.push(largest);
                    }
                    values.push(if values.len() % 2 == 0 { value.min(largest) } else { -value.min(largest) });
                }
            }
        }
        values.truncate(values.len() / group * group);
        for float in FloatType::ALL {
            for profile in PROFILES {
                let encoder = Encoder::new(scheme, float, profile);
                encode(&encoder, &crate::support::bytes(float, &values));
            }
        }
    }
}

proptest! {
    #[test]
    fn raw_bits_encode_alike(
        scheme in proptest::sample::select(Scheme::all().collect::<Vec<_>>()),
        float in proptest::sample::select(FloatType::ALL.to_vec()),
        profile in proptest::sample::select(Profile::ALL.to_vec()),
        seed in 1u64..,
    ) {
        let mut random = Random(seed);
        let elements = usize::try_from(scheme.group_size()).expect("it is small") * 19;
        let src: Vec<u8> = (0..elements * float.size()).map(|_| random.next().to_le_bytes()[3]).collect();
        encode(&Encoder::new(scheme, float, profile), &src);
    }

    #[test]
    fn raw_bits_decode_alike(
        scheme in proptest::sample::select(Scheme::all().collect::<Vec<_>>()),
        stored in proptest::sample::select(FloatType::ALL.to_vec()),
        output in proptest::sample::select(FloatType::ALL.to_vec()),
        global in proptest::option::of(any::<f32>()),
        seed in 1u64..,
    ) {
        let mut random = Random(seed);
        let groups = 19;
        let len = scheme.encoded_len(groups, stored).expect("it is small");
        let mut part = |len: usize| -> Vec<u8> { (0..len).map(|_| random.next().to_le_bytes()[3]).collect() };
        let (weight, scale, bias) = (part(len.weight), part(len.scale), part(len.bias));
        let mut decoder = Decoder::new(scheme, stored, output);
        if let Some(global) = global {
            decoder = decoder.with_global_scale(global);
        }
        let elements = groups * usize::try_from(scheme.group_size()).expect("it is small");
        decode_with(&decoder, [&weight, &scale, &bias], &mut vec![0; elements * output.size()]);
    }
}

/// Outputs that are written past the caches, at every alignment that an allocator gives, in parts as a thread gets them too.
#[test]
fn large_outputs_are_decoded_alike_wherever_they_begin() {
    const LARGE: usize = 5 << 20;
    let mut random = Random(7);
    for (name, output) in [("int8", FloatType::BF16), ("int4", FloatType::F16), ("int8", FloatType::F32)] {
        let scheme: Scheme = name.parse().expect("it is a scheme");
        let stored = if output == FloatType::F16 { FloatType::F16 } else { FloatType::BF16 };
        let groups = LARGE / 64 / output.size();
        let len = scheme.encoded_len(groups, stored).expect("it is small");
        let codes: Vec<u8> = (0..len.weight).map(|_| random.next().to_le_bytes()[3]).collect();
        // Numbers from 2⁻² to 2², and an infinity in one group.
        let mut scale: Vec<u8> =
            (0..len.scale / 2).flat_map(|at| [at.to_le_bytes()[0], 0x3C + (at % 7).to_le_bytes()[0]]).collect();
        scale[400..402].copy_from_slice(&if stored == FloatType::F16 { [0, 0x7C] } else { [0x80, 0x7F] });
        let parts = [&codes[..], &scale, &vec![0x3C; len.bias]];
        let decoder = Decoder::new(scheme, stored, output);
        let mut expected = vec![0; groups * 64 * output.size()];
        decoder.with_level(Level::PORTABLE).decode(parts[0], parts[1], parts[2], &mut expected).expect("the parts fit");
        for level in Level::available() {
            let mut memory = vec![0xA5; expected.len() + 128];
            let aligned = memory.as_ptr().align_offset(64);
            for from in [aligned, aligned + 16, aligned + 32, aligned + 1] {
                let out = &mut memory[from..from + expected.len()];
                decoder.with_level(level).decode(parts[0], parts[1], parts[2], out).expect("the parts fit");
                assert!(*out == expected[..], "{name} at {}, {} bytes on", level.name(), from - aligned);
                out.fill(0xA5);
            }
        }
    }
}

/// The tests above have compared all levels of this machine.
#[test]
fn levels_are_listed_slowest_first() {
    let levels: Vec<Level> = Level::available().collect();
    assert_eq!(levels.first(), Some(&Level::PORTABLE));
    assert_eq!(levels.last(), Some(&Level::detect()));
    if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
        assert_eq!(Level::detect().name(), "neon");
    }
}

/// Where no level is faster than the portable one, the tests above compare the portable level with itself.
#[test]
fn there_is_something_to_compare() {
    let compared = Level::detect() != Level::PORTABLE;
    let required = std::env::var_os("LONGSHORE_TEST_SIMD").is_some();
    assert!(compared || !required, "LONGSHORE_TEST_SIMD is set, but this machine has the portable level alone");
}
