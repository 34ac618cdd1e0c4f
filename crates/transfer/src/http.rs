//! The real transport: HTTP/1.1 by ureq, TLS by rustls with the roots of the platform.

use std::{
    collections::HashMap,
    error::Error as _,
    fs,
    io::{self, Read},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::crypto::ring;
use ureq::{
    Agent, AsSendBody, Proxy, SendBody,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use crate::{Body, Headers, Proxies, Request, Response, TransferError, Transport, TransportError, Url};

/// Time without a byte after which a connection counts as dead.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest file of certificates that is read, in bytes.
const MAX_CERTIFICATES: u64 = 16 << 20;

/// Options of [`Http`].
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// File with certificates in PEM that are trusted beside the platform's.
    pub ca_cert: Option<PathBuf>,
    /// Proxies, usually [`Proxies::of_environment`].
    pub proxies: Proxies,
    /// What `User-Agent` says; this crate's name if empty.
    pub user_agent: String,
}

/// The real transport. Certificates are always verified.
#[derive(Debug)]
pub struct Http {
    proxies: Proxies,
    user_agent: String,
    extra_roots: Vec<Certificate<'static>>,
    /// One agent for each proxy, and one without.
    agents: Mutex<HashMap<Option<String>, Agent>>,
}

impl Http {
    /// Makes a transport.
    ///
    /// # Errors
    ///
    /// [`TransferError::Login`] if the file of certificates cannot be read or holds none.
    pub fn new(options: &HttpOptions) -> Result<Arc<Self>, TransferError> {
        let user_agent = match options.user_agent.as_str() {
            "" => concat!("longshore-transfer/", env!("CARGO_PKG_VERSION")).to_owned(),
            agent => agent.to_owned(),
        };
        let extra_roots = options.ca_cert.as_deref().map(certificates).transpose()?.unwrap_or_default();
        Ok(Arc::new(Self { proxies: options.proxies.clone(), user_agent, extra_roots, agents: Mutex::default() }))
    }

    fn agent(&self, url: &Url) -> Result<Agent, TransportError> {
        let proxy = self.proxies.proxy_for(url.origin()).map(ToOwned::to_owned);
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&proxy) {
            return Ok(agent.clone());
        }
        let through = proxy.as_deref().map(Proxy::new).transpose().map_err(|_| TransportError::Protocol {
            problem: "the proxy that the environment names is not an address of one".to_owned(),
        })?;
        let agent = Agent::new_with_config(
            Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .proxy(through)
                .user_agent(&self.user_agent)
                .accept_encoding("identity")
                .timeout_connect(Some(SILENCE))
                .timeout_resolve(Some(SILENCE))
                .timeout_per_write(Some(SILENCE))
                .max_idle_connections_per_host(16)
                .input_buffer_size(128 << 10)
                .output_buffer_size(128 << 10)
                .tls_config(self.tls())
                .build(),
        );
        agents.insert(proxy, agent.clone());
        Ok(agent)
    }

    fn tls(&self) -> TlsConfig {
        // Roots that the platform has and that do not parse are left out, as every browser does.
        let platform = rustls_native_certs::load_native_certs().certs;
        let platform = platform.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
        let roots: Vec<Certificate<'static>> = platform.chain(self.extra_roots.iter().cloned()).collect();
        TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&roots))
            .build()
    }
}

fn certificates(path: &std::path::Path) -> Result<Vec<Certificate<'static>>, TransferError> {
    let fail =
        |problem: &str, source| TransferError::Login { problem: format!("{} {problem}", path.display()), source };
    let mut pem = Vec::new();
    let file = fs::File::open(path).map_err(|error| fail("cannot be opened", Some(error)))?;
    file.take(MAX_CERTIFICATES).read_to_end(&mut pem).map_err(|error| fail("cannot be read", Some(error)))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(fail("is not a file of certificates in PEM", None)),
        }
    }
    if found.is_empty() { Err(fail("holds no certificate in PEM", None)) } else { Ok(found) }
}

