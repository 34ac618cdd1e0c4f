//! One line for each call, in a file.

use crate::machine::{number, system_call};

/// Two paths and what stands before them.
const LONGEST: usize = 2 * 4096 + 256;

/// A line that is put together without allocating.
pub(crate) struct Line {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; LONGEST], len: 0 }
    }

    /// Adds a field. What does not fit is left out.
    pub(crate) fn field(&mut self, bytes: &[u8]) {
        if self.len > 0 {
            self.push(b"\t");
        }
        self.push(bytes);
    }

    /// Adds a field that is a number.
    pub(crate) fn number(&mut self, value: i64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut left = value.unsigned_abs();
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        if value < 0 {
            at -= 1;
            digits[at] = b'-';
        }
        self.field(&digits[at..]);
    }

    /// Appends the line to an open file, at once, so that lines of several threads do not mix.
    pub(crate) fn write(&mut self, file: i32) {
        self.push(b"\n");
        let arguments = [file as usize, self.bytes.as_ptr() as usize, self.len, 0, 0, 0];
        // SAFETY: the kernel reads what the buffer holds.
        unsafe { system_call(number::WRITE, arguments) };
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(end) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            end.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }
}
