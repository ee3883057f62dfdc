//! Model files: they keep all parameters, PyTorch reads them, and they are never written in part.

use std::fs;

use ndarray::{Array2, array};
use safetensors::SafeTensors;
use ztilde::{Activation, BatchNorm, Error, Layer, NetworkOptions, Parameters, reference::Network};

const PYTORCH: &[u8] = include_bytes!("../data/pytorch.safetensors");

/// A normalized layer, a layer with biases, and the output layer; with numbers that inexact decimals or
/// a copy in another order would change.
fn parameters() -> Parameters {
    let normalized = Layer::Normalized {
        weights: array![[1.0, -0.0, 1e-45], [f32::MAX, f32::MIN_POSITIVE, 0.1]],
        batch_norm: BatchNorm {
            gamma: array![1.0, 0.333_333_34],
            beta: array![-1e-30, 2.5],
            running_mean: array![1e10, -7.0],
            running_var: array![0.0, 1.000_000_1],
            batches: (1 << 40) + 1,
        },
    };
    Parameters {
        activation: Activation::Gelu,
        epsilon: 3.3e-6,
        momentum: 0.1 / 3.0,
        layers: vec![
            normalized,
            Layer::Linear {
                // Column-major in memory.
                weights: array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]].reversed_axes(),
                biases: array![0.1, 0.2, 0.3],
            },
            Layer::Linear { weights: array![[1.0, 2.0, 3.0]], biases: array![-0.5] },
        ],
        notes: " activation=tanh\n{\"classes\": [\"é\", \"b\"]}\n".to_owned(),
    }
}

#[test]
fn a_round_trip_keeps_every_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for activation in Activation::ALL {
        let parameters = Parameters { activation, ..parameters() };
        parameters.save(&path).unwrap();
        let loaded = Parameters::load(&path).unwrap();
        assert_eq!(loaded, parameters);
        assert_eq!(loaded.epsilon.to_bits(), parameters.epsilon.to_bits());
        assert_eq!(loaded.momentum.to_bits(), parameters.momentum.to_bits());
        // The comparison of floats above treats −0 as 0.
        assert!(loaded.layers[0].weights()[[0, 1]].is_sign_negative());
        assert_eq!(loaded.to_bytes().unwrap(), fs::read(&path).unwrap());
    }
}

/// `tests/data/pytorch.py` wrote the file, and printed these numbers.
#[test]
fn a_file_of_pytorch_loads() {
    let parameters = Parameters::from_bytes(PYTORCH).unwrap();
    assert_eq!(parameters.layer_sizes(), [3, 4, 3, 2]);
    assert_eq!(parameters.activation, Activation::Relu);
    assert_eq!((parameters.epsilon, parameters.momentum), (1e-5, 0.1));
    assert_eq!(
        parameters.layers[0].weights().row(0),
        array![0.560_195_27, 0.967_122_4, 0.293_099_67]
    );
    let Layer::Normalized { batch_norm, .. } = &parameters.layers[0] else {
        panic!("the first layer is normalized");
    };
    assert_eq!(batch_norm.running_var, array![5.017_885, 23.203_56, 3.729_336_3, 5.688_821_3]);
    assert_eq!(batch_norm.batches, 5);

    let inputs = array![[1.0, -2.0, 0.5], [0.0, 4.0, -1.0], [3.0, 0.25, 2.0]];
    let expected = array![
        [1.359_526_573, 0.903_808_514],
        [1.468_413_543, 0.986_015_682],
        [1.492_390_006, 1.004_117_362]
    ];
    let outputs = Network::from(&parameters).infer(&inputs);
    let close = |(found, expected): (&f64, &f64)| (found - expected).abs() < 1e-8;
    assert!(outputs.iter().zip(&expected).all(close), "{outputs}");
}

/// `load_state_dict(strict=True)` requires exactly the names, shapes and types that PyTorch itself
/// writes.
#[test]
fn what_is_saved_has_the_names_shapes_and_types_of_pytorch() {
    let saved = Parameters::from_bytes(PYTORCH).unwrap().to_bytes().unwrap();
    let saved = SafeTensors::deserialize(&saved).unwrap();
    let theirs = SafeTensors::deserialize(PYTORCH).unwrap();
    let sorted = |file: &SafeTensors<'_>| {
        let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(&saved), sorted(&theirs));
    for (name, tensor) in theirs.tensors() {
        assert_eq!(saved.tensor(&name).unwrap(), tensor, "{name}");
    }
}

