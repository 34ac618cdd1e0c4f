//! Addresses, checked when they are parsed, and shown without their queries.

use std::{fmt, str::FromStr};

/// Scheme by which bytes go to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Through TLS.
    Https,
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where credentials belong: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Scheme of the address.
    pub scheme: Scheme,
    /// Name or address of the host, in lower case; an IPv6 address in brackets.
    pub host: String,
    /// The port, the scheme's own where the address has none.
    pub port: u16,
}

impl Origin {
    /// Whether what is sent there can be read by nobody else: it goes through TLS, or does not leave this machine.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.scheme == Scheme::Https || self.is_loopback()
    }

    /// Whether the host is this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let is_local = |address: std::net::Ipv4Addr| address.is_loopback();
        self.host == "localhost" || self.host == "[::1]" || self.host.parse().is_ok_and(is_local)
    }

    /// The host, with the port where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.scheme.port() { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// An absolute `http` or `https` address.
///
/// Queries may hold signatures, so neither `Display` nor `Debug` shows them. User names in addresses are refused.
///
/// ```
/// use longshore_transfer::Url;
///
/// let url: Url = "https://Hub.example/a/b?sig=secret".parse()?;
/// assert_eq!(url.to_string(), "https://hub.example/a/b?…");
/// assert_eq!(url.join("../c d")?.to_string(), "https://hub.example/c%20d");
/// # Ok::<(), longshore_transfer::UrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    origin: Origin,
    /// Path and query, beginning with a slash.
    target: String,
}

/// A text that is no [`Url`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not an address: {problem}")]
#[non_exhaustive]
pub struct UrlError {
    /// The text without its query, cut to its first 200 characters.
    pub url: String,
    /// Rule that the text breaks.
    pub problem: &'static str,
}

/// Longest address, in bytes. Signed ones have a few thousand.
const MAX_URL: usize = 16 << 10;

impl Url {
    /// The scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The whole address, with a query that may be secret. It is for the request alone, never for a message.
    #[must_use]
    pub fn secret_text(&self) -> String {
        format!("{}{}", self.origin, self.target)
    }

    /// The address with `key=value` added to its query. Both are encoded.
    #[must_use]
    pub fn with_query(&self, key: &str, value: &str) -> Self {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        let target = format!("{}{separator}{}={}", self.target, encode(key, false), encode(value, false));
        Self { target, ..self.clone() }
    }

