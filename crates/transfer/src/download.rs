//! Ranged download: bytes in order, each once, whatever happens to connections.

use std::io::{self, Read as _};

use crate::{
    Call, Client, Headers, TransferError, Url,
    client::{Answer, Failure, Retry, cut},
};

/// Number of bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// Bytes of a document to download.
#[derive(Debug, Clone)]
pub struct Download<'a> {
    /// Where the document is.
    pub url: &'a Url,
    /// Length of the whole document in bytes, which is known before.
    pub size: u64,
    /// First byte to download.
    pub start: u64,
    /// End of the bytes to download; `size` for the rest.
    pub end: u64,
}

impl<'a> Download<'a> {
    /// The whole document.
    #[must_use]
    pub fn whole(url: &'a Url, size: u64) -> Self {
        Self { url, size, start: 0, end: size }
    }
}

impl Client {
    /// Downloads bytes and hands them to `accept` in order, each once. A cut or silent connection is continued by Range from the byte after
    /// the last, with `If-Range`; a host that does not know Range is read from the start again, past what is there. Every byte that arrives
    /// starts the count of attempts anew.
    ///
    /// Length and order are promised. The caller checks the digest.
    ///
    /// # Errors
    ///
    /// [`TransferError::Length`], [`TransferError::Range`] or [`TransferError::Changed`] if the host keeps sending something else,
    /// [`TransferError::Receiver`] if `accept` fails, else as [`Client::send`].
    pub fn download(
        &self,
        what: &Download<'_>,
        accept: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), TransferError> {
        let mut state = Progress { at: what.start, tag: None };
        let mut attempt = 0;
        while state.at < what.end {
            let before = state.at;
            match self.part(what, &mut state, accept, stop) {
                Ok(()) => {}
                Err(failure) => {
                    attempt = if state.at > before { 1 } else { attempt + 1 };
                    self.pause(failure, attempt, stop)?;
                }
            }
        }
        Ok(())
    }

    fn part(
        &self,
        what: &Download<'_>,
        state: &mut Progress,
        accept: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Failure> {
        let is_whole = state.at == 0 && what.end == what.size;
        let range = format!("bytes={}-{}", state.at, what.end - 1);
        let tag = state.tag.clone();
        let mut call = Call::get(what.url);
        if !is_whole {
            call.headers.push(("Range", &range));
            if let Some(tag) = &tag {
                call.headers.push(("If-Range", tag));
            }
        }
        let answer = self.once(&call, stop)?;
        let (mut skip, expected) = check(what, state, &answer)?;
        let Answer { url, headers, mut body, .. } = answer;
        if state.tag.is_none() || state.at == what.start {
            state.tag = strong_tag(&headers);
        }
        let mut left = expected;
        let mut buffer = vec![0; CHUNK];
        while left > 0 {
            if stop() {
                return Err(TransferError::Cancelled.into());
            }
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let got = match body.read(&mut buffer[..want]) {
                Ok(0) => return Err(cut(&url, &io::Error::from(io::ErrorKind::UnexpectedEof))),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(cut(&url, &error)),
            };
            left -= got as u64;
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(got);
            skip -= skipped as u64;
            let fresh = &buffer[skipped..got];
            if !fresh.is_empty() {
                // A host that ignores the end of a range sends more than is wanted.
                let wanted = usize::try_from(what.end - state.at).unwrap_or(usize::MAX).min(fresh.len());
                accept(&fresh[..wanted]).map_err(TransferError::Receiver)?;
                state.at += wanted as u64;
                if state.at == what.end {
                    break;
                }
            }
        }
        // One byte more than the announced end is an error. Not worth waiting for if the length was announced.
        if left == 0 && headers.number("Content-Length").is_none() && matches!(body.read(&mut buffer[..1]), Ok(1)) {
            return Err(TransferError::Length { url, expected, found: expected + 1 }.into());
        }
        Ok(())
    }
}

struct Progress {
    /// Next byte.
    at: u64,
    /// Strong entity tag of the document, from its first part.
    tag: Option<String>,
}

/// Checks the head of an answer. Returns the bytes to skip, and the length of the body.
fn check(what: &Download<'_>, state: &Progress, answer: &Answer) -> Result<(u64, u64), Failure> {
    let url = || answer.url.clone();
    let announced = answer.headers.number("Content-Length");
    let length = |expected| match announced.filter(|found| *found != expected) {
        Some(found) => Err(again(TransferError::Length { url: url(), expected, found })),
        None => Ok(expected),
    };
    let now = strong_tag(&answer.headers);
    let is_other = state.tag.is_some() && now.is_some() && state.tag != now;
    let expected = format!("bytes {}-{}/{}", state.at, what.end - 1, what.size);
    match answer.status {
        // Its beginning would be joined to that of another document.
        200 if state.at > what.start && is_other => Err(TransferError::Changed { url: url() }.into()),
        200 => length(what.size).map(|size| (state.at, size)),
        206 => {
            let found = answer.headers.get("Content-Range").unwrap_or_default().trim();
            let found =
                if found.ends_with("/*") { found.replace("/*", &format!("/{}", what.size)) } else { found.to_owned() };
            if found != expected {
                let found = found.chars().take(80).collect();
                return Err(again(TransferError::Range { url: url(), expected, found }));
            }
            if is_other {
                return Err(TransferError::Changed { url: url() }.into());
            }
            length(what.end - state.at).map(|size| (0, size))
        }
        416 => {
            let found = answer.headers.get("Content-Range").unwrap_or_default().chars().take(80).collect();
            Err(again(TransferError::Range { url: url(), expected, found }))
        }
        status => {
            let error = TransferError::Status { url: url(), status, code: None, message: String::new() };
            Err(error.into())
        }
    }
}

fn again(error: TransferError) -> Failure {
    Failure { error: error.into(), retry: Retry::Soon }
}

fn strong_tag(headers: &Headers) -> Option<String> {
    headers.get("ETag").filter(|tag| tag.starts_with('"') && tag.len() < 200).map(ToOwned::to_owned)
}
