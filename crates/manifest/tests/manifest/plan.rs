//! Tests of load plans against a naive reading of the same tables.

use std::collections::BTreeMap;

use longshore_manifest::{
    Digest,
    document::{BlobEntry, Facts, Import, Part, Quantization, Role, TensorEntry, TensorTable},
    weights::plan::{
        ALIGNMENT, Cast, Cut, Layers, LoadPlan, LoadPlanError, LoadPlanOptions, Origin, Selection, Shard, ShardAxis,
    },
};
use longshore_st_format::{Dtype, Shape};
use proptest::prelude::*;

use crate::util;

/// A tensor of a test. Offsets follow from the order of the tensors in the blob.
#[derive(Debug, Clone)]
struct Given {
    name: String,
    dims: Vec<u64>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Plain(Dtype),
    /// Int4 in groups of 32, with scales and biases.
    Int4,
    /// Nvfp4 with one global scale, or if true with one for each expert of a stack.
    Nvfp4(bool),
}

fn model(blobs: &[Vec<Given>]) -> (TensorTable, Vec<Vec<u8>>) {
    let mut bytes = Vec::new();
    let entries = blobs.iter().enumerate().map(|(index, tensors)| {
        let mut end = 64 + 8 * index as u64;
        let tensors: Vec<_> = tensors.iter().map(|given| given.entry(&mut end)).collect();
        let data = util::bytes(usize::try_from(end).unwrap(), u8::try_from(index).unwrap());
        let digest = Digest::of(&data);
        bytes.push(data);
        BlobEntry::new(digest, tensors)
    });
    let facts = Facts { experts: Some(3), ..Facts::default() };
    let table = TensorTable::new(facts, Import::default(), entries.collect());
    (table, bytes)
}

impl Given {
    fn new(name: &str, dims: &[u64], kind: Kind) -> Self {
        Self { name: name.into(), dims: dims.into(), kind }
    }

    fn entry(&self, end: &mut u64) -> TensorEntry {
        let mut dims = self.dims.clone();
        let mut shape = |last: Option<u64>| {
            if let Some(last) = last {
                *dims.last_mut().unwrap() = last;
            }
            dims.clone()
        };
        let columns = self.dims.last().copied().unwrap_or(1);
        let (dtype, quantization, parts) = match self.kind {
            Kind::Plain(dtype) => (dtype, None, vec![(Role::Weight, dtype, shape(None))]),
            Kind::Int4 => {
                let parts = vec![
                    (Role::Weight, Dtype::U32, shape(Some(columns / 8))),
                    (Role::Scale, Dtype::BF16, shape(Some(columns / 32))),
                    (Role::Bias, Dtype::BF16, shape(Some(columns / 32))),
                ];
                (Dtype::BF16, Some(Quantization { quant_type: "int4".into(), group_size: 32 }), parts)
            }
            Kind::Nvfp4(of_each) => {
                let global = if of_each && self.dims.len() == 3 { vec![self.dims[0], 1, 1] } else { vec![] };
                let parts = vec![
                    (Role::Weight, Dtype::U32, shape(Some(columns / 8))),
                    (Role::Scale, Dtype::U8, shape(Some(columns / 16))),
                    (Role::GlobalScale, Dtype::F32, global),
                ];
                (Dtype::BF16, Some(Quantization { quant_type: "nvfp4".into(), group_size: 16 }), parts)
            }
        };
        let parts = parts.into_iter().map(|(role, dtype, dims)| {
            let shape = Shape::from(dims);
            let length = shape.byte_len(dtype).unwrap();
            let part = Part { role, dtype, shape, offset: *end, length, blob: None };
            *end += length;
            part
        });
        let shape = Shape::from(self.dims.clone());
        TensorEntry { quantization, ..TensorEntry::new(&self.name, dtype, shape, parts.collect()) }
    }
}

