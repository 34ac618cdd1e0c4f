//! Tables of tensors that were arranged or changed on the way from GGUF files.

use longshore_manifest::{
    Config,
    document::{Arrangement, Change, TensorEntry, TensorTable},
    weights::{
        OpenOptions, Weights, WeightsError,
        plan::{LoadPlan, LoadPlanError, LoadPlanOptions, Selection},
    },
};

use crate::util::{Blob, Scratch, commit, name, table};

/// A table with one plain tensor of F32 `[rows, 4]`, or with one of int4 `[rows, 64]`.
fn with(is_coded: bool, rows: u64, edit: impl FnOnce(&mut TensorEntry)) -> TensorTable {
    let mut blob = if is_coded { Blob::int4("t", rows, 32, 1) } else { Blob::plain("t", rows, 1) };
    edit(&mut blob.tensors[0]);
    table(&[blob])
}

/// Result of reading a document with this table.
fn problem(table: TensorTable) -> Option<String> {
    let bytes = Config::new(table).to_bytes();
    Config::parse(&bytes).err().map(|error| error.to_string())
}

#[test]
fn arrangements_are_read_as_they_were_written() {
    for (arrangement, sources, text) in [
        (Arrangement::Reshape, 1, r#""transform":"reshape""#),
        (Arrangement::Halves { heads: 2 }, 1, r#""transform":{"halves":{"heads":2}}"#),
        (Arrangement::Interleave { axis: 0 }, 2, r#""transform":{"interleave":{"axis":0}}"#),
        (Arrangement::Concatenate { axis: 1 }, 2, r#""transform":{"concatenate":{"axis":1}}"#),
        (Arrangement::Rows { axis: 0, first: 8, of: 16 }, 1, r#""transform":{"rows":{"axis":0,"first":8,"of":16}}"#),
        (Arrangement::LatentHeads { heads: 2, keys: 1 }, 2, r#""transform":{"latent_heads":{"heads":2,"keys":1}}"#),
    ] {
        let table = with(false, 8, |tensor| {
            tensor.arrangement = arrangement;
            tensor.sources = (0..sources).map(|at| format!("s{at}")).collect();
        });
        let bytes = Config::new(table.clone()).to_bytes();
        assert!(String::from_utf8(bytes.clone()).unwrap().contains(text), "{arrangement:?}");
        assert_eq!(Config::parse(&bytes).unwrap().longshore.as_deref(), Some(&table));
    }
}

#[test]
fn arrangements_that_do_not_fit_are_refused() {
    let refuse = |is_coded: bool, arrangement, sources: usize, expected: &str| {
        let table = with(is_coded, 6, |tensor| {
            tensor.arrangement = arrangement;
            tensor.sources = (0..sources).map(|at| format!("s{at}")).collect();
        });
        let found = problem(table).unwrap_or_else(|| panic!("{arrangement:?} is taken"));
        assert!(found.contains(expected), "{found}");
    };
    refuse(false, Arrangement::Reshape, 2, "one source at most");
    for heads in [0, 2, 6, u64::MAX] {
        refuse(false, Arrangement::Halves { heads }, 1, "whole pairs for each head");
    }
    refuse(false, Arrangement::Halves { heads: 3 }, 2, "one source at most");
    for (axis, sources) in [(0, 1), (0, 4), (1, 3), (2, 2)] {
        refuse(false, Arrangement::Interleave { axis }, sources, "share evenly");
        refuse(false, Arrangement::Concatenate { axis }, sources, "share evenly");
    }
    // Elements of a row are no rows where they are codes.
    refuse(true, Arrangement::Concatenate { axis: 1 }, 2, "share evenly");
    refuse(false, Arrangement::Rows { axis: 0, first: 3, of: 8 }, 1, "no more rows");
    refuse(false, Arrangement::Rows { axis: 0, first: u64::MAX, of: 8 }, 1, "no more rows");
    for (heads, keys) in [(0, 1), (4, 1), (2, 4)] {
        refuse(false, Arrangement::LatentHeads { heads, keys }, 2, "fill the rows");
    }
    refuse(true, Arrangement::LatentHeads { heads: 2, keys: 1 }, 2, "fill the rows");
    refuse(false, Arrangement::LatentHeads { heads: 2, keys: 1 }, 1, "fill the rows");
}

#[test]
fn changes_that_a_reader_might_miss_are_refused() {
    type Edit = fn(&mut TensorEntry);
    let of = |is_coded, edit: Edit| {
        problem(with(is_coded, 2, |tensor| {
            tensor.arrangement = Arrangement::Reshape;
            edit(tensor);
        }))
    };
    assert_eq!(of(false, |tensor| tensor.change = Change::MinusOne), None);
    assert_eq!(of(false, |tensor| tensor.offset = 1), None);
    assert_eq!(of(true, |tensor| tensor.offset = -1), None);
    let corrected: Edit = |tensor| (tensor.change, tensor.ulps) = (Change::LogNegative, vec![-1; 8]);
    assert_eq!(of(false, corrected), None);
    let refused: [(bool, Edit, &str); 6] = [
        (
            false,
            |tensor| (tensor.change, tensor.arrangement) = (Change::MinusOne, Arrangement::None),
            "not those of its",
        ),
        (false, |tensor| (tensor.offset, tensor.arrangement) = (1, Arrangement::None), "not those of its source"),
        (false, |tensor| (tensor.offset, tensor.change) = (1, Change::MinusOne), "both an offset and a change"),
        (true, |tensor| tensor.change = Change::MinusOne, "plain F32 only"),
        (false, |tensor| tensor.ulps = vec![1; 8], "8 ulps"),
        (false, |tensor| (tensor.change, tensor.ulps) = (Change::LogNegative, vec![1; 7]), "7 ulps"),
    ];
    for (is_coded, edit, expected) in refused {
        let found = of(is_coded, edit).unwrap_or_else(|| panic!("{expected}"));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_tensor_with_an_offset_is_loaded_only_by_who_asks_for_it() {
    let scratch = Scratch::new();
    let mut norm = Blob::plain("norm", 2, 1);
    (norm.tensors[0].offset, norm.tensors[0].arrangement) = (1, Arrangement::Reshape);
    commit(&scratch.store, "m", &[norm.clone(), Blob::plain("other", 2, 2)]);
    let model = scratch.store.model(&name("m")).unwrap();
    let open = |selection| {
        let options = OpenOptions { selection, ..OpenOptions::default() };
        Weights::open(&scratch.store, &model, &options)
    };
    let error = open(Selection::default()).unwrap_err();
    assert!(
        matches!(&error, WeightsError::Plan(LoadPlanError::Offset { tensor, offset: 1 }) if tensor == "norm"),
        "{error}"
    );
    let planned =
        LoadPlan::new(&scratch.store.table(&model).unwrap(), &Selection::default(), &LoadPlanOptions::default());
    assert!(matches!(planned, Err(LoadPlanError::Offset { .. })));
    assert_eq!(open(Selection { names: vec!["other".into()], ..Selection::default() }).unwrap().len(), 1);
    let weights = open(Selection { offsets: true, ..Selection::default() }).unwrap();
    assert_eq!((weights.get("norm").unwrap().offset(), weights.get("other").unwrap().offset()), (1, 0));
}

#[test]
fn tables_of_others_have_no_changes() {
    let text = String::from_utf8(Config::new(with(false, 2, |_| ())).to_bytes()).unwrap();
    for field in ["\"change\"", "\"ulps\"", "\"offset\":0"] {
        assert!(!text.contains(field), "{text}");
    }
}
