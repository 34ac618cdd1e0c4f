//! What goes wrong, and how often.

use std::sync::{Mutex, PoisonError};

use crate::{Asked, Reply};

/// Something that goes wrong with one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No answer at all.
    Unreachable,
    /// This status, with a body that says nothing.
    Status(u16),
    /// This status, with this body.
    Says(u16, &'static str),
    /// 429 with `Retry-After`.
    Busy(u64),
    /// The connection is cut after so many bytes of the body.
    Cut(usize),
    /// The byte at this offset of the document is inverted.
    Corrupt(usize),
    /// The body ends so many bytes early, and the headers say so.
    Short(usize),
    /// The body has one byte more than it should.
    Long,
    /// Range is ignored.
    NoRange,
    /// `Content-Range` is one byte off.
    BadRange,
    /// The body is said to be packed.
    Packed,
    /// A redirect.
    Redirect(String),
    /// A page in place of the document.
    Page,
    /// A header is left out.
    Without(&'static str),
    /// The request is answered, and the answer lost.
    Lost,
    /// A socket sends at most so many bytes a second.
    Slow(u64),
}

/// Which requests a fault strikes, and how often.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The word of the request line; any if empty.
    pub method: &'static str,
    /// What the path contains.
    pub path: String,
    /// What goes wrong.
    pub fault: Fault,
    /// How often; `usize::MAX` for always.
    pub times: usize,
    /// Requests that are spared first.
    pub after: usize,
}

/// The rules of a host.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    /// Orders a fault for the next `times` requests with this method, whose path contains `path`.
    pub fn order(&self, method: &'static str, path: &str, fault: Fault, times: usize) {
        self.order_after(method, path, fault, times, 0);
    }

    /// The same, after as many requests as are spared.
    pub fn order_after(&self, method: &'static str, path: &str, fault: Fault, times: usize, after: usize) {
        self.rules().push(Rule { method, path: path.to_owned(), fault, times, after });
    }

    /// Forgets all rules.
    pub fn clear(&self) {
        self.rules().clear();
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that strikes a request.
    pub(crate) fn strike(&self, asked: &Asked) -> Option<Fault> {
        let mut rules = self.rules();
        let is_struck = |rule: &&mut Rule| {
            rule.times > 0 && (rule.method.is_empty() || rule.method == asked.method) && asked.path.contains(&rule.path)
        };
        let rule = rules.iter_mut().find(is_struck)?;
        if rule.after > 0 {
            rule.after -= 1;
            return None;
        }
        if rule.times != usize::MAX {
            rule.times -= 1;
        }
        Some(rule.fault.clone())
    }
}

impl Fault {
    pub(crate) fn apply(&self, asked: &Asked, answer: impl Fn(&Asked) -> Reply) -> Option<Reply> {
        let good = || answer(asked);
        let start =
            |reply: &Reply| if reply.status == 206 { asked.range(usize::MAX).map_or(0, |(start, _)| start) } else { 0 };
        Some(match self {
            Self::Unreachable => return None,
            Self::Lost => {
                good();
                return None;
            }
            Self::Status(status) => Reply::new(*status, ""),
            Self::Says(status, body) => Reply::new(*status, *body),
            Self::Busy(seconds) => Reply::new(429, "").with("Retry-After", seconds.to_string()),
            Self::Cut(at) => {
                let mut reply = good();
                reply.cut = reply.body.len() > *at;
                reply.body.truncate(*at);
                reply
            }
            Self::Corrupt(at) => {
                let mut reply = good();
                let start = start(&reply);
                if let Some(byte) = at.checked_sub(start).and_then(|at| reply.body.get_mut(at)) {
                    *byte ^= 0xff;
                }
                reply
            }
            Self::Short(by) => {
                let mut reply = good();
                reply.body.truncate(reply.body.len().saturating_sub(*by));
                let len = reply.body.len().to_string();
                reply.with("Content-Length", len)
            }
            Self::Long => {
                let mut reply = good();
                reply.body.push(0);
                let len = reply.body.len().to_string();
                reply.with("Content-Length", len)
            }
            Self::NoRange => {
                let mut asked = asked.clone();
                asked.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("Range"));
                answer(&asked)
            }
            Self::BadRange => {
                let reply = good();
                match asked.range(usize::MAX) {
                    Some((first, _)) if reply.status == 206 => {
                        let len = reply.body.len();
                        reply.with("Content-Range", format!("bytes {}-{}/{}", first + 1, first + len, first + len + 1))
                    }
                    _ => reply,
                }
            }
            Self::Packed => good().with("Content-Encoding", "gzip"),
            Self::Redirect(to) => Reply::new(302, "").with("Location", to.clone()),
            Self::Page => Reply::new(200, "<html>Sign in to this network</html>").with("Content-Type", "text/html"),
            Self::Without(name) => {
                let mut reply = good();
                reply.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
                reply
            }
            Self::Slow(rate) => Reply { rate: Some(*rate), ..good() },
        })
    }
}
