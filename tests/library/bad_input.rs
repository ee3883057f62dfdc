//! A mistake of an app is an error that contains both numbers. The call changes nothing, does not panic,
//! and does not reach the app's handler of uncaptured errors.

use ndarray::Array2;
use wgpu::{Buffer, BufferDescriptor, BufferUsages};
use ztilde::kernels::{Matrix, add_biases, batch_statistics, column_sums, loss, matmul};
use ztilde::{
    Dataset, Fault, Inference, Layer, Loss, Network, NetworkOptions, Parameters, Quantity,
    Remainder, Targets, Trainer, TrainerOptions, block_on, required_limits,
};

use crate::fixtures::app::App;
use crate::fixtures::buffers::{read_buffer, upload};
use crate::fixtures::comparisons::assert_refused;

const SIZES: [u32; 3] = [4, 6, 3];
const ROWS: u32 = 8;
const BOTH: BufferUsages = BufferUsages::STORAGE.union(BufferUsages::COPY_SRC);

impl App {
    fn network(&self) -> Network {
        Network::new(&self.device, &self.queue, &SIZES, NetworkOptions::default()).unwrap()
    }

    fn trainer(&self, options: &TrainerOptions) -> Trainer {
        Trainer::new(self.network(), options.clone()).unwrap()
    }

    fn parameters(&self, network: &Network) -> Parameters {
        block_on(&self.device, network.parameters()).unwrap()
    }

