//! Checks Parquet's metadata, in Thrift's compact protocol, before the parquet crate reads them. The crate
//! loops over as many booleans as an unknown list claims, which take no bytes; it takes memory for as many
//! children as an element of the schema claims, and a stack as deep as the schema.
//!
//! The crate reads a known field as its expected type without looking at the written type. So a known field
//! must have the expected type here; otherwise this check and the crate would see different fields.

use std::io::{self, Read};

use parquet::errors::ParquetError;

/// The deepest nest. The crate's own bound is the same where it skips, and none where it reads a schema.
const DEEPEST: usize = 64;

/// The type of a field. Numbers of 16, 32 and 64 bits are written alike. The type of a flag is its value,
/// which the crate looks at.
pub(super) enum Kind {
    Byte,
    Number,
    Double,
    Bytes,
    List(&'static Kind),
    Fields(Fields),
}

/// The first and the last number of fields of a kind. Others are not known to the crate, and skipped.
pub(super) type Fields = &'static [(i16, i16, Kind)];

/// The fields of a file's metadata.
pub(super) const FILE: Fields = &[
    (1, 1, Kind::Number),
    (2, 2, Kind::List(&Kind::Fields(ELEMENT))),
    (3, 3, Kind::Number),
    (4, 4, Kind::List(&Kind::Fields(GROUP))),
    (5, 5, Kind::List(&Kind::Fields(&[(1, 2, Kind::Bytes)]))),
    (6, 6, Kind::Bytes),
    (7, 7, Kind::List(&Kind::Fields(&[(1, 3, EMPTY)]))),
];

/// The fields of the header of a page without its statistics, which the crate skips.
pub(super) const PAGE: Fields = &[
    (1, 4, Kind::Number),
    (5, 5, Kind::Fields(&[(1, 4, Kind::Number)])),
    (6, 6, EMPTY),
    (7, 7, Kind::Fields(&[(1, 2, Kind::Number)])),
    (8, 8, Kind::Fields(&[(1, 6, Kind::Number)])),
];

/// Where the number of an element's children stands in a file's metadata.
const CHILDREN: &[i16] = &[2, 5];

/// Where an element of the schema stands.
const SCHEMA: &[i16] = &[2];

const EMPTY: Kind = Kind::Fields(&[]);

const ELEMENT: Fields = &[
    (1, 3, Kind::Number),
    (4, 4, Kind::Bytes),
    (5, 9, Kind::Number),
    (10, 10, Kind::Fields(LOGICAL_TYPE)),
];

const LOGICAL_TYPE: Fields = &[
    (1, 4, EMPTY),
    (5, 5, Kind::Fields(&[(1, 2, Kind::Number)])),
    (6, 6, EMPTY),
    (7, 8, Kind::Fields(&[(2, 2, Kind::Fields(&[(1, 3, EMPTY)]))])),
    (10, 10, Kind::Fields(&[(1, 1, Kind::Byte)])),
    (11, 15, EMPTY),
    (16, 16, Kind::Fields(&[(1, 1, Kind::Byte)])),
    (17, 18, Kind::Fields(&[(1, 1, Kind::Bytes), (2, 2, Kind::Number)])),
];

const GROUP: Fields = &[
    (1, 1, Kind::List(&Kind::Fields(CHUNK))),
    (2, 3, Kind::Number),
    (4, 4, Kind::List(&Kind::Fields(&[(1, 1, Kind::Number)]))),
    (5, 5, Kind::Number),
    (7, 7, Kind::Number),
];

const CHUNK: Fields = &[
    (1, 1, Kind::Bytes),
    (2, 2, Kind::Number),
    (3, 3, Kind::Fields(COLUMN)),
    (4, 7, Kind::Number),
];

/// Without its statistics, which the crate skips (`SkipAll`).
const COLUMN: Fields = &[
    (1, 1, Kind::Number),
    (2, 2, Kind::List(&Kind::Number)),
    (4, 7, Kind::Number),
    (9, 11, Kind::Number),
    (14, 15, Kind::Number),
    (17, 17, Kind::Fields(&[(1, 1, BOX), (2, 2, Kind::List(&Kind::Number))])),
];

const BOX: Kind = Kind::Fields(&[(1, 8, Kind::Double)]);

/// An event of a walk: a number, or the end of fields.
#[derive(Clone, Copy)]
pub(super) enum Seen {
    Number(i64),
    End,
}

/// Walks through all of a file's metadata, and refuses a schema that is no tree.
pub(super) fn check_file(metadata: &[u8]) -> Result<(), ParquetError> {
    // How many children are still to come of each element that is not complete, and of all elements.
    let (mut open, mut all, mut children) = (Vec::new(), 0, 0);
    walk(metadata, metadata.len() as u64, FILE, &mut |path, seen| {
        match seen {
            Seen::Number(number) if path == CHILDREN => {
                children = u64::try_from(number)
                    .map_err(|_| broken(format!("an element of {number} children")))?;
            }
            Seen::End if path == SCHEMA => {
                if let Some(left) = open.last_mut() {
                    *left -= 1;
                }
                all += children;
                if all > metadata.len() as u64 {
                    let bytes = metadata.len();
                    return Err(broken(format!("a schema of {all} elements in {bytes} bytes")));
                }
                open.push(std::mem::take(&mut children));
                while open.last() == Some(&0) {
                    open.pop();
                }
                if open.len() > DEEPEST {
                    return Err(broken(format!("a schema is nested more than {DEEPEST} deep")));
                }
            }
            _ => {}
        }
        Ok(())
    })
}

fn broken(what: String) -> ParquetError {
    ParquetError::General(format!("the file is broken: {what}"))
}

/// Walks through fields within this many bytes.
pub(super) fn walk(
    input: impl Read,
    bytes: u64,
    fields: Fields,
    visit: Visit<'_>,
) -> Result<(), ParquetError> {
    Walk { input, left: bytes, path: Vec::new(), visit }.fields(fields, 0)
}

type Visit<'a> = &'a mut dyn FnMut(&[i16], Seen) -> Result<(), ParquetError>;

struct Walk<'a, R> {
    input: R,
    /// The bytes that may still be read. Booleans count as a byte each.
    left: u64,
    /// The numbers of the fields that this is in.
    path: Vec<i16>,
    visit: Visit<'a>,
}

