//! Expands blocks of ggml: codes to a byte each, and the scales and biases of groups.

use crate::{
    ggml::GgmlType,
    matmul::fast::{Expanded, expand_blocks},
};

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn expand(ggml_type: GgmlType, stored: &[u8], out: Expanded<'_>) {
    expand_blocks(ggml_type, stored, out);
}
