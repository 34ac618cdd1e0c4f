//! One exchange over the network, as a trait: what is above it needs no socket.

use std::{fmt, io::Read, time::Duration};

use crate::Url;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// The document.
    Get,
    /// The headers of the document.
    Head,
    /// Something new below the address.
    Post,
    /// The document itself is sent.
    Put,
    /// The document is to be removed.
    Delete,
}

impl Method {
    /// The word of the request line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// What a request carries.
pub enum Body<'a> {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// `len` bytes of a reader.
    Stream {
        /// Number of bytes.
        len: u64,
        /// Where they come from.
        reader: &'a mut dyn Read,
    },
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream { len, .. } => write!(f, "Stream({len})"),
        }
    }
}

/// One request.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is asked for.
    pub method: Method,
    /// Where.
    pub url: &'a Url,
    /// Names and values of headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// What is sent.
    pub body: Body<'a>,
    /// Longest wait for the headers of the answer, once the request is sent.
    pub patience: Duration,
}

/// The answer to a request. Its body is read as it comes.
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: Headers,
    /// Body, as it came: nothing is unpacked. It ends early with an error if the connection is cut.
    pub body: Box<dyn Read + Send>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Headers of an answer.
#[derive(Debug, Clone, Default)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Wraps names and values.
    pub fn new(headers: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(headers.into_iter().collect())
    }

    /// The first value of a header; the case of its name does not matter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All values of a header.
    pub fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h str> {
        self.0.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The value of a header as a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let text = self.get(name)?.trim();
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
    }
}

/// Reason why a request got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The host cannot be reached, or the connection was cut, or was silent for too long. Another attempt may succeed.
    #[error("{problem}")]
    Connection {
        /// What went wrong.
        problem: String,
    },
    /// The host's certificate is not one to trust. Another attempt will not help.
    #[error("the host's certificate is not trusted: {problem}")]
    Certificate {
        /// What is wrong with it.
        problem: String,
    },
    /// The reader of the body failed.
    #[error("what is sent cannot be read")]
    Body(#[source] std::io::Error),
    /// The request cannot be made, or the answer is not HTTP.
    #[error("{problem}")]
    Protocol {
        /// What is wrong.
        problem: String,
    },
}

/// Carrier of requests. Any number of threads use it at once.
pub trait Transport: Send + Sync {
    /// Sends one request and returns the answer to it, whatever its status. Redirects are not followed.
    ///
    /// # Errors
    ///
    /// [`TransportError`] if there is no answer.
    fn send(&self, request: Request<'_>) -> Result<Response, TransportError>;
}
