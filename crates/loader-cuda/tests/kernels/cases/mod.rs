//! A tensor to decode on the host or on a device, and its comparison with the results of `longshore-quant`.

mod golden;
mod make;

use longshore_loader_cuda::dequantize::Dequantize;
use longshore_quant::{Decoder, FloatType, Scheme};

pub(crate) use golden::golden_cases;
pub(crate) use make::{affine_cases, block_cases, edge_cases, narrowing_cases, random_case};

/// Decoder of a case: the kernels on the host, or on a device.
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
    /// Creates one row of `groups` groups, whose parts are to be filled in.
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

    /// Bytes of the global scales in memory.
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

    /// Decodes the case, and compares the result to the bit; all NaN are equal.
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

/// Random numbers that are the same in every run.
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

/// Iterates over every affine scheme with each of its groups, and over the other schemes.
pub(crate) fn schemes() -> impl Iterator<Item = Scheme> {
    let affine = Scheme::AFFINE_BITS
        .into_iter()
        .flat_map(|bits| Scheme::AFFINE_GROUPS.map(|group| Scheme::affine(bits, group).expect("it is listed")));
    affine.chain([Scheme::NVFP4, Scheme::MXFP4, Scheme::MXFP8])
}
