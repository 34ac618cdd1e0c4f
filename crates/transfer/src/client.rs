//! The client: one request that is tried again, follows redirects, and shows credentials to one host only.

use std::{
    fmt,
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use crate::{
    Authority, Body, Headers, Method, Request, Response, Secret, TransferError, Transport, TransportError, Url,
    authority::Anonymous,
    clock::{Clock, SystemClock},
    pace::{self, Pace, RetryOptions},
    url::{Scheme, redacted},
};

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Most that is read of a body that says what is wrong, in bytes.
const MAX_MESSAGE: u64 = 16 << 10;
/// Longest message of a host that is shown, in characters.
const SHOWN: usize = 200;
/// Longest time that a document may take to arrive, and the message of an answer that says what is wrong.
const DOCUMENT: Duration = Duration::from_secs(300);
const MESSAGE: Duration = Duration::from_secs(10);
/// Number of bytes of a document that are read between two looks at whether to stop.
const PIECE: usize = 64 << 10;
/// Headers that are for the host of the call alone.
const SECRETS: [&str; 3] = ["Authorization", "Cookie", "Proxy-Authorization"];
/// Usual wait for the headers of an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Client of one party, such as a repository of a registry: its credentials go to that party's host alone.
///
/// Any number of threads use it at once. Clones share the hosts' wishes for patience.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    authority: Arc<dyn Authority>,
    clock: Arc<dyn Clock>,
    retry: RetryOptions,
    pace: Arc<Pace>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("retry", &self.retry).finish_non_exhaustive()
    }
}

/// Body of a call. A stream is opened anew for every attempt.
#[derive(Clone, Copy)]
pub enum Payload<'a> {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// `len` bytes of a reader.
    Stream {
        /// Number of bytes.
        len: u64,
        /// Opens the reader at its start.
        open: &'a (dyn Fn() -> io::Result<Box<dyn Read + 'a>> + Sync),
    },
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream { len, .. } => write!(f, "Stream({len})"),
        }
    }
}

/// A request, as the client is asked for it.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// Method of the request.
    pub method: Method,
    /// Address of the request.
    pub url: &'a Url,
    /// Names and values of headers, without credentials.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The body.
    pub payload: Payload<'a>,
    /// Longest wait for the headers of the answer, once the request is sent.
    pub patience: Duration,
}

impl<'a> Call<'a> {
    /// Makes a call without headers of its own and without a body.
    #[must_use]
    pub fn new(method: Method, url: &'a Url) -> Self {
        Self { method, url, headers: Vec::new(), payload: Payload::Empty, patience: PATIENCE }
    }

    /// Asks for a document.
    #[must_use]
    pub fn get(url: &'a Url) -> Self {
        Self::new(Method::Get, url)
    }
}

/// The answer to a call.
pub struct Answer {
    /// Where it came from in the end.
    pub url: Url,
    /// Status code: one below 400, or 404 or 416, which are answers too.
    pub status: u16,
    /// Headers.
    pub headers: Headers,
    /// Body, as it came.
    pub body: Box<dyn Read + Send>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("url", &self.url).field("status", &self.status).finish_non_exhaustive()
    }
}

/// A failed attempt, and whether another may succeed.
pub(crate) struct Failure {
    /// Boxed, since answers are moved beside it.
    pub(crate) error: Box<TransferError>,
    pub(crate) retry: Retry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// No other attempt will help.
    Never,
    /// After the usual wait.
    Soon,
    /// After the wait that the host asked for.
    After(Duration),
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        Self { error: error.into(), retry: Retry::Never }
    }
}

