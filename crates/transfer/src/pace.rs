//! How long to wait before the next attempt, and before any request to a host that asked for patience.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{Headers, TransferError, clock::Clock};

/// When requests are tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOptions {
    /// Attempts without any progress, after which a transfer fails.
    pub attempts: u32,
    /// Wait before the second attempt. Each later one is twice as long.
    pub first: Duration,
    /// Longest such wait.
    pub longest: Duration,
    /// Longest wait that a host may ask for. If it asks for more, the transfer fails.
    pub patience: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            attempts: 6,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            patience: Duration::from_secs(5 * 60),
        }
    }
}

/// Longest time without a look at whether to stop.
const SLICE: Duration = Duration::from_millis(100);

/// The times before which hosts want no request. All users of one client share them, so one `429` slows every thread.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<HashMap<String, Duration>>);

impl Pace {
    /// Notes that `host` wants no request for `wait`.
    pub(crate) fn hold(&self, host: &str, clock: &dyn Clock, wait: Duration) {
        let until = clock.now() + wait;
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = hosts.entry(host.to_owned()).or_default();
        *known = until.max(*known);
    }

    /// Waits until `host` takes requests again.
    pub(crate) fn wait(&self, host: &str, clock: &dyn Clock, stop: &dyn Fn() -> bool) -> Result<(), TransferError> {
        loop {
            let until = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(host).copied().unwrap_or_default();
            match until.checked_sub(clock.now()).filter(|left| !left.is_zero()) {
                None => return Ok(()),
                Some(left) => sleep(clock, left.min(SLICE), stop)?,
            }
        }
    }
}

/// Waits, and looks out for a reason to stop.
pub(crate) fn sleep(clock: &dyn Clock, time: Duration, stop: &dyn Fn() -> bool) -> Result<(), TransferError> {
    let end = clock.now() + time;
    loop {
        if stop() {
            return Err(TransferError::Cancelled);
        }
        match end.checked_sub(clock.now()).filter(|left| !left.is_zero()) {
            None => return Ok(()),
            Some(left) => clock.sleep(left.min(SLICE)),
        }
    }
}

/// Wait before attempt `number` (1 is the second), with up to a quarter more by chance, so that many clients do not come back at once.
pub(crate) fn backoff(options: &RetryOptions, number: u32) -> Duration {
    let wait = options.first.saturating_mul(1 << number.saturating_sub(1).min(16)).min(options.longest);
    let chance = RandomState::new().hash_one(number) % 256;
    wait + wait * u32::try_from(chance).unwrap_or(0) / 1024
}

/// The wait that an answer asks for: `Retry-After` in seconds or as a date, or the hub's `RateLimit: …;t=55`.
pub(crate) fn asked_wait(headers: &Headers) -> Option<Duration> {
    if let Some(text) = headers.get("Retry-After").map(str::trim) {
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        if let Some(at) = date(text) {
            return Some((UNIX_EPOCH + Duration::from_secs(at)).duration_since(SystemTime::now()).unwrap_or_default());
        }
    }
    let limit = headers.get("RateLimit")?;
    let left = limit.split(';').find_map(|part| part.trim().strip_prefix("t="))?;
    left.trim().parse().ok().map(Duration::from_secs)
}

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(text: &str) -> Option<u64> {
    let rest = text.split_once(", ")?.1;
    let mut parts = rest.split([' ', ':']);
    let mut number = || parts.next()?.parse::<u64>().ok();
    let day = number()?;
    let month = rest.split(' ').nth(1)?;
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        .iter()
        .position(|name| *name == month)? as u64
        + 1;
    let mut parts = rest.split([' ', ':']).skip(2);
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (year, hour, minute, second) = (number()?, number()?, number()?, number()?);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970, with years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &str, value: &str) -> Headers {
        Headers::new([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn waits_are_read_in_every_form() {
        assert_eq!(asked_wait(&headers("retry-after", " 7 ")), Some(Duration::from_secs(7)));
        assert_eq!(asked_wait(&headers("RateLimit", "\"resolvers\";r=0;t=55")), Some(Duration::from_secs(55)));
        assert_eq!(asked_wait(&headers("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")), Some(Duration::ZERO));
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        for bad in ["", "soon", "-1", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov", "Sun, 06 Nov 1 1:1:1"] {
            assert_eq!(asked_wait(&headers("Retry-After", bad)), None, "{bad}");
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let options = RetryOptions::default();
        for (number, seconds) in [(1, 1), (2, 2), (3, 4), (6, 30), (40, 30)] {
            let wait = backoff(&options, number).as_secs_f64();
            assert!((f64::from(seconds)..f64::from(seconds) * 1.26).contains(&wait), "{number}: {wait}");
        }
    }
}
