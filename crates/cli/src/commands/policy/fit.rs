//! `policy fit NAME --bits B --stats FILE -o POLICY`: a policy that spends bits where they help most.

use std::{collections::BTreeMap, fs::File, io::Write as _, process::ExitCode};

use longshore_manifest::{Store, Weights, weights::OpenOptions};
use longshore_packer::{FitError, Fitted, ImportanceFile, fit};
use serde::Serialize;

use crate::{
    advice::Advice,
    args::policy::PolicyFit,
    door, errors,
    format::plural,
    lines::Lines,
    printer::{Printer, VERSION},
    progress::Bar,
};

#[derive(Serialize)]
struct Report {
    version: u32,
    policy: String,
    bits_per_weight: f64,
    /// Numbers of tensors by their type.
    tensors: BTreeMap<String, usize>,
}

pub(super) fn run(
    args: &PolicyFit,
    store: impl FnOnce() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    if args.output.exists() {
        return Err(Advice::failure(format!("{} exists: expected a new file", door::path(&args.output))).into());
    }
    let statistics = ImportanceFile::open(&args.stats)?;
    let store = store()?;
    let model = store.model(&args.name)?;
    let weights = Weights::open(&store, &model, &OpenOptions::default())?;
    let fitted = {
        let bar = Bar::new(printer);
        fit(&weights, &model, &statistics, args.bits, args.threads, &bar).map_err(refused)?
    };
    let Fitted { policy, bits_per_weight, chosen, warnings, .. } = fitted;
    for warning in &warnings {
        printer.warn(warning);
    }
    let written = File::create_new(&args.output).and_then(|mut file| file.write_all(policy.as_bytes()));
    written.map_err(|error| Advice::failure(format!("cannot write {}: {error}", door::path(&args.output))))?;
    let mut tensors = BTreeMap::<String, usize>::new();
    for (_, scheme) in &chosen {
        *tensors.entry(scheme.map_or_else(|| "kept".to_owned(), |scheme| scheme.to_string())).or_default() += 1;
    }
    let report = Report { version: VERSION, policy: door::path(&args.output), bits_per_weight, tensors };
    printer.report(&report, || {
        let each = report.tensors.iter().map(|(scheme, count)| format!("{} {scheme}", plural(*count, "tensor")));
        let each = each.collect::<Vec<_>>().join(", ");
        Lines::of(&format!("{}: {bits_per_weight:.3} bits per weight; {each}", report.policy))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn refused(error: FitError) -> anyhow::Error {
    let hint = match &error {
        FitError::Quantized { .. } => "import its checkpoint without --quantize, and fit that",
        FitError::Unused { .. } => "calibrate this model: longshore calibrate NAME --text FILE OUT",
        FitError::Cancelled => return Advice::interrupted(errors::text(&error)).into(),
        _ => return error.into(),
    };
    Advice::input(errors::text(&error)).hint(hint).into()
}
