//! Tests of the places of experts in a stack.

use longshore_manifest::document::{Arrangement, Part, Quantization, Role, TensorEntry};
use longshore_st_format::{Dtype, Shape};
use proptest::{prelude::*, sample::select};

/// Role and type of a part, with the shape of one expert's entry.
type Spec = (Role, Dtype, Vec<u64>);

/// Makes a stack whose parts lie one after the other, a few bytes apart.
fn stack(experts: u64, shape: &[u64], quantization: Option<(&str, u32)>, specs: &[Spec]) -> TensorEntry {
    let mut offset = 512;
    let parts = specs.iter().map(|(role, dtype, dims)| {
        let shape = Shape::from([&[experts][..], dims].concat());
        let length = shape.byte_len(*dtype).unwrap();
        offset += length + 3;
        Part { role: *role, dtype: *dtype, shape, offset: offset - length, length, blob: None }
    });
    let shape = Shape::from([&[experts][..], shape].concat());
    TensorEntry {
        quantization: quantization
            .map(|(quant_type, group_size)| Quantization { quant_type: quant_type.into(), group_size }),
        arrangement: Arrangement::Stack,
        sources: (0..experts).map(|expert| format!("experts.{expert}.up.weight")).collect(),
        ..TensorEntry::new("experts.up.weight", Dtype::BF16, shape, parts.collect())
    }
}

/// Returns the parts of one expert `[rows, 64 × groups]`.
fn specs(scheme: &str, rows: u64, groups: u64) -> (Option<(&str, u32)>, Vec<Spec>) {
    let columns = 64 * groups;
    let part = |role, dtype, columns| (role, dtype, vec![rows, columns]);
    match scheme {
        "plain" => (None, vec![part(Role::Weight, Dtype::BF16, columns)]),
        "int4" | "int8" => {
            let per_word = if scheme == "int4" { 8 } else { 4 };
            let weight = part(Role::Weight, Dtype::U32, columns / per_word);
            let [scale, bias] = [Role::Scale, Role::Bias].map(|role| part(role, Dtype::BF16, groups));
            (Some((scheme, 64)), vec![weight, scale, bias])
        }
        _ => {
            let weight = part(Role::Weight, Dtype::U32, columns / 8);
            let global = (Role::GlobalScale, Dtype::F32, vec![1, 1]);
            (Some(("nvfp4", 16)), vec![weight, part(Role::Scale, Dtype::U8, columns / 16), global])
        }
    }
}

proptest! {
    /// Every expert has its own bytes, and all experts together have the bytes of the parts.
    #[test]
    fn experts_share_nothing_and_leave_nothing(
        scheme in select(vec!["plain", "int4", "int8", "nvfp4"]),
        experts in 1_u64..9,
        rows in 1_u64..5,
        groups in 1_u64..4,
    ) {
        let (quantization, specs) = specs(scheme, rows, groups);
        let entry = stack(experts, &[rows, 64 * groups], quantization, &specs);

        // The bytes of each expert are filled with its index.
        let end = entry.parts.iter().map(|part| part.offset + part.length).max().unwrap();
        let mut blob = vec![u8::MAX; usize::try_from(end).unwrap()];
        for (part, (_, dtype, dims)) in entry.parts.iter().zip(&specs) {
            let each = usize::try_from(Shape::from(&**dims).byte_len(*dtype).unwrap()).unwrap();
            let start = usize::try_from(part.offset).unwrap();
            for (expert, bytes) in (0..).zip(blob[start..].chunks_mut(each).take(usize::try_from(experts).unwrap())) {
                bytes.fill(expert);
            }
        }

        let mut ranges = Vec::new();
        for expert in 0..experts {
            let parts = entry.expert_parts(expert).unwrap();
            prop_assert_eq!(parts.len(), entry.parts.len());
            for (part, (role, dtype, dims)) in parts.iter().zip(&specs) {
                prop_assert_eq!((part.role, part.dtype, part.shape.dims()), (*role, *dtype, &**dims));
                prop_assert_eq!(part.length, part.shape.byte_len(part.dtype).unwrap());
                let range = usize::try_from(part.offset).unwrap()..usize::try_from(part.offset + part.length).unwrap();
                prop_assert!(blob[range].iter().all(|byte| u64::from(*byte) == expert));
                ranges.push((part.offset, part.offset + part.length));
            }
        }
        prop_assert_eq!(entry.expert_parts(experts), None);
        ranges.sort_unstable();
        prop_assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        prop_assert_eq!(ranges.iter().map(|(start, end)| end - start).sum::<u64>(), entry.byte_len());
    }
}

#[test]
fn one_global_scale_belongs_to_every_expert() {
    for dims in [&[][..], &[1], &[1, 1, 1]] {
        let (quantization, specs) = specs("nvfp4", 2, 1);
        let mut entry = stack(3, &[2, 64], quantization, &specs);
        let global = &mut entry.parts[2];
        (global.shape, global.length) = (Shape::from(dims), 4);
        let global = global.clone();
        for expert in 0..3 {
            assert_eq!(entry.expert_parts(expert).unwrap()[2], global);
        }
    }
}

#[test]
fn what_has_no_experts() {
    let scalar = TensorEntry { shape: Shape::new([]), ..stack(1, &[], None, &[]) };
    assert_eq!(scalar.expert_parts(0), None);
    let none = stack(0, &[4], None, &[(Role::Weight, Dtype::BF16, vec![4])]);
    assert_eq!(none.expert_parts(0), None);
    // Two experts of one and a half bytes each.
    let halves = |dims: &[u64]| stack(2, dims, None, &[(Role::Weight, Dtype::F4, dims.to_vec())]);
    assert_eq!(halves(&[3]).expert_parts(1), None);
    assert_eq!(halves(&[4]).expert_parts(1).unwrap()[0].length, 2);
    // An entry from a table that was never checked.
    let mut odd = stack(2, &[4], None, &[(Role::Weight, Dtype::BF16, vec![4])]);
    odd.parts[0].length = 15;
    assert_eq!(odd.expert_parts(0), None);
    odd.parts[0].shape = Shape::new([3, 4]);
    assert_eq!(odd.expert_parts(0), None);
    odd.parts[0].shape = Shape::new([2, u64::MAX, 2]);
    assert_eq!(odd.expert_parts(0), None);
    odd.parts[0] = Part { shape: Shape::new([2, 4]), offset: u64::MAX - 7, length: 16, ..odd.parts[0].clone() };
    assert_eq!(odd.expert_parts(1), None);
}
