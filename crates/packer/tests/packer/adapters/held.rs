//! Codes of merged weights, chosen by Hessians or by a search.

use std::sync::Arc;

use longshore_manifest::Store;
use longshore_packer::{ImportanceFile, Plan};
use longshore_st_format::Dtype;
use serde_json::json;

use super::{cases::cases, with_adapter};
use crate::{
    calibrated::{Hessians, gptq},
    stores::{read, try_import},
    support::{Dir, options},
};

const WEIGHT: &str = "l.0.q_proj.weight";

/// Where inputs do not depend on each other, both find the same codes, and those of the search are kept. The sum is rounded in neither.
#[test]
fn a_search_is_compared_by_what_it_would_encode() {
    let case = &cases()[0];
    let [base, adapter] = case.write(Dtype::BF16);
    let dir = Dir::new();
    let identity: Vec<f32> = (0..64 * 64).map(|at| if at / 64 == at % 64 { 1.0 } else { 0.0 }).collect();
    let hessians = Hessians {
        arrays: vec![("hessian/q", vec![64, 64], identity)],
        metadata: [("hessians".to_owned(), json!({WEIGHT: "hessian/q"}).to_string())].into(),
    };
    let file = hessians.open(&dir).expect("it is valid");
    dir.bytes("squares.safetensors", &[(WEIGHT, Dtype::F32, &[64], &1.0_f32.to_le_bytes().repeat(64))]);
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    for scheme in ["int4-g32", "int3", "int8"] {
        let plan = Plan::new(with_adapter(&base, &adapter, 1.0), &options(scheme, "uniform")).expect("it fits");
        let mut options = gptq(&file, Some(&file), 2);
        let squares = ImportanceFile::open(dir.join("squares.safetensors")).expect("it is valid");
        options.importance = Some(Arc::new(squares));
        try_import(&store, "m", &plan, &options).expect("it is imported");
        let changes = read(&store, "m").config.changes.expect("an adapter was merged");
        assert_eq!(changes.gptq, None, "{scheme}");
    }
}
