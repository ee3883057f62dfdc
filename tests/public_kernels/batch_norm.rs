//! Only batch normalization, on batches in the layouts that an app may use.

use ndarray::{Array1, Array2};
use ztilde::Result;
use ztilde::kernels::{
    Matrix, batch_statistics, normalize, normalize_backward, normalize_gradients,
};

use super::{Gpu, OnGpu, shape};
use crate::read_buffer::read_buffer;

/// The layout of a batch in its buffer, starting at some value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrangement {
    /// Rows with `between` values after each.
    Rows { first: u32, between: u32 },
    /// Images of `samples` samples, a divisor of the number of rows.
    Images { first: u32, samples: u32 },
}

impl Arrangement {
    pub(crate) const DENSE: Self = Self::Rows { first: 0, between: 0 };

    /// The index of the value in a row and a column.
    fn place(self, [rows, columns]: [usize; 2], (row, column): (usize, usize)) -> usize {
        match self {
            Self::Rows { first, between } => {
                first as usize + row * (columns + between as usize) + column
            }
            Self::Images { first, samples } => {
                let pixels = rows / samples as usize;
                first as usize + (row / pixels * columns + column) * pixels + row % pixels
            }
        }
    }

    fn length(self, shape: [usize; 2]) -> usize {
        self.place(shape, (shape[0] - 1, shape[1] - 1)) + 1
    }
}

/// The results of `batch_statistics`.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// The two rows whose sum is the mean.
    pub(crate) mean: Array2<f64>,
    pub(crate) variance: Array1<f64>,
    pub(crate) running_mean: Array1<f64>,
    pub(crate) running_var: Array1<f64>,
}

/// The results of the two kernels of the backward pass.
#[derive(Clone, Debug)]
pub(crate) struct NormalizeGradients {
    pub(crate) grad_gamma: Array1<f64>,
    pub(crate) grad_beta: Array1<f64>,
    /// The two rows whose sum is the mean of the gradient.
    pub(crate) grad_mean: Array2<f64>,
    pub(crate) grad_inputs: Array2<f64>,
}

impl Gpu {
    /// A batch in this layout, among values that no kernel may use.
    fn arrange(&self, values: &Array2<f64>, arrangement: Arrangement) -> OnGpu {
        let size = [values.nrows(), values.ncols()];
        let mut all = vec![f32::NAN; arrangement.length(size)];
        for (place, &value) in values.indexed_iter() {
            all[arrangement.place(size, place)] = value as f32;
        }
        let buffer = self.buffer(bytemuck::cast_slice(&all));
        let [rows, columns] = shape(values);
        let matrix = match arrangement {
            Arrangement::Rows { first, between } => {
                Matrix::strided(&buffer, first.into(), rows, columns, columns + between)
            }
            Arrangement::Images { first, samples } => {
                Matrix::images(&buffer, first.into(), samples, columns, rows / samples)
            }
        };
        OnGpu { matrix: matrix.expect("the buffer is large enough"), buffer }
    }

    fn read_arranged(&self, found: &OnGpu, arrangement: Arrangement) -> Array2<f64> {
        let all = read_buffer(&self.device, &self.queue, &found.buffer);
        let size = [found.matrix.rows() as usize, found.matrix.columns() as usize];
        Array2::from_shape_fn(size, |place| all[arrangement.place(size, place)].into())
    }

    /// The statistics of a batch, with previous running statistics.
    pub(crate) fn batch_statistics(
        &self,
        inputs: &Array2<f64>,
        arrangement: Arrangement,
        momentum: f32,
        [running_mean, running_var]: [&Array1<f64>; 2],
    ) -> Result<Measured> {
        let kernel = self.kernel("batch_statistics", &momentum, |device| {
            batch_statistics::BatchStatistics::new(device, momentum)
        });
        let columns = inputs.ncols() as u32;
        let [mean, variance] = [self.zeros([2, columns]), self.zeros([1, columns])];
        let running = [running_mean, running_var].map(|vector| self.upload_vector(vector));
        let buffers = batch_statistics::Buffers {
            inputs: &self.arrange(inputs, arrangement).matrix,
            mean: &mean.matrix,
            variance: &variance.matrix,
            running_mean: &running[0].matrix,
            running_var: &running[1].matrix,
        };
        self.run(&[&kernel.bind(&self.device, "test", buffers)?]);
        let [running_mean, running_var] = running.map(|vector| self.read_vector(&vector));
        let variance = self.read_vector(&variance);
        Ok(Measured { mean: self.read(&mean), variance, running_mean, running_var })
    }

