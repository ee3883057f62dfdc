//! The lines of a text, with uniform line ends.

use std::{
    cell::Cell,
    io::{self, BufRead, Read},
    rc::Rc,
};

/// The most bytes of one record. An unclosed quote would take in the rest of the file.
pub(crate) const RECORD_BYTES: u64 = 64 << 20;

/// Inserted after each quote that begins a cell, as the CSV reader does not report quotes. UTF-8
/// contains neither byte, and in other encodings hardly any cell begins with both.
const MARK: [u8; 2] = [0xff, 0xfe];

/// A cell without its mark, and whether it was in quotes.
pub(crate) fn unmarked(cell: &[u8]) -> (&[u8], bool) {
    cell.strip_prefix(&MARK).map_or((cell, false), |cell| (cell, true))
}

/// Ends every line, including the last, with a line feed, so that lines can be counted. Marks quoted
/// cells, and refuses records that are too long.
pub(crate) struct Lines {
    inner: Box<dyn BufRead>,
    place: Place,
    seen: Rc<Passed>,
}

/// The state of the reader between two bytes.
struct Place {
    delimiter: u8,
    /// The last byte that was output.
    last: u8,
    is_after_return: bool,
    is_in_quotes: bool,
    /// Whether the last byte is a quote that ends a cell, unless another one follows.
    is_after_quotes: bool,
}

/// The bytes that [`Lines`] has output.
#[derive(Default)]
pub(crate) struct Passed {
    /// The bytes since the last record.
    pub(crate) bytes: Cell<u64>,
    /// Whether the text has ended.
    pub(crate) is_end: Cell<bool>,
}

impl Lines {
    pub(crate) fn new(inner: Box<dyn BufRead>, delimiter: u8, seen: Rc<Passed>) -> Self {
        let place = Place {
            delimiter,
            last: b'\n',
            is_after_return: false,
            is_in_quotes: false,
            is_after_quotes: false,
        };
        Self { inner, place, seen }
    }
}

impl Place {
    /// Copies the bytes before the next quote or carriage return, or only that byte if it is first.
    /// Returns the numbers of bytes read and written.
    fn copy(&mut self, bytes: &[u8], buffer: &mut [u8]) -> (usize, usize) {
        if std::mem::take(&mut self.is_after_return) && bytes[0] == b'\n' {
            return (1, 0);
        }
        let most = bytes.len().min(buffer.len());
        let plain = memchr::memchr2(b'\r', b'"', &bytes[..most]).unwrap_or(most);
        if plain > 0 {
            buffer[..plain].copy_from_slice(&bytes[..plain]);
            self.last = bytes[plain - 1];
            self.is_after_quotes = false;
            return (plain, plain);
        }
        self.is_after_return = bytes[0] == b'\r';
        buffer[0] = if self.is_after_return { b'\n' } else { b'"' };
        let before = std::mem::replace(&mut self.last, buffer[0]);
        let is_after_quotes = std::mem::take(&mut self.is_after_quotes);
        if self.is_after_return {
            return (1, 1);
        }
        if self.is_in_quotes {
            (self.is_in_quotes, self.is_after_quotes) = (false, true);
        } else if is_after_quotes {
            // A doubled quote within a cell.
            self.is_in_quotes = true;
        } else if before == b'\n' || before == self.delimiter {
            self.is_in_quotes = true;
            buffer[1..][..MARK.len()].copy_from_slice(&MARK);
            return (1, 1 + MARK.len());
        }
        (1, 1)
    }
}

impl Read for Lines {
    /// The buffer must have space for a quote and its mark.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { inner, place, seen } = self;
        if seen.bytes.get() > RECORD_BYTES {
            return Err(io::Error::other(format!(
                "a row has more than {} MiB: is a quote not closed?",
                RECORD_BYTES >> 20
            )));
        }
        loop {
            let available = inner.fill_buf()?;
            if available.is_empty() {
                seen.is_end.set(std::mem::replace(&mut place.last, b'\n') == b'\n');
                buffer[0] = b'\n';
                return Ok(usize::from(!seen.is_end.get()));
            }
            let (mut read, mut written) = (0, 0);
            while read < available.len() && written + MARK.len() < buffer.len() {
                let copied = place.copy(&available[read..], &mut buffer[written..]);
                read += copied.0;
                written += copied.1;
            }
            inner.consume(read);
            seen.bytes.set(seen.bytes.get() + read as u64);
            // If only the line feed of a CRLF was read, there is no output yet.
            if written > 0 {
                return Ok(written);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn a_quote_that_is_never_closed_does_not_fill_memory() {
        let inner = Box::new(BufReader::new(io::repeat(b'x')));
        let mut lines = Lines::new(inner, b',', Rc::default());
        let error = io::copy(&mut lines, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("64 MiB"), "{error}");
    }

    #[test]
    fn cells_in_quotes_are_marked_for_every_cut_of_the_text() {
        let text = "\"a\",b,\"\"\r\n\"c\"\"\r\nd\",\"e\rf\" \"g\"\r\"\"\"h\",i\"j\"\n";
        for size in 1..text.len() {
            let inner = Box::new(BufReader::with_capacity(size, text.as_bytes()));
            let lines = Lines::new(inner, b',', Rc::default());
            let mut reader =
                csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(lines);
            let records: Vec<_> = reader.byte_records().map(|record| record.unwrap()).collect();
            let cells = records.iter().flatten().map(unmarked);
            let cells: Vec<_> =
                cells.map(|(cell, quoted)| (str::from_utf8(cell).unwrap(), quoted)).collect();
            let expected = [
                ("a", true),
                ("b", false),
                ("", true),
                ("c\"\nd", true),
                ("e\nf \"g\"", true),
                ("\"h", true),
                ("i\"j\"", false),
            ];
            assert_eq!(cells, expected, "{size} bytes at once");
        }
    }
}
