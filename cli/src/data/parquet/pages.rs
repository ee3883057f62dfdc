//! The pages of a column. The sizes that a page claims are checked before it is decompressed and before it
//! is decoded, because the parquet crate allocates as much memory as the page claims to need.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    sync::Arc,
};

use parquet::{
    basic::{Compression, Encoding, Type},
    column::page::{Page, PageMetadata, PageReader},
    errors::{ParquetError, Result},
    file::{metadata::ColumnChunkMetaData, reader::RowGroupReader},
};

use super::thrift::{self, Seen};

/// The most texts whose lengths may stand before them, as some encodings have it: all lengths of a page are
/// decoded at once. Pages have a megabyte, and most writers make them of 20,000 rows.
const MOST_LENGTHS: u64 = 1 << 22;

/// The type of an index page in its header: a page without values.
const INDEX: i32 = 1;

/// The pages of a column of a group.
pub(super) struct Pages {
    pages: Box<dyn PageReader>,
    file: Arc<File>,
    column: ColumnChunkMetaData,
    /// Where the next page begins, and the bytes that are left.
    place: u64,
    left: u64,
    /// How many values its pages have to have still.
    values: u64,
}

/// The contents of a header.
#[derive(Default)]
struct Header {
    kind: i64,
    unpacked: i64,
    packed: i64,
}

impl Pages {
    pub(super) fn new(group: &dyn RowGroupReader, leaf: usize, file: &Arc<File>) -> Result<Self> {
        let column = group.metadata().column(leaf).clone();
        let (rows, values) = (group.metadata().num_rows(), column.num_values());
        if rows != values {
            return Err(broken(format!("a column of {values} values in a group of {rows} rows")));
        }
        let (place, left) = column.byte_range();
        let values = u64::try_from(values).map_err(|_| broken(format!("{values} values")))?;
        let pages = group.get_column_page_reader(leaf)?;
        Ok(Self { pages, file: Arc::clone(file), column, place, left, values })
    }

    /// Looks at the header of the next page that has values, where there is one.
    fn check_header(&mut self) -> Result<()> {
        while self.left > 0 {
            let mut file = &*self.file;
            file.seek(SeekFrom::Start(self.place))?;
            let mut header = Header::default();
            let input = BufReader::new(file.take(self.left));
            let bytes = thrift::walk(input, self.left, thrift::PAGE, &mut |path, seen| {
                match (path, seen) {
                    ([1], Seen::Number(kind)) => header.kind = kind,
                    ([2], Seen::Number(bytes)) => header.unpacked = bytes,
                    ([3], Seen::Number(bytes)) => header.packed = bytes,
                    _ => {}
                }
                Ok(())
            })?;
            self.place += bytes;
            self.left -= bytes;
            let Header { kind, unpacked, packed } = header;
            let most = i64::try_from(self.left).unwrap_or(i64::MAX).min(i32::MAX.into());
            if !(0..=most).contains(&packed) {
                let left = self.left;
                return Err(broken(format!("a page of {packed} bytes where {left} are left")));
            }
            if self.column.compression() != Compression::UNCOMPRESSED
                && !(0..=densest(self.column.compression()) * packed).contains(&unpacked)
            {
                return Err(broken(format!("a page of {packed} bytes unpacks to {unpacked}")));
            }
            self.place += packed as u64;
            self.left -= packed as u64;
            // As the crate cuts it.
            if kind as i32 != INDEX {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Checks the decompressed page.
    fn check(&mut self, page: &Page) -> Result<()> {
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
        if count > self.values {
            let (left, all) = (self.values, self.column.num_values());
            return Err(broken(format!(
                "a page of {count} values, where {left} of its column's {all} are left"
            )));
        }
        self.values -= count;
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
        self.check_header()?;
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