impl Client {
    /// Makes a client without credentials.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            authority: Arc::new(Anonymous),
            clock: Arc::new(SystemClock::default()),
            retry: RetryOptions::default(),
            pace: Arc::default(),
        }
    }

    /// The same client with these credentials.
    #[must_use]
    pub fn with_authority(self, authority: Arc<dyn Authority>) -> Self {
        Self { authority, ..self }
    }

    /// The same client, trying again as `retry` says.
    #[must_use]
    pub fn with_retry(self, retry: RetryOptions) -> Self {
        Self { retry, ..self }
    }

    /// The same client with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sends a request and returns the answer. Tries again after errors of the connection and the statuses 408, 429, 500, 502, 503 and 504;
    /// follows redirects of `GET` and `HEAD`, never from https to http. `stop` is asked before every attempt and while waiting.
    ///
    /// # Errors
    ///
    /// [`TransferError::Status`] for any other status from 400 on than 404 and 416, [`TransferError::Unauthorized`] for 401, and the other
    /// variants as their names say.
    pub fn send(&self, call: &Call<'_>, stop: &(dyn Fn() -> bool + Sync)) -> Result<Answer, TransferError> {
        let mut attempt = 0;
        loop {
            match self.once(call, stop) {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    attempt += 1;
                    self.pause(failure, attempt, stop)?;
                }
            }
        }
    }

    /// Sends a request once. For what cannot be sent again as it is, such as a body to an address that is good for one attempt.
    ///
    /// # Errors
    ///
    /// As [`Self::send`]; [`TransferError::is_transient`] says whether another attempt may succeed.
    pub fn send_once(&self, call: &Call<'_>, stop: &(dyn Fn() -> bool + Sync)) -> Result<Answer, TransferError> {
        self.once(call, stop).map_err(|failure| *failure.error)
    }

    /// Waits before another attempt, after `attempt` that failed with `error`; or returns the error, if there have been enough or another will
    /// not help.
    ///
    /// # Errors
    ///
    /// `error`, or [`TransferError::Cancelled`].
    pub fn wait_after(
        &self,
        error: TransferError,
        attempt: u32,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), TransferError> {
        let retry = if error.is_transient() { Retry::Soon } else { Retry::Never };
        self.pause(Failure { error: error.into(), retry }, attempt, stop)
    }

    /// Waits before another attempt, after `attempt` that failed; or returns the error.
    pub(crate) fn pause(&self, failure: Failure, attempt: u32, stop: &dyn Fn() -> bool) -> Result<(), TransferError> {
        let wait = match failure.retry {
            Retry::Never => return Err(*failure.error),
            _ if attempt >= self.retry.attempts => return Err(*failure.error),
            Retry::Soon => pace::backoff(&self.retry, attempt),
            Retry::After(wait) if wait > self.retry.patience => return Err(*failure.error),
            Retry::After(wait) => wait,
        };
        pace::sleep(&*self.clock, wait, stop)
    }

    /// Reads a document of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// Those of [`Self::send`], and [`TransferError::TooLarge`] for a longer one. A 404 is [`TransferError::Status`]. A document that takes more
    /// than five minutes is a connection that failed.
    pub fn read(
        &self,
        call: &Call<'_>,
        limit: u64,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Answer, Vec<u8>), TransferError> {
        let mut attempt = 0;
        loop {
            let answer = self.once(call, stop);
            if let Ok(Answer { url, status: status @ 400.., headers, body }) = answer {
                let (code, message) = self.message(&headers, body, stop);
                return Err(TransferError::Status { url, status, code, message });
            }
            let failure = match answer.and_then(|answer| self.read_all(answer, limit, stop)) {
                Ok(read) => return Ok(read),
                Err(failure) => failure,
            };
            attempt += 1;
            self.pause(failure, attempt, stop)?;
        }
    }

    /// One attempt, with its redirects, and once more with new credentials.
    pub(crate) fn once(&self, call: &Call<'_>, stop: &(dyn Fn() -> bool + Sync)) -> Result<Answer, Failure> {
        let mut url = call.url.clone();
        let mut renewed = 0;
        let mut redirects = 0;
        loop {
            if stop() {
                return Err(TransferError::Cancelled.into());
            }
            let shown = self.credentials(&url)?;
            let response = self.exchange(call, &url, shown.as_ref(), stop)?;
            match response.status {
                401 if self.authority.is_for(url.origin()) && renewed < 2 => {
                    renewed += 1;
                    let challenges: Vec<String> =
                        response.headers.all("WWW-Authenticate").map(ToOwned::to_owned).collect();
                    let (code, message) = self.message(&response.headers, response.body, stop);
                    let send =
                        |call: &Call<'_>| self.anonymous().read(call, MAX_MESSAGE * 4, stop).map(|(_, body)| body);
                    if !self.authority.renew(&url, &challenges, shown.as_ref(), &send)? {
                        let given = self.authority.has_login();
                        return Err(TransferError::Unauthorized { url, given, message, code }.into());
                    }
                }
                301 | 302 | 303 | 307 | 308 if matches!(call.method, Method::Get | Method::Head) => {
                    redirects += 1;
                    url = redirect(&url, &response, redirects)?;
                }
                _ => return self.judge(url, redirects > 0, response, stop),
            }
        }
    }

    /// The credentials to show to the host of `url`.
    fn credentials(&self, url: &Url) -> Result<Option<Secret>, TransferError> {
        if !self.authority.is_for(url.origin()) {
            return Ok(None);
        }
        let shown = self.authority.credentials();
        if shown.is_some() && !url.origin().is_private() {
            let problem = "the address is not https".to_owned();
            return Err(TransferError::Exposed { host: url.origin().to_string(), problem });
        }
        Ok(shown)
    }

    fn anonymous(&self) -> Self {
        self.clone().with_authority(Arc::new(Anonymous))
    }

    fn exchange(
        &self,
        call: &Call<'_>,
        url: &Url,
        credentials: Option<&Secret>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Response, Failure> {
        self.pace.wait(&url.origin().authority(), &*self.clock, stop)?;
        let mut headers = call.headers.clone();
        if url.origin() != call.url.origin() {
            headers.retain(|(name, _)| !SECRETS.iter().any(|secret| secret.eq_ignore_ascii_case(name)));
        }
        if let Some(credentials) = credentials {
            headers.push(("Authorization", credentials.reveal()));
        }
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Accept-Encoding")) {
            headers.push(("Accept-Encoding", "identity"));
        }
        let mut reader;
        let body = match call.payload {
            Payload::Empty => Body::Empty,
            Payload::Bytes(bytes) => Body::Bytes(bytes),
            Payload::Stream { len, open } => {
                reader = open().map_err(|error| failed(url, TransportError::Body(error)))?;
                Body::Stream { len, reader: &mut *reader }
            }
        };
        let request = Request { method: call.method, url, headers: &headers, body, patience: call.patience };
        let response = self.transport.send(request);
        if stop() {
            return Err(TransferError::Cancelled.into());
        }
        response.map_err(|error| failed(url, error))
    }

    /// Turns the last answer of a chain into a result.
    fn judge(
        &self,
        url: Url,
        is_redirected: bool,
        response: Response,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Answer, Failure> {
        let status = response.status;
        if status < 400 || matches!(status, 404 | 416) {
            if let Some(found) =
                response.headers.get("Content-Encoding").filter(|found| !found.eq_ignore_ascii_case("identity"))
            {
                return Err(TransferError::Encoding { url, found: found.chars().take(40).collect() }.into());
            }
            return Ok(Answer { url, status, headers: response.headers, body: response.body });
        }
        let asked = pace::asked_wait(&response.headers);
        let (code, message) = self.message(&response.headers, response.body, stop);
        let is_full = message.to_ascii_lowercase().contains("no space left");
        let retry = match status {
            429 => {
                let wait = asked.unwrap_or(pace::backoff(&self.retry, 1)).min(self.retry.patience);
                self.pace.hold(&url.origin().authority(), &*self.clock, wait);
                Retry::After(asked.unwrap_or(wait))
            }
            500 if is_full => Retry::Never,
            408 | 500 | 502 | 503 | 504 => asked.map_or(Retry::Soon, Retry::After),
            // The signature of an address that the host handed out has run out: the host hands out another.
            400 | 403 if is_redirected => Retry::Soon,
            _ => Retry::Never,
        };
        let status = if is_full { 507 } else { status };
        let given = self.authority.is_for(url.origin()) && self.authority.has_login();
        let error = match status {
            401 => TransferError::Unauthorized { url, given, message, code },
            _ => TransferError::Status { url, status, code, message },
        };
        Err(Failure { error: error.into(), retry })
    }

    /// Reads a body whole, if it has at most `limit` bytes.
    fn read_all(
        &self,
        answer: Answer,
        limit: u64,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Answer, Vec<u8>), Failure> {
        let Answer { url, status, headers, body } = answer;
        let expected = headers.number("Content-Length");
        if expected.is_some_and(|expected| expected > limit) {
            return Err(TransferError::TooLarge { url, limit }.into());
        }
        let mut bytes = Vec::new();
        match self.gather(body.take(limit.saturating_add(1)), &mut bytes, DOCUMENT, stop) {
            Ok(()) => {}
            Err(Some(error)) => return Err(cut(&url, &error)),
            Err(None) => return Err(TransferError::Cancelled.into()),
        }
        if bytes.len() as u64 > limit {
            return Err(TransferError::TooLarge { url, limit }.into());
        }
        Ok((Answer { url, status, headers, body: Box::new(io::empty()) }, bytes))
    }

    /// The code and the message of an answer that says what is wrong.
    fn message(
        &self,
        headers: &Headers,
        text: impl Read,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> (Option<String>, String) {
        let mut body = Vec::new();
        // A body that breaks off, or takes too long, is judged by what came.
        let _ = self.gather(text.take(MAX_MESSAGE), &mut body, MESSAGE, stop);
        message(headers, &body)
    }

    /// Reads a body to its end, for at most `time`. The error is `None` if this process is told to stop.
    fn gather(
        &self,
        mut body: impl Read,
        bytes: &mut Vec<u8>,
        time: Duration,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Option<io::Error>> {
        let end = self.clock.now() + time;
        let mut piece = vec![0; PIECE];
        loop {
            if stop() {
                return Err(None);
            }
            match body.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(got) => bytes.extend_from_slice(&piece[..got]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Some(error)),
            }
            if self.clock.now() > end {
                return Err(Some(io::Error::other(format!("it took more than {} seconds", time.as_secs()))));
            }
        }
    }
}

fn failed(url: &Url, source: TransportError) -> Failure {
    let retry = if matches!(source, TransportError::Connection { .. }) { Retry::Soon } else { Retry::Never };
    Failure { error: TransferError::Transport { url: url.clone(), source }.into(), retry }
}

/// An error of the connection while a body was read.
pub(crate) fn cut(url: &Url, error: &io::Error) -> Failure {
    let problem = match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "the host went silent".to_owned(),
        _ => format!("the connection was cut: {error}"),
    };
    failed(url, TransportError::Connection { problem })
}

