//! `Inference`: a network bound to the app's buffers, in the app's encoder.

#[cfg(test)]
mod tests;

use wgpu::{BufferUsages, CommandEncoder, ComputePassDescriptor, Device};

use crate::error::{Error, Result};
use crate::fused::layer_forward::LayerForward;
use crate::fused::narrow_forward::NarrowForward;
use crate::gpu::{Dispatch, Gpu, Matrix, Rows, largest_binding, read};
use crate::network::{
    FEWEST_ROWS, Forward, InferenceKernels, Network, PlannedBytes, inference_plan, largest_matrix,
    padded_bytes,
};
use crate::options::NetworkOptions;
use crate::plan::{InferencePlan, LayerSizes};

/// The number of rows of a slice is a multiple of this, so that every slice of a matrix starts on a multiple
/// of 256 bytes, for any number of columns.
const SLICE_MULTIPLE: u32 = FEWEST_ROWS;

/// The most bytes of a scratch matrix. A slice has as many rows as fit.
const SCRATCH_BYTES: u64 = 32 << 20;

/// Applies a network to rows in a buffer, with the running statistics.
///
/// It is bound once and encoded as often as needed. It shares the network's memory, so the next encoded
/// inference uses the parameters of the latest training step. More rows than a binding can hold are
/// processed in slices.
///
/// Outputs are those of the linear output layer: logits, for the two cross-entropies.
///
/// ```
/// use wgpu::BufferUsages;
/// use ztilde::{Inference, Network};
///
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
/// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
/// let network = Network::new(&device, &queue, &[2, 8, 1], Default::default())?;
/// let buffer = |values: u64| {
///     let usage = BufferUsages::STORAGE;
///     let (label, size) = (None, 4 * values);
///     device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
/// };
/// let (points, heights) = (buffer(1000 * 2), buffer(1000));
/// let inference = Inference::new(&network, &points, &heights, 1000)?;
///
/// // In each frame, between the pass that writes the points and the one that draws the heights:
/// let mut encoder = device.create_command_encoder(&Default::default());
/// inference.encode(&mut encoder);
/// queue.submit([encoder.finish()]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Debug)]
pub struct Inference {
    dispatches: Vec<Dispatch>,
}

