//! Generates cases, from exhaustive to random ones.

use longshore_quant::{FloatType, Scheme};

use super::{Case, Global, Numbers};

/// Global scales: ordinary, exact, at both ends of the range, and invalid.
const GLOBALS: [f32; 9] = [1.0, 0.1, 3.7e-5, 1e-38, 1e-42, 2.5e38, f32::INFINITY, f32::NAN, -0.75];

/// Cases with every code under every byte of scale, and for nvfp4 also with each of these global scales.
pub(crate) fn block_cases(mut each: impl FnMut(&Case)) {
    for target in FloatType::ALL {
        for scheme in [Scheme::NVFP4, Scheme::MXFP4] {
            let mut case = Case::groups(scheme, FloatType::BF16, target, 256);
            case.scale = (0..=255).collect();
            // There are two codes per byte, and 16 or 32 codes per group.
            case.weight = [0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE].repeat(case.weight.len() / 8);
            each(&case);
            if scheme == Scheme::NVFP4 {
                for global in GLOBALS {
                    each(&Case { global: Global::One(global), ..case.clone() });
                }
            }
        }
        let mut case = Case::groups(Scheme::MXFP8, FloatType::BF16, target, 256 * 8);
        case.scale = (0..=255).flat_map(|scale| [scale; 8]).collect();
        case.weight = (0..=255).collect::<Vec<_>>().repeat(256);
        each(&case);
    }
}

/// Cases for an affine width, a type of scales and all outputs: all 16-bit scales, or as many F32 scales of all kinds,
/// each with all codes (for 8 bits with half of them), and biases of all kinds.
pub(crate) fn affine_cases(bits: u8, source: FloatType, mut each: impl FnMut(&Case)) {
    let scheme = Scheme::affine(bits, 32.max(1 << bits.min(7))).expect("it exists");
    let mut numbers = Numbers::new(u64::from(bits));
    for target in FloatType::ALL {
        let mut case = Case::groups(scheme, source, target, 1 << 16);
        let scales = (0..=u16::MAX).map(|high| (high, numbers.next().to_le_bytes()));
        case.scale = match source {
            // The upper half has the sign, the exponent and some of the mantissa; the lower half is arbitrary.
            FloatType::F32 => {
                scales.flat_map(|(high, low)| [low[0], low[1], high.to_le_bytes()[0], high.to_le_bytes()[1]]).collect()
            }
            FloatType::F16 | FloatType::BF16 => scales.flat_map(|(high, _)| high.to_le_bytes()).collect(),
        };
        numbers.fill(&mut case.bias);
        for (i, bias) in case.bias.chunks_exact_mut(source.size()).enumerate() {
            match i % 4 {
                // Biases of both zeros, and biases about as large as the products, so that sums are rounded and cancel.
                0 => bias.fill(0),
                1 => {
                    bias.copy_from_slice(&case.scale[i * source.size()..][..source.size()]);
                    *bias.last_mut().expect("a float has bytes") ^= 0x80;
                }
                _ => {}
            }
        }
        let per_group = usize::try_from(scheme.group_size()).expect("it is small");
        let mut stream = 0u128;
        let mut held = 0;
        let mut out = case.weight.iter_mut();
        for group in 0..1usize << 16 {
            for i in 0..per_group {
                // Codes are in order. With 8 bits, groups alternate between the two halves of the codes.
                let code = (i + group % 2 * per_group) & ((1 << bits) - 1);
                stream |= u128::try_from(code).expect("it is small") << held;
                held += u32::from(bits);
                while held >= 8 {
                    *out.next().expect("the weight has room") = stream.to_le_bytes()[0];
                    stream >>= 8;
                    held -= 8;
                }
            }
        }
        each(&case);
    }
}

