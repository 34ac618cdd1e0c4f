//! Verified HTTP transfers over threads: what a program needs to move large files, and nothing else of HTTP.
//!
//! - [`Client`] sends a request and tries again where that helps. It follows redirects by itself, shows credentials to one host only, and
//!   slows down for a host that asks for it. [`Client::download`] gives the bytes of a document in order, each once, through cut and silent
//!   connections.
//! - [`Transport`] carries one request. [`Http`] is the real one; tests have theirs, without a socket.
//! - [`Authority`] has credentials: [`RegistryTokens`] those of a registry, by its challenges; [`FixedToken`] one token. [`Logins`] finds
//!   and keeps passwords in files.
//! - [`Url`] is a checked address whose query no message shows.
//!
//! Nothing here knows of models or digests: who receives the bytes hashes them.
//!
//! ```
//! use longshore_transfer::{Call, Client, Download, Http, HttpOptions, Url};
//!
//! fn fetch(url: &Url, size: u64) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
//!     let client = Client::new(Http::new(&HttpOptions::default())?);
//!     let mut bytes = Vec::new();
//!     let mut accept = |part: &[u8]| Ok(bytes.extend_from_slice(part));
//!     client.download(&Download::whole(url, size), &mut accept, &|| false)?;
//!     Ok(bytes)
//! }
//! # fn main() {}
//! ```

#![forbid(unsafe_code)]

mod authority;
mod bearer;
mod challenge;
mod client;
mod clock;
mod download;
mod error;
mod http;
mod login;
mod pace;
mod proxy;
mod secret;
mod transport;
mod url;

pub use authority::{Anonymous, Ask, Authority, FixedToken};
pub use bearer::RegistryTokens;
pub use client::{Answer, Call, Client, Payload};
pub use clock::{Clock, SystemClock};
pub use download::Download;
pub use error::TransferError;
pub use http::{Http, HttpOptions};
pub use login::{Login, Logins};
pub use pace::RetryOptions;
pub use proxy::Proxies;
pub use secret::Secret;
pub use transport::{Body, Headers, Method, Request, Response, Transport, TransportError};
pub use url::{Origin, Scheme, Url, UrlError, encode, redacted};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
