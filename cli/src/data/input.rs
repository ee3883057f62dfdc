//! The contents of a path: a table of text, or arrays, with the test set that may be beside it.

use std::path::{Path, PathBuf};

use crate::{
    data::{
        columns::{gaps::Policy, preprocessing::Preprocessing},
        formats::{
            array::Array,
            idx, numpy,
            source::{self, Format, Source},
        },
        options::{Layout, Task},
        tables::{
            arrays::{self, Arrays},
            known,
            table::Table,
        },
    },
    failure::Failure,
    output,
};

/// The contents of a path.
pub(crate) enum Input {
    Text(Box<Source>),
    Arrays(Box<Arrays>),
}

impl Input {
    /// A table with the columns of another table.
    pub(crate) fn known(
        self,
        preprocessing: &Preprocessing,
        layout: &Layout,
        policy: Policy,
    ) -> Result<Table, Failure> {
        match self {
            Self::Arrays(arrays) => arrays::known(*arrays, preprocessing, policy),
            Self::Text(source) => {
                known::read(known::open(*source, layout, preprocessing)?, preprocessing, policy)
            }
        }
    }
}

/// The contents of a path, the test set beside it, and the kind of the targets if the format determines it.
pub(crate) fn find(
    path: &Path,
    targets: Option<&Path>,
) -> Result<(Input, Option<Input>, Option<Task>), Failure> {
    let path = &images_of(path)?.unwrap_or_else(|| path.to_owned());
    let source = Source::open(path)?;
    let format = source.format;
    if targets.is_some() && matches!(format, Format::Text | Format::Parquet) {
        return Err(Failure::input(format!(
            "{}: --targets is for images and arrays; --target names a column of a table",
            source.name
        )));
    }
    match format {
        Format::Text | Format::Parquet => Ok((Input::Text(source.into()), None, None)),
        Format::Npz => {
            let name = source.name.clone();
            let numpy::Arrays { inputs, targets, test } =
                numpy::unzip(&name, source.into_seekable()?.0)?;
            let input = |inputs, targets| {
                Ok::<_, Failure>(Input::Arrays(Arrays::new(inputs, Some(targets))?.into()))
            };
            let test = test.map(|(inputs, targets)| input(inputs, targets)).transpose()?;
            Ok((input(inputs, targets)?, test, None))
        }
        Format::Npy => {
            let targets = targets.map(array).transpose()?;
            let arrays = Arrays::new(read_array(source)?, targets)?;
            Ok((Input::Arrays(arrays.into()), None, None))
        }
        Format::Idx => {
            let input = |path: &Path, labels: Option<&Path>| {
                let labels = labels.map(Path::to_owned).or_else(|| idx::labels_of(path));
                let Some(labels) = labels else {
                    return Err(Failure::input(format!(
                        "{}: its labels are not beside it, as train-labels-idx1-ubyte is beside \
                         train-images-idx3-ubyte; --targets names their file",
                        path.display()
                    )));
                };
                let arrays = Arrays::new(array(path)?, Some(array(&labels)?))?;
                Ok(Input::Arrays(arrays.into()))
            };
            let test = idx::test_images_of(path).map(|path| input(&path, None)).transpose()?;
            let learned = input(path, targets)?;
            Ok((learned, test, Some(Task::Classification)))
        }
    }
}

/// The test rows of a path, or all rows if it has no test set.
pub(crate) fn find_to_test(path: &Path, targets: Option<&Path>) -> Result<Input, Failure> {
    let path = &resolve_to_test(path)?;
    Ok(match find(path, targets)? {
        // A path that names a file of images means this file, even if a test set lies beside it.
        (images, _, Some(Task::Classification)) => images,
        (input, test, _) => test.unwrap_or(input),
    })
}

/// The test images of a folder, if it has any, or else all its images; or the file itself.
pub(crate) fn resolve_to_test(path: &Path) -> Result<PathBuf, Failure> {
    let images = images_of(path)?.map(|images| idx::test_images_of(&images).unwrap_or(images));
    Ok(images.unwrap_or_else(|| path.to_owned()))
}

/// The training images of a folder.
pub(crate) fn images_of(path: &Path) -> Result<Option<PathBuf>, Failure> {
    if source::is_folder(path) { idx::images_in(path) } else { Ok(None) }
}

/// Prints which set of rows is used, for a file or a folder that holds several.
pub(crate) fn tell_which(path: &Path, rows: &str) {
    let part = rows.strip_prefix(&path.display().to_string());
    if part.is_some_and(|part| !part.is_empty()) {
        output::note(&format!("note: the rows are those of {rows}"));
    }
}

/// The array in a file.
pub(crate) fn array(path: &Path) -> Result<Array, Failure> {
    read_array(Source::open(path)?)
}

pub(crate) fn read_array(source: Source) -> Result<Array, Failure> {
    let (name, format, prefix) = (source.name.clone(), source.format, source.prefix.clone());
    let (storage, length) = source.into_seekable()?;
    let array = match format {
        Format::Idx => idx::parse(&name, &prefix, storage, length),
        Format::Npy => numpy::parse(&name, &prefix, storage, length),
        Format::Npz => return numpy::unzip_inputs(&name, storage),
        Format::Text | Format::Parquet => Err("it is neither IDX nor .npy".to_owned()),
    };
    array.map_err(|error| Failure::input(format!("{name}: {error}")))
}
