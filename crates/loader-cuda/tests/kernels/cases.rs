//! A tensor to decode, wherever that is done, and its comparison with what `longshore-quant` decodes.

use std::{fs, path::Path};

use longshore_loader_cuda::dequantize::Dequantize;
use longshore_quant::{Decoder, FloatType, GlobalScale, Scheme};
use longshore_st_format::SafeTensors;

/// What decodes a case: the kernels on the host, or on a device.
pub(crate) trait Run {
    fn run(&mut self, case: &Case) -> Vec<u8>;
}

/// A tensor `[matrices, rows, columns]` and its parts.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) scheme: Scheme,
    pub(crate) source: FloatType,
    pub(crate) target: FloatType,
    pub(crate) matrices: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) weight: Vec<u8>,
    pub(crate) scale: Vec<u8>,
    pub(crate) bias: Vec<u8>,
    pub(crate) global: Global,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Global {
    None,
    One(f32),
    PerMatrix(Vec<f32>),
}

impl Case {
    /// One row of so many groups, whose parts are to be filled in.
    pub(crate) fn groups(scheme: Scheme, source: FloatType, target: FloatType, groups: usize) -> Self {
        let group = usize::try_from(scheme.group_size()).expect("it is small");
        let len = scheme.encoded_len(groups, source).expect("it is small");
        Self {
            scheme,
            source,
            target,
            matrices: 1,
            rows: 1,
            columns: groups * group,
            weight: vec![0; len.weight],
            scale: vec![0; len.scale],
            bias: vec![0; len.bias],
            global: Global::None,
        }
    }

    pub(crate) fn tensor(&self) -> Dequantize {
        let extent = |extent| u64::try_from(extent).expect("it is in memory");
        Dequantize::new(self.scheme, self.source, self.target, extent(self.rows), extent(self.columns))
            .with_matrices(extent(self.matrices))
    }

    pub(crate) fn output_bytes(&self) -> usize {
        self.matrices * self.rows * self.columns * self.target.size()
    }

    /// The global scales as they lie in memory.
    pub(crate) fn global_bytes(&self) -> Option<Vec<u8>> {
        match &self.global {
            Global::None => None,
            Global::One(scale) => Some(scale.to_le_bytes().to_vec()),
            Global::PerMatrix(scales) => Some(scales.iter().flat_map(|scale| scale.to_le_bytes()).collect()),
        }
    }

    fn expected(&self) -> Vec<u8> {
        let mut out = vec![0; self.output_bytes()];
        let part = |bytes: &[u8]| bytes.len() / self.matrices;
        for (matrix, out) in out.chunks_exact_mut(self.output_bytes() / self.matrices).enumerate() {
            let mut decoder = Decoder::new(self.scheme, self.source, self.target);
            match &self.global {
                Global::None => {}
                Global::One(scale) => decoder = decoder.with_global_scale(*scale),
                Global::PerMatrix(scales) => decoder = decoder.with_global_scale(scales[matrix]),
            }
            let of = |bytes: &[u8]| bytes[matrix * part(bytes)..(matrix + 1) * part(bytes)].to_vec();
            decoder.decode(&of(&self.weight), &of(&self.scale), &of(&self.bias), out).expect("the parts fit");
        }
        out
    }

    /// Decodes it and compares to the bit, all NaN being the same.
    pub(crate) fn check(&self, run: &mut impl Run) {
        assert_same(self, &run.run(self), &self.expected());
    }
}

/// Panics at the first element that differs.
pub(crate) fn assert_same(case: &Case, found: &[u8], expected: &[u8]) {
    assert_eq!(found.len(), expected.len());
    if found == expected {
        return;
    }
    let size = case.target.size();
    for (i, (a, b)) in found.chunks_exact(size).zip(expected.chunks_exact(size)).enumerate() {
        assert!(
            a == b || is_nan(case.target, a) && is_nan(case.target, b),
            "{} of {} to {}, {} x {} x {}, {}, element {i}: {:?}, expected {:?}",
            case.scheme,
            case.source,
            case.target,
            case.matrices,
            case.rows,
            case.columns,
            if case.global == Global::None { "no global scale" } else { "a global scale" },
            a,
            b
        );
    }
}

fn is_nan(float: FloatType, bytes: &[u8]) -> bool {
    match float {
        FloatType::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).is_nan(),
        FloatType::F16 => half::f16::from_le_bytes([bytes[0], bytes[1]]).is_nan(),
        FloatType::BF16 => half::bf16::from_le_bytes([bytes[0], bytes[1]]).is_nan(),
    }
}

/// Numbers that are the same in every run.
#[derive(Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("it is small");
        usize::try_from((self.next() >> 20) % end).expect("it is below a usize")
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for bytes in bytes.chunks_mut(8) {
            bytes.copy_from_slice(&self.next().to_le_bytes()[..bytes.len()]);
        }
    }
}

/// Every affine scheme with each of its groups, and the others.
pub(crate) fn schemes() -> impl Iterator<Item = Scheme> {
    let affine = Scheme::AFFINE_BITS
        .into_iter()
        .flat_map(|bits| Scheme::AFFINE_GROUPS.map(|group| Scheme::affine(bits, group).expect("it is listed")));
    affine.chain([Scheme::NVFP4, Scheme::MXFP4, Scheme::MXFP8])
}