    /// The address that a `Location` or a link of this address's document means: an absolute one, one without a scheme, an absolute path, or a
    /// path beside this one.
    ///
    /// # Errors
    ///
    /// [`UrlError`] if it is not one of these.
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.split('#').next().unwrap_or_default();
        if location.len() > MAX_URL {
            return Err(error(location, "it is too long"));
        }
        if location.contains("://") && location.split("://").next().is_some_and(is_scheme) {
            return location.parse();
        }
        if let Some(rest) = location.strip_prefix("//") {
            return format!("{}://{rest}", self.origin.scheme.as_str()).parse();
        }
        let target = match location.chars().next() {
            None => self.target.clone(),
            Some('/') => location.to_owned(),
            Some('?') => format!("{}{location}", self.path()),
            Some(_) => {
                let dir = self.path().rfind('/').map_or("/", |end| &self.path()[..=end]);
                format!("{dir}{location}")
            }
        };
        Ok(Self { origin: self.origin.clone(), target: normal(&target).map_err(|problem| error(location, problem))? })
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let fail = |problem| error(text, problem);
        if text.len() > MAX_URL {
            return Err(fail("it is too long"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| fail("it has no scheme"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(fail("its scheme is neither http nor https")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(fail("it holds a user name"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port {
            None | Some("") => scheme.port(),
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| fail("its port is not one from 1 to 65535"))?,
            Some(_) => return Err(fail("its port is not one from 1 to 65535")),
        };
        let host = host.to_ascii_lowercase();
        if !is_host(&host) {
            return Err(fail("its host is not a name or an address"));
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self { origin: Origin { scheme, host, port }, target: normal(&target).map_err(fail)? })
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !host.is_empty() && host.len() <= 255 && host.bytes().all(is_letter) && !host.starts_with(['.', '-'])
}

/// Resolves `.` and `..` in the path, and encodes what a request line cannot hold.
fn normal(target: &str) -> Result<String, &'static str> {
    if target.chars().any(|c| c.is_control() || c == '\\') {
        return Err("it has a control character or a backslash");
    }
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut kept: Vec<&str> = Vec::new();
    let last = path.rsplit('/').next().unwrap_or_default();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let mut normal = format!("/{}", kept.join("/"));
    if matches!(last, "." | "..") && !normal.ends_with('/') {
        normal.push('/');
    }
    let mut target = escape(&normal);
    if let Some(query) = query {
        target.push('?');
        target.push_str(&escape(query));
    }
    Ok(target)
}

/// Encodes the bytes that no request line may hold, and leaves what is encoded.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x21..0x7f).contains(&byte) && !b"\"<>^`{|}".contains(&byte) {
            out.push(char::from(byte));
        } else {
            push_encoded(&mut out, byte);
        }
    }
    out
}

/// Encodes `text` for a path (`slashes` stay as they are) or for a part of a query.
#[must_use]
pub fn encode(text: &str, slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || slashes && byte == b'/' {
            out.push(char::from(byte));
        } else {
            push_encoded(&mut out, byte);
        }
    }
    out
}

fn push_encoded(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

fn error(url: &str, problem: &'static str) -> UrlError {
    let shown = redacted(url);
    UrlError { url: shown.split('?').next().unwrap_or_default().chars().take(200).collect(), problem }
}

/// A text that should be an address or a reference, as it can be shown: whatever may be a user name with a password is left out, with all
/// characters that a password may have. A query stays.
///
/// ```
/// use longshore_transfer::redacted;
///
/// assert_eq!(redacted("https://me:p@ss@host/a"), "https://…@host/a");
/// assert_eq!(redacted("oci:me:hunter2@ghcr.io/a"), "oci:…@ghcr.io/a");
/// assert_eq!(redacted("ghcr.io/a:1@sha256:12"), "ghcr.io/a:1@sha256:12");
/// ```
#[must_use]
pub fn redacted(text: &str) -> String {
    let scheme = text.find("://").map(|at| at + 3);
    let start = scheme.unwrap_or(if text.starts_with("oci:") { 4 } else { 0 });
    let (head, rest) = text.split_at(start);
    // What stands before a digest is no user name.
    let is_digest = |at: usize| rest[at + 1..].starts_with("sha256:");
    let at = rest.match_indices('@').map(|(at, _)| at).rfind(|at| !is_digest(*at));
    match at {
        // The rest may be that of a query.
        Some(at) if rest[..at].contains(['?', '#']) => format!("{head}…"),
        Some(at) if scheme.is_some() || rest[..at].contains(':') => format!("{head}…{}", &rest[at..]),
        _ => text.to_owned(),
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path())?;
        if self.target.contains('?') { f.write_str("?…") } else { Ok(()) }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_no_address_is_refused_and_says_no_secret() {
        for bad in [
            "",
            "hub",
            "ftp://a/b",
            "http://",
            "http://a:0/",
            "http://a:99999/",
            "http://a:b/",
            "http://a b/",
            "http://[::1",
            "http://-a/",
            "http://a/\r\nx",
            "http://a/\\x",
        ] {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
        let error = "https://me:secret@host/a?token=secret".parse::<Url>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        for text in
            ["https://me:p@ss@h/", "https://me:pa?ss@h/", "https://me:pa#ss@h/", "https://me:pa/ss@h/", "me:ss@h"]
        {
            let error = text.parse::<Url>().unwrap_err();
            assert!(!error.url.contains("ss") && !error.url.contains("me:"), "{error}");
        }
        let error = "ftp://h/x?mail=a@b&token=secret".parse::<Url>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn an_address_keeps_its_query_to_itself() {
        let signed = url("https://cdn.example:8443/x?sig=secret");
        assert_eq!(format!("{signed} {signed:?}"), "https://cdn.example:8443/x?… Url(https://cdn.example:8443/x?…)");
        assert_eq!(signed.secret_text(), "https://cdn.example:8443/x?sig=secret");
    }

    #[test]
    fn locations_of_every_form_are_resolved() {
        let from = url("https://h:8443/v2/a/b?x=1");
        for (location, expected) in [
            ("/c", "https://h:8443/c"),
            ("c?d=e", "https://h:8443/v2/a/c?d=e"),
            ("../../../c", "https://h:8443/c"),
            ("./", "https://h:8443/v2/a/"),
            ("?q=1", "https://h:8443/v2/a/b?q=1"),
            ("//other/x", "https://other/x"),
            ("http://Other:80/x#part", "http://other/x"),
            ("x?u=http://z", "https://h:8443/v2/a/x?u=http://z"),
            ("a b\u{e9}", "https://h:8443/v2/a/a%20b%C3%A9"),
        ] {
            assert_eq!(from.join(location).unwrap().secret_text(), expected, "{location}");
        }
        assert!(from.join("ftp://x/y").is_err());
    }

    #[test]
    fn only_tls_and_this_machine_are_private() {
        for (text, private) in [
            ("https://a", true),
            ("http://a", false),
            ("http://127.0.0.1:5000", true),
            ("http://127.8.8.8", true),
            ("http://localhost", true),
            ("http://[::1]:1", true),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
        ] {
            assert_eq!(url(text).origin().is_private(), private, "{text}");
        }
    }

    #[test]
    fn a_query_is_added_and_encoded() {
        assert_eq!(url("http://a/b").with_query("digest", "sha256:0").secret_text(), "http://a/b?digest=sha256%3A0");
        assert_eq!(url("http://a/b?c=d").with_query("e", "f g").secret_text(), "http://a/b?c=d&e=f%20g");
    }
}
