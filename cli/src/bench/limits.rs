//! The adapter's limits, measured with this library's kernels: memory bandwidth and the throughput of
//! matrix products.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use wgpu::BufferUsages;
use ztilde::{
    Activation,
    kernels::{Dispatch, Matrix, activate, matmul},
};

use super::{gpu::Gpu, times::Times};
use crate::failure::Failure;

/// The most bytes to copy: more than any cache holds.
const COPIED_BYTES: u64 = 256 << 20;

/// The sizes of the square products that are tried for the limit.
const SQUARES: [u32; 4] = [512, 1024, 2048, 4096];

/// A square that takes this long is large enough.
const LONG: Duration = Duration::from_millis(5);

/// The most dispatches in one submission.
const DISPATCHES_PER_SUBMISSION: u32 = 64;

/// The sizes of a matrix product, typed as `512` or as `1024x256x512`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    rows: u32,
    /// The length of the sums.
    inner: u32,
    columns: u32,
}

impl Product {
    fn square(size: u32) -> Self {
        Self { rows: size, inner: size, columns: size }
    }

    pub(super) fn name(self) -> String {
        let Self { rows, inner, columns } = self;
        format!("{rows}x{inner}x{columns}")
    }

    pub(super) fn operations(self) -> u64 {
        2 * u64::from(self.rows) * u64::from(self.inner) * u64::from(self.columns)
    }

    /// The bytes of the factors and the product.
    pub(super) fn bytes(self) -> u64 {
        let [rows, inner, columns] = [self.rows, self.inner, self.columns].map(u64::from);
        4 * (rows * inner + inner * columns + rows * columns)
    }
}

impl FromStr for Product {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = |size: &str| match size.parse() {
            Ok(size) if size > 0 => Ok(size),
            _ => Err(format!("{size:?} is not a size: it must be at least 1")),
        };
        match text.split('x').map(size).collect::<Result<Vec<_>, _>>()?[..] {
            [size] => Ok(Self::square(size)),
            [rows, inner, columns] => Ok(Self { rows, inner, columns }),
            ref sizes => Err(format!("{} sizes, but one or three are needed", sizes.len())),
        }
    }
}

/// The three products of a layer, which differ in the factors that are read transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// inputs · weightsᵀ.
    Outputs,
    /// `grad_sums` · weights.
    GradInputs,
    /// `grad_sumsᵀ` · inputs.
    GradWeights,
}

impl Arrangement {
    pub(super) const ALL: [Self; 3] = [Self::Outputs, Self::GradInputs, Self::GradWeights];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Outputs => "outputs",
            Self::GradInputs => "grad_inputs",
            Self::GradWeights => "grad_weights",
        }
    }
}

/// Fails if the device cannot bind a matrix of the product.
pub(super) fn check(gpu: &Gpu, product: Product) -> Result<(), Failure> {
    let limits = gpu.device.limits();
    let allowed = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    let Product { rows, inner, columns } = product;
    for [rows, columns] in [[rows, inner], [inner, columns], [rows, columns]] {
        let needed = 4 * u64::from(rows) * u64::from(columns);
        if needed > allowed {
            return Err(Failure::input(format!(
                "--matmul {} has a matrix of {rows} × {columns}, which needs {needed} bytes, but \
                 the device binds {allowed} at most",
                product.name()
            )));
        }
    }
    Ok(())
}

/// A dispatch that is measured alone.
pub(super) struct Single {
    pub(super) dispatch: Dispatch,
    pub(super) times: Times,
    pub(super) gpu_bytes: Option<u64>,
}

/// A copy, made by the activation kernel with the identity function.
pub(super) struct Copy {
    pub(super) single: Single,
    /// The bytes that a dispatch reads. It writes the same number.
    pub(super) size: u64,
}

impl Copy {
    pub(super) fn measure(gpu: &Gpu, seconds: f64) -> Result<Self, Failure> {
        let limits = gpu.device.limits();
        let allowed = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let columns = 1024;
        let rows = (COPIED_BYTES.min(allowed) / (4 * u64::from(columns))) as u32;
        let inputs = random_matrix(gpu, rows, columns)?;
        let buffers = activate::Buffers { inputs: &inputs, outputs: &written(gpu, rows, columns)? };
        let kernel = activate::Activate::new(&gpu.device, Activation::Identity)?;
        let dispatch = kernel.bind(&gpu.device, "bench", buffers)?;
        let single = measure(gpu, seconds, dispatch)?;
        Ok(Self { single, size: 4 * inputs.values() })
    }

