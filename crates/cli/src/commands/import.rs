//! `import SOURCE NAME`: a checkpoint into the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::Context as _;
use longshore_manifest::{Digest, ModelName, Store};
use longshore_packer::{
    Awq, GptqOptions, HessianFile, ImportOptions, ImportOutcome, ImportanceFile, Plan, PlanError, PlanOptions,
    PlanReport, PlannedTensor, Source, SourceOptions,
};
use longshore_quant::{Profile, Scheme, policy::Policy};
use serde::Serialize;

use super::loss::Lost;
use crate::{
    advice::Advice,
    args::{
        import::{Codes, Import},
        types::Quantize,
    },
    door,
    format::{plural, seconds, size},
    lines::Lines,
    printer::{FAINT, Printer, STRONG},
    progress::Bar,
    table::{Align, facts, table},
};

/// The dry run's document, and what came of it.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    plan: PlanReport<'a>,
    digest: Digest,
    new_bytes: u64,
    reused_bytes: u64,
    taken_over_bytes: u64,
    freed_bytes: u64,
    seconds: f64,
    /// Loss of quantization, by tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    losses: Option<BTreeMap<&'a str, Lost>>,
}

/// Refuses options that would do nothing to this plan.
fn check(args: &Import, plan: &Plan) -> anyhow::Result<()> {
    let tensors = || plan.blobs.iter().flat_map(|blob| &blob.tensors);
    let encoded = || tensors().filter(|tensor| tensor.scheme.is_some() && !tensor.is_repacked());
    let is_searched = |scheme: Scheme| args.profile.profile() == Profile::Best && scheme != Scheme::MXFP8;
    let is_float = |tensor: &&PlannedTensor| tensor.scheme.is_some_and(|scheme| !scheme.is_affine());
    if let Some(tensor) =
        Some(args.profile).filter(|codes| *codes == Codes::Gptq).and_then(|_| encoded().find(is_float))
    {
        let (name, scheme) = (&tensor.name, tensor.scheme.map(|scheme| scheme.to_string()).unwrap_or_default());
        let text = format!(
            "--profile gptq chooses codes of integer types, and tensor {} becomes {scheme}",
            door::shown(name, door::CELL)
        );
        return Err(Advice::failure(text).hint("--profile best searches for the codes of any type").into());
    }
    let useless = if args.global_scale && !encoded().any(|tensor| tensor.scheme == Some(Scheme::NVFP4)) {
        Some(("--global-scale", "no tensor becomes nvfp4, the only type that has one: --quantize nvfp4"))
    } else if args.importance.is_some()
        && args.awq.is_none()
        && !encoded().any(|tensor| tensor.scheme.is_some_and(is_searched))
    {
        Some(("--importance", "no tensor's codes are searched for: add --quantize TYPE --profile best"))
    } else if args.hessians.is_some()
        && args.profile != Codes::Gptq
        && !(args.awq.is_some() && args.importance.is_none())
    {
        Some(("--hessians", "no codes are chosen by it: add --profile gptq"))
    } else if args.hessians.is_some() && encoded().next().is_none() {
        Some(("--hessians", "no tensor is quantized: --quantize TYPE"))
    } else if args.measure && encoded().next().is_none() {
        Some(("--measure", "no tensor is quantized, so that nothing is lost: --quantize TYPE"))
    } else {
        None
    };
    match useless {
        None => Ok(()),
        Some((flag, hint)) => Err(Advice::failure(format!("{flag} would have no effect")).hint(hint).into()),
    }
}

