//! A data set of any format, read from bytes in memory.

use csv::ByteRecord;

use crate::{
    data::{
        columns::gaps::Policy,
        formats::{
            numpy,
            source::{Format, Source},
            text::Text,
        },
        input::{Input, read_array},
        options::{DataOptions, Layout, MEMORY, Missing},
        rows::blocks::Room,
        tables::{
            arrays::{self, Arrays},
            scan::scan,
        },
        training::{Data, HeldOut},
    },
    failure::Failure,
};

/// The default options.
const OPTIONS: DataOptions = DataOptions {
    data: None,
    test_data: None,
    target: None,
    targets: None,
    features: None,
    drop: None,
    categorical: None,
    task: None,
    missing: Missing::Fill,
    scale: None,
    layout: Layout { delimiter: None, header: None, skip_lines: 0, missing_values: None },
    folds: None,
    memory: 256.0,
};

/// The number of rows that are read. A few bytes may claim billions of equal rows, and a command would
/// read them all.
const MOST_ROWS: u64 = 1 << 12;

/// Reads bytes as training reads a file, converts them to rows, and reads them again as evaluation does.
///
/// Images have their labels in a file of their own; here the last number of each is its target.
pub(crate) fn read_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut notes = Vec::new();
    let table = match open(bytes)? {
        Input::Text(source) => {
            let text = Text::open(*source, &OPTIONS.layout)?;
            if text.claimed_rows() > MOST_ROWS {
                return read_some(text);
            }
            scan(text, &OPTIONS, &mut notes)?
        }
        Input::Arrays(arrays) => arrays::table(*arrays, &OPTIONS, None)?,
    };
    let data = Data::new(table, None, &OPTIONS);
    data.note(&OPTIONS, &mut notes);
    let room = Room { memory: MEMORY, batch_size: 4, seed: 0 };
    let prepared = data.prepare(HeldOut::Share(0.2), room, &mut notes)?;
    let policy = Policy::new(Some(OPTIONS.missing), false);
    open(bytes)?.known(&prepared.preprocessing, &OPTIONS.layout, policy)?;
    Ok(())
}

/// Reads the first rows of many.
fn read_some(mut text: Text) -> Result<(), Failure> {
    let mut record = ByteRecord::new();
    for _ in 0..MOST_ROWS {
        text.read(&mut record)?;
    }
    Ok(())
}

fn open(bytes: &[u8]) -> Result<Input, Failure> {
    let source = Source::of_bytes(bytes)?;
    let arrays = match source.format {
        Format::Text | Format::Parquet => return Ok(Input::Text(source.into())),
        Format::Npy | Format::Idx => Arrays::new(read_array(source)?, None)?,
        Format::Npz => {
            let name = source.name.clone();
            let numpy::Arrays { inputs, targets, .. } =
                numpy::unzip(&name, source.into_seekable()?.0)?;
            Arrays::new(inputs, Some(targets))?
        }
    };
    Ok(Input::Arrays(arrays.into()))
}
