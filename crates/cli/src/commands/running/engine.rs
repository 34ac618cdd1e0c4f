//! A model, opened to be run.

use longshore_manifest::{ModelName, Store, weights::Source};
use longshore_run::{KvType, LoadOptions, Model, Precision};

use super::refusals;
use crate::{
    advice::Advice,
    args::{
        running::{Engine, KvDtype},
        target::{Runnable, Target},
        types::dtype,
    },
    commands::input::Input,
    printer::Printer,
    signals,
};

/// The model that is meant, pulled first if it is elsewhere. `store` opens the store where one is needed.
pub(super) fn here(
    asked: &Runnable,
    store: impl Fn() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<Target> {
    let name = match &asked.target {
        Some(Target::Path(path)) => return Ok(Target::Path(path.clone())),
        Some(Target::Name(name)) => Some(name),
        None => None,
    };
    #[cfg(feature = "net")]
    if let Some(name) = crate::commands::net::here::here(&asked.text, name, &store()?, printer)? {
        return Ok(Target::Name(name));
    }
    #[cfg(not(feature = "net"))]
    let _ = (store, printer);
    match name {
        Some(name) => Ok(Target::Name(name.clone())),
        None => Err(Advice::failure(format!(
            "{} is a model elsewhere, and this program was built without `net`",
            asked.text
        ))
        .hint("longshore import SOURCE NAME, then run NAME")
        .into()),
    }
}

/// Opens a model. What a user should know about it is noted. From here on an interrupt stops what is done with the model.
pub(super) fn open(
    target: &Target,
    engine: &Engine,
    default: Precision,
    store: impl FnOnce() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<Model> {
    open_adapted(target, engine, default, None, store, printer)
}

/// Opens a model with an adapter beside its weights.
pub(super) fn open_adapted(
    target: &Target,
    engine: &Engine,
    default: Precision,
    adapter: Option<Source>,
    store: impl FnOnce() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<Model> {
    let options = LoadOptions { adapter, ..options(engine, precision(engine, default)) };
    let open = |source: &Source| Model::open(source.clone(), options.clone());
    let model = with_source(target, store, printer, |source, input| {
        open(source).map_err(|error| refusals::loading(error, input))
    })?;
    // What an import would note about the files is of no matter for an answer.
    let of_files = if printer.is_verbose() { 0 } else { model.source().notes().len() };
    for note in model.notes().iter().skip(of_files) {
        printer.note(&format!("note: {note}"));
    }
    Ok(model)
}

/// Opens an adapter that was stored for a model.
pub(super) fn adapter(
    name: &ModelName,
    target: &Target,
    store: impl Fn() -> anyhow::Result<Store>,
) -> anyhow::Result<Source> {
    let Target::Name(of) = target else {
        let text = format!("the adapter {name} belongs to a stored model, expected its name");
        return Err(Advice::failure(text).hint("longshore import SOURCE NAME --adapter DIR merges an adapter").into());
    };
    let store = store()?;
    let attached = store.model(name)?;
    let Some(base) = &attached.config.base else {
        let text = format!("{name} is a model by itself, expected an adapter");
        return Err(Advice::input(text).hint(format!("longshore import DIR NAME --adapter-of {of}")).into());
    };
    let (found, _) = store.manifest(of)?;
    if base.digest != found {
        let expected = base.digest;
        return Err(
            Advice::input(format!("the adapter {name} belongs to the model {expected}, and {of} is {found}")).into()
        );
    }
    Ok(Source::of_model(&store, &attached)?)
}

/// Opens the source of a model and does something with it.
pub(super) fn with_source<T>(
    target: &Target,
    store: impl FnOnce() -> anyhow::Result<Store>,
    printer: &Printer,
    mut work: impl FnMut(&Source, &Input) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    signals::stop_when_asked();
    let input = Input::of(target, store)?;
    input.with_source(printer, |source| work(source, &input))
}

/// The path that was asked for, or else the verb's.
pub(super) fn precision(engine: &Engine, default: Precision) -> Precision {
    match (engine.exact, engine.fast) {
        (true, _) => Precision::Exact,
        (_, true) => Precision::Fast,
        _ => default,
    }
}

pub(super) fn options(engine: &Engine, precision: Precision) -> LoadOptions {
    LoadOptions {
        precision,
        kv: match engine.kv_dtype {
            KvDtype::F32 => KvType::F32,
            KvDtype::F16 => KvType::F16,
        },
        max_sequence: engine.max_seq.map(Into::into),
        threads: engine.threads.map(Into::into),
        dtype: engine.dtype.map(dtype),
        mapped: !engine.no_mmap,
        experts: engine.experts,
        treat_as: engine.treat_as.clone(),
        cancel: Some(signals::stop_flag()),
        ..LoadOptions::default()
    }
}