    fn buffer(&self, values: u64, usage: BufferUsages) -> Buffer {
        self.device.create_buffer(&BufferDescriptor {
            label: None,
            size: 4 * values,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Makes a call that must fail, then checks that the trainer has the same parameters, the same count
    /// of steps, and the same next steps as a trainer without that call.
    fn assert_unchanged_by(&self, options: &TrainerOptions, misuse: impl FnOnce(&mut Trainer)) {
        let [mut trainer, mut untouched] = [(); 2].map(|()| self.trainer(options));
        let both_step = |trainers: [&mut Trainer; 2]| {
            let [found, expected] = trainers.map(|trainer| {
                trainer.step(&inputs(), targets(options.loss)).unwrap();
                let metrics = block_on(&self.device, trainer.metrics(1)).unwrap();
                (metrics, self.parameters(trainer.network()))
            });
            assert!(found == expected, "the next step is another one");
        };
        both_step([&mut trainer, &mut untouched]);
        let before = self.parameters(trainer.network());
        misuse(&mut trainer);
        assert_eq!(trainer.steps(), 1);
        assert_eq!(trainer.options(), options);
        assert!(self.parameters(trainer.network()) == before, "the parameters changed");
        both_step([&mut trainer, &mut untouched]);
    }
}

fn inputs() -> Vec<f32> {
    (0..ROWS * SIZES[0]).map(|value| (value as f32).sin()).collect()
}

fn targets(loss: Loss) -> Targets<'static> {
    if loss.has_class_targets() {
        (0..ROWS).map(|row| row % SIZES[2]).collect::<Vec<u32>>().into()
    } else {
        vec![0.5; (ROWS * SIZES[2]) as usize].into()
    }
}

fn options(loss: Loss) -> TrainerOptions {
    TrainerOptions { batch_size: ROWS, loss, ..Default::default() }
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let app = App::get();
    for loss in Loss::ALL {
        app.assert_unchanged_by(&options(loss), |trainer| {
            let mut refused = |inputs: &[f32], targets, parts: &[&str]| {
                assert_refused(trainer.step(inputs, targets), parts);
            };
            for length in [0, 31, 33] {
                let values = length.to_string();
                let parts = ["inputs holds", &values, "32 are needed", "8 rows × 4 features"];
                refused(&vec![0.0; length], targets(loss), &parts);
            }
            let inputs = inputs();
            if loss.has_class_targets() {
                refused(&inputs, vec![0_u32; 7].into(), &["targets", "7 values", "8 are needed"]);
                refused(&inputs, vec![0.5; 24].into(), &["softmax", "class index", "f32"]);
                let classes = vec![0_u32, 1, 2, 0, 1, 3, 0, 0];
                refused(&inputs, classes.into(), &["row 5", "class 3", "3 classes"]);
                refused(&inputs, vec![u32::MAX; 8].into(), &["row 0", "4294967295", "3 classes"]);
            } else {
                refused(&inputs, vec![0.5; 8].into(), &["targets", "8 values", "24 are needed"]);
                refused(&inputs, vec![0_u32; 8].into(), &[loss.name(), "f32", "class index"]);
            }
            if loss == Loss::BinaryCrossEntropy {
                let mut values = vec![0.5; 24];
                values[17] = -0.5;
                refused(&inputs, values.into(), &["row 5, column 2 is -0.5", "between 0 and 1"]);
            }
        });
    }
    app.assert_silent();
}

#[test]
fn data_sets_that_do_not_fit_are_refused() {
    let app = App::get();
    let data = |rows: usize, features: usize, targets: Targets<'static>| {
        Dataset::new(Array2::zeros([rows, features]), targets).unwrap()
    };
    let keep = TrainerOptions { remainder: Remainder::Keep, ..options(Loss::default()) };
    app.assert_unchanged_by(&keep, |trainer| {
        let refused = |dataset: Dataset, parts: &[&str]| {
            assert_refused(trainer.upload(&dataset), parts);
            assert_refused(trainer.stream(dataset), parts);
        };
        let parts = ["a row of the data set", "5 values", "4 are needed"];
        refused(data(16, 5, vec![0_u32; 16].into()), &parts);
        refused(data(16, 4, vec![3_u32; 16].into()), &["row 0", "class 3", "3 classes"]);
        refused(data(16, 4, vec![0.5; 48].into()), &["softmax", "class index", "f32"]);
        // Nine rows make a batch of eight rows and a batch of one row.
        refused(data(9, 4, vec![0_u32; 9].into()), &["1 row", "at least 2"]);
        refused(data(1, 4, vec![0_u32; 1].into()), &["1 row", "at least 2"]);
        let mut with_nan = Array2::zeros([8, 4]);
        with_nan[[2, 3]] = f32::NAN;
        let parts = ["row 2", "column 3", "NaN"];
        assert_refused(Dataset::new(with_nan, vec![0_u32; 8]), &parts);
    });
    app.assert_unchanged_by(&options(Loss::BinaryCrossEntropy), |trainer| {
        let refused = |dataset: Dataset, parts: &[&str]| {
            assert_refused(trainer.upload(&dataset), parts);
            assert_refused(trainer.stream(dataset), parts);
        };
        refused(data(16, 4, vec![1.5; 48].into()), &["row 0, column 0 is 1.5", "0 and 1"]);
        refused(data(16, 4, vec![0.5; 32].into()), &["targets", "32 values", "48 are needed"]);
        // There is no full batch, and a smaller one is dropped.
        refused(data(7, 4, vec![0.5; 21].into()), &["7 values", "8 are needed"]);
    });
    app.assert_silent();
}

/// A data set belongs to one trainer; the history contains only steps that were taken.
#[test]
fn what_is_not_the_trainers_is_refused() {
    let app = App::get();
    app.assert_unchanged_by(&options(Loss::default()), |trainer| {
        let dataset = Array2::from_shape_vec([8, 4], inputs()).unwrap();
        let dataset = Dataset::new(dataset, targets(Loss::default())).unwrap();
        let other = app.trainer(&options(Loss::default()));
        for mut data in [other.upload(&dataset).unwrap(), other.stream(dataset).unwrap()] {
            assert_refused(trainer.train(&mut data, 1), &["another trainer"]);
            assert_refused(block_on(&app.device, trainer.epoch(&mut data)), &["another trainer"]);
            assert_eq!((data.epoch(), data.position()), (0, 0));
        }

        let metrics = |steps| block_on(&app.device, trainer.metrics(steps));
        assert_refused(metrics(0), &["steps is 0", "at least 1"]);
        assert_refused(metrics(2), &["holds 1 values", "2 are needed"]);
        assert_refused(metrics(u32::MAX), &["holds 1 values", "4294967295 are needed"]);
    });
    let trainer = app.trainer(&options(Loss::default()));
    let parts = ["holds 0 values", "1 are needed"];
    assert_refused(block_on(&app.device, trainer.loss()), &parts);
    app.assert_silent();
}

#[test]
fn sizes_and_parameters_that_make_no_network_are_refused() {
    let app = App::get();
    let refused = |sizes: &[u32], parts: &[&str]| {
        let network = Network::new(&app.device, &app.queue, sizes, NetworkOptions::default());
        assert_refused(network, parts);
    };
    refused(&[], &["0 layer size", "at least 2"]);
    refused(&[4], &["1 layer size", "[4]", "at least 2"]);
    for sizes in [[0, 6, 3], [4, 0, 3], [4, 6, 0]] {
        refused(&sizes, &["0 in", &format!("{sizes:?}")]);
    }

    let good = Parameters::initialize(&SIZES, &NetworkOptions::default()).unwrap();
    let refused = |change: &dyn Fn(&mut Parameters), parts: &[&str]| {
        let mut parameters = good.clone();
        change(&mut parameters);
        assert_refused(Network::from_parameters(&app.device, &app.queue, &parameters), parts);
    };
    refused(&|parameters| parameters.layers.clear(), &["0 layer"]);
    refused(&|parameters| parameters.layers.truncate(1), &["1 layer", "linear"]);
    let widen = |parameters: &mut Parameters| {
        let Some(Layer::Linear { biases, .. }) = parameters.layers.last_mut() else { return };
        *biases = vec![0.0; 4].into();
    };
    refused(&widen, &["4 values", "3 outputs"]);
    let poison = |parameters: &mut Parameters| {
        let Layer::Normalized { batch_norm, .. } = &mut parameters.layers[0] else { return };
        batch_norm.gamma[2] = f32::NAN;
    };
    refused(&poison, &["value 2", "NaN", "finite"]);
    app.assert_silent();
}

#[test]
fn invalid_learning_rates_are_refused() {
    let app = App::get();
    app.assert_unchanged_by(&options(Loss::default()), |trainer| {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.1, 1e-60, 1e60] {
            let parts = ["learning_rate", &format!("is {value}"), "above 0"];
            assert_refused(trainer.set_learning_rate(value), &parts);
        }
    });
    app.assert_silent();
}

