//! A transport that asks a function, and a clock that only counts.

use std::{
    io::{self, Cursor, Read},
    sync::{Arc, Mutex},
    time::Duration,
};

use longshore_transfer::{Body, Client, Clock, Headers, Request, Response, Transport, TransportError};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// An answer, or none.
pub(crate) enum Reply {
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>, cut: bool },
    Unreachable,
}

pub(crate) fn reply(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Reply {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Reply::Answer { status, headers, body: body.to_vec(), cut: false }
}

pub(crate) type Host = dyn FnMut(&Seen) -> Reply + Send;

pub(crate) struct Fake {
    host: Mutex<Box<Host>>,
    pub seen: Mutex<Vec<Seen>>,
}

impl Fake {
    pub(crate) fn new(host: impl FnMut(&Seen) -> Reply + Send + 'static) -> Arc<Self> {
        Arc::new(Self { host: Mutex::new(Box::new(host)), seen: Mutex::default() })
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Transport for Fake {
    fn send(&self, request: Request<'_>) -> Result<Response, TransportError> {
        let mut body = Vec::new();
        match request.body {
            Body::Empty => {}
            Body::Bytes(bytes) => body.extend_from_slice(bytes),
            Body::Stream { reader, .. } => drop(reader.read_to_end(&mut body).map_err(TransportError::Body)?),
        }
        let headers = request.headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let seen = Seen { method: request.method.as_str(), url: request.url.secret_text(), headers, body };
        self.seen.lock().unwrap().push(seen.clone());
        match (self.host.lock().unwrap())(&seen) {
            Reply::Unreachable => Err(TransportError::Connection { problem: "refused".into() }),
            Reply::Answer { status, headers, body, cut } => {
                let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value));
                let body: Box<dyn Read + Send> =
                    if cut { Box::new(Cursor::new(body).chain(Broken)) } else { Box::new(Cursor::new(body)) };
                Ok(Response { status, headers: Headers::new(headers), body })
            }
        }
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

/// Time that passes only while someone sleeps.
#[derive(Default)]
pub(crate) struct Counted(Mutex<Duration>);

impl Clock for Counted {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

pub(crate) fn client(fake: &Arc<Fake>) -> (Client, Arc<Counted>) {
    let clock = Arc::new(Counted::default());
    (Client::new(fake.clone()).with_clock(clock.clone()), clock)
}
