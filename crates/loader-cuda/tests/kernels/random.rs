//! Tests with random tensors of all schemes, types and sizes.

use longshore_quant::FloatType;

use crate::{
    cases::{Numbers, edge_cases, random_case, schemes},
    harness::Harness,
};

#[test]
fn any_tensor_decodes_as_on_the_host() {
    let Some(mut harness) = Harness::start() else { return };
    let mut numbers = Numbers::new(1);
    for scheme in schemes() {
        for source in FloatType::ALL {
            for target in FloatType::ALL {
                for _ in 0..8 {
                    random_case(scheme, source, target, &mut numbers).check(&mut harness);
                }
            }
        }
    }
}

#[test]
fn the_last_unit_of_a_block_decodes() {
    let Some(mut harness) = Harness::start() else { return };
    edge_cases(|case| case.check(&mut harness));
}