impl<R: Read> Walk<'_, R> {
    fn fields(&mut self, known: Fields, depth: usize) -> Result<(), ParquetError> {
        let mut last = 0_i16;
        loop {
            let header = self.byte()?;
            let wire = header & 15;
            if wire == 0 {
                return (self.visit)(&self.path, Seen::End);
            }
            let number = match header >> 4 {
                0 => Some(self.number()? as i16),
                step => last.checked_add(step.into()),
            };
            let too_large = || broken(format!("the number after field {last} is too large"));
            last = number.ok_or_else(too_large)?;
            let kind = known.iter().find(|(first, end, _)| (*first..=*end).contains(&last));
            self.path.push(last);
            self.value(wire, kind.map(|(.., kind)| kind), depth)?;
            self.path.pop();
        }
    }

    fn value(
        &mut self,
        wire: u8,
        kind: Option<&'static Kind>,
        depth: usize,
    ) -> Result<(), ParquetError> {
        if depth == DEEPEST {
            return Err(broken(format!("its description of itself is nested {DEEPEST} deep")));
        }
        match (wire, kind) {
            (1 | 2, None) => Ok(()),
            (3, None | Some(Kind::Byte)) => self.skip(1),
            (4..=6, None | Some(Kind::Number)) => {
                let number = self.number()?;
                (self.visit)(&self.path, Seen::Number(number))
            }
            (7, None | Some(Kind::Double)) => self.skip(8),
            (8, None | Some(Kind::Bytes)) => {
                let bytes = self.unsigned()?;
                self.skip(bytes)
            }
            (9 | 10, None) => self.list(None, depth),
            (9, Some(Kind::List(kind))) => self.list(Some(kind), depth),
            (11, None) => self.map(depth),
            (12, None) => self.fields(&[], depth + 1),
            (12, Some(Kind::Fields(fields))) => self.fields(fields, depth + 1),
            (13, None) => self.skip(16),
            _ => Err(broken(format!("field {:?} is of the type {wire} of Thrift", self.path))),
        }
    }

    fn list(&mut self, kind: Option<&'static Kind>, depth: usize) -> Result<(), ParquetError> {
        let header = self.byte()?;
        // Some write no type where there are no elements.
        if header == 0 {
            return Ok(());
        }
        let count = match header >> 4 {
            15 => self.unsigned()?,
            count => count.into(),
        };
        self.elements(count, &[(header & 15, kind)], depth)
    }

    fn map(&mut self, depth: usize) -> Result<(), ParquetError> {
        let count = self.unsigned()?;
        if count == 0 {
            return Ok(());
        }
        let kinds = self.byte()?;
        self.elements(count, &[(kinds >> 4, None), (kinds & 15, None)], depth)
    }

    fn elements(
        &mut self,
        count: u64,
        kinds: &[(u8, Option<&'static Kind>)],
        depth: usize,
    ) -> Result<(), ParquetError> {
        if count > self.left {
            let left = self.left;
            return Err(broken(format!("a list of {count} elements in {left} bytes")));
        }
        // Booleans take no byte, and would cost nothing but time.
        if kinds.iter().any(|(wire, _)| matches!(wire, 1 | 2)) {
            self.left -= count;
        }
        for _ in 0..count {
            for &(wire, kind) in kinds {
                self.value(wire, kind, depth + 1)?;
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, ParquetError> {
        let mut byte = [0];
        if self.left == 0 {
            return Err(broken("its description of itself ends too early".to_owned()));
        }
        self.input.read_exact(&mut byte)?;
        self.left -= 1;
        Ok(byte[0])
    }

    /// A number of seven bits a byte, the last ones first.
    fn unsigned(&mut self) -> Result<u64, ParquetError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(broken("a number of more than 64 bits".to_owned()))
    }

    /// The same with a sign, which is the last bit.
    fn number(&mut self) -> Result<i64, ParquetError> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), ParquetError> {
        let left = self.left;
        if bytes > left || io::copy(&mut (&mut self.input).take(bytes), &mut io::sink())? < bytes {
            return Err(broken(format!("{bytes} bytes where {left} are left")));
        }
        self.left -= bytes;
        Ok(())
    }
}
