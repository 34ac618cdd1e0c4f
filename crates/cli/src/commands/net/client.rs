//! The client of every verb, and where credentials are kept.

use std::path::{Path, PathBuf};

use longshore_registry::{Reference, Registry};
use longshore_transfer::{Client, Http, HttpOptions, Logins, Proxies, TransferError};

use crate::advice::Advice;

/// The directory of our own settings.
pub(super) fn settings() -> anyhow::Result<PathBuf> {
    let dir = dirs::config_dir().ok_or_else(|| {
        Advice::failure("the platform names no directory for settings").hint("set XDG_CONFIG_HOME or HOME")
    })?;
    Ok(dir.join("longshore"))
}

pub(super) fn client(ca_cert: Option<&Path>) -> Result<Client, TransferError> {
    let options = HttpOptions {
        ca_cert: ca_cert.map(Path::to_path_buf),
        proxies: Proxies::of_environment(),
        user_agent: concat!("longshore/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    Ok(Client::new(Http::new(&options)?))
}

pub(super) fn logins() -> anyhow::Result<Logins> {
    Ok(Logins::new(Some(settings()?.join("auth.json")), Logins::of_other_programs()))
}

pub(super) fn registry(reference: &Reference, ca_cert: Option<&Path>, writes: bool) -> anyhow::Result<Registry> {
    of(client(ca_cert)?, reference, writes)
}

/// The connection to a registry that is asked once: who waits has another way.
#[cfg(feature = "run")]
pub(super) fn registry_once(reference: &Reference) -> anyhow::Result<Registry> {
    let retry = longshore_transfer::RetryOptions { attempts: 1, ..Default::default() };
    of(client(None)?.with_retry(retry), reference, false)
}

fn of(client: Client, reference: &Reference, writes: bool) -> anyhow::Result<Registry> {
    let login = logins()?.find(reference.registry())?;
    let reference = reference.clone();
    Ok(if writes { Registry::for_push(client, reference, login) } else { Registry::new(client, reference, login) })
}