impl Inference {
    /// Binds a network to `rows` rows of inputs and of outputs, `f32`s.
    ///
    /// Rows may start at any multiple of 4 bytes, and be any multiple of 4 bytes apart; a buffer alone
    /// means contiguous rows, from its beginning on. Values between the rows of outputs stay unchanged.
    /// Inputs and outputs may be parts of one buffer that do not overlap.
    ///
    /// Contiguous rows are fastest if they are whole vectors of four and start at a multiple of the
    /// device's `min_storage_buffer_offset_alignment`. Other rows are copied. A narrow network (up to 16
    /// to 32 neurons in a hidden layer, depending on the device) reads and writes rows where they are. There,
    /// rows of whole vectors of four start at multiples of 16 bytes, and rows of whole pairs at multiples of 8,
    /// or are copied.
    ///
    /// Both buffers need `BufferUsages::STORAGE`.
    ///
    /// See the example of [`Inference`].
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if a buffer is too short, [`Error::Option`] if there are no rows,
    /// [`Error::Usage`] if a buffer lacks the usage, [`Error::Placement`] if an offset or a stride is not a
    /// multiple of 4, or rows overlap, and errors of wgpu.
    pub fn new<'a>(
        network: &Network,
        inputs: impl Into<Rows<'a>>,
        outputs: impl Into<Rows<'a>>,
        rows: u32,
    ) -> Result<Self> {
        if rows == 0 {
            return Err(Error::Option {
                option: "rows",
                value: rows.to_string(),
                expected: "at least 1",
            });
        }
        let inputs = inputs.into().matrix(
            "the buffer of inputs",
            BufferUsages::STORAGE,
            rows,
            network.inputs(),
        )?;
        let outputs = outputs.into().matrix(
            "the buffer of outputs",
            BufferUsages::STORAGE,
            rows,
            network.outputs(),
        )?;
        if inputs.may_overlap(&outputs) {
            let [inputs, outputs] = [&inputs, &outputs].map(|matrix| {
                let [first, apart] =
                    [matrix.first(), matrix.stride().into()].map(|value| 4 * value);
                format!("rows from byte {first} on, {apart} apart")
            });
            let what = "the buffer of inputs and outputs".to_owned();
            let reason = format!("inputs ({inputs}) and outputs ({outputs}) overlap");
            return Err(Error::Placement { what, reason });
        }
        let slice_rows = slice_rows(&network.gpu().device, network.layer_sizes()).min(rows);
        let mut slices = Slices::new(network, slice_rows, [&inputs, &outputs])?;
        let mut first = 0;
        while first < rows {
            let count = slice_rows.min(rows - first);
            slices.bind(&inputs.slice(first, count)?, &outputs.slice(first, count)?)?;
            first += count;
        }
        let dispatches = slices.dispatches;
        Ok(Self { dispatches })
    }

    /// The GPU memory of a network and an inference on `rows` rows, without the app's buffers. If the app's
    /// rows are not contiguous, or do not start at the beginning of their buffer, the memory may include a
    /// copy of one slice of them, padded to whole vectors of four.
    ///
    /// Sizes and options are not checked.
    pub fn planned_bytes(
        device: &Device,
        layer_sizes: &[u32],
        options: &NetworkOptions,
        rows: u32,
    ) -> PlannedBytes {
        let rows = slice_rows(device, layer_sizes).min(rows);
        let inputs = layer_sizes.first().copied().unwrap_or(0);
        let plan = inference_plan(device, &LayerSizes::of_network(layer_sizes, options.batch_norm));
        let is_read = plan == InferencePlan::Narrow || inputs.is_multiple_of(4);
        let own_inputs = if is_read { 0 } else { padded_bytes(rows, inputs) };
        let widest = layer_sizes.iter().copied().skip(1).max().unwrap_or(0);
        let scratch = padded_bytes(rows, widest).saturating_mul(scratch_count(plan, layer_sizes));
        let batch = own_inputs.saturating_add(scratch);
        PlannedBytes { batch, ..PlannedBytes::of_network(layer_sizes, options) }
    }

    /// The limits that a device needs for inference alone, with a network of these sizes on any number of
    /// rows: `wgpu::Limits::downlevel_defaults()`, as WebGPU's compatibility mode and OpenGL ES 3.1
    /// offer, with larger buffers and bindings if the network needs them.
    ///
    /// 4 storage buffers are enough. Training needs 8: [`required_limits`](crate::required_limits) is
    /// for a network that is also trained.
    pub fn required_limits(layer_sizes: &[u32]) -> wgpu::Limits {
        let bytes = largest_matrix(layer_sizes, 1);
        let least = wgpu::Limits::downlevel_defaults();
        wgpu::Limits {
            max_buffer_size: least.max_buffer_size.max(bytes),
            max_storage_buffer_binding_size: least.max_storage_buffer_binding_size.max(bytes),
            ..least
        }
    }

    /// The dispatches of an inference, in order, for example to time each of them.
    pub fn dispatches(&self) -> &[Dispatch] {
        &self.dispatches
    }

    /// Records the inference into the app's encoder. The app submits it.
    pub fn encode(&self, encoder: &mut CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor {
            label: Some("ztilde/inference"),
            timestamp_writes: None,
        });
        for dispatch in &self.dispatches {
            dispatch.encode(&mut pass);
        }
    }

    /// Applies a network to rows on the CPU: uploads them, submits, and reads the outputs, row-major.
    ///
    /// For occasional predictions. For a prediction in every frame, bind an inference once with
    /// [`Inference::new`].
    ///
    /// ```
    /// use ztilde::{Inference, Network, block_on};
    ///
    /// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    /// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
    /// # let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
    /// let network = Network::new(&device, &queue, &[2, 8, 3], Default::default())?;
    /// // Two rows of two inputs give two rows of three outputs.
    /// let outputs = block_on(&device, Inference::predict(&network, &[0.1, 0.2, 0.3, 0.4]))?;
    /// assert_eq!(outputs.len(), 2 * 3);
    /// # Ok::<(), ztilde::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if `inputs` are not whole rows, and errors of wgpu.
    pub fn predict(
        network: &Network,
        inputs: &[f32],
    ) -> impl Future<Output = Result<Vec<f32>>> + use<> {
        let reading = start_prediction(network, inputs);
        async move { reading?.await }
    }
}

