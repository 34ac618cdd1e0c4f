//! Text that a template's budget pays for as it grows.

use minijinja::{Error, State};

/// Bytes that one unit of the engine's fuel pays for.
const BYTES: usize = 64;
/// Bytes that are written before they are paid for.
const CREDIT: usize = 16 << 10;

/// A growing text.
pub(super) struct PaidText<'s, 't, 'e> {
    state: &'s State<'t, 'e>,
    text: String,
    unpaid: usize,
}

impl<'s, 't, 'e> PaidText<'s, 't, 'e> {
    pub(super) fn new(state: &'s State<'t, 'e>) -> Self {
        Self { state, text: String::new(), unpaid: 0 }
    }

    /// Appends a text.
    pub(super) fn push(&mut self, text: &str) -> Result<(), Error> {
        self.pay(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    pub(super) fn push_char(&mut self, letter: char) -> Result<(), Error> {
        self.push(letter.encode_utf8(&mut [0; 4]))
    }

    /// Pays for so many bytes of work or text. Every call costs a little, so that no number of empty pieces is free.
    pub(super) fn pay(&mut self, bytes: usize) -> Result<(), Error> {
        self.unpaid = self.unpaid.saturating_add(bytes).saturating_add(8);
        if self.unpaid >= CREDIT {
            pay(self.state, std::mem::take(&mut self.unpaid))?;
        }
        Ok(())
    }

    /// Pays for the rest and returns the text.
    pub(super) fn finish(self) -> Result<String, Error> {
        pay(self.state, self.unpaid)?;
        Ok(self.text)
    }
}

/// Pays for bytes before they are made.
pub(super) fn pay(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes.div_ceil(BYTES) as u64)
}