#[test]
fn a_file_that_was_cut_off_is_refused() {
    let bytes = parameters().to_bytes().unwrap();
    for length in 0..bytes.len() {
        let found = Parameters::from_bytes(&bytes[..length]);
        assert!(matches!(found, Err(Error::Model(_))), "{length}: {found:?}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(Parameters::from_bytes(&longer), Err(Error::Model(_))));
}

/// A flipped bit may change a number, which no check can detect; but an accepted file is a valid
/// network.
#[test]
fn a_flipped_bit_never_panics() {
    let bytes = parameters().to_bytes().unwrap();
    let mut refused = 0;
    for bit in 0..8 * bytes.len() {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match Parameters::from_bytes(&bytes) {
            Ok(parameters) => parameters.check().unwrap(),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000, "only {refused} of {} flips were refused", 8 * bytes.len());
}

#[test]
fn other_files_are_refused() {
    // A header that claims 2⁶⁴ − 8 bytes of tensors: adding its own length to that overflows.
    let mut tensors = String::new();
    let size = (1_u64 << 61) - 1;
    for index in 0..8 {
        let [start, end] = [index * size, (index + 1) * size];
        tensors += &format!(
            r#","{index}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{start},{end}]}}"#
        );
    }
    let header = format!("{{{}}}", &tensors[1..]);
    let overflowing = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    let files: [&[u8]; 8] = [
        b"",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"PK\x03\x04 a file of torch.save",
        b"{\"weights\": [1, 2, 3]}",
        &[0; 64],
        &[0xff; 64],
        b"\x02\0\0\0\0\0\0\0{}",
        &overflowing,
    ];
    for bytes in files {
        let found = Parameters::from_bytes(bytes);
        assert!(matches!(found, Err(Error::Model(_))), "{bytes:?}: {found:?}");
    }
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    parameters().save(&path).unwrap();
    let before = fs::read(&path).unwrap();

    let mut diverged = parameters();
    diverged.layers[1] = Layer::Linear {
        weights: Array2::from_elem([3, 2], f32::NAN),
        biases: array![0.0, 0.0, 0.0],
    };
    let message = diverged.save(&path).unwrap_err().to_string();
    assert!(message.contains("3.weight is NaN"), "{message}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(names_in(folder.path()), ["model.safetensors"]);
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("missing").join("model.safetensors");
    for error in [parameters().save(&nowhere).err(), Parameters::load(&nowhere).err()] {
        let Some(Error::File { path, .. }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(path, nowhere);
    }
    let message = parameters().save(folder.path()).unwrap_err().to_string();
    assert!(message.contains("not a regular file"), "{message}");
    assert!(names_in(folder.path()).is_empty());
}

fn names_in(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;
    use std::{env, fs, path::Path};

    use super::{Parameters, names_in, parameters};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_has_the_permissions_of_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let [model, other] = ["model", "other"].map(|name| folder.path().join(name));
        fs::write(&other, "").unwrap();
        parameters().save(&model).unwrap();
        assert_eq!(mode(&model), mode(&other));

        fs::set_permissions(&model, fs::Permissions::from_mode(0o640)).unwrap();
        parameters().save(&model).unwrap();
        assert_eq!(mode(&model), 0o640);
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let [model, link] = ["model", "link"].map(|name| folder.path().join(name));
        fs::write(&model, "an older model").unwrap();
        symlink("model", &link).unwrap();
        parameters().save(&link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(Parameters::load(&model).unwrap(), parameters());
        assert_eq!(names_in(folder.path()), ["link", "model"]);
    }

    /// Writing fails halfway, in a process of its own because the limit concerns a whole process: its
    /// files may have 512 bytes (or 1,024, depending on the shell).
    #[test]
    fn a_failed_write_leaves_the_older_file() {
        const PATH: &str = "ZTILDE_TEST_SAVES_TO";
        let large = Parameters::initialize(&[100, 10], &Default::default()).unwrap();
        if let Some(path) = env::var_os(PATH) {
            let message = large.save(path).unwrap_err().to_string();
            assert!(message.contains("too large"), "{message}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        fs::write(&path, "an older model").unwrap();
        // A process that exceeds the limit gets a signal, which ends it unless it is ignored.
        let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" --exact \
                      saving::unix::a_failed_write_leaves_the_older_file";
        let child = Command::new("sh")
            .args(["-c", script])
            .arg(env::current_exe().unwrap())
            .env(PATH, &path)
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && output.contains("1 passed"), "{output}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "an older model");
        assert_eq!(names_in(folder.path()), ["model"]);
    }
}

#[test]
fn new_parameters_can_be_saved() {
    for batch_norm in [true, false] {
        let options = NetworkOptions { batch_norm, ..Default::default() };
        let parameters = Parameters::initialize(&[5, 7, 6, 2], &options).unwrap();
        let bytes = parameters.to_bytes().unwrap();
        assert_eq!(Parameters::from_bytes(&bytes).unwrap(), parameters);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut names = file.names();
        names.retain(|name| name.ends_with("weight"));
        names.sort_unstable();
        let expected: &[&str] = if batch_norm {
            &["0.weight", "1.weight", "3.weight", "4.weight", "6.weight"]
        } else {
            &["0.weight", "2.weight", "4.weight"]
        };
        assert_eq!(names, expected);
        let first = file.tensor("0.weight").unwrap();
        assert_eq!(first.shape(), [7, 5]);
    }
}