fn start_prediction(
    network: &Network,
    inputs: &[f32],
) -> Result<impl Future<Output = Result<Vec<f32>>> + use<>> {
    let features = network.inputs() as usize;
    let rows = inputs.len() / features;
    if rows == 0 || !inputs.len().is_multiple_of(features) {
        return Err(Error::Length {
            what: "inputs",
            found: inputs.len() as u64,
            needed: (rows.max(1) * features) as u64,
            why: format!("{} rows × {features} features", rows.max(1)),
        });
    }
    let too_many = |_| Error::Length {
        what: "inputs",
        found: inputs.len() as u64,
        needed: u64::from(u32::MAX) * features as u64,
        why: format!("at most, in one call: {} rows × {features} features", u32::MAX),
    };
    let row_count = u32::try_from(rows).map_err(too_many)?;
    let gpu: &Gpu = network.gpu();
    let input_buffer = gpu.buffer("prediction/inputs", inputs.len() as u64)?;
    let values = rows as u64 * u64::from(network.outputs());
    let output_buffer = gpu.buffer("prediction/outputs", values)?;
    let inference = Inference::new(network, &input_buffer, &output_buffer, row_count)?;
    gpu.write(&input_buffer, 0, inputs)?;
    gpu.submit("ztilde/prediction", |encoder| inference.encode(encoder))?;
    Ok(read(gpu, &output_buffer, 0, values))
}

/// The number of rows of the widest layer that fit the scratch memory and a binding.
fn slice_rows(device: &Device, layer_sizes: &[u32]) -> u32 {
    let widest = layer_sizes.iter().copied().max().unwrap_or(1).max(1);
    // Two scratch matrices may be the halves of one.
    let bytes = SCRATCH_BYTES.min(largest_binding(&device.limits()) / 2);
    let rows = (bytes / padded_bytes(1, widest)).min(u32::MAX.into()) as u32;
    // A layer too wide for that is too wide for the device: making the scratch matrix returns the error.
    (rows - rows % SLICE_MULTIPLE).max(SLICE_MULTIPLE)
}

/// The number of scratch matrices, or of halves of one, that are in use.
fn scratch_count(plan: InferencePlan, layer_sizes: &[u32]) -> u64 {
    match plan {
        InferencePlan::Narrow => 0,
        InferencePlan::InOne => 2,
        InferencePlan::Layers => {
            let layers = layer_sizes.len().saturating_sub(1);
            // The last layer's outputs go straight to the app's if their rows are whole vectors of four.
            let is_straight = layer_sizes.last().is_some_and(|outputs| outputs.is_multiple_of(4));
            layers.saturating_sub(usize::from(is_straight)).min(2) as u64
        }
    }
}

/// Binds all layers for slices of the rows, one after the other.
struct Slices<'a> {
    network: &'a Network,
    kernels: &'a InferenceKernels,
    /// A copy of the inputs, if the kernels cannot read the app's rows.
    inputs: Option<Matrix>,
    /// Whether the last layer writes to the app's outputs.
    is_straight: bool,
    /// The outputs of a kernel that computes all layers at once, if it does not write to the app's
    /// buffer.
    outputs: Option<Matrix>,
    /// The inputs and the outputs of a layer alternate between two matrices, or between the halves of one.
    scratch: Vec<Matrix>,
    dispatches: Vec<Dispatch>,
}