impl Transport for Http {
    fn send(&self, request: Request<'_>) -> Result<Response, TransportError> {
        let Request { method, url, headers, body, patience } = request;
        let agent = self.agent(url)?;
        let mut made = ureq::http::Request::builder().method(method.as_str()).uri(url.secret_text());
        for (name, value) in headers {
            made = made.header(*name, *value);
        }
        let mut bytes;
        let mut watched = None;
        let (length, reader): (Option<u64>, Option<&mut dyn Read>) = match body {
            Body::Empty => (None, None),
            Body::Bytes(content) => {
                bytes = content;
                (Some(content.len() as u64), Some(&mut bytes))
            }
            Body::Stream { len, reader } => {
                let reader = watched.insert(Watched { reader, failed: None });
                (Some(len), Some(reader))
            }
        };
        // An answer to what was sent may take its time; a body that is being received may not.
        let silence = if length.is_some() { patience.max(SILENCE) } else { SILENCE };
        if let Some(length) = length {
            made = made.header("Content-Length", length);
        } else if matches!(method, crate::Method::Post | crate::Method::Put) {
            made = made.header("Content-Length", 0);
        }
        let answered = match reader {
            Some(reader) => run(&agent, made, SendBody::from_reader(reader), silence, patience),
            None => run(&agent, made, (), silence, patience),
        };
        if let Some(error) = watched.and_then(|watched| watched.failed) {
            return Err(TransportError::Body(error));
        }
        let (head, body) = answered?.into_parts();
        let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
        Ok(Response {
            status: head.status.as_u16(),
            headers: Headers::new(headers),
            body: Box::new(Translated(body.into_reader())),
        })
    }
}

fn run(
    agent: &Agent,
    request: ureq::http::request::Builder,
    body: impl AsSendBody,
    silence: Duration,
    patience: Duration,
) -> Result<ureq::http::Response<ureq::Body>, TransportError> {
    let request = request.body(body).map_err(|_| TransportError::Protocol {
        problem: "a header of the request holds what no header may".to_owned(),
    })?;
    let request =
        agent.configure_request(request).timeout_per_read(Some(silence)).timeout_recv_response(Some(patience)).build();
    agent.run(request).map_err(translate)
}

/// A reader that keeps its error: what becomes of it inside the client does not say who failed.
struct Watched<'a> {
    reader: &'a mut dyn Read,
    failed: Option<io::Error>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failed = Some(io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}

/// A body whose errors are those of the system where there is one below.
struct Translated<R>(R);

impl<R: Read> Read for Translated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let is_silent = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
            match is_silent {
                Some(ureq::Error::Timeout(_)) => io::ErrorKind::TimedOut.into(),
                _ => error,
            }
        })
    }
}

fn translate(error: ureq::Error) -> TransportError {
    let connection = |problem: String| TransportError::Connection { problem };
    match error {
        ureq::Error::Rustls(error) => of_tls(&error),
        ureq::Error::Io(error) => {
            let mut cause: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|inner| inner as _);
            while let Some(inner) = cause {
                if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
                    return of_tls(tls);
                }
                cause = inner.source();
            }
            match error.kind() {
                io::ErrorKind::ConnectionRefused => connection("the connection was refused".to_owned()),
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => connection("the host went silent".to_owned()),
                _ => connection(error.source().map_or_else(|| error.to_string(), ToString::to_string)),
            }
        }
        ureq::Error::Timeout(_) => connection("the host did not answer in time".to_owned()),
        ureq::Error::HostNotFound => connection("there is no host of that name".to_owned()),
        ureq::Error::ConnectionFailed => connection("the connection failed".to_owned()),
        ureq::Error::Tls(problem) => connection(format!("TLS failed: {problem}")),
        ureq::Error::Protocol(error) => connection(format!("the answer is not HTTP: {error}")),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            TransportError::Protocol { problem: "the request cannot be made".to_owned() }
        }
        ureq::Error::InvalidProxyUrl => {
            TransportError::Protocol { problem: "the proxy's address is not one".to_owned() }
        }
        error => connection(error.to_string()),
    }
}

fn of_tls(error: &rustls::Error) -> TransportError {
    match error {
        rustls::Error::InvalidCertificate(problem) => TransportError::Certificate { problem: format!("{problem:?}") },
        error => TransportError::Connection { problem: format!("TLS failed: {error}") },
    }
}
