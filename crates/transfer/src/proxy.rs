//! Which proxy a host is reached through, by the usual variables of the environment.

use crate::url::{Origin, Scheme};

/// Proxies by the scheme of the address.
///
/// `http_proxy` is for plain addresses, `https_proxy` for those with TLS, `all_proxy` for both where there is no other. `no_proxy` lists
/// hosts that are reached directly: `*`, a name with everything below it, an address. Names in upper case count where those in lower case
/// are not set. This machine is never reached through a proxy.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<String>,
    https: Option<String>,
    direct: Vec<String>,
}

impl std::fmt::Debug for Proxies {
    // A proxy's address may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { http, https, direct } = self;
        let (http, https) = (http.is_some(), https.is_some());
        f.debug_struct("Proxies").field("http", &http).field("https", &https).field("direct", direct).finish()
    }
}

impl Proxies {
    /// Reads the variables of this process.
    #[must_use]
    pub fn of_environment() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    /// Reads variables from `variable`.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| {
            let upper = || variable(&name.to_ascii_uppercase());
            variable(name).filter(|value| !value.is_empty()).or_else(upper).filter(|value| !value.is_empty())
        };
        let every = set("all_proxy");
        let direct = set("no_proxy").unwrap_or_default();
        let direct =
            direct.split([',', ' ']).map(|host| host.trim().to_ascii_lowercase()).filter(|host| !host.is_empty());
        Self {
            http: set("http_proxy").or_else(|| every.clone()),
            https: set("https_proxy").or(every),
            direct: direct.collect(),
        }
    }

    /// The proxy for a host, as it was written; `None` if it is reached directly.
    #[must_use]
    pub fn proxy_for(&self, origin: &Origin) -> Option<&str> {
        let proxy = match origin.scheme {
            Scheme::Http => self.http.as_deref(),
            Scheme::Https => self.https.as_deref(),
        }?;
        let is_direct = origin.is_loopback() || self.direct.iter().any(|entry| covers(entry, origin));
        (!is_direct).then_some(proxy)
    }
}

fn covers(entry: &str, origin: &Origin) -> bool {
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, port.parse::<u16>().ok()),
        _ => (entry, None),
    };
    if port.is_some_and(|port| port != origin.port) {
        return false;
    }
    let name = name.trim_start_matches('*').trim_start_matches('.');
    entry == "*"
        || !name.is_empty()
            && origin.host.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use super::*;
    use crate::Url;

    #[test]
    fn a_scheme_has_its_own_proxy() {
        let proxies = Proxies::of(|name| match name {
            "http_proxy" => Some("http://plain:1".into()),
            "HTTPS_PROXY" => Some("http://tls:2".into()),
            "no_proxy" => Some("inner.example, .corp, 10.0.0.1,only.example:8443".into()),
            _ => None,
        });
        let of = |url: &str| {
            let url: Url = url.parse().unwrap();
            proxies.proxy_for(url.origin()).map(ToOwned::to_owned)
        };
        assert_eq!(of("http://a.example").as_deref(), Some("http://plain:1"));
        assert_eq!(of("https://a.example").as_deref(), Some("http://tls:2"));
        for direct in [
            "https://inner.example",
            "https://x.inner.example",
            "http://a.corp",
            "http://10.0.0.1",
            "https://only.example:8443",
            "http://localhost:1",
        ] {
            assert_eq!(of(direct), None, "{direct}");
        }
        for proxied in ["https://notinner.example", "https://only.example", "http://corporation"] {
            assert!(of(proxied).is_some(), "{proxied}");
        }
        assert!(!format!("{proxies:?}").contains("plain"));
    }

    #[test]
    fn a_proxy_for_all_stands_in() {
        let proxies = Proxies::of(|name| (name == "ALL_PROXY").then(|| "socks5://p".into()));
        let url: Url = "https://a".parse().unwrap();
        assert_eq!(proxies.proxy_for(url.origin()), Some("socks5://p"));
        assert_eq!(Proxies::of(|_| None).proxy_for(url.origin()), None);
    }
}