impl<'a> Slices<'a> {
    fn new(network: &'a Network, rows: u32, [inputs, outputs]: [&Matrix; 2]) -> Result<Self> {
        let gpu = network.gpu();
        let sizes = network.layer_sizes();
        let widest = sizes[1..].iter().copied().max().unwrap_or(1);
        let padded = |rows, columns| gpu.padded_matrix("inference/scratch", rows, columns);
        let kernels = network.inference_kernels();
        let is_quads = |matrix: &Matrix| matrix.columns().is_multiple_of(4);
        let is_plain = |matrix: &Matrix| matrix.is_plain(&gpu.device);
        let [reads_inputs, is_straight] = match kernels.forward {
            Forward::Narrow(_) => {
                let takes = |matrix: &Matrix| {
                    Ok(NarrowForward::takes(&gpu.device, &matrix.slice(0, rows)?))
                };
                [takes(inputs)?, takes(outputs)?]
            }
            Forward::InOne(_) => [is_plain(inputs) && is_quads(inputs), is_plain(outputs)],
            Forward::Layers(_) => [inputs, outputs].map(|all| is_plain(all) && is_quads(all)),
        };
        // No dispatch can read and write the same buffer.
        let has_own_inputs = !reads_inputs || inputs.buffer() == outputs.buffer();
        let own_outputs = || gpu.matrix("inference/outputs", rows, network.outputs());
        let is_layers = matches!(kernels.forward, Forward::Layers(_));
        Ok(Self {
            network,
            kernels,
            inputs: has_own_inputs.then(|| padded(rows, sizes[0])).transpose()?,
            is_straight,
            outputs: (!is_layers && !is_straight).then(own_outputs).transpose()?,
            scratch: match kernels.forward {
                Forward::Narrow(_) => Vec::new(),
                Forward::InOne(_) => vec![padded(2 * rows, widest)?],
                Forward::Layers(_) => vec![padded(rows, widest)?, padded(rows, widest)?],
            },
            dispatches: Vec::new(),
        })
    }

    fn bind(&mut self, inputs: &Matrix, outputs: &Matrix) -> Result<()> {
        let device = &self.network.gpu().device;
        let rows = inputs.rows();
        let inputs = match &self.inputs {
            None => inputs.clone(),
            Some(own) => {
                let own = own.slice(0, rows)?;
                let copy = self.kernels.copy_rows.bind(device, "inference/inputs", inputs, &own)?;
                self.dispatches.extend(copy);
                own
            }
        };
        let own = self.outputs.as_ref().map(|own| own.slice(0, rows)).transpose()?;
        let target = own.as_ref().unwrap_or(outputs);
        let network = self.network;
        let dispatch = match &self.kernels.forward {
            Forward::Layers(kernels) => return self.bind_layers(kernels, inputs, outputs),
            Forward::Narrow(kernel) => {
                network.bind_narrow(kernel, "inference", [&inputs, target])?
            }
            Forward::InOne(kernel) => {
                let scratch = self.scratch[0].slice(0, 2 * rows)?;
                network.bind_all(kernel, "inference", [&inputs, &scratch, target])?
            }
        };
        self.dispatches.push(dispatch);
        own.map_or(Ok(()), |own| self.bind_copy(&own, outputs))
    }

    fn bind_layers(
        &mut self,
        kernels: &[LayerForward],
        mut layer_inputs: Matrix,
        outputs: &Matrix,
    ) -> Result<()> {
        let Self { network, scratch, dispatches, .. } = self;
        let rows = outputs.rows();
        let sizes = &network.layer_sizes()[1..];
        for (layer, (&columns, kernel)) in sizes.iter().zip(kernels).enumerate() {
            let is_last = layer + 1 == sizes.len();
            let layer_outputs = if is_last && self.is_straight {
                outputs.clone()
            } else {
                scratch[layer % 2].reshape_padded(rows, columns)?
            };
            let place = format!("inference/layer {}", layer + 1);
            let matrices = [&layer_inputs, &layer_outputs];
            dispatches.extend(network.bind_inference(kernel, layer, &place, matrices)?);
            layer_inputs = layer_outputs;
        }
        if self.is_straight { Ok(()) } else { self.bind_copy(&layer_inputs, outputs) }
    }

    /// Copies the last layer's outputs to the app's.
    fn bind_copy(&mut self, own: &Matrix, outputs: &Matrix) -> Result<()> {
        let device = &self.network.gpu().device;
        let copy = self.kernels.copy_rows.bind(device, "inference/outputs", own, outputs)?;
        self.dispatches.extend(copy);
        Ok(())
    }
}
