//! Reads rows of weights as `f32`.

use std::ops::Range;

use crate::{
    FloatType, dispatch,
    layout::ggml::{self, DecodeBlocks},
    level,
    matmul::{
        level::Level,
        weights::{Stored, Weights},
    },
    portable::{self, DecodeKernel, Params},
};
#[cfg(target_arch = "x86_64")]
use crate::{Format, matmul::level::Kind};

/// Weights with the kernel that decodes them.
#[derive(Clone, Copy, Debug)]
pub(in crate::matmul) struct Reader<'a> {
    weights: Weights<'a>,
    kernel: Kernel,
}

/// The function that decodes.
#[derive(Clone, Copy, Debug)]
enum Kernel {
    Groups(DecodeKernel),
    Blocks(DecodeBlocks),
    Floats,
}

impl<'a> Reader<'a> {
    pub(in crate::matmul) fn new(level: level::Level, weights: Weights<'a>) -> Self {
        let kernel = match weights.stored {
            Stored::Encoded(encoded) => {
                Kernel::Groups(dispatch::decoder(level, encoded.scheme, encoded.float, FloatType::F32))
            }
            Stored::Blocks { ggml_type, .. } => Kernel::Blocks(ggml::decoder(level, ggml_type)),
            Stored::Plain { .. } => Kernel::Floats,
        };
        Self { weights, kernel }
    }

    /// Decodes as [`read`](Self::read), with the kernels of a level. A NaN may have another sign and payload.
    pub(in crate::matmul) fn read_at(&self, level: Level, row: usize, columns: Range<usize>, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        {
            let first = row * self.weights.columns() + columns.start;
            match (level.0, self.weights.stored) {
                (Kind::Avx512(proof), Stored::Encoded(encoded)) => {
                    if let Format::Affine { bits } = encoded.scheme.format() {
                        let group = encoded.scheme.group_elements();
                        return proof.decode_affine(bits, encoded.groups(first / group, columns.len() / group), out);
                    }
                }
                (Kind::Avx512(proof), Stored::Plain { float, bytes }) => {
                    return proof.read_floats(float, elements(bytes, float, first, columns.len()), out);
                }
                (Kind::Avx2(proof), Stored::Plain { float, bytes }) => {
                    return proof.read_floats(float, elements(bytes, float, first, columns.len()), out);
                }
                (Kind::AvxVnni(proof), Stored::Plain { float, bytes }) => {
                    return proof.avx2().read_floats(float, elements(bytes, float, first, columns.len()), out);
                }
                _ => {}
            }
        }
        let _ = level;
        self.read(row, columns, out);
    }

    /// Decodes `columns` of a row, which start and end between groups.
    pub(in crate::matmul) fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let first = row * self.weights.columns() + columns.start;
        match (self.weights.stored, self.kernel) {
            (Stored::Encoded(encoded), Kernel::Groups(decode)) => {
                let group = encoded.scheme.group_elements();
                let parts = encoded.groups(first / group, columns.len() / group);
                let params = Params { group, global: parts.global, streams: false };
                decode(&params, parts.weight, parts.scale, parts.bias, bytemuck::cast_slice_mut(out));
                from_le(out);
            }
            (Stored::Blocks { ggml_type, bytes }, Kernel::Blocks(decode)) => {
                let (block, len) = (ggml_type.block_size(), ggml_type.block_bytes());
                decode(&bytes[first / block * len..][..columns.len() / block * len], out);
            }
            (Stored::Plain { float, bytes }, _) => {
                portable::read(float, elements(bytes, float, first, columns.len()), out);
            }
            _ => unreachable!("BUG: the kernel was chosen for other weights"),
        }
    }
}

/// The bytes of `count` elements, from the one numbered `first` on.
fn elements(bytes: &[u8], float: FloatType, first: usize, count: usize) -> &[u8] {
    let size = float.size();
    &bytes[first * size..(first + count) * size]
}

/// Turns little-endian numbers into those of this machine.
fn from_le(numbers: &mut [f32]) {
    if cfg!(target_endian = "big") {
        for number in numbers {
            *number = f32::from_bits(number.to_bits().swap_bytes());
        }
    }
}