pub(super) fn run(args: &Import, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let policy = super::policy::open(&args.policy)?;
    let mut said = BTreeSet::new();
    // With a source or a draft that is a stored model, which others may replace until its last blob is read.
    let (plan, outcome) = super::steadily(Some(&args.source), &mut || {
        super::steadily(args.draft.as_deref(), &mut || import(args, &policy, store, printer, &mut said))
    })?;
    let Some(outcome) = outcome else {
        printer.report(&PlanReport::new(&plan), || describe(&plan, printer.columns()))?;
        return Ok(ExitCode::SUCCESS);
    };
    for warning in &outcome.warnings {
        printer.warn(warning);
    }
    if let Some(reason) = &outcome.left {
        super::gc::warn_of_left(printer, reason);
    }
    let report = Report {
        plan: PlanReport::new(&plan),
        digest: outcome.digest,
        new_bytes: outcome.new_bytes,
        reused_bytes: outcome.reused_bytes,
        taken_over_bytes: outcome.taken_over_bytes,
        freed_bytes: outcome.freed_bytes,
        seconds: started.elapsed().as_secs_f64(),
        losses: args
            .measure
            .then(|| outcome.losses.iter().map(|(tensor, loss)| (tensor.as_str(), Lost::from(loss))).collect()),
    };
    printer.report(&report, || {
        let (blobs, files) = (plural(plan.blobs.len(), "blob"), plural(plan.files.len(), "file"));
        let (stored, read) = (size(plan.stored_bytes()), size(plan.source_bytes()));
        let new = match outcome.reused_bytes {
            0 => size(outcome.new_bytes),
            reused => format!("{}; {} were there already", size(outcome.new_bytes), size(reused)),
        };
        let mut lines = vec![("stored", format!("{stored} in {blobs} and {files}, from {read}")), ("new", new)];
        if outcome.taken_over_bytes > 0 {
            let bytes = size(outcome.taken_over_bytes);
            lines.push(("taken over", format!("{bytes} of these, finished by an import that was killed")));
        }
        if outcome.freed_bytes > 0 {
            lines.push(("freed", size(outcome.freed_bytes)));
        }
        lines.push(("took", seconds(report.seconds)));
        let digest = outcome.digest.short();
        let mut text = Lines::new();
        text.styled(STRONG, &args.name.to_string(), &format!("  {digest}"));
        text.append(&facts(&lines, printer.columns()));
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Plans the import, and carries it out unless it is a dry run. Warnings and notes that were `said` before are not said again.
fn import(
    args: &Import,
    policy: &Policy,
    store: &Store,
    printer: &Printer,
    said: &mut BTreeSet<String>,
) -> anyhow::Result<(Plan, Option<ImportOutcome>)> {
    let opening = SourceOptions { follow_links: args.follow_links, ..SourceOptions::default() };
    let mut source = match &args.adapter_of {
        Some(base) => attachment(args, base, &opening, store)?,
        None => Source::open_with(&args.source, &opening)?,
    };
    if let Some(draft) = &args.draft {
        source = source.with_draft(Source::open_with(draft, &opening)?)?;
    }
    for adapter in &args.adapter {
        source = source.with_adapter(&adapter.dir, adapter.weight, &opening.limits)?;
    }
    if let Some(seed) = args.rotate {
        source = source.rotated(seed)?;
    }
    let scheme = args.quantize.and_then(Quantize::scheme);
    let importance = args.importance.as_ref().map(ImportanceFile::open).transpose()?.map(Arc::new);
    // The file of Hessians has the mean squares, too.
    let squares = match (&importance, &args.hessians) {
        (None, Some(file)) if args.awq.is_some() => Some(Arc::new(ImportanceFile::open(file)?)),
        (None, Some(file)) => ImportanceFile::open(file).ok().map(Arc::new),
        _ => None,
    };
    let options = PlanOptions {
        scheme,
        policy: policy.clone(),
        floats: matches!(args.quantize, Some(Quantize::None)),
        requantize: args.requantize,
        take_over: args.quantize.map(Quantize::take_over).unwrap_or_default(),
        global_scale: args.global_scale,
        awq: args.awq.map(|power| awq(importance.as_ref().or(squares.as_ref()), power)).transpose()?,
    };
    let plan = Plan::new(source, &options).with_context(|| format!("cannot import {}", door::path(&args.source)))?;
    check(args, &plan)?;
    let of_importance = importance.as_ref().map(|file| file.check(&plan)).transpose()?.unwrap_or_default();
    let gptq = args.hessians.as_deref().map(|file| gptq(file, args.held.as_deref())).transpose()?;
    let of_gptq = gptq.as_ref().map(|gptq| gptq.check(&plan)).transpose()?.unwrap_or_default();
    let importance = importance.or_else(|| squares.filter(|file| file.check(&plan).is_ok()));
    for warning in of_importance.iter().chain(&of_gptq).filter(|warning| said.insert((*warning).clone())) {
        printer.warn(warning);
    }
    for warning in plan.warnings.iter().filter(|warning| said.insert((*warning).clone())) {
        printer.warn(warning);
    }
    for note in plan.notes.iter().filter(|note| said.insert((*note).clone())) {
        printer.note(&format!("note: {note}"));
    }
    if args.dry_run {
        return Ok((plan, None));
    }
    let options = ImportOptions {
        profile: args.profile.profile(),
        threads: args.threads,
        allow_non_finite: args.allow_nonfinite,
        importance,
        gptq,
        measure: args.measure,
    };
    let bar = Bar::new(printer);
    let outcome = plan.import(store, &args.name, &options, &bar)?;
    Ok((plan, Some(outcome)))
}

/// Opens the files that codes are chosen by.
fn gptq(hessians: &Path, held: Option<&Path>) -> anyhow::Result<GptqOptions> {
    let hessians = Arc::new(HessianFile::open(hessians)?);
    let held = held.map(HessianFile::open).transpose()?.map(Arc::new);
    Ok(GptqOptions::new(hessians, held))
}

/// Factors of columns by the mean squares in a file.
fn awq(squares: Option<&Arc<ImportanceFile>>, power: f64) -> anyhow::Result<Awq> {
    let Some(squares) = squares else {
        let hint = "--importance FILE or --hessians FILE, as `longshore calibrate` writes them";
        return Err(Advice::failure("--awq needs statistics of what weights are multiplied by").hint(hint).into());
    };
    Ok(Awq::new(Arc::clone(squares), power))
}

/// Opens an adapter as an attachment of a stored model, which it has to fit.
fn attachment(args: &Import, base: &ModelName, opening: &SourceOptions, store: &Store) -> anyhow::Result<Source> {
    let model = store.model(base)?;
    let path = store.manifest_path(base);
    let merged = Source::open_with(&path, opening)?.with_adapter(&args.source, 1.0, &opening.limits)?;
    // Whether it could be merged is another matter: a base that is quantized takes it while it runs.
    match Plan::new(merged, &PlanOptions { requantize: true, ..PlanOptions::default() }) {
        Err(error)
            if !matches!(
                error,
                PlanError::AdapterQuantized { .. } | PlanError::AdapterDtype { .. } | PlanError::AdapterReplaces { .. }
            ) =>
        {
            Err(error.into())
        }
        _ => Ok(Source::open_attachment(&args.source, model.digest, &opening.limits)?),
    }
}

/// Text of a dry run: every tensor with the rule that decided it.
fn describe(plan: &Plan, room: Option<usize>) -> Lines {
    let columns = [
        ("TENSOR", Align::Left),
        ("DTYPE", Align::Left),
        ("SHAPE", Align::Left),
        ("SCHEME", Align::Left),
        ("RULE", Align::Left),
    ];
    let mut rows = Vec::new();
    for (blob, tensor) in plan.blobs.iter().flat_map(|blob| blob.tensors.iter().map(move |tensor| (blob, tensor))) {
        let component = blob.component.as_ref().map_or_else(String::new, |component| format!("{component}/"));
        rows.push(vec![
            component + &tensor.name,
            tensor.dtype.to_string(),
            tensor.shape.to_string(),
            tensor.coding_name().unwrap_or_else(|| "-".into()),
            tensor.rule.to_string(),
        ]);
    }
    let mut lines = table(&columns, &rows, room);
    for file in &plan.files {
        lines.styled(FAINT, "file", &format!(" {}  {}", file.name, size(file.size)));
    }
    lines.line(&format!(
        "would store {} in {} from {} of tensors; nothing was written",
        size(plan.stored_bytes()),
        plural(plan.blobs.len(), "blob"),
        size(plan.source_bytes()),
    ));
    lines
}