/// Returns the selected bytes of an array, element by element.
fn naive(part: &Part, blob: &[u8], is_stack: bool, selection: &Selection, shard: Option<Shard>) -> Vec<u8> {
    let dims = part.shape.dims();
    let width = u64::from(part.dtype.bits() / 8);
    let is_scalar = part.role == Role::GlobalScale;
    let is_stack = is_stack && (!is_scalar || dims.len() > 1);
    let mut coordinates: Vec<Vec<u64>> = dims.iter().map(|dim| (0..*dim).collect()).collect();
    if let (true, Some(experts)) = (is_stack, &selection.experts) {
        coordinates[0].clone_from(experts);
    }
    if let Some(Shard { axis, rank, of }) = shard.filter(|_| !is_scalar) {
        let cut = if axis == ShardAxis::Rows { usize::from(is_stack) } else { dims.len() - 1 };
        let extent = dims[cut] / of;
        coordinates[cut] = (rank * extent..(rank + 1) * extent).collect();
    }
    let mut out = Vec::new();
    let mut walk = vec![(0_usize, 0_u64)];
    // Walks depth first, with the last coordinate fastest.
    while let Some((axis, index)) = walk.pop() {
        match coordinates.get(axis) {
            None => {
                let start = usize::try_from(part.offset + index * width).unwrap();
                out.extend_from_slice(&blob[start..start + usize::try_from(width).unwrap()]);
            }
            Some(on_axis) => {
                walk.extend(on_axis.iter().rev().map(|at| (axis + 1, index * dims[axis] + at)));
            }
        }
    }
    out
}

