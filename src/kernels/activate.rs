//! `shaders/kernels/activate.wgsl`: the activation function, element by element.
//!
//! Its twin is [`crate::reference::activate`].

use wgpu::Device;

use super::{LayoutKernel, WORKGROUP_SIZE, elements, walking_workgroups};
use crate::error::Result;
use crate::gpu::{Dispatch, Layout, Matrix, uniform};
use crate::options::Activation;

/// Computes `outputs = activation(inputs)`, value by value, for one [`Activation`].
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/gpu.rs")); }
/// # use gpu::*;
/// # let (device, queue) = device();
/// use ztilde::Activation;
/// use ztilde::kernels::Matrix;
/// use ztilde::kernels::activate::{Activate, Buffers};
///
/// let inputs = upload(&device, &[-1.0_f32, 2.0, 3.0, -4.0]);
/// let outputs = upload(&device, &[0.0_f32; 4]);
/// let relu = Activate::new(&device, Activation::Relu)?;
/// let dispatch = relu.bind(&device, "layer 1", Buffers {
///     inputs: &Matrix::new(&inputs, 0, 2, 2)?,
///     outputs: &Matrix::new(&outputs, 0, 2, 2)?,
/// })?;
/// run(&device, &queue, &[&dispatch]);
/// assert_eq!(read(&device, &queue, &outputs), [0.0, 2.0, 3.0, 0.0]);
/// # Ok::<(), ztilde::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Activate(LayoutKernel<Shape>);

/// The inputs and outputs of the kernel. Both may be rows any distance apart, or images, and may start at any
/// value of a buffer.
///
/// See the example of [`Activate`].
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// `[rows, columns]`: the pre-activations.
    pub inputs: &'a Matrix,
    /// `[rows, columns]`: the activations.
    pub outputs: &'a Matrix,
}

uniform! {
    struct Shape {
        inputs: Layout,
        outputs: Layout,
        rows: u32,
        columns: u32,
    }
}

impl Activate {
    /// Compiles the kernel for a device and an activation.
    ///
    /// # Errors
    ///
    /// [`Error::Wgpu`](crate::Error::Wgpu) if the driver does not compile the shader,
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn new(device: &Device, activation: Activation) -> Result<Self> {
        let source = concat!(
            include_str!("../../shaders/kernels/activate.wgsl"),
            include_str!("../../shaders/shared/activation.wgsl"),
            include_str!("../../shaders/shared/exponential.wgsl"),
            include_str!("../../shaders/shared/magnitudes.wgsl"),
            include_str!("../../shaders/shared/rounded.wgsl"),
            include_str!("../../shaders/shared/layout.wgsl"),
        );
        let [_, activation, negative_slope] = constants(activation);
        LayoutKernel::walking(device, "activate", source, &[activation, negative_slope]).map(Self)
    }

    /// Binds the kernel to its matrices. `place` is the first part of the name of the dispatch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit each other,
    /// [`Error::Placement`](crate::Error::Placement) if samples have different numbers of pixels, and what
    /// wgpu reports.
    pub fn bind(&self, device: &Device, place: &str, buffers: Buffers<'_>) -> Result<Dispatch> {
        let Buffers { inputs, outputs } = buffers;
        outputs.expect_like("activate", "outputs", inputs)?;
        let [inputs, outputs] = &elements(device, [inputs, outputs]);
        self.0.of(inputs).bind(
            device,
            place,
            Shape {
                inputs: inputs.layout(),
                outputs: outputs.layout(),
                rows: inputs.rows(),
                columns: inputs.columns(),
            },
            &[inputs, outputs],
            walking_workgroups(inputs),
        )
    }
}

