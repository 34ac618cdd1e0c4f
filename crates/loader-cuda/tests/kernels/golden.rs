//! Compares with the values that MLX itself decodes.

use crate::{cases::golden_cases, harness::Harness};

#[test]
fn vectors_of_mlx_decode_as_they_say() {
    let Some(mut harness) = Harness::start() else { return };
    assert_eq!(golden_cases(&mut harness), 11);
}