#[test]
fn a_batch_of_one_row_is_refused_where_it_would_be_normalized() {
    let app = App::get();
    let one = || TrainerOptions { batch_size: 1, ..Default::default() };
    assert_refused(Trainer::new(app.network(), one()), &["1 row", "at least 2"]);
    let plain = NetworkOptions { batch_norm: false, ..Default::default() };
    let network = Network::new(&app.device, &app.queue, &SIZES, plain).unwrap();
    let mut trainer = Trainer::new(network, one()).unwrap();
    trainer.step(&[1.0; 4], &[2]).unwrap();
    assert!(block_on(&app.device, trainer.loss()).unwrap() > 0.0);
    app.assert_silent();
}

/// The default limits allow bindings of 128 MiB and buffers of 256 MiB.
#[test]
fn what_is_too_large_for_the_device_is_refused() {
    let app = App::get();
    for sizes in [&[6000, 6000, 10][..], &[100_000, 100_000], &[u32::MAX; 4]] {
        let network = Network::new(&app.device, &app.queue, sizes, NetworkOptions::default());
        let needed = required_limits(sizes, 2).max_storage_buffer_binding_size;
        let weights = u64::from(sizes[0]).saturating_mul(sizes[1].into()).saturating_mul(4);
        assert!(needed >= weights, "{sizes:?}: {weights} bytes of weights in {needed}");
        let parts = ["parameters", "max_storage_buffer_binding_size", "134217728"];
        assert_refused(network, &[&parts[..], &[&needed.to_string()]].concat());
    }
    // One row more than fits; a row is the hidden layer's 6 floats, padded to 8.
    let trainer = |batch_size| {
        let options = TrainerOptions { batch_size, ..options(Loss::MeanSquaredError) };
        Trainer::new(app.network(), options)
    };
    let parts = ["4194305 × 8", "134217760", "max_storage_buffer_binding_size", "134217728"];
    assert_refused(trainer(4_194_305), &parts);
    assert_refused(trainer(u32::MAX), &["4294967295", "134217728"]);
    app.assert_silent();
}

