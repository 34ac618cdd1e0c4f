//! Reads rows of weights as `f32`.

use std::ops::Range;

use crate::{
    FloatType, dispatch,
    level::Level,
    matmul::weights::{Stored, Weights},
    portable::{self, DecodeKernel, Params},
};

/// Weights with the kernel that decodes them.
#[derive(Clone, Copy, Debug)]
pub(in crate::matmul) struct Reader<'a> {
    weights: Weights<'a>,
    kernel: Option<DecodeKernel>,
}

impl<'a> Reader<'a> {
    pub(in crate::matmul) fn new(level: Level, weights: Weights<'a>) -> Self {
        let kernel = match weights.stored {
            Stored::Encoded(encoded) => Some(dispatch::decoder(level, encoded.scheme, encoded.float, FloatType::F32)),
            Stored::Plain { .. } => None,
        };
        Self { weights, kernel }
    }

    /// Decodes `columns` of a row, which start and end between groups.
    pub(in crate::matmul) fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let first = row * self.weights.columns() + columns.start;
        match self.weights.stored {
            Stored::Encoded(encoded) => {
                let group = encoded.scheme.group_elements();
                let parts = encoded.groups(first / group, columns.len() / group);
                let params = Params { group, global: parts.global };
                let kernel = self.kernel.expect("encoded weights have one");
                kernel(&params, parts.weight, parts.scale, parts.bias, bytemuck::cast_slice_mut(out));
                from_le(out);
            }
            Stored::Plain { float, bytes } => {
                let size = float.size();
                portable::read(float, &bytes[first * size..(first + columns.len()) * size], out);
            }
        }
    }
}

/// Turns little-endian numbers into those of this machine.
fn from_le(numbers: &mut [f32]) {
    if cfg!(target_endian = "big") {
        for number in numbers {
            *number = f32::from_bits(number.to_bits().swap_bytes());
        }
    }
}
