//! Model files, with a table's preprocessing and postprocessing, and with the origin of the model.

use std::path::Path;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use ztilde::{Activation, LoadOptions, Loaded, Parameters};

use crate::{
    data::{Preprocessing, Target},
    failure::Failure,
    output,
    report::Origin,
    values::{activation, positive},
};

/// The options of a network that model files of other programs lack.
#[derive(Args, Default)]
#[command(next_help_heading = "Models of PyTorch")]
pub(crate) struct ModelOptions {
    /// The activation after each hidden layer, if the file does not contain it [default: relu]
    #[arg(long, value_parser = activation())]
    activation: Option<Activation>,

    /// The epsilon of batch normalization, if the file does not contain it [default: 1e-5]
    #[arg(long, value_name = "NUMBER", value_parser = positive)]
    batch_norm_epsilon: Option<f64>,
}

/// The prefixes of this binary's lines in the notes of a model; JSON follows. Other lines are ignored.
const PREPROCESSING: &str = "preprocessing ";
const ORIGIN: &str = "origin ";
const ROWS: &str = "training-rows ";

/// The notes of a model: the preprocessing, the origin, and the number of training rows of each class.
pub(crate) fn notes(
    preprocessing: &Preprocessing,
    origin: &Origin,
    of_class: &[u64],
) -> Result<String, Failure> {
    fn json(value: &impl Serialize) -> Result<String, Failure> {
        serde_json::to_string(value)
            .map_err(|error| Failure::input(format!("the notes are not JSON: {error}")))
    }
    Ok(format!(
        "{PREPROCESSING}{}\n{ORIGIN}{}\n{ROWS}{}",
        json(preprocessing)?,
        json(origin)?,
        json(&of_class)?
    ))
}

fn note<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.notes.lines().find_map(|line| line.strip_prefix(name))
}

/// How a model was trained, if its file contains that.
pub(crate) fn origin(parameters: &Parameters) -> Option<Value> {
    serde_json::from_str(note(parameters, ORIGIN)?).ok()
}

/// The number of training rows of each class, if the file contains it.
pub(crate) fn rows_of_classes(parameters: &Parameters, target: &Target) -> Option<Vec<u64>> {
    let rows: Vec<u64> = serde_json::from_str(note(parameters, ROWS)?).ok()?;
    (rows.len() == target.classes()?.len()).then_some(rows)
}

/// Reads a model file, and adds a note on the options that it lacks. A file that `train` did not write has no
/// preprocessing: its network takes numbers as they are.
pub(crate) fn load(
    path: &Path,
    options: &ModelOptions,
) -> Result<(Parameters, Option<Preprocessing>), Failure> {
    let failed = |error: String| Failure::input(format!("{}: {error}", path.display()));
    let options = LoadOptions {
        activation: options.activation,
        epsilon: options.batch_norm_epsilon.map(|epsilon| epsilon as f32),
        momentum: None,
    };
    let loaded = Parameters::load_with(path, &options).map_err(|error| match error {
        ztilde::Error::File { .. } => error.into(),
        other => failed(other.to_string()),
    })?;
    let Loaded { parameters, remarks } = loaded;
    for remark in remarks {
        output::note(&format!("note: {}: {remark}", path.display()));
    }
    let Some(json) = note(&parameters, PREPROCESSING) else {
        return Ok((parameters, None));
    };
    let preprocessing = Preprocessing::from_json(json).map_err(failed)?;
    let sizes = parameters.layer_sizes();
    let ends = [sizes.first(), sizes.last()].map(|size| size.map_or(0, |&size| size as usize));
    for (what, found, needed) in
        [("inputs", ends[0], preprocessing.inputs()), ("outputs", ends[1], preprocessing.outputs())]
    {
        if found != needed {
            return Err(failed(format!(
                "the network has {found} {what}, but its preprocessing makes {needed} of them"
            )));
        }
    }
    Ok((parameters, Some(preprocessing)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use ztilde::NetworkOptions;

    use super::*;
    use crate::adapter::Description;

    #[test]
    fn a_preprocessing_comes_back_and_has_to_fit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let column =
            |name: &str, values| serde_json::json!({"name": name, "number": 1, "values": values});
        let categories = serde_json::json!({"category": ["red", "blue"]});
        let number = serde_json::json!({"number": {"shift": 0.1, "scale": 3e-9, "fill": null}});
        let target = serde_json::json!({"classes": ["a", "b", "c"]});
        let preprocessing: Preprocessing = serde_json::from_value(serde_json::json!({
            "has_header": true,
            "width": 3,
            "columns": [column("color", categories), column("size", number)],
            "target": {"name": "kind", "number": 3, "values": target},
        }))
        .unwrap();
        let save = |sizes: &[u32], notes: String| {
            let mut parameters = Parameters::initialize(sizes, &NetworkOptions::default()).unwrap();
            parameters.notes = notes;
            parameters.save(&path).unwrap();
        };
        let options = [("seed".to_owned(), 7.into())].into_iter().collect();
        let origin_of_run = Origin::new(Description::default(), options);
        let written = notes(&preprocessing, &origin_of_run, &[5, 0, 2]).unwrap();
        save(&[3, 4, 3], written.clone());
        let (parameters, read) = load(&path, &ModelOptions::default()).unwrap();
        let counts = rows_of_classes(&parameters, &preprocessing.target);
        assert_eq!(counts, Some(vec![5, 0, 2]));
        assert_eq!(read, Some(preprocessing.clone()));
        let origin = origin(&parameters).unwrap();
        assert_eq!(
            (&origin["version"], &origin["options"]["seed"]),
            (&json!(env!("CARGO_PKG_VERSION")), &json!(7))
        );
        save(&[3, 4, 3], "of another program".to_owned());
        assert_eq!(load(&path, &ModelOptions::default()).unwrap().1, None);
        save(&[4, 4, 3], written.clone());
        let error = load(&path, &ModelOptions::default()).unwrap_err().to_string();
        assert!(error.contains("4 inputs") && error.contains("makes 3"), "{error}");
        save(&[3, 4, 3], written.replace("\"blue\"", "\"red\""));
        let error = load(&path, &ModelOptions::default()).unwrap_err().to_string();
        assert!(error.contains("\"red\" twice in \"color\""), "{error}");
    }
}
