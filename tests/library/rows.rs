//! Rows may have any offset and stride in an app's buffers. The results are bit for bit those of contiguous
//! rows, and values between the rows stay unchanged.

use wgpu::util::{BufferInitDescriptor, DeviceExt};
use wgpu::{Buffer, BufferUsages, Device, Limits, Queue};
use ztilde::{
    BoundBatch, Error, Inference, Loss, Network, NetworkOptions, Rows, Trainer, TrainerOptions,
    block_on,
};

use crate::fixtures::buffers::{read_buffer, upload};
use crate::fixtures::comparisons::bits;
use crate::fixtures::data::waves;
use crate::fixtures::devices::own_device;
use crate::fixtures::test_device;

/// The filler around rows. A kernel that reads it as a float or as a class fails the test.
const AROUND: u32 = 0xff80_0001;

/// An offset and a stride, in bytes; `None` is for contiguous rows.
type Place = (u64, Option<u64>);

/// The index of a row's first value in a buffer.
fn row_of(row: usize, columns: usize, (offset, stride): Place) -> std::ops::Range<usize> {
    let first = (offset as usize + row * stride.map_or(4 * columns, |stride| stride as usize)) / 4;
    first..first + columns
}

/// A buffer that ends with these values.
fn placed(values: &[u32], columns: u32, place: Place) -> Vec<u32> {
    let columns = columns as usize;
    let rows = values.len() / columns;
    let mut buffer = vec![AROUND; row_of(rows - 1, columns, place).end];
    for (row, values) in values.chunks(columns).enumerate() {
        buffer[row_of(row, columns, place)].copy_from_slice(values);
    }
    buffer
}

fn rows(buffer: &Buffer, (offset, stride): Place) -> Rows<'_> {
    Rows { buffer, offset, stride }
}

fn network(device: &Device, queue: &Queue, sizes: &[u32]) -> Network {
    Network::new(device, queue, sizes, NetworkOptions { seed: 5, ..Default::default() }).unwrap()
}

/// The values of `buffer` after the inference.
fn infer(device: &Device, queue: &Queue, inference: &Inference, buffer: &Buffer) -> Vec<u32> {
    let mut encoder = device.create_command_encoder(&Default::default());
    inference.encode(&mut encoder);
    queue.submit([encoder.finish()]);
    bits(&read_buffer(device, queue, buffer))
}

/// The outputs for contiguous rows in buffers of their own.
fn infer_dense(device: &Device, queue: &Queue, network: &Network, inputs: &[f32]) -> Vec<u32> {
    let count = inputs.len() as u32 / network.inputs();
    let outputs = upload(device, &vec![0; (count * network.outputs()) as usize]);
    let inputs = upload(device, &bits(inputs));
    let inference = Inference::new(network, &inputs, &outputs, count).unwrap();
    infer(device, queue, &inference, &outputs)
}

/// Narrow networks, which take one dispatch for all layers, and wide ones; rows that are whole vectors
/// of four, and others.
#[test]
fn inference_reads_and_writes_rows_in_any_place() {
    const COUNT: u32 = 77;
    let (device, queue) = test_device::device();
    for sizes in [[3, 20, 2], [4, 20, 4], [5, 150, 3], [8, 150, 12]] {
        let network = network(&device, &queue, &sizes);
        let inputs = waves(COUNT * sizes[0], 0.3);
        let expected = infer_dense(&device, &queue, &network, &inputs);
        let length = |columns: u32| 4 * u64::from(columns);
        let places = |columns: u32| -> [Place; 6] {
            let apart = |bytes: u64| Some(length(columns) + bytes);
            [(0, None), (256, None), (12, None), (0, apart(4)), (4, apart(16)), (1028, apart(64))]
        };
        for (input_place, output_place) in places(sizes[0])
            .into_iter()
            .flat_map(|inputs| places(sizes[2]).map(|outputs| (inputs, outputs)))
        {
            let what = format!("{sizes:?}, inputs {input_place:?}, outputs {output_place:?}");
            let input_buffer = upload(&device, &placed(&bits(&inputs), sizes[0], input_place));
            let empty = vec![AROUND; expected.len()];
            let output_buffer = upload(&device, &placed(&empty, sizes[2], output_place));
            let [inputs, outputs] =
                [rows(&input_buffer, input_place), rows(&output_buffer, output_place)];
            let inference = Inference::new(&network, inputs, outputs, COUNT).unwrap();
            let found = infer(&device, &queue, &inference, &output_buffer);
            assert!(found == placed(&expected, sizes[2], output_place), "{what}");
        }
    }
}