fn redirect(url: &Url, response: &Response, count: usize) -> Result<Url, TransferError> {
    let location = response.headers.get("Location").unwrap_or_default();
    let refuse = |to: String, problem| Err(TransferError::Redirect { url: url.clone(), to, problem });
    if location.is_empty() {
        return refuse(String::new(), "it says no address");
    }
    let to = url.join(location)?;
    if count > MAX_REDIRECTS {
        return refuse(to.to_string(), "there were five redirects before");
    }
    if url.origin().scheme == Scheme::Https && to.origin().scheme == Scheme::Http {
        return refuse(to.to_string(), "it leaves https");
    }
    Ok(to)
}

/// The code and the message of an answer that says what is wrong: the hub's headers, a registry's list of errors, or a field `error`.
/// Anything else, such as a page of HTML, is not shown.
fn message(headers: &Headers, body: &[u8]) -> (Option<String>, String) {
    let code = headers.get("X-Error-Code").map(ToOwned::to_owned);
    let header = headers.get("X-Error-Message").map(ToOwned::to_owned);
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().map(ToOwned::to_owned);
    let first = &json["errors"][0];
    let detail = [&first["message"], &first["detail"], &json["error"], &json["message"]].into_iter().filter_map(text);
    let mut found = header.or_else(|| {
        let mut parts: Vec<String> = detail.collect();
        parts.dedup();
        (!parts.is_empty()).then(|| parts.join(", "))
    });
    if found.is_none() && String::from_utf8_lossy(body).to_ascii_lowercase().contains("no space left") {
        found = Some("no space left on device".to_owned());
    }
    if let Some(serde_json::Value::Object(detail)) = first.get("detail")
        && detail.values().any(|value| value.to_string().contains("no space left"))
    {
        found = Some("no space left on device".to_owned());
    }
    let code = code.or_else(|| text(&first["code"]));
    (code.map(|code| clean(&code)), found.map(|found| clean(&found)).unwrap_or_default())
}

/// Cuts a host's text short, and takes out control characters, and the passwords and queries of addresses, whole or not.
fn clean(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let shown = if word.contains("://") { redacted(word) } else { word.to_owned() };
        shown.split('?').next().unwrap_or_default().to_owned()
    });
    let text: String = words.collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}