    /// A batch normalized with these statistics, gammas and betas.
    pub(crate) fn normalize(
        &self,
        inputs: &Array2<f64>,
        arrangement: Arrangement,
        mean: &Array2<f64>,
        [variance, gamma, beta]: [&Array1<f64>; 3],
        epsilon: f32,
    ) -> Array2<f64> {
        let kernel =
            self.kernel("normalize", &epsilon, |device| normalize::Normalize::new(device, epsilon));
        let inputs = self.arrange(inputs, arrangement);
        let outputs = self.arrange(
            &Array2::from_elem(
                [inputs.matrix.rows() as usize, inputs.matrix.columns() as usize],
                7.0,
            ),
            arrangement,
        );
        let buffers = normalize::Buffers {
            inputs: &inputs.matrix,
            mean: &self.upload(mean).matrix,
            variance: &self.upload_vector(variance).matrix,
            gamma: &self.upload_vector(gamma).matrix,
            beta: &self.upload_vector(beta).matrix,
            outputs: &outputs.matrix,
        };
        self.run(&[&kernel.bind(&self.device, "test", buffers).expect("the shapes fit")]);
        self.read_arranged(&outputs, arrangement)
    }

    /// The backward pass of a normalization.
    pub(crate) fn normalize_backward(
        &self,
        [inputs, grad_outputs]: [&Array2<f64>; 2],
        arrangement: Arrangement,
        mean: &Array2<f64>,
        [variance, gamma]: [&Array1<f64>; 2],
        epsilon: f32,
    ) -> Result<NormalizeGradients> {
        let gradients = self.kernel("normalize_gradients", &epsilon, |device| {
            normalize_gradients::NormalizeGradients::new(device, epsilon)
        });
        let backward = self.kernel("normalize_backward", &epsilon, |device| {
            normalize_backward::NormalizeBackward::new(device, epsilon)
        });
        let columns = inputs.ncols() as u32;
        let batches = [inputs, grad_outputs].map(|batch| self.arrange(batch, arrangement));
        let [inputs, grad_outputs] = batches.each_ref().map(|batch| &batch.matrix);
        let grad_inputs = self.arrange(
            &Array2::from_elem([inputs.rows() as usize, columns as usize], 7.0),
            arrangement,
        );
        let mean = self.upload(mean);
        let vectors = [variance, gamma].map(|vector| self.upload_vector(vector));
        let [grad_gamma, grad_beta, grad_mean] =
            [self.zeros([1, columns]), self.zeros([1, columns]), self.zeros([2, columns])];
        let first = normalize_gradients::Buffers {
            inputs,
            mean: &mean.matrix,
            variance: &vectors[0].matrix,
            grad_outputs,
            grad_gamma: &grad_gamma.matrix,
            grad_beta: &grad_beta.matrix,
            grad_mean: &grad_mean.matrix,
        };
        let second = normalize_backward::Buffers {
            inputs,
            mean: &mean.matrix,
            variance: &vectors[0].matrix,
            gamma: &vectors[1].matrix,
            grad_gamma: &grad_gamma.matrix,
            grad_mean: &grad_mean.matrix,
            grad_outputs,
            grad_inputs: &grad_inputs.matrix,
        };
        let place = "test";
        let dispatches = [
            gradients.bind(&self.device, place, first)?,
            backward.bind(&self.device, place, second)?,
        ];
        self.run(&dispatches.each_ref());
        Ok(NormalizeGradients {
            grad_gamma: self.read_vector(&grad_gamma),
            grad_beta: self.read_vector(&grad_beta),
            grad_mean: self.read(&grad_mean),
            grad_inputs: self.read_arranged(&grad_inputs, arrangement),
        })
    }
}