#[test]
fn buffers_that_do_not_fit_are_refused() {
    let app = App::get();
    let mut encoder = app.device.create_command_encoder(&Default::default());
    app.assert_unchanged_by(&options(Loss::default()), |trainer| {
        let [inputs, classes] = [32, 8].map(|values| app.buffer(values, BOTH));
        let mut refused = |inputs: &Buffer, classes: &Buffer, parts: &[&str]| {
            assert_refused(trainer.encode_step(&mut encoder, inputs, classes), parts);
        };
        let parts = ["the buffer of inputs", "31 values", "32 are needed", "8 × 4"];
        refused(&app.buffer(31, BOTH), &classes, &parts);
        let parts = ["the buffer of targets", "7 values", "8 are needed", "8 × 1"];
        refused(&inputs, &app.buffer(7, BOTH), &parts);
        let parts = ["the buffer of inputs", "COPY_SRC"];
        refused(&app.buffer(32, BufferUsages::STORAGE), &classes, &parts);
        let parts = ["the buffer of targets", "COPY_SRC"];
        refused(&inputs, &app.buffer(8, BufferUsages::STORAGE), &parts);

        let network = trainer.network();
        let refused = |inputs: &Buffer, outputs: &Buffer, rows, parts: &[&str]| {
            assert_refused(Inference::new(network, inputs, outputs, rows), parts);
        };
        let outputs = app.buffer(24, BOTH);
        refused(&inputs, &outputs, 0, &["rows is 0", "at least 1"]);
        let parts = ["the buffer of inputs", "32 values", "36 are needed", "9 × 4"];
        refused(&inputs, &outputs, 9, &parts);
        refused(&inputs, &outputs, u32::MAX, &["32 values", "17179869180 are needed"]);
        let parts = ["the buffer of outputs", "23 values", "24 are needed", "8 × 3"];
        refused(&inputs, &app.buffer(23, BOTH), 8, &parts);
        let parts =
            ["inputs (rows from byte 0 on, 16 apart)", "outputs (rows from byte 0 on, 12 apart)"];
        refused(&inputs, &inputs, 8, &parts);
        let copied = BufferUsages::COPY_SRC;
        refused(&app.buffer(32, copied), &outputs, 8, &["STORAGE"]);
        refused(&inputs, &app.buffer(24, copied), 8, &["STORAGE"]);

        let predict = |inputs: &[f32], parts: &[&str]| {
            assert_refused(block_on(&app.device, Inference::predict(network, inputs)), parts);
        };
        predict(&[], &["0 values", "4 are needed"]);
        predict(&[0.0; 3], &["3 values", "4 are needed"]);
        predict(&[0.0; 11], &["11 values", "8 are needed", "2 rows × 4 features"]);
    });
    // The encoder holds nothing that the app could not submit.
    app.queue.submit([encoder.finish()]);
    app.assert_silent();
}

/// The CPU cannot check targets in an app's buffer.
#[test]
fn an_invalid_target_in_a_buffer_makes_the_loss_nan_and_ends_the_training() {
    let app = App::get();
    let input_buffer = upload(&app.device, &inputs());
    for (loss, good, bad) in [
        (Loss::default(), 1, 3),
        (Loss::default(), 1, u32::MAX),
        (Loss::BinaryCrossEntropy, 0.25_f32.to_bits(), (-1e-7_f32).to_bits()),
    ] {
        let mut trainer = app.trainer(&options(loss));
        let mut learned = app.parameters(trainer.network());
        for step in 1..=3 {
            let mut targets = [good; (ROWS * SIZES[2]) as usize];
            targets[5] = if step == 2 { bad } else { good };
            let mut encoder = app.device.create_command_encoder(&Default::default());
            trainer
                .encode_step(&mut encoder, &input_buffer, &upload(&app.device, &targets))
                .unwrap();
            app.queue.submit([encoder.finish()]);
            let is_nan = block_on(&app.device, trainer.loss()).unwrap().is_nan();
            assert_eq!(is_nan, step == 2, "{loss:?}, step {step}");
            let before = std::mem::replace(&mut learned, app.parameters(trainer.network()));
            assert_eq!(before == learned, step > 1, "{loss:?}, step {step}");
        }
        let fault = block_on(&app.device, trainer.fault()).unwrap().unwrap();
        assert_eq!(fault, Fault { step: 2, layer: Some(2), quantity: Quantity::Loss });
    }
    app.assert_silent();
}

