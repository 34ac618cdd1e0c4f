//! The work of a pull: what it would fetch, and fetching it.

use std::time::Instant;

use longshore_hub::{Hub, HubOptions, Ollama, Remote, Selection, pull_ollama};
use longshore_manifest::{Digest, ModelName, Store};
use longshore_packer::{ImportOptions, PlanOptions};
use longshore_registry::{PullOptions, pull, pull_plan};
use serde::Serialize;

use super::{client, reference::Place};
use crate::{
    advice::Advice,
    args::{net::PullArgs, types::Quantize},
    printer::Printer,
    progress::Bar,
};

/// The files that a pull would fetch.
pub(super) struct Ahead {
    /// Digest of the model, which a registry of ours knows before.
    pub(super) digest: Option<Digest>,
    /// Commit of a hub's repository, or digest of a manifest of Ollama's.
    pub(super) commit: Option<String>,
    pub(super) bytes: u64,
    /// Blobs that the store lacks, of those in a registry of ours.
    pub(super) missing: usize,
    pub(super) missing_bytes: u64,
    /// Paths and bytes of a hub's files, or digests and bytes of blobs of Ollama's.
    pub(super) files: Vec<(String, u64)>,
    /// The hub's files, or the blobs of Ollama's.
    pub(super) remote: Option<Remote>,
}

impl From<Remote> for Ahead {
    fn from(remote: Remote) -> Self {
        let missing_bytes = remote.missing_bytes;
        Self {
            digest: None,
            commit: Some(remote.commit.clone()),
            bytes: remote.bytes(),
            missing: if missing_bytes > 0 { remote.files.len() } else { 0 },
            missing_bytes,
            files: remote.files.clone(),
            remote: Some(remote),
        }
    }
}

/// The outcome of a pull.
#[derive(Serialize)]
pub(super) struct Fetched {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) moved_bytes: u64,
    pub(super) reused_bytes: u64,
    /// Commit of a hub's repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) commit: Option<String>,
    pub(super) seconds: f64,
}

/// Refuses options that are not for the place.
pub(super) fn check(place: &Place, args: &PullArgs) -> anyhow::Result<()> {
    let is_selected = !args.include.is_empty() || !args.exclude.is_empty();
    match place {
        Place::Registry(_) if is_selected || args.quantize.is_some() || args.policy.is_some() => {
            let text = "--quantize, --policy, --include and --exclude are for references to a hub (hf:…)";
            Err(Advice::failure(text).hint("`longshore import` makes another model of a stored one").into())
        }
        Place::Ollama(_) if is_selected => {
            Err(Advice::failure("--include and --exclude are not for references to Ollama's registry").into())
        }
        _ => Ok(()),
    }
}

/// Asks what would be fetched, and fetches nothing but documents.
pub(super) fn ahead(place: &Place, args: &PullArgs, store: &Store, printer: &Printer) -> anyhow::Result<Ahead> {
    let ca_cert = args.ca_cert.as_deref();
    let bar = Bar::new(printer);
    Ok(match place {
        Place::Registry(reference) => {
            let plan = pull_plan(&client::registry(reference, ca_cert, false)?, store, &bar)?;
            Ahead {
                digest: Some(plan.digest),
                commit: None,
                bytes: plan.bytes,
                missing: plan.missing,
                missing_bytes: plan.missing_bytes,
                files: Vec::new(),
                remote: None,
            }
        }
        Place::Hub(reference) => {
            let hub = Hub::new(&client::client(ca_cert)?, HubOptions::of_environment()?);
            Remote::of(&hub, reference, &import_options(args)?, &bar)?.into()
        }
        Place::Ollama(model) => {
            let ollama = Ollama::new(client::client(ca_cert)?, None);
            ollama.remote(model, &import_options(args)?, &bar)?.into()
        }
    })
}

/// Fetches a model and names it `name`.
pub(super) fn fetch(
    place: &Place,
    args: &PullArgs,
    name: &ModelName,
    store: &Store,
    printer: &Printer,
) -> anyhow::Result<Fetched> {
    let started = Instant::now();
    let ca_cert = args.ca_cert.as_deref();
    let pulled = match place {
        Place::Registry(reference) => {
            let registry = client::registry(reference, ca_cert, false)?;
            let pulled = {
                let bar = Bar::new(printer);
                pull(&registry, store, name, &PullOptions::default(), &bar)?
            };
            if let Some(reason) = &pulled.committed.left {
                crate::commands::gc::warn_of_left(printer, reason);
            }
            return Ok(Fetched {
                digest: pulled.digest,
                bytes: pulled.bytes,
                moved_bytes: pulled.moved_bytes,
                reused_bytes: pulled.reused_bytes,
                commit: None,
                seconds: started.elapsed().as_secs_f64(),
            });
        }
        Place::Hub(reference) => {
            let hub = Hub::new(&client::client(ca_cert)?, HubOptions::of_environment()?);
            let options = import_options(args)?;
            let bar = Bar::new(printer);
            longshore_hub::pull(&hub, reference, store, name, &options, &bar)?
        }
        Place::Ollama(model) => {
            let ollama = Ollama::new(client::client(ca_cert)?, None);
            let options = import_options(args)?;
            let bar = Bar::new(printer);
            pull_ollama(&ollama, model, store, name, &options, &bar)?
        }
    };
    for warning in pulled.warnings.iter().chain(&pulled.outcome.warnings) {
        printer.warn(warning);
    }
    if let Some(reason) = &pulled.outcome.left {
        crate::commands::gc::warn_of_left(printer, reason);
    }
    Ok(Fetched {
        digest: pulled.outcome.digest,
        bytes: pulled.bytes,
        moved_bytes: pulled.moved_bytes,
        reused_bytes: pulled.bytes.saturating_sub(pulled.moved_bytes),
        commit: Some(pulled.commit),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn import_options(args: &PullArgs) -> anyhow::Result<longshore_hub::PullOptions> {
    let selection = Selection::new(&args.include, &args.exclude)?;
    let policy = match &args.policy {
        Some(policy) => crate::commands::policy::open(policy)?,
        None => longshore_quant::policy::Policy::default(),
    };
    let plan = PlanOptions {
        scheme: args.quantize.and_then(Quantize::scheme),
        policy,
        floats: matches!(args.quantize, Some(Quantize::None)),
        take_over: args.quantize.map(Quantize::take_over).unwrap_or_default(),
        ..PlanOptions::default()
    };
    Ok(longshore_hub::PullOptions { plan, import: ImportOptions::default(), selection })
}
