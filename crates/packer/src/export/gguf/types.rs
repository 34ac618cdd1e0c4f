//! The types that tensors of a GGUF file are written in.

use longshore_quant::ggml::GgmlType;
use longshore_st_format::Dtype;

/// Parts of the names of matrices that llama.cpp reads as F32 alone.
const FLOATS: [&str; 5] = ["ffn_gate_inp", "ssm_conv1d", "shortconv.conv", "position_embd", "token_types"];

/// Whether llama.cpp's converter writes a tensor as F32, whatever the type of the file: vectors, norms, and a few
/// matrices.
pub(super) fn is_always_f32(name: &str, rank: usize) -> bool {
    let is_weight = name.ends_with(".weight");
    rank < 2 || !is_weight || name.ends_with("_norm.weight") || FLOATS.iter().any(|part| name.contains(part))
}

/// The type for a matrix with rows of `columns` elements: `asked`, or the one that llama.cpp falls back to where its blocks
/// do not fill the rows.
pub(super) fn for_rows(asked: GgmlType, columns: u64) -> GgmlType {
    let fills = |known: GgmlType| columns.is_multiple_of(known.block_size() as u64);
    let smaller = match asked {
        _ if fills(asked) => return asked,
        GgmlType::Q4K => GgmlType::Q5_0,
        GgmlType::Q6K => GgmlType::Q8_0,
        _ => GgmlType::F16,
    };
    if fills(smaller) { smaller } else { GgmlType::F16 }
}

/// The type of plain values. `None` if GGUF has none.
pub(super) fn of_dtype(dtype: Dtype) -> Option<GgmlType> {
    let known = dtype.name().parse::<GgmlType>().ok()?;
    (known.block_size() == 1).then_some(known)
}

/// Whether values of a type are numbers that may be encoded.
pub(super) fn is_float(known: GgmlType) -> bool {
    matches!(known, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 | GgmlType::F64)
}

/// The number of `general.file_type` for a file whose matrices have this type.
pub(super) fn file_type(known: GgmlType) -> Option<u32> {
    Some(match known {
        GgmlType::F32 => 0,
        GgmlType::F16 => 1,
        GgmlType::Q4_0 => 2,
        GgmlType::Q4_1 => 3,
        GgmlType::Q8_0 => 7,
        GgmlType::Q5_0 => 8,
        GgmlType::Q5_1 => 9,
        GgmlType::Q4K => 14,
        GgmlType::Q6K => 18,
        GgmlType::BF16 => 32,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_and_routers_stay_f32() {
        for (name, rank, expected) in [
            ("blk.0.attn_q.weight", 2, false),
            ("token_embd.weight", 2, false),
            ("blk.0.ffn_up_exps.weight", 3, false),
            ("blk.0.attn_norm.weight", 1, true),
            ("blk.0.ssm_norm.weight", 2, true),
            ("blk.0.ssm_a", 2, true),
            ("blk.0.ffn_gate_inp.weight", 2, true),
            ("blk.0.attn_q.bias", 1, true),
        ] {
            assert_eq!(is_always_f32(name, rank), expected, "{name}");
        }
    }

    #[test]
    fn rows_that_no_block_fills_fall_back() {
        assert_eq!(for_rows(GgmlType::Q4K, 512), GgmlType::Q4K);
        assert_eq!(for_rows(GgmlType::Q4K, 640), GgmlType::Q5_0);
        assert_eq!(for_rows(GgmlType::Q6K, 640), GgmlType::Q8_0);
        assert_eq!(for_rows(GgmlType::Q6K, 630), GgmlType::F16);
        assert_eq!(for_rows(GgmlType::Q4_0, 630), GgmlType::F16);
        assert_eq!(for_rows(GgmlType::BF16, 7), GgmlType::BF16);
    }
}