/// Vertices of a position, a normal and a color; and halves of a buffer.
#[test]
fn inputs_and_outputs_share_a_buffer_where_they_do_not_overlap() {
    const COUNT: u32 = 70;
    let (device, queue) = test_device::device();
    for hidden in [16, 150] {
        for (columns, input_place, output_place) in [
            (3, (0, Some(36)), (24, Some(36))),
            (3, (24, Some(36)), (0, Some(36))),
            // Outputs after the inputs, at an offset at which a binding may start, so that no copy is
            // needed.
            (4, (0, None), (1280, None)),
            (4, (16 * u64::from(COUNT), None), (0, None)),
        ] {
            let network = network(&device, &queue, &[columns, hidden, columns]);
            let inputs = waves(COUNT * columns, 0.3);
            let expected = infer_dense(&device, &queue, &network, &inputs);
            let mut all = placed(&bits(&inputs), columns, input_place);
            let end = row_of(COUNT as usize - 1, columns as usize, output_place).end;
            all.resize(all.len().max(end), AROUND);
            let buffer = upload(&device, &all);
            for (row, values) in expected.chunks(columns as usize).enumerate() {
                all[row_of(row, columns as usize, output_place)].copy_from_slice(values);
            }
            let [inputs, outputs] = [input_place, output_place].map(|place| rows(&buffer, place));
            let inference = Inference::new(&network, inputs, outputs, COUNT).unwrap();
            let found = infer(&device, &queue, &inference, &buffer);
            assert!(found == all, "{hidden}: from {input_place:?} to {output_place:?}");
        }
    }
}

/// A device that binds at most 256 KiB.
fn small_device() -> (Device, Queue) {
    let required_limits = Limits { max_storage_buffer_binding_size: 1 << 18, ..Default::default() };
    own_device(required_limits)
}

/// A stride of a page, so that 64 rows fit a binding, and a stride longer than a binding.
#[test]
fn more_rows_than_a_binding_holds_are_walked() {
    let (device, queue) = small_device();
    for (count, stride) in [(1000, 4096 + 4), (3, (1 << 18) + 8)] {
        let place = (12, Some(stride));
        for sizes in [[3, 20, 2], [4, 150, 8]] {
            let network = network(&device, &queue, &sizes);
            let inputs = waves(count * sizes[0], 0.3);
            let expected = infer_dense(&device, &queue, &network, &inputs);
            let input_buffer = upload(&device, &placed(&bits(&inputs), sizes[0], place));
            let empty = vec![AROUND; expected.len()];
            let output_buffer = upload(&device, &placed(&empty, sizes[2], place));
            let [inputs, outputs] =
                [&input_buffer, &output_buffer].map(|buffer| rows(buffer, place));
            let inference = Inference::new(&network, inputs, outputs, count).unwrap();
            let found = infer(&device, &queue, &inference, &output_buffer);
            assert!(found == placed(&expected, sizes[2], place), "{sizes:?}, {stride}");
        }
    }
}

const BATCH_SIZE: u32 = 24;

fn trainer(device: &Device, queue: &Queue, sizes: &[u32], loss: Loss) -> Trainer {
    let options = TrainerOptions { batch_size: BATCH_SIZE, loss, ..Default::default() };
    Trainer::new(network(device, queue, sizes), options).unwrap()
}

