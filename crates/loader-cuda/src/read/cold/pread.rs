//! Reads one range at a time, by `pread`.

use std::{collections::VecDeque, io};

use super::{BLOCK, ColdRead, Found, Reader};
use crate::read::file::read_at;

/// Reader that reads only when the bytes are requested.
#[derive(Debug, Default)]
pub(super) struct Pread {
    begun: VecDeque<ColdRead>,
}

impl Reader for Pread {
    fn depth(&self) -> usize {
        1
    }

    fn begin(&mut self, read: ColdRead) {
        self.begun.push_back(read);
    }

    fn finish(&mut self) -> io::Result<Option<Found>> {
        let read = self.begun.pop_front().expect("BUG: no read was begun");
        finish(read, 0)
    }
}

/// Reads everything after the first `done` bytes, which are in the buffer already. `done` is a multiple of a block, or
/// all wanted bytes.
pub(super) fn finish(mut read: ColdRead, done: usize) -> io::Result<Option<Found>> {
    let (ring_bytes, mut done) = (done, done);
    let whole = read.wanted.next_multiple_of(BLOCK);
    while done < read.wanted {
        let Some(file) = read.file.direct()? else { return Ok(None) };
        match read_at(file, &mut read.buffer.bytes_mut()[done..whole], read.start + done as u64) {
            Ok(0) => break,
            Ok(more) => {
                done += more;
                // Only at the end of the file the number of bytes is not a multiple of a block.
                if !done.is_multiple_of(BLOCK) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                read.file.refuse_direct();
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(read.found(done, ring_bytes)))
}
