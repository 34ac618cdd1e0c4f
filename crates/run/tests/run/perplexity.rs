//! Perplexity against the definition, from recorded logits.

use longshore_run::{LoadOptions, Measured, Precision, Windows, perplexity};

use crate::checkpoint::Case;

#[test]
fn perplexity_is_that_of_recorded_logits() {
    let case = Case::named("llama");
    let (_folder, model) = case.open(LoadOptions::default());
    let windows = Windows { tokens: &case.tokens, bos: None, size: case.tokens.len() };
    let mut heard = Vec::new();
    let measured = [Measured { model: &model, windows, against: None }];
    let found = perplexity(&measured, &mut |done, all| heard.push((done, all))).expect("the tokens are fine");
    let nll: f64 = case
        .logits
        .iter()
        .zip(&case.tokens[1..])
        .map(|(logits, target)| {
            let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
            sum.ln() - f64::from(logits[*target as usize])
        })
        .sum();
    let expected = nll / (case.tokens.len() - 1) as f64;
    assert!((found[0].nll - expected).abs() < 1e-5, "{} {expected}", found[0].nll);
    assert!((found[0].perplexity - expected.exp()).abs() < 1e-3);
    assert_eq!((found[0].tokens, found[0].windows.len(), found[0].comparison), (case.tokens.len() - 1, 1, None));
    assert_eq!(heard.last(), Some(&(case.tokens.len() - 1, case.tokens.len() - 1)));
}

#[test]
fn models_are_compared_where_their_windows_are_alike() {
    let case = Case::named("llama");
    let (_folder, model) = case.open(LoadOptions::default());
    let (_folder, fast) = case.open(LoadOptions { precision: Precision::Fast, ..LoadOptions::default() });
    let (_folder, other) = Case::named("qwen3").open(LoadOptions::default());
    let tokens: Vec<u32> = (0..61).map(|at| (at * 37 + 5) % 64).collect();
    let windows = Windows { tokens: &tokens, bos: Some(1), size: 8 };
    let odd = Windows { size: 9, ..windows };
    let found = perplexity(
        &[
            Measured { model: &model, windows, against: None },
            Measured { model: &fast, windows, against: Some(0) },
            Measured { model: &other, windows, against: Some(0) },
            Measured { model: &other, windows: odd, against: Some(0) },
        ],
        &mut |_, _| {},
    );
    let found = found.expect("the tokens are fine");
    let of = |at: usize| found[at].comparison.expect("it is compared");
    // Plain floats are multiplied exactly on both paths.
    assert!(of(1).kl.abs() < 1e-9 && (of(1).top1 - 1.0).abs() < 1e-12 && of(1).delta_nll == 0.0);
    assert!(of(2).kl > 0.01 && of(2).top1 < 0.9);
    assert!((of(2).delta_nll - (found[2].nll - found[0].nll)).abs() < 1e-9);
    assert!(of(2).delta_standard_error > 0.0);
    assert_eq!(found[3].comparison, None);
    assert_eq!((found[2].windows.len(), found[2].tokens, found[3].windows.len()), (8, 56, 7));
}