#[test]
fn matrices_that_do_not_fit_a_kernel_are_refused() {
    let app = App::get();
    let buffer = app.buffer(1024, BOTH);
    assert_refused(Matrix::new(&buffer, 0, 33, 32), &["1024 values", "1056 are needed"]);
    assert_refused(Matrix::new(&buffer, 1000, 5, 5), &["1024 values", "1025 are needed"]);
    assert_refused(Matrix::new(&buffer, u64::MAX, 1, 1), &["1024 values", &u64::MAX.to_string()]);
    assert_refused(Matrix::new(&buffer, 0, 0, 5), &["0 × 5"]);
    assert_refused(Matrix::new(&buffer, 0, 5, 0), &["5 × 0"]);

    let kernel = add_biases::AddBiases::new(&app.device).unwrap();
    let sums = Matrix::new(&buffer, 0, 5, 8).unwrap();
    let bind = |first, length| {
        let biases = Matrix::vector(&buffer, first, length).unwrap();
        let buffers = add_biases::Buffers { biases: &biases, sums: &sums };
        kernel.bind(&app.device, "here", buffers)
    };
    assert_refused(bind(64, 7), &["add_biases", "biases is 1 × 7", "1 × 8 is needed"]);
    // A binding starts on a multiple of 64 values.
    assert_refused(bind(65, 8), &["260", "256"]);

    let [mean, vector] = [2, 1].map(|rows| Matrix::new(&buffer, 0, rows, 8).unwrap());
    let row = Matrix::vector(&buffer, 0, 8).unwrap();
    let buffers = batch_statistics::Buffers {
        inputs: &row,
        mean: &mean,
        variance: &vector,
        running_mean: &vector,
        running_var: &vector,
    };
    let kernel = batch_statistics::BatchStatistics::new(&app.device, 0.1).unwrap();
    assert_refused(kernel.bind(&app.device, "here", buffers), &["1 row", "at least 2"]);
    assert!(read_buffer(&app.device, &app.queue, &buffer).iter().all(|&value| value == 0.0));
    app.assert_silent();
}

/// Kernels that need contiguous rows refuse rows some distance apart, and images.
#[test]
fn layouts_that_a_kernel_does_not_take_are_refused() {
    let app = App::get();
    let device = &app.device;
    let buffer = app.buffer(1024, BOTH);
    assert_refused(Matrix::strided(&buffer, 0, 5, 8, 7), &["8 values", "start 7 apart"]);
    assert_refused(Matrix::strided(&buffer, 5, 93, 8, 11), &["1024 values", "1025 are needed"]);
    assert_refused(Matrix::images(&buffer, 2, 3, 11, 31), &["1024 values", "1025 are needed"]);
    assert_refused(Matrix::images(&buffer, 0, 1 << 20, 1, 1 << 12), &["1048576 × 1 × 4096"]);
    let new = |rows, columns| Matrix::new(&buffer, 0, rows, columns).unwrap();
    let strided = Matrix::strided(&buffer, 0, 4, 8, 9).unwrap();
    let images = Matrix::images(&buffer, 0, 2, 8, 2).unwrap();
    let apart: &[&str] = &["rows of 8 values start 9 apart, not 8"];
    let planes: &[&str] = &["features are 2 values apart, not 1"];

    let column_sums = column_sums::ColumnSums::new(device).unwrap();
    let add_biases = add_biases::AddBiases::new(device).unwrap();
    let matmul = matmul::Matmul::new(device).unwrap();
    for (matrix, parts) in [(&strided, apart), (&images, planes)] {
        let buffers = column_sums::Buffers { inputs: matrix, sums: &new(1, 8) };
        assert_refused(column_sums.bind(device, "here", buffers), parts);
        let buffers = add_biases::Buffers { biases: &new(1, 8), sums: matrix };
        assert_refused(add_biases.bind(device, "here", buffers), parts);
        for number in 0..3 {
            let dense = [&new(4, 8), &new(8, 8), &new(4, 8)];
            let [left, right, outputs] =
                std::array::from_fn(|index| if index == number { matrix } else { dense[index] });
            // The transposed matrix has the shape of a right factor.
            let right = match number {
                1 => matmul::Operand::Transposed(right),
                _ => matmul::Operand::Plain(right),
            };
            let outputs = if number == 1 { &new(4, 4) } else { outputs };
            let buffers = matmul::Buffers { left: matmul::Operand::Plain(left), right, outputs };
            assert_refused(matmul.bind(device, "here", buffers), parts);
        }
    }
    let buffers = loss::Buffers {
        outputs: &images,
        targets: &new(4, 8),
        results: &new(4, 2),
        grad_outputs: &images,
    };
    let loss = loss::Loss::new(device, Loss::MeanSquaredError).unwrap();
    assert_refused(loss.bind(device, "here", buffers), planes);
    app.assert_silent();
}