/// The overrides of a kernel that ends in shaders/shared/activation.wgsl.
pub(crate) fn constants(activation: Activation) -> [(&'static str, f64); 3] {
    [
        ("WORKGROUP_SIZE", WORKGROUP_SIZE.into()),
        ("ACTIVATION", activation.number().into()),
        ("NEGATIVE_SLOPE", Activation::NEGATIVE_SLOPE.into()),
    ]
}

#[cfg(any(test, feature = "check"))]
pub(crate) mod cases {
    use ndarray::Array2;

    use super::*;
    use crate::gpu::testing::{Arrangement, SHAPES, TestGpu};
    use crate::reference;

    /// Values at which the functions bend, saturate, or change formulas; then a fine grid.
    pub(crate) fn telling_inputs() -> Array2<f64> {
        let special = [
            0.0, -0.0, 1e-30, -1e-30, 1e-6, 0.5, 0.625, 1.0, -1.0, 20.0, -20.0, 88.0, -88.0, 100.0,
            -100.0, 1e4, -1e4, 1e30, -1e30,
        ];
        let grid = (-4000..4000).map(|step| f64::from(step) / 256.0);
        let values: Vec<f64> =
            special.into_iter().chain(grid).map(|value| f64::from(value as f32)).collect();
        Array2::from_shape_vec([1, values.len()], values).expect("one row")
    }

    pub(super) fn compare(
        gpu: &TestGpu,
        activation: Activation,
        inputs: &Array2<f64>,
        arrangements: [Arrangement; 2],
    ) {
        let kernel = Activate::new(&gpu.gpu.device, activation).unwrap();
        let on_gpu = gpu.arrange(inputs, arrangements[0]);
        let outputs = gpu.arranged([on_gpu.rows(), on_gpu.columns()], arrangements[1]);
        let buffers = Buffers { inputs: &on_gpu, outputs: &outputs };
        gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);

        let expected = reference::activate(inputs, activation);
        // A few roundings of values around 1, and of the value itself.
        let what = format!("{}, {arrangements:?}", activation.name());
        gpu.compare(&what, &gpu.read_arranged(&what, &outputs), &expected, 2e-7, 3e-7);
    }

    pub(crate) fn matches_the_reference(gpu: &mut TestGpu) {
        use Arrangement::{Dense, Images, Strided};
        for activation in Activation::ALL {
            compare(gpu, activation, &telling_inputs(), [Dense; 2]);
            for shape in SHAPES {
                let inputs = gpu.random(shape);
                for arrangements in [[Dense; 2], [Strided; 2], [Images; 2], [Dense, Strided]] {
                    compare(gpu, activation, &inputs, arrangements);
                }
            }
        }
    }

    /// With any sign and any payload. Infinity becomes the twin's result.
    pub(crate) fn nan_stays_nan_and_infinity_becomes_the_limit(gpu: &mut TestGpu) {
        let inputs = not_finite();
        let on_gpu = gpu.upload_integers(&inputs.map(f32::to_bits));
        for activation in Activation::ALL {
            let kernel = Activate::new(&gpu.gpu.device, activation).unwrap();
            let outputs = gpu.zeros([1, 6]);
            let buffers = Buffers { inputs: &on_gpu, outputs: &outputs };
            gpu.run(&[&kernel.bind(&gpu.gpu.device, "test", buffers).unwrap()]);
            let expected = Array2::from_shape_fn([1, 6], |(_, i)| inputs[i].into());
            let expected = reference::activate(&expected, activation).mapv(|value| value as f32);
            assert_eq!(
                kinds(&gpu.read(&outputs)),
                kinds(expected.as_slice().unwrap()),
                "{activation:?}"
            );
        }
    }

    /// Four that are NaN, and both infinities.
    pub(crate) fn not_finite() -> [f32; 6] {
        [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xff80_0001, 0x7f80_0000, 0xff80_0000]
            .map(f32::from_bits)
    }

    /// Values of which one NaN is like the other, and 0 like −0.
    pub(crate) fn kinds(values: &[f32]) -> Vec<String> {
        values
            .iter()
            .map(|value| if value.is_nan() { "NaN".to_owned() } else { (value + 0.0).to_string() })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{Arrangement, TestGpu};

    #[test]
    fn matches_the_reference() {
        cases::matches_the_reference(&mut TestGpu::new());
    }

    #[test]
    fn nan_stays_nan_and_infinity_becomes_the_limit() {
        cases::nan_stays_nan_and_infinity_becomes_the_limit(&mut TestGpu::new());
    }

    #[test]
    fn walks_more_elements_than_invocations() {
        let mut gpu = TestGpu::new();
        let inputs = gpu.random([1, WORKGROUP_SIZE * crate::gpu::MAX_WORKGROUPS + 7]);
        cases::compare(&gpu, Activation::Relu, &inputs, [Arrangement::Dense; 2]);
    }
}
