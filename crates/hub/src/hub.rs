//! The connection to a hub, and what the environment says of it.

use std::{env, fs, path::PathBuf, sync::Arc};

use longshore_transfer::{Client, FixedToken, Secret, Url};

use crate::HubError;

/// Address of the hub where the environment names no other.
const ENDPOINT: &str = "https://huggingface.co";
/// Longest token, in bytes.
const MAX_TOKEN: usize = 4096;

/// What is said about a hub.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Address of everything.
    pub endpoint: Url,
    /// Token, which only the endpoint sees.
    pub token: Option<Secret>,
    /// Directory of the hub's own cache, which is only read.
    pub cache: Option<PathBuf>,
    /// Whether only the cache is asked.
    pub offline: bool,
}

/// The connection to a hub.
#[derive(Debug, Clone)]
pub struct Hub {
    pub(crate) client: Client,
    pub(crate) options: HubOptions,
}

impl HubOptions {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`, `HF_HUB_CACHE` and `HF_HUB_OFFLINE`, as the hub's own client does.
    ///
    /// # Errors
    ///
    /// [`HubError::Environment`] if one of them cannot be used.
    pub fn of_environment() -> Result<Self, HubError> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint
            .trim()
            .trim_end_matches('/')
            .parse::<Url>()
            .map_err(|error| HubError::Environment { variable: "HF_ENDPOINT", problem: error.to_string() })?;
        let home = path("HF_HOME").or_else(|| {
            let cache = path("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
            Some(cache?.join("huggingface"))
        });
        let token = match set("HF_TOKEN") {
            Some(token) => Some(token),
            None => path("HF_TOKEN_PATH")
                .or_else(|| Some(home.as_ref()?.join("token")))
                .and_then(|file| fs::read_to_string(file).ok()),
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        if token
            .as_ref()
            .is_some_and(|token| token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let problem = "a token has letters and digits, and no spaces".to_owned();
            return Err(HubError::Environment { variable: "HF_TOKEN", problem });
        }
        let offline = set("HF_HUB_OFFLINE")
            .is_some_and(|value| matches!(value.trim().to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"));
        Ok(Self {
            endpoint,
            token: token.map(Secret::new),
            cache: path("HF_HUB_CACHE").or_else(|| Some(home?.join("hub"))),
            offline,
        })
    }
}

impl Hub {
    /// Makes the connection.
    #[must_use]
    pub fn new(client: &Client, options: HubOptions) -> Self {
        let client = match &options.token {
            Some(token) => {
                let authority = FixedToken::new(options.endpoint.origin().clone(), token);
                client.clone().with_authority(Arc::new(authority))
            }
            None => client.clone(),
        };
        Self { client, options }
    }

    /// The address of a path below the endpoint.
    pub(crate) fn url(&self, path: &str) -> Result<Url, HubError> {
        let base = self.options.endpoint.path().trim_end_matches('/');
        Ok(self.options.endpoint.join(&format!("{base}/{path}")).map_err(longshore_transfer::TransferError::from)?)
    }
}