/// Cases whose sums are chosen F32 numbers, to test only the rounding to 16 bits: around every rounding boundary of
/// both types, and random ones.
pub(crate) fn narrowing_cases(mut each: impl FnMut(&Case)) {
    const LOW: [u32; 13] =
        [0, 1, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x3001, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x1_8000];
    let boundaries = (0..0x200u32).flat_map(|high| {
        LOW.into_iter().flat_map(move |low| [0, 0x2_0000, 0x7E_0000].map(|middle| high << 23 | middle | low))
    });
    // All f16 values, and the midpoints between pairs of neighbours, which are ties, with the f32 numbers next to each
    // midpoint.
    let ties = (0..1u32 << 16).flat_map(|half| {
        let value = half::f16::from_bits(u16::try_from(half).expect("it has 16 bits")).to_f32().to_bits();
        let next = half::f16::from_bits(u16::try_from(half ^ 1).expect("it has 16 bits")).to_f32();
        let middle = f32::midpoint(f32::from_bits(value), next).to_bits();
        [value, middle.wrapping_sub(1), middle, middle.wrapping_add(1)]
    });
    let mut numbers = Numbers::new(7);
    let anywhere = (0..200_000).map(move |_| u32::try_from(numbers.next() >> 32).expect("it has 32 bits"));
    let mut values: Vec<u32> = boundaries.chain(ties).chain(anywhere).collect();
    values.truncate(values.len() / 4 * 4);
    for target in FloatType::ALL {
        let scheme = Scheme::affine(2, 32).expect("it exists");
        let mut case = Case::groups(scheme, FloatType::F32, target, values.len());
        case.bias = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        each(&case);
    }
}

/// A tensor of random bytes, of any size up to a few blocks, which may end anywhere in a block.
pub(crate) fn random_case(scheme: Scheme, source: FloatType, target: FloatType, numbers: &mut Numbers) -> Case {
    let group = usize::try_from(scheme.group_size()).expect("it is small");
    let (rows, groups) = match numbers.below(4) {
        0 => (1, 1 + numbers.below(4)),
        1 => (1 + numbers.below(5), 1 + numbers.below(40)),
        // Sizes around the ends of blocks. A block writes 8,192 bytes of output.
        2 => (1, (8192 * (1 + numbers.below(2)) / target.size() / group + numbers.below(5)).saturating_sub(2).max(1)),
        _ => (1 + numbers.below(3), 1 + numbers.below(200)),
    };
    let matrices = 1 + numbers.below(3);
    let mut case = Case::groups(scheme, source, target, matrices * rows * groups);
    (case.matrices, case.rows, case.columns) = (matrices, rows, groups * group);
    numbers.fill(&mut case.weight);
    numbers.fill(&mut case.scale);
    numbers.fill(&mut case.bias);
    if scheme == Scheme::NVFP4 {
        let float =
            |numbers: &mut Numbers| f32::from_bits(u32::try_from(numbers.next() >> 32).expect("it has 32 bits"));
        case.global = match numbers.below(3) {
            0 => Global::None,
            1 => Global::One(float(numbers)),
            _ => Global::PerMatrix((0..matrices).map(|_| float(numbers)).collect()),
        };
    }
    case
}

/// Random tensors of one row that end at the end of a block of 512 units, one unit before it or one behind it, as far
/// as groups allow.
pub(crate) fn edge_cases(mut each: impl FnMut(&Case)) {
    let mut numbers = Numbers::new(3);
    for scheme in [Scheme::affine(3, 32).expect("it exists"), Scheme::INT8, Scheme::NVFP4, Scheme::MXFP4] {
        for target in FloatType::ALL {
            let group_bytes = target.size() * usize::try_from(scheme.group_size()).expect("it is small");
            for blocks in 1..4 {
                for groups in
                    [blocks * 8192 / group_bytes - 1, blocks * 8192 / group_bytes, blocks * 8192 / group_bytes + 1]
                {
                    let mut case = Case::groups(scheme, FloatType::F16, target, groups);
                    numbers.fill(&mut case.weight);
                    numbers.fill(&mut case.scale);
                    numbers.fill(&mut case.bias);
                    each(&case);
                }
            }
        }
    }
}