/// The parameters and the bits of the loss.
fn result(device: &Device, trainer: &Trainer) -> (ztilde::Parameters, u32) {
    let loss = block_on(device, trainer.loss()).unwrap();
    assert!(loss.is_finite(), "loss {loss}");
    (block_on(device, trainer.network().parameters()).unwrap(), loss.to_bits())
}

/// A step through `encode` equals the step on the same rows from the CPU.
#[track_caller]
fn assert_steps(
    device: &Device,
    queue: &Queue,
    (sizes, loss): ([u32; 3], Loss),
    [input_place, target_place]: [Place; 2],
    mut encode: impl FnMut(&mut Trainer, &mut wgpu::CommandEncoder, [Rows<'_>; 2]),
) {
    let mut expected = trainer(device, queue, &sizes, loss);
    let mut found = trainer(device, queue, &sizes, loss);
    for step in 0..3 {
        let inputs = waves(BATCH_SIZE * sizes[0], f64::from(step));
        let classes: Vec<u32> = (0..BATCH_SIZE).map(|row| (row * row + step) % sizes[2]).collect();
        let target_values = waves(BATCH_SIZE * sizes[2], f64::from(step) + 0.5);
        let (targets, target_columns) = if loss.has_class_targets() {
            expected.step(&inputs, &classes[..]).unwrap();
            (classes, 1)
        } else {
            expected.step(&inputs, &target_values[..]).unwrap();
            (bits(&target_values), sizes[2])
        };
        let input_buffer = upload(device, &placed(&bits(&inputs), sizes[0], input_place));
        let target_buffer = upload(device, &placed(&targets, target_columns, target_place));
        let batch = [rows(&input_buffer, input_place), rows(&target_buffer, target_place)];
        let mut encoder = device.create_command_encoder(&Default::default());
        encode(&mut found, &mut encoder, batch);
        queue.submit([encoder.finish()]);
    }
    let what = format!("{sizes:?}, {loss:?}, {input_place:?}, {target_place:?}");
    assert!(result(device, &found) == result(device, &expected), "{what}");
}

#[test]
fn steps_take_batches_from_any_place() {
    let cases = [
        ([3, 20, 4], Loss::SoftmaxCrossEntropy),
        ([8, 20, 3], Loss::MeanSquaredError),
        ([5, 20, 8], Loss::MeanSquaredError),
    ];
    let (device, queue) = test_device::device();
    for case in cases {
        for places in [[(4, None), (12, None)], [(512, None), (0, None)]] {
            assert_steps(&device, &queue, case, places, |trainer, encoder, [inputs, targets]| {
                trainer.encode_step(encoder, inputs, targets).unwrap();
            });
        }
    }
    // The rows of both cases are shorter than these strides. A small binding holds few rows, or only
    // one.
    for (device, queue) in [(device, queue), small_device()] {
        for case in cases {
            for places in [
                [(0, None), (4, Some(40))],
                [(36, Some(48)), (0, None)],
                [(8, Some(1 << 15)), (16, Some((1 << 18) + 4))],
            ] {
                assert_steps(
                    &device,
                    &queue,
                    case,
                    places,
                    |trainer, encoder, [inputs, targets]| {
                        let batch = trainer.bind_batch(inputs, targets).unwrap();
                        trainer.encode_bound_step(encoder, &batch).unwrap();
                    },
                );
            }
        }
    }
}

/// Inputs and classes side by side, bound once for many steps.
#[test]
fn a_bound_batch_serves_many_steps() {
    let (device, queue) = test_device::device();
    let sizes = [3, 20, 4];
    let inputs = waves(BATCH_SIZE * 3, 0.3);
    let classes: Vec<u32> = (0..BATCH_SIZE).map(|row| row % 4).collect();
    let records = inputs.chunks(3).zip(&classes);
    let records: Vec<u32> =
        records.flat_map(|(inputs, &class)| [bits(inputs), vec![class, AROUND]].concat()).collect();
    let buffer = upload(&device, &records);
    let [mut bound, mut other] =
        [(); 2].map(|()| trainer(&device, &queue, &sizes, Loss::SoftmaxCrossEntropy));
    let places = [(0, Some(20)), (12, Some(20))];
    let [input_rows, class_rows] = places.map(|place| rows(&buffer, place));
    let batch: BoundBatch = bound.bind_batch(input_rows, class_rows).unwrap();
    let mut encoder = device.create_command_encoder(&Default::default());
    for _ in 0..5 {
        bound.encode_bound_step(&mut encoder, &batch).unwrap();
    }
    let error = other.encode_bound_step(&mut encoder, &batch).unwrap_err();
    assert!(matches!(error, Error::OtherTrainer), "{error}");
    queue.submit([encoder.finish()]);
    assert_eq!(other.steps(), 0);
    for _ in 0..5 {
        other.step(&inputs, &classes[..]).unwrap();
    }
    assert!(result(&device, &bound) == result(&device, &other));
}

#[test]
fn rows_that_do_not_fit_are_refused_with_both_numbers() {
    let (device, queue) = test_device::device();
    let mut trainer = trainer(&device, &queue, &[3, 20, 2], Loss::MeanSquaredError);
    let [inputs, targets] = [100 * 3, 100 * 2].map(|count| upload(&device, &vec![0; count]));
    let mut encoder = device.create_command_encoder(&Default::default());
    let cases: [(Place, &[&str]); 6] = [
        ((6, None), &["offset of 6 bytes is not a multiple of 4"]),
        ((0, Some(18)), &["stride of 18 bytes is not a multiple of 4"]),
        ((0, Some(4)), &["start 4 bytes apart, not"]),
        ((1 << 40, None), &["needed", "274877906944 before them"]),
        ((0, Some(1 << 40)), &["1099511627776 bytes apart", "17179869180"]),
        ((8, Some(1000)), &["are needed (2 before them, then 24 × ", "250 apart"]),
    ];
    for (place, parts) in cases {
        let [bad_inputs, bad_targets] = [&inputs, &targets].map(|buffer| rows(buffer, place));
        let network = trainer.network();
        let errors = [
            Inference::new(network, bad_inputs, &targets, 24).map(|_| ()).unwrap_err(),
            Inference::new(network, &inputs, bad_targets, 24).map(|_| ()).unwrap_err(),
            trainer.bind_batch(bad_inputs, &targets).map(|_| ()).unwrap_err(),
            trainer.bind_batch(&inputs, bad_targets).map(|_| ()).unwrap_err(),
            trainer.encode_step(&mut encoder, bad_inputs, &targets).unwrap_err(),
            trainer.encode_step(&mut encoder, &inputs, bad_targets).unwrap_err(),
        ];
        for (index, error) in errors.iter().enumerate() {
            let message = error.to_string();
            let whose = ["the buffer of inputs", "the buffer of"][index % 2];
            let has_all = parts.iter().chain([&whose]).all(|part| message.contains(part));
            assert!(has_all, "{place:?}, {index}: {message}");
        }
    }
    let refusal = |error: Error, parts: [&str; 2]| {
        let message = error.to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    let apart = rows(&inputs, (0, Some(16)));
    let error = trainer.encode_step(&mut encoder, apart, &targets).unwrap_err();
    refusal(error, ["rows of 12 bytes start 16 apart", "Trainer::bind_batch"]);
    let overlapping = [rows(&inputs, (0, Some(20))), rows(&inputs, (8, Some(20)))];
    let error = Inference::new(trainer.network(), overlapping[0], overlapping[1], 9).unwrap_err();
    refusal(error, ["from byte 0 on, 20 apart", "from byte 8 on, 20 apart"]);
    let usage = BufferUsages::COPY_SRC;
    let contents = &[0; 1200];
    let copied = device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage });
    let error = trainer.bind_batch(&copied, &targets).unwrap_err();
    refusal(error, ["STORAGE", "the buffer of inputs"]);
    // Nothing was encoded.
    queue.submit([encoder.finish()]);
    assert_eq!(trainer.steps(), 0);
}
