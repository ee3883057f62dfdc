//! The lines of a text, which end in one way only.

use std::{
    cell::Cell,
    io::{self, BufRead, Read},
    rc::Rc,
};

/// The most bytes of one record. A quote that is never closed takes in all that follows it.
pub(super) const RECORD_BYTES: u64 = 64 << 20;

/// Ends every line alike, also the last one, so that lines can be counted; and stops a record that is
/// longer than any should be.
pub(super) struct Lines {
    inner: Box<dyn BufRead>,
    last: u8,
    seen: Rc<Seen>,
}

/// What [`Lines`] has read.
#[derive(Default)]
pub(super) struct Seen {
    /// Since the last record.
    pub(super) bytes: Cell<u64>,
    /// Whether that was all.
    pub(super) is_end: Cell<bool>,
}

impl Lines {
    pub(super) fn new(inner: Box<dyn BufRead>, seen: Rc<Seen>) -> Self {
        Self { inner, last: b'\n', seen }
    }
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.seen.bytes.get() > RECORD_BYTES {
            return Err(io::Error::other(format!(
                "a row has more than {} MiB: is a quote not closed?",
                RECORD_BYTES >> 20
            )));
        }
        let mut available = self.inner.fill_buf()?;
        if available.first() == Some(&b'\r') {
            self.inner.consume(1);
            available = self.inner.fill_buf()?;
            if available.first() != Some(&b'\n') {
                self.last = b'\n';
                buffer[0] = b'\n';
                return Ok(1);
            }
        }
        let most = available.len().min(buffer.len());
        let read = memchr::memchr(b'\r', &available[..most]).unwrap_or(most);
        if read == 0 {
            self.seen.is_end.set(std::mem::replace(&mut self.last, b'\n') == b'\n');
            buffer[0] = b'\n';
            return Ok(usize::from(!self.seen.is_end.get()));
        }
        buffer[..read].copy_from_slice(&available[..read]);
        self.last = buffer[read - 1];
        self.inner.consume(read);
        self.seen.bytes.set(self.seen.bytes.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn a_quote_that_is_never_closed_does_not_fill_memory() {
        let inner = Box::new(BufReader::new(io::repeat(b'x')));
        let mut lines = Lines::new(inner, Rc::default());
        let error = io::copy(&mut lines, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("64 MiB"), "{error}");
    }
}
