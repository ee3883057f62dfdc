//! Model files with what a table needs before the network and after it.

use std::path::Path;

use ztilde::Parameters;

use crate::{data::Preprocessing, failure::Failure};

/// What the notes of this binary begin with; JSON follows. Those of other programs are theirs.
const PREPROCESSING: &str = "preprocessing ";

/// The notes of a model that was trained on rows which were preprocessed so.
pub(crate) fn notes(preprocessing: &Preprocessing) -> Result<String, Failure> {
    let json = serde_json::to_string(preprocessing)
        .map_err(|error| Failure::input(format!("the preprocessing is no JSON: {error}")))?;
    Ok(format!("{PREPROCESSING}{json}"))
}

/// Reads a model file. One that `train` did not write has no preprocessing: its network takes numbers as
/// they are.
pub(crate) fn load(path: &Path) -> Result<(Parameters, Option<Preprocessing>), Failure> {
    let failed = |error: String| Failure::input(format!("{}: {error}", path.display()));
    let parameters = Parameters::load(path).map_err(|error| match error {
        ztilde::Error::File { .. } => error.into(),
        other => failed(other.to_string()),
    })?;
    let Some(json) = parameters.notes.strip_prefix(PREPROCESSING) else {
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
    use ztilde::NetworkOptions;

    use super::*;

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
        let written = notes(&preprocessing).unwrap();
        save(&[3, 4, 3], written.clone());
        assert_eq!(load(&path).unwrap().1, Some(preprocessing));
        save(&[3, 4, 3], "of another program".to_owned());
        assert_eq!(load(&path).unwrap().1, None);
        save(&[4, 4, 3], written.clone());
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("4 inputs") && error.contains("makes 3"), "{error}");
        save(&[3, 4, 3], written.replace("\"blue\"", "\"red\""));
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("\"red\" twice in \"color\""), "{error}");
    }
}