    /// Gigabytes per second, read and written.
    pub(super) fn gigabytes_per_second(&self) -> f64 {
        2.0 * self.size as f64 / self.single.times.median * 1e-6
    }
}

/// The smallest square that takes long enough for its speed to be the adapter's limit.
pub(super) fn telling_square(gpu: &Gpu) -> Result<Product, Failure> {
    let mut telling = Product::square(SQUARES[0]);
    for product in SQUARES.map(Product::square) {
        telling = product;
        let dispatch = bind_product(gpu, product, Arrangement::Outputs)?;
        submit(gpu, &dispatch, 1);
        gpu.wait()?;
        let start = Instant::now();
        submit(gpu, &dispatch, 1);
        gpu.wait()?;
        if start.elapsed() > LONG {
            break;
        }
    }
    Ok(telling)
}

pub(super) fn measure_product(
    gpu: &Gpu,
    seconds: f64,
    product: Product,
    arrangement: Arrangement,
) -> Result<Single, Failure> {
    measure(gpu, seconds, bind_product(gpu, product, arrangement)?)
}

fn measure(gpu: &Gpu, seconds: f64, dispatch: Dispatch) -> Result<Single, Failure> {
    let times = Times::measure(gpu, seconds, |steps| {
        submit(gpu, &dispatch, steps);
        Ok(())
    })?;
    Ok(Single { dispatch, times, gpu_bytes: gpu.allocated() })
}

fn submit(gpu: &Gpu, dispatch: &Dispatch, steps: u32) {
    let mut left = steps;
    while left > 0 {
        let count = left.min(DISPATCHES_PER_SUBMISSION);
        gpu.submit(|encoder| {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            (0..count).for_each(|_| dispatch.encode(&mut pass));
        });
        left -= count;
    }
}

fn bind_product(
    gpu: &Gpu,
    product: Product,
    arrangement: Arrangement,
) -> Result<Dispatch, Failure> {
    let Product { rows, inner, columns } = product;
    let left = match arrangement {
        Arrangement::GradWeights => random_matrix(gpu, inner, rows)?,
        _ => random_matrix(gpu, rows, inner)?,
    };
    let right = match arrangement {
        Arrangement::Outputs => random_matrix(gpu, columns, inner)?,
        _ => random_matrix(gpu, inner, columns)?,
    };
    let buffers = matmul::Buffers {
        left: match arrangement {
            Arrangement::GradWeights => matmul::Operand::Transposed(&left),
            _ => matmul::Operand::Plain(&left),
        },
        right: match arrangement {
            Arrangement::Outputs => matmul::Operand::Transposed(&right),
            _ => matmul::Operand::Plain(&right),
        },
        outputs: &written(gpu, rows, columns)?,
    };
    let kernel = matmul::Matmul::new(&gpu.device)?;
    Ok(kernel.bind(&gpu.device, "bench", buffers)?)
}

fn random_matrix(gpu: &Gpu, rows: u32, columns: u32) -> Result<Matrix, Failure> {
    let buffer = gpu.random_buffer(u64::from(rows) * u64::from(columns))?;
    Ok(Matrix::new(&buffer, 0, rows, columns)?)
}

fn written(gpu: &Gpu, rows: u32, columns: u32) -> Result<Matrix, Failure> {
    let size = 4 * u64::from(rows) * u64::from(columns);
    let buffer = gpu.buffer(size, BufferUsages::STORAGE)?;
    Ok(Matrix::new(&buffer, 0, rows, columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_typed_by_one_size_or_three() {
        let product = |text: &str| text.parse::<Product>();
        assert_eq!(product("512"), Ok(Product { rows: 512, inner: 512, columns: 512 }));
        let oblong = product("1024x256x512").unwrap();
        assert_eq!(oblong, Product { rows: 1024, inner: 256, columns: 512 });
        assert_eq!(oblong.name(), "1024x256x512");
        assert_eq!(oblong.operations(), 2 * 1024 * 256 * 512);
        assert!(product("512x0x3").unwrap_err().contains("\"0\""));
        assert!(product("5x5").unwrap_err().contains("2 sizes"));
        assert!(product("").unwrap_err().contains("at least 1"));
    }
}