/// A cast that is easy to undo: it keeps the upper half of an F32, or restores it.
fn cast(bytes: &[u8], cast: Option<Cast>) -> Vec<u8> {
    match cast {
        None => bytes.to_vec(),
        Some(Cast { from: Dtype::F32, to: Dtype::BF16 }) => {
            bytes.chunks_exact(4).flat_map(|value| [value[2], value[3]]).collect()
        }
        Some(Cast { from: Dtype::BF16, to: Dtype::F32 }) => {
            bytes.chunks_exact(2).flat_map(|value| [0, 0, value[0], value[1]]).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Fills an arena like a loader. Also returns how often each byte was written.
fn fill(plan: &LoadPlan, blobs: &BTreeMap<Digest, &[u8]>, cut: &Cut, by_blob: bool) -> (Vec<u8>, Vec<u8>) {
    let size = usize::try_from(plan.arena_bytes).unwrap();
    let (mut arena, mut written) = (vec![0; size], vec![0_u8; size]);
    let pieces = if by_blob { plan.pieces_by_blob(cut).concat() } else { plan.pieces(cut) };
    let mut before = 0;
    for piece in pieces {
        assert!(piece.arena.start >= before && piece.arena.start % ALIGNMENT == 0, "{piece:?}");
        assert!(piece.arena.end - piece.arena.start <= cut.piece);
        before = piece.arena.end;
        for fetch in piece.fetches {
            let blob = blobs[&plan.blobs[fetch.blob].digest];
            let mut last = fetch.file.start;
            for take in &fetch.takes {
                let extent = take.extent;
                assert!(extent.offset >= last && extent.offset - last <= cut.gap && extent.end() <= fetch.file.end);
                last = extent.end();
                let runs = (0..extent.count).flat_map(|run| {
                    let start = usize::try_from(extent.offset + run * extent.stride).unwrap();
                    &blob[start..start + usize::try_from(extent.run).unwrap()]
                });
                let bytes = cast(&runs.copied().collect::<Vec<_>>(), take.cast);
                assert_eq!(bytes.len() as u64, take.len());
                let at = usize::try_from(piece.arena.start + take.at).unwrap();
                assert!((at + bytes.len()) as u64 <= piece.arena.end);
                arena[at..at + bytes.len()].copy_from_slice(&bytes);
                written[at..at + bytes.len()].iter_mut().for_each(|count| *count += 1);
            }
            assert_eq!(last, fetch.file.end);
        }
    }
    (arena, written)
}

fn given() -> impl Strategy<Value = Given> {
    let kind = prop_oneof![
        Just(Kind::Plain(Dtype::U8)),
        Just(Kind::Plain(Dtype::BF16)),
        Just(Kind::Plain(Dtype::F32)),
        Just(Kind::Int4),
        any::<bool>().prop_map(Kind::Nvfp4),
    ];
    (any::<bool>(), 0_u64..5, 1_u64..4, kind).prop_map(|(is_stack, rows, columns, kind)| {
        let columns = columns * if matches!(kind, Kind::Plain(_)) { 2 } else { 64 };
        let dims = if is_stack { vec![3, rows * 2, columns] } else { vec![rows * 2, columns] };
        let name = if is_stack { "l.0.experts.up" } else { "l.0.up" };
        Given::new(name, &dims, kind)
    })
}

fn selection() -> impl Strategy<Value = Selection> {
    let shard = proptest::option::of((any::<bool>(), 0_u64..2));
    let experts = proptest::option::of(
        Just(vec![0_u64, 1, 2])
            .prop_shuffle()
            .prop_flat_map(|ids| (0..=ids.len()).prop_map(move |count| ids[..count].to_vec())),
    );
    (shard, experts).prop_map(|(shard, experts)| {
        let shard = shard.map(|(rows, rank)| if rows { Shard::rows(rank, 2) } else { Shard::columns(rank, 2) });
        let shards = shard.map(|shard| ("*".into(), shard)).into_iter().collect();
        Selection { experts, shards, ..Selection::default() }
    })
}

proptest! {
    #[test]
    fn every_wanted_byte_is_read_once_and_lands_in_its_place(
        mut blobs in prop::collection::vec(prop::collection::vec(given(), 1..4), 1..4),
        selection in selection(),
        dtype in proptest::option::of(prop_oneof![Just(Dtype::F32), Just(Dtype::BF16)]),
        (piece, gap, fetch) in (1_u64..5, prop_oneof![Just(0_u64), 1_u64..300], 1_u64..3000),
        by_blob in any::<bool>(),
    ) {
        for (blob, tensors) in blobs.iter_mut().enumerate() {
            for (at, tensor) in tensors.iter_mut().enumerate() {
                tensor.name = format!("{}.{blob}.{at}.weight", tensor.name.replace("experts", "experts.e"));
            }
        }
        // Experts can be selected only in a model with experts.
        blobs.push(vec![Given::new("last.experts.up", &[3, 2, 128], Kind::Int4)]);
        let (table, bytes) = model(&blobs);
        let by_digest = table.blobs.iter().map(|blob| blob.digest).zip(bytes.iter().map(Vec::as_slice)).collect();
        let options = LoadPlanOptions { dtype, ..LoadPlanOptions::default() };
        let plan = LoadPlan::new(&table, &selection, &options).unwrap();
        let cut = Cut { piece: piece * ALIGNMENT, gap, fetch };
        let (arena, written) = fill(&plan, &by_digest, &cut, by_blob);

        let mut wanted = vec![0_u8; arena.len()];
        let mut count = 0;
        for (blob, entry) in table.blobs.iter().zip(&bytes).flat_map(|(entry, bytes)| entry.tensors.iter().map(move |t| (bytes, t))) {
            let is_stack = entry.name.contains("experts");
            let view = plan.tensors.iter().find(|view| view.name == entry.name).unwrap();
            count += 1;
            for (part, view_part) in entry.parts.iter().zip(&view.parts) {
                let shard = selection.shards.first().map(|(_, shard)| *shard);
                let expected = cast(&naive(part, blob, is_stack, &selection, shard), view_part.origin.cast);
                let at = view_part.arena.unwrap();
                prop_assert_eq!(at % ALIGNMENT, 0);
                prop_assert_eq!(view_part.shape.byte_len(view_part.dtype).unwrap(), view_part.len);
                let range = usize::try_from(at).unwrap()..usize::try_from(at + view_part.len).unwrap();
                prop_assert_eq!(&arena[range.clone()], &expected[..], "{} {:?}", &entry.name, part.role);
                wanted[range].iter_mut().for_each(|count| *count += 1);
            }
        }
        prop_assert_eq!(count, plan.tensors.len());
        prop_assert_eq!(&wanted, &written);
        prop_assert!(wanted.iter().all(|count| *count <= 1));
        prop_assert_eq!(plan.read_bytes() == plan.bytes(), plan.tensors.iter().all(|view| view.parts.iter().all(|part| part.origin.cast.is_none() || part.len == 0)));
        let first = plan.tensors.iter().flat_map(|view| &view.parts).filter(|part| part.len > 0).find_map(|part| part.arena);
        if let Some(at) = first {
            prop_assert!(plan.tensor_at(at).unwrap().parts.iter().any(|part| part.arena == Some(at)));
        }
    }
}

fn small() -> TensorTable {
    let plain = |name: &str, dims: &[u64]| Given::new(name, dims, Kind::Plain(Dtype::BF16));
    let blobs = vec![
        vec![plain("model.embed_tokens.weight", &[6, 64])],
        vec![plain("model.layers.0.q_proj.weight", &[4, 64]), plain("model.layers.0.q_proj.bias", &[4])],
        vec![Given::new("model.layers.1.mlp.experts.up_proj.weight", &[3, 4, 64], Kind::Int4)],
        vec![plain("model.layers.11.q_proj.weight", &[5, 64])],
        vec![plain("model.layers.11.mlp.experts.0.up_proj.weight", &[2, 64])],
        vec![plain("model.layers.11.mlp.experts.1.up_proj.weight", &[2, 64])],
    ];
    model(&blobs).0
}

fn names(selection: &Selection) -> Result<Vec<String>, LoadPlanError> {
    let plan = LoadPlan::new(&small(), selection, &LoadPlanOptions::default())?;
    Ok(plan.tensors.into_iter().map(|view| view.name).collect())
}

#[test]
fn fields_of_a_selection_narrow_it() {
    let mut selection = Selection {
        globs: vec!["*.q_proj.*".into()],
        names: vec!["model.embed_tokens.weight".into()],
        ..Selection::default()
    };
    assert_eq!(names(&selection).unwrap().len(), 4);
    selection.layers = Some(Layers { range: 1..12, others: false });
    assert_eq!(names(&selection).unwrap(), ["model.layers.11.q_proj.weight"]);
    selection.layers = Some(Layers { range: 0..0, others: true });
    assert_eq!(names(&selection).unwrap(), ["model.embed_tokens.weight"]);

    let selection = Selection { experts: Some(vec![1]), ..Selection::default() };
    let found = names(&selection).unwrap();
    assert!(found.contains(&"model.layers.11.mlp.experts.1.up_proj.weight".to_owned()));
    assert!(!found.contains(&"model.layers.11.mlp.experts.0.up_proj.weight".to_owned()));
}

#[test]
fn an_expert_costs_its_own_bytes() {
    let mut selection =
        Selection { names: vec!["model.layers.1.mlp.experts.up_proj.weight".into()], ..Selection::default() };
    let whole = LoadPlan::new(&small(), &selection, &LoadPlanOptions::default()).unwrap();
    assert!(whole.blobs[0].is_whole);
    selection.experts = Some(vec![2]);
    let one = LoadPlan::new(&small(), &selection, &LoadPlanOptions::default()).unwrap();
    assert_eq!(one.read_bytes() * 3, whole.read_bytes());
    assert_eq!(one.tensors[0].shape, Shape::new([1, 4, 64]));
    assert!(!one.blobs[0].is_whole);
}

#[test]
fn held_bytes_are_not_read() {
    let table = small();
    let held = table.blobs[0].digest;
    let is_held = |origin: &Origin| origin.digest == held;
    let options = LoadPlanOptions { held: Some(&is_held), ..LoadPlanOptions::default() };
    let plan = LoadPlan::new(&table, &Selection::default(), &options).unwrap();
    assert!(plan.blobs.iter().all(|blob| blob.digest != held));
    let embed = plan.tensors.iter().find(|view| view.name == "model.embed_tokens.weight").unwrap();
    assert_eq!((embed.parts[0].arena, embed.parts[0].len), (None, 768));
    assert_eq!(plan.bytes(), plan.read_bytes() + 768);
}

#[test]
fn a_blob_of_two_components_is_read_once() {
    let mut table = small();
    table.blobs.truncate(1);
    table.blobs.push(table.blobs[0].clone());
    table.blobs[0].component = Some("a".into());
    table.blobs[1].component = Some("b".into());
    let plan = LoadPlan::new(&table, &Selection::default(), &LoadPlanOptions::default()).unwrap();
    assert_eq!(plan.tensors.len(), 2);
    assert_eq!(plan.tensors[0].parts[0].arena, plan.tensors[1].parts[0].arena);
    assert_eq!((plan.arena_bytes, plan.blobs.len()), (768, 1));
    let selection = Selection { component: Some("b".into()), ..Selection::default() };
    let plan = LoadPlan::new(&table, &selection, &LoadPlanOptions::default()).unwrap();
    assert_eq!(plan.tensors[0].component.as_deref(), Some("b"));
}

#[test]
fn what_cannot_be_planned_says_why() {
    type Change = fn(&mut Selection);
    let cases: &[(Change, &str)] = &[
        (|s| s.component = Some("vae".into()), r#"no tensors in the component "vae"; the model has []"#),
        (|s| s.names = vec!["model.norm.weight".into()], r#"no tensor "model.norm.weight""#),
        (|s| s.globs = vec!["[".into()], r#"the pattern "[" is not a glob"#),
        (|s| s.experts = Some(vec![0, 3]), "has no expert 3: expected a number below 3"),
        (|s| s.experts = Some(vec![2, 2]), "expert 2 is selected twice"),
        (|s| s.shards = vec![("*".into(), Shard::rows(2, 2))], "the share 2 of 2"),
        (|s| s.shards = vec![("*".into(), Shard::rows(0, 0))], "the share 0 of 0"),
        (
            |s| s.shards = vec![("*11.q_proj*".into(), Shard::rows(0, 2))],
            r#"tensor "model.layers.11.q_proj.weight" is [5, 64], whose 5 rows are not 2 equal shares"#,
        ),
        (
            |s| s.shards = vec![("*up_proj*".into(), Shard::columns(0, 4))],
            r#"tensor "model.layers.1.mlp.experts.up_proj.weight" is [3, 4, 64] in groups of 32, whose 64 columns are not 4 equal shares"#,
        ),
        (|s| s.shards = vec![("*bias".into(), Shard::columns(0, 2))], "is [4] and has no columns to share out"),
    ];
    for (change, expected) in cases {
        let mut selection = Selection::default();
        change(&mut selection);
        let found = names(&selection).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }
    let options = LoadPlanOptions { dtype: Some(Dtype::I32), ..LoadPlanOptions::default() };
    let error = LoadPlan::new(&small(), &Selection::default(), &options).unwrap_err();
    assert_eq!(error, LoadPlanError::Dtype { found: Dtype::I32 });

    let mut table = small();
    table.blobs.truncate(1);
    let mut selection = Selection { experts: Some(vec![0]), ..Selection::default() };
    let error = LoadPlan::new(&table, &selection, &LoadPlanOptions::default()).unwrap_err();
    assert_eq!(error, LoadPlanError::NoExperts);

    let mut table = small();
    table.blobs.drain(..4);
    selection.experts = Some(vec![1, 2]);
    let error = LoadPlan::new(&table, &selection, &LoadPlanOptions::default()).unwrap_err();
    assert_eq!(error, LoadPlanError::UnknownExpert { expert: 2 });
}

#[test]
fn a_cut_of_an_odd_size_cuts_no_element() {
    let (table, bytes) = model(&[vec![Given::new("a.weight", &[3, 100], Kind::Plain(Dtype::F32))]]);
    let blobs: BTreeMap<_, _> = bytes.iter().map(|bytes| (Digest::of(bytes), &bytes[..])).collect();
    let options = LoadPlanOptions { dtype: Some(Dtype::BF16), ..LoadPlanOptions::default() };
    let plan = LoadPlan::new(&table, &Selection::default(), &options).unwrap();
    let whole = fill(&plan, &blobs, &Cut::new(1 << 20), false);
    let mut odd = Cut::new(256);
    let small = plan.pieces(&odd);
    for size in [0, 1, 257, 511, 513] {
        odd.piece = size;
        if size < 512 {
            assert_eq!(plan.pieces(&odd), small, "{size}");
        } else {
            assert_eq!(fill(&plan, &blobs, &odd, false), whole, "{size}");
        }
    }
}

#[test]
fn scales_in_blobs_of_their_own_are_read_from_there() {
    let mut table = small();
    let (codes, scales) = (Digest::of(b"codes"), Digest::of(b"scales"));
    table.blobs = vec![table.blobs[2].clone()];
    table.blobs[0].digest = codes;
    for part in &mut table.blobs[0].tensors[0].parts[1..2] {
        (part.blob, part.offset) = (Some(scales), 8);
    }
    let plan = LoadPlan::new(&table, &Selection::default(), &LoadPlanOptions::default()).unwrap();
    let found: Vec<_> = plan.blobs.iter().map(|blob| (blob.digest, blob.is_whole)).collect();
    assert_eq!(found, [(codes, true), (scales, true)]);
    let parts = &plan.tensors[0].parts;
    assert_eq!((parts[1].origin.digest, parts[2].origin.digest), (scales, codes));
    assert_eq!(plan.reads.last().unwrap().extent.offset, 8);
}

#[test]
fn small_tensors_of_many_blobs_share_a_piece() {
    let norm = |at: usize| vec![Given::new(&format!("layers.{at}.norm.weight"), &[64], Kind::Plain(Dtype::BF16))];
    let (table, _) = model(&(0..100).map(norm).collect::<Vec<_>>());
    let plan = LoadPlan::new(&table, &Selection::default(), &LoadPlanOptions::default()).unwrap();
    assert_eq!(plan.pieces(&Cut::new(1 << 20)).len(), 1);
    assert_eq!(plan.pieces_by_blob(&Cut::new(1 << 20)).len(), 100);
}