/// Global scales: usual, exact, at both ends of the range, and none that a number can be.
const GLOBALS: [f32; 9] = [1.0, 0.1, 3.7e-5, 1e-38, 1e-42, 2.5e38, f32::INFINITY, f32::NAN, -0.75];

/// Every code under every byte of scale, for nvfp4 with every one of some global scales.
pub(crate) fn block_cases(mut each: impl FnMut(&Case)) {
    for target in FloatType::ALL {
        for scheme in [Scheme::NVFP4, Scheme::MXFP4] {
            let mut case = Case::groups(scheme, FloatType::BF16, target, 256);
            case.scale = (0..=255).collect();
            // Two codes to a byte, sixteen codes or twice as many to a group.
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

/// Every affine width, type of scales and output: all 16-bit scales, and as many F32 ones of all kinds, each with all codes, for 8 bits
/// half of them, and a bias of any kind.
pub(crate) fn affine_cases(bits: u8, source: FloatType, mut each: impl FnMut(&Case)) {
    let scheme = Scheme::affine(bits, 32.max(1 << bits.min(7))).expect("it exists");
    let mut numbers = Numbers::new(u64::from(bits));
    for target in FloatType::ALL {
        let mut case = Case::groups(scheme, source, target, 1 << 16);
        let scales = (0..=u16::MAX).map(|high| (high, numbers.next().to_le_bytes()));
        case.scale = match source {
            // The sign, the exponent and some of the mantissa, and any mantissa.
            FloatType::F32 => {
                scales.flat_map(|(high, low)| [low[0], low[1], high.to_le_bytes()[0], high.to_le_bytes()[1]]).collect()
            }
            FloatType::F16 | FloatType::BF16 => scales.flat_map(|(high, _)| high.to_le_bytes()).collect(),
        };
        numbers.fill(&mut case.bias);
        for (i, bias) in case.bias.chunks_exact_mut(source.size()).enumerate() {
            match i % 4 {
                // Zeros of both signs; a bias about as large as the products, so that sums are rounded and cancel.
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
                // Codes in order; of 8 bits those of one half and then of the other.
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

/// Sums that are any F32, for the rounding to 16 bits alone: around every rounding boundary of both types, and anywhere.
pub(crate) fn narrowing_cases(mut each: impl FnMut(&Case)) {
    const LOW: [u32; 13] =
        [0, 1, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x3001, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x1_8000];
    let boundaries = (0..0x200u32).flat_map(|high| {
        LOW.into_iter().flat_map(move |low| [0, 0x2_0000, 0x7E_0000].map(|middle| high << 23 | middle | low))
    });
    // Halves of the least subnormal f16, and the steps between all f16, are ties.
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

/// A tensor of random bytes, of any size up to some blocks, which ends anywhere in a block.
pub(crate) fn random_case(scheme: Scheme, source: FloatType, target: FloatType, numbers: &mut Numbers) -> Case {
    let group = usize::try_from(scheme.group_size()).expect("it is small");
    let (rows, groups) = match numbers.below(4) {
        0 => (1, 1 + numbers.below(4)),
        1 => (1 + numbers.below(5), 1 + numbers.below(40)),
        // Around the ends of blocks: 8,192 or 4,096 bytes of 16-bit or 32-bit output are one.
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

/// Decodes the vectors captured from MLX and compares with what MLX made of them; returns how many tensors there were.
pub(crate) fn golden_cases(run: &mut impl Run) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../quant/tests/quant/vectors/decode_cpu.safetensors");
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let set = SafeTensors::new(bytes).expect("the vectors are safetensors");
    let part = |stem: &str, name: &str| set.tensor(&format!("{stem}.{name}")).map_or(vec![], |view| view.data.to_vec());
    let mut checked = 0;
    for expected in set.iter() {
        let Some(stem) = expected.name.strip_suffix(".dequant") else { continue };
        // Such as `bf16.nvfp4.b4.g16.gs1`.
        let words: Vec<&str> = stem.split('.').collect();
        let number = |word: &str| word[1..].parse::<u32>().expect("a width and a group are numbers");
        let (bits, group) = (number(words[2]), number(words[3]));
        let name = if words[1] == "affine" { format!("int{bits}") } else { words[1].to_owned() };
        let scheme = Scheme::from_metadata(&name, group).expect("the vectors are of schemes that exist");
        let source = words[0].to_uppercase().parse().expect("names begin with a float type");
        let target: FloatType = expected.dtype.name().parse().expect("outputs are floats");
        let groups = expected.data.len() / target.size() / usize::try_from(group).expect("it is small");
        let global = words.get(4).map_or(Global::None, |name| {
            let bytes = set.tensor(name).expect("global scales lie beside").data;
            let max_abs = f32::from_le_bytes(bytes.try_into().expect("it is one float"));
            Global::One(GlobalScale::from_max_abs(max_abs).expect("it is usable").multiplier())
        });
        let case = Case {
            weight: part(stem, "weight"),
            scale: part(stem, "scales"),
            bias: part(stem, "biases"),
            global,
            ..Case::groups(scheme, source, target, groups)
        };
        assert_same(&case, &run.run(&case), expected.data);
        checked += 1;
    }
    checked
}
