//! The pages of a column. The parquet crate takes as much memory as a page says that it needs, so three of its
//! numbers are checked before: the bytes that it unpacks to, the values of a dictionary, and the lengths of
//! texts that stand before them.

use std::{fs::File, io::BufReader, sync::Arc};

use bytes::Bytes;
use parquet::{
    basic::{Compression, Encoding, Type},
    column::page::{Page, PageMetadata, PageReader},
    errors::{ParquetError, Result},
    file::{
        metadata::{ColumnChunkMetaData, RowGroupMetaData},
        reader::{ChunkReader, Length, SerializedPageReader},
    },
};

use super::thrift::{self, Seen};

/// The most texts whose lengths may stand before them, as some encodings have it: all lengths of a page are
/// decoded at once. Pages have a megabyte, and most writers make them of 20,000 rows.
const MOST_LENGTHS: u64 = 1 << 22;

/// The pages of a column of a group.
pub(super) struct Pages {
    pages: SerializedPageReader<Chunk>,
    column: ColumnChunkMetaData,
}

/// The bytes of a column. The crate reads from them at the places where pages begin.
struct Chunk {
    file: Arc<File>,
    compression: Compression,
}

impl Pages {
    pub(super) fn new(group: &RowGroupMetaData, leaf: usize, file: &Arc<File>) -> Result<Self> {
        let column = group.column(leaf).clone();
        let (rows, values) = (group.num_rows(), column.num_values());
        if rows != values {
            return Err(broken(format!("a column of {values} values in a group of {rows} rows")));
        }
        let chunk = Chunk { file: Arc::clone(file), compression: column.compression() };
        // The rows count for indexes only.
        let pages = SerializedPageReader::new(Arc::new(chunk), &column, 0, None)?;
        Ok(Self { pages, column })
    }

    /// Checks the unpacked page.
    fn check(&self, page: &Page) -> Result<()> {
        let (bytes, count) = (page.buffer().len() as u64, u64::from(page.num_values()));
        if let Page::DictionaryPage { .. } = page {
            let bits = match self.column.column_type() {
                Type::BOOLEAN => 1,
                Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 32,
                Type::INT64 | Type::DOUBLE => 64,
                Type::INT96 => 96,
                Type::FIXED_LEN_BYTE_ARRAY => 8,
            };
            if count * bits > bytes * 8 {
                return Err(broken(format!("a dictionary of {count} values in {bytes} bytes")));
            }
            return Ok(());
        }
        let lists = match page.encoding() {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
            Encoding::DELTA_BYTE_ARRAY => 2,
            _ => return Ok(()),
        };
        let mut rest = values(page, self.column.column_descr().max_def_level() > 0)?;
        for _ in 0..lists {
            let (lengths, after) = lengths(rest)
                .ok_or_else(|| broken("the lengths of a page's texts are not whole".to_owned()))?;
            if lengths > count.min(MOST_LENGTHS) {
                return Err(broken(format!(
                    "the lengths of {lengths} texts in a page of {count}; {MOST_LENGTHS} are the most"
                )));
            }
            rest = after;
        }
        Ok(())
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.iter().try_for_each(|page| self.check(page))?;
        Ok(page)
    }

    // Rows are read one after the other, so these methods are never called.

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        Err(ParquetError::NYI("looking ahead".to_owned()))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        Err(ParquetError::NYI("skipping".to_owned()))
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Chunk {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        self.check_header(start)?;
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.file.get_bytes(start, length)
    }
}

impl Chunk {
    /// Checks the header of the page that begins there.
    fn check_header(&self, start: u64) -> Result<()> {
        let left = self.len().saturating_sub(start);
        let (mut unpacked, mut packed) = (0, 0);
        thrift::walk(self.file.get_read(start)?, left, thrift::PAGE, &mut |path, seen| {
            match (path, seen) {
                // As the crate cuts them.
                ([2], Seen::Number(bytes)) => unpacked = i64::from(bytes as i32),
                ([3], Seen::Number(bytes)) => packed = i64::from(bytes as i32),
                _ => {}
            }
            Ok(())
        })?;
        if packed > left as i64 {
            return Err(broken(format!("a page of {packed} bytes where {left} are left")));
        }
        if self.compression != Compression::UNCOMPRESSED
            && unpacked > densest(self.compression) * packed
        {
            return Err(broken(format!("a page of {packed} bytes unpacks to {unpacked}")));
        }
        Ok(())
    }
}

fn broken(what: String) -> ParquetError {
    ParquetError::General(format!("the file is broken: {what}"))
}

/// The most bytes that a byte may unpack to.
fn densest(compression: Compression) -> i64 {
    match compression {
        // A copy of 64 bytes takes 3.
        Compression::SNAPPY => 22,
        // Each byte makes a copy longer by 255.
        Compression::LZ4 | Compression::LZ4_RAW => 255,
        // A copy of 258 bytes takes 2 bits.
        Compression::GZIP(_) => 1032,
        // A block of 16 MiB takes some bytes, of one byte again and again; pages have a megabyte.
        Compression::BROTLI(_) => 1 << 17,
        // A block of 128 KiB takes 4 bytes, of one byte again and again.
        _ => 1 << 15,
    }
}

/// The values of a page. They follow the levels, which say which values are missing.
fn values(page: &Page, has_levels: bool) -> Result<&[u8]> {
    let buffer = page.buffer();
    let levels = match page {
        Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
            u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len)
        }
        Page::DataPage { def_level_encoding: Encoding::RLE, .. } if has_levels => {
            let length = buffer.first_chunk().copied().map_or(u32::MAX, u32::from_le_bytes);
            4 + u64::from(length)
        }
        // A bit for each.
        Page::DataPage { num_values, .. } if has_levels => u64::from(num_values.div_ceil(8)),
        _ => 0,
    };
    let values = usize::try_from(levels).ok().and_then(|levels| buffer.get(levels..));
    values.ok_or_else(|| {
        let bytes = buffer.len();
        broken(format!("levels of {levels} bytes in a page of {bytes}"))
    })
}

/// The number of lengths at the beginning, and the bytes after them. The lengths are stored as differences,
/// in blocks of blocks.
fn lengths(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (block, rest) = unsigned(bytes)?;
    let (parts, rest) = unsigned(rest)?;
    let (count, rest) = unsigned(rest)?;
    let (_first, mut rest) = unsigned(rest)?;
    let part = block.checked_div(parts)?;
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let (_least, widths) = unsigned(rest)?;
        let (widths, values) = widths.split_at_checked(usize::try_from(parts).ok()?)?;
        let mut bytes = 0_u64;
        for &width in widths {
            if left > 0 {
                bytes = bytes.checked_add(part.checked_mul(width.into())? / 8)?;
            }
            left = left.saturating_sub(part);
        }
        rest = values.get(usize::try_from(bytes).ok()?..)?;
    }
    Some((count, rest))
}

/// A number of seven bits a byte, the last ones first.
fn unsigned(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(10).position(|&byte| byte < 0x80)?;
    let (number, rest) = bytes.split_at(end + 1);
    let number = number.iter().rev().fold(0, |number, &byte| number << 7 | u64::from(byte & 0x7f));
    Some((number, rest))
}
