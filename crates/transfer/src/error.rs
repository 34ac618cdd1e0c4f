//! Why a transfer failed.

use std::io;

use crate::{TransportError, Url, UrlError};

/// Reason why a transfer failed. No variant shows a token or the query of an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The host did not answer, or the connection was cut, as often as it was tried.
    #[error("cannot reach {url}")]
    Transport {
        /// The address.
        url: Url,
        /// Error of the last attempt.
        source: TransportError,
    },
    /// The answer has a status that does not serve.
    #[error("{url} answers {status}{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Status {
        /// The address.
        url: Url,
        /// The status.
        status: u16,
        /// A code that the host gave with it, such as `GatedRepo` or `MANIFEST_UNKNOWN`.
        code: Option<String>,
        /// The host's message, cut short.
        message: String,
    },
    /// The body is longer or shorter than it has to be.
    #[error("{url} sends {}{found} bytes, expected {expected}", if *found > *expected { "at least " } else { "" })]
    Length {
        /// The address.
        url: Url,
        /// Bytes that were expected.
        expected: u64,
        /// Bytes that came, or that were announced.
        found: u64,
    },
    /// The part that came is not the part that was asked for.
    #[error("{url} sends the range {found:?}, expected {expected:?}")]
    Range {
        /// The address.
        url: Url,
        /// The `Content-Range` that would have been right.
        expected: String,
        /// The `Content-Range` of the answer.
        found: String,
    },
    /// The document changed between two parts of it.
    #[error("{url} changed while it was read")]
    Changed {
        /// The address.
        url: Url,
    },
    /// The body is packed, though it was asked for as it is.
    #[error("{url} sends the encoding {found:?}, expected none")]
    Encoding {
        /// The address.
        url: Url,
        /// The `Content-Encoding`.
        found: String,
    },
    /// A redirect that must not be followed.
    #[error("{url} redirects to {to:?}: {problem}")]
    Redirect {
        /// The address.
        url: Url,
        /// Where it leads, without its query.
        to: String,
        /// Why that is refused.
        problem: &'static str,
    },
    /// Credentials are needed, or those that were given are refused.
    #[error("{url} asks for credentials{}", if *given { ", and those given are refused" } else { "" })]
    Unauthorized {
        /// The address.
        url: Url,
        /// Whether there were credentials.
        given: bool,
        /// The host's message, cut short.
        message: String,
        /// A code that the host gave with it.
        code: Option<String>,
    },
    /// Credentials would go where others may read or keep them.
    #[error("no credentials are sent to {host}: {problem}")]
    Exposed {
        /// The host.
        host: String,
        /// Why not.
        problem: String,
    },
    /// An address cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The answer holds too much.
    #[error("{url} sends more than the {limit} bytes that are read of it")]
    TooLarge {
        /// The address.
        url: Url,
        /// Most bytes that are read.
        limit: u64,
    },
    /// The receiver of the bytes failed.
    #[error("what was received cannot be kept")]
    Receiver(#[source] io::Error),
    /// Stored credentials cannot be read or written.
    #[error("{problem}")]
    Login {
        /// What is wrong.
        problem: String,
        /// Why, where the system said.
        source: Option<io::Error>,
    },
    /// The transfer was stopped from outside.
    #[error("stopped")]
    Cancelled,
}

impl TransferError {
    /// The status of the answer, if that is the reason.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Unauthorized { .. } => Some(401),
            _ => None,
        }
    }

    /// The code that the host gave, if any.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Status { code, .. } | Self::Unauthorized { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// Whether another attempt may succeed: the connection failed, or the host says that it is in trouble.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { source, .. } => matches!(source, TransportError::Connection { .. }),
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Advice to the user.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Transport { source: TransportError::Certificate { .. }, .. } => {
                Some("name the certificate of the authority that issued it with --ca-cert FILE")
            }
            Self::Transport { .. } => {
                Some("check the address and the connection; what has arrived is kept, so try again")
            }
            Self::Status { status: 429, .. } => Some("the host allows no more requests now; try again later"),
            Self::Status { status: 507, .. } => Some("the host has no room left"),
            Self::Status { status: 500..=599, .. } => {
                Some("the host is in trouble; what has arrived is kept, so try again later")
            }
            Self::Status { status: 413, .. } => Some("the host, or a proxy before it, takes no body of that size"),
            Self::Unauthorized { given: false, .. } => Some("log in with `longshore login HOST`"),
            Self::Unauthorized { .. } => Some("check user name and password with `longshore login HOST`"),
            Self::Exposed { .. } => {
                Some("credentials go only over https, or to this machine, and only to the host that asked for them")
            }
            Self::Encoding { .. } | Self::Length { .. } | Self::Range { .. } => {
                Some("a proxy may be changing what the host sends; try again without it")
            }
            Self::Changed { .. } => Some("try again"),
            _ => None,
        }
    }
}
