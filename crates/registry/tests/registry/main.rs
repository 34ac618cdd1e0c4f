//! Push and pull over one registry in this process.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod faults;
mod form;
mod hostile;
mod journeys;
mod kills;
mod mend;
mod mounts;
mod support;
