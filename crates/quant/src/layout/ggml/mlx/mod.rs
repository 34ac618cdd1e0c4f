//! Blocks of ggml as codes, scales and biases of MLX's schemes, and back, without loss.
//!
//! | type | scheme | scale, bias | condition |
//! |---|---|---|---|
//! | `Q4_0` | int4-g32 | d, −8d | the bias is an F16: \|d\| ≤ 8,188 |
//! | `Q4_1` | int4-g32 | d, m | finite |
//! | `Q5_0` | int5-g32 | d, −16d | the bias is an F16: \|d\| ≤ 4,094 |
//! | `Q5_1` | int5-g32 | d, m | finite |
//! | `Q8_0` | int8-g32, code q + 128 | d, −128d | the bias is an F16: \|d\| ≤ 511.75 |
//! | `Q1_0` | int2-g128 | 2d, −d | the scale is an F16: \|d\| ≤ 32,752 |
//! | `Q2_0` | int2 | d, −d | finite |
//! | `TQ1_0` `TQ2_0` | int2-g128 | d, −d, each twice | finite |
//! | `Q4_K` | int4-g32 | d × s, −(dmin × s′), both F32 | finite |
//! | `Q5_K` | int5-g32 | d × s, −(dmin × s′), both F32 | finite |
//! | `MXFP4` | mxfp4 | the exponent | not 255 |
//! | `NVFP4` | nvfp4 | the E4M3 | no sign, and not 0x7F |
//!
//! The values are equal to the bit in `f32`, but for the sign of zeros: the symmetric types have negative zeros under
//! negative scales and the sums of affine groups have none, and the E2M1 code 8 is positive in ggml alone. Arithmetic in
//! F16, as MLX does it on a CPU under F16 scales, rounds: the codes and scales are the same there, the values are not.
//!
//! The way back has more sources than these: a scheme's larger groups repeat their scale in blocks of 32, and the types
//! of scales and biases may be any, as long as each is exactly an F16. [`types_of`] lists the types for a scheme,
//! [`fits`] tells from scales and biases alone whether a type holds them.

mod codes;
mod from;
mod to;

pub use from::{fits, from_mlx, types_of};
pub use to::Mapping;
