//! A host: a function of requests, with a log.

use std::{
    io::{self, Cursor, Read},
    sync::{Arc, Mutex, PoisonError},
};

use longshore_transfer::{Body, Headers, Request, Response, Transport, TransportError};
use sha2::Digest as _;

use crate::Faults;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The word of the request line.
    pub method: String,
    /// Host and port that were asked.
    pub host: String,
    /// The path, decoded by nobody.
    pub path: String,
    /// The query, without its question mark.
    pub query: String,
    /// Names and values of headers.
    pub headers: Vec<(String, String)>,
    /// What was sent.
    pub body: Vec<u8>,
}

impl Asked {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A value of the query, decoded.
    #[must_use]
    pub fn query(&self, key: &str) -> Option<String> {
        let found = self.query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?;
        Some(decode(found))
    }

    /// The range that is asked for, as start and end, within `len` bytes.
    #[must_use]
    pub fn range(&self, len: usize) -> Option<(usize, usize)> {
        let (start, last) = self.header("Range")?.strip_prefix("bytes=")?.split_once('-')?;
        let start = start.parse().ok()?;
        let end = if last.is_empty() { len } else { last.parse::<usize>().ok()? + 1 };
        Some((start, end.min(len)))
    }
}

/// Decodes `%41`.
pub(crate) fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex: String = bytes.by_ref().take(2).map(char::from).collect();
            out.push(u8::from_str_radix(&hex, 16).unwrap_or(b'?'));
        } else {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Names and values of headers, with the length where there is to be one.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Whether the connection is cut after the body, which is then shorter than the headers say.
    pub cut: bool,
    /// Bytes a second that a socket sends at most.
    pub rate: Option<u64>,
}

impl Reply {
    /// An answer with a body and its length.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let headers = vec![("Content-Length".to_owned(), body.len().to_string())];
        Self { status, headers, body, cut: false, rate: None }
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The whole of `content`, or the range that is asked for.
    #[must_use]
    pub fn content(asked: &Asked, content: &[u8], tag: &str) -> Self {
        let of_tag = asked.header("If-Range").is_none_or(|found| found == tag);
        let reply = match asked.range(content.len()).filter(|_| of_tag) {
            Some((start, end)) if start < end => {
                let range = format!("bytes {start}-{}/{}", end - 1, content.len());
                Self::new(206, &content[start..end]).with("Content-Range", range)
            }
            Some(_) => Self::new(416, "").with("Content-Range", format!("bytes */{}", content.len())),
            None => Self::new(200, content),
        };
        reply.with("ETag", tag).with("Accept-Ranges", "bytes")
    }
}

/// One line of the log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// The word of the request line.
    pub method: String,
    /// Host and port that were asked.
    pub host: String,
    /// The path.
    pub path: String,
    /// The range that was asked for.
    pub range: Option<String>,
    /// What was shown.
    pub authorization: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// Bytes that came with the request.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
}

/// A host. Any number of threads ask it at once.
pub trait Host: Send + Sync {
    /// Answers as a good host does.
    fn answer(&self, asked: &Asked) -> Reply;

    /// What is to go wrong.
    fn faults(&self) -> &Faults;

    /// The requests so far.
    fn log(&self) -> &Mutex<Vec<Logged>>;

    /// Forgets what a host forgets that is killed and started again.
    fn restart(&self) {}

    /// Answers, with the faults that are ordered, and notes it.
    fn handle(&self, asked: &Asked) -> Option<Reply> {
        let reply = match self.faults().strike(asked) {
            Some(fault) => fault.apply(asked, |asked| self.answer(asked)),
            None => Some(self.answer(asked)),
        };
        let head = asked.method == "HEAD";
        let reply = reply.map(|mut reply| {
            if head {
                reply.body.clear();
            }
            reply
        });
        let logged = Logged {
            method: asked.method.clone(),
            host: asked.host.clone(),
            path: asked.path.clone(),
            range: asked.header("Range").map(ToOwned::to_owned),
            authorization: asked.header("Authorization").map(ToOwned::to_owned),
            status: reply.as_ref().map_or(0, |reply| reply.status),
            received: asked.body.len() as u64,
            sent: reply.as_ref().map_or(0, |reply| reply.body.len() as u64),
        };
        self.log().lock().unwrap_or_else(PoisonError::into_inner).push(logged);
        reply
    }

    /// Forgets the log, and returns it.
    fn take_log(&self) -> Vec<Logged> {
        std::mem::take(&mut *self.log().lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A transport to a host in this process.
pub struct Loop(pub Arc<dyn Host>);

impl std::fmt::Debug for Loop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loop")
    }
}

impl Transport for Loop {
    fn send(&self, request: Request<'_>) -> Result<Response, TransportError> {
        let mut body = Vec::new();
        match request.body {
            Body::Empty => {}
            Body::Bytes(bytes) => body.extend_from_slice(bytes),
            Body::Stream { len, reader } => {
                reader.read_to_end(&mut body).map_err(TransportError::Body)?;
                if body.len() as u64 != len {
                    return Err(TransportError::Protocol { problem: "the body has another length".into() });
                }
            }
        }
        let text = request.url.secret_text();
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let asked = Asked {
            method: request.method.as_str().to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: request.headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body,
        };
        let refused = || TransportError::Connection { problem: "the connection was refused".into() };
        let reply = self.0.handle(&asked).ok_or_else(refused)?;
        let body: Box<dyn Read + Send> =
            if reply.cut { Box::new(Cursor::new(reply.body).chain(Cut)) } else { Box::new(Cursor::new(reply.body)) };
        Ok(Response { status: reply.status, headers: Headers::new(reply.headers), body })
    }
}

struct Cut;

impl Read for Cut {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

/// SHA-256 of bytes, in hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    sha2::Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
