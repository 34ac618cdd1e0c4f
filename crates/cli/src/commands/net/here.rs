//! Models that verbs run by their references: pulled first, where they are not there.

use std::io::{self, IsTerminal as _};

use longshore_manifest::{ModelName, Store};
use longshore_registry::{Reference, RegistryError, Version, pull_plan};

use super::{client, fetch, login::ask, reference::Place, short};
use crate::{
    advice::Advice,
    args::{net::PullArgs, target::is_reference},
    format::size,
    printer::Printer,
    progress::Bar,
};

/// Bytes from which a person is asked before they are fetched.
const ASKED: u64 = 1_000_000_000;

/// The name of the model that `text` means, if it is a reference or a short name for one. It is pulled first if the store does not have it,
/// with its size said; at a terminal, a large one is asked about. A stored model that only has the name of the one elsewhere is refused.
/// `name` is `text` as a name: a stored model of that name is meant before all.
pub(in crate::commands) fn here(
    text: &str,
    name: Option<&ModelName>,
    store: &Store,
    printer: &Printer,
) -> anyhow::Result<Option<ModelName>> {
    if name.is_some_and(|name| store.manifest_path(name).exists()) {
        return Ok(None);
    }
    if !is_reference(text) && short::find(text)?.is_none() {
        return Ok(None);
    }
    let place = Place::parse(text, None)?;
    let name = place.name()?;
    if store.manifest_path(&name).exists() {
        match &place {
            Place::Registry(reference) => check(reference, &name, store, printer)?,
            Place::Hub(_) | Place::Ollama(_) => check_made(&place, &name, store)?,
        }
        return Ok(Some(name));
    }
    let args = PullArgs::of(text, &name);
    let ahead = fetch::ahead(&place, &args, store, printer)?;
    let bytes = size(ahead.missing_bytes);
    printer.note(&format!("pulling {place} as {name}: {bytes}"));
    if ahead.missing_bytes > ASKED && io::stdin().is_terminal() && io::stderr().is_terminal() {
        let answer = ask(&format!("Fetch {bytes}? [y/N] "))?;
        if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return Err(Advice::input(format!("{name} was not fetched"))
                .hint(format!("longshore pull {place} fetches it"))
                .into());
        }
    }
    fetch::fetch(&place, &args, &name, store, printer)?;
    Ok(Some(name))
}

/// Refuses a stored model of which it is not known that it was made of what is at the place, which is not asked. A store of another program
/// has notes of nothing.
fn check_made(place: &Place, name: &ModelName, store: &Store) -> anyhow::Result<()> {
    let reference = place.to_string();
    let (digest, _) = store.manifest(name)?;
    if store.is_foreign() || store.origins(&digest).made.iter().any(|made| made.reference == reference) {
        return Ok(());
    }
    Err(Advice::input(format!("the stored {name} is not known to be made of {place}"))
        .hint(format!("longshore pull {place} NAME fetches it; {name} alone runs the stored one"))
        .into())
}

/// Refuses a stored model that is another than the registry has. One that is named by its digest is the one that is meant, and where the
/// registry cannot be asked the stored one is.
fn check(reference: &Reference, name: &ModelName, store: &Store, printer: &Printer) -> anyhow::Result<()> {
    if matches!(reference.version(), Version::Digest(_)) {
        return Ok(());
    }
    let plan = {
        let bar = Bar::new(printer);
        pull_plan(&client::registry_once(reference)?, store, &bar)
    };
    match plan {
        Ok(plan) if plan.digest == store.manifest(name)?.0 => Ok(()),
        Ok(_) => Err(Advice::input(format!("the stored {name} is another model than {reference}"))
            .hint(format!("longshore pull {reference} NAME fetches it; {name} alone runs the stored one"))
            .into()),
        Err(RegistryError::Transfer(error)) if error.is_transient() => {
            printer.note(&format!("{} cannot be asked: {name} is run as it is stored", reference.registry()));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
