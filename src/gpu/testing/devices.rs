//! The devices of the tests, and the classes and tilings to run on them.

use super::TestGpu;
use crate::gpu::{Gpu, test_device};
use crate::plan::{DeviceClass, Tile, Tiling};

/// A device that no other test uses: one to destroy, or to keep busy.
pub(crate) fn own_gpu() -> Gpu {
    let device = test_device::adapter().request_device(&wgpu::DeviceDescriptor::default());
    let (device, queue) = pollster::block_on(device).unwrap();
    Gpu::new(&device, &queue)
}

impl TestGpu {
    pub(crate) fn new() -> Self {
        let (device, queue) = test_device::device();
        Self::on(Gpu::new(&device, &queue))
    }

    /// On a device with subgroups, if the adapter has them.
    pub(crate) fn with_subgroups() -> Self {
        let (device, queue) = test_device::device_with_subgroups();
        Self::on(Gpu::new(&device, &queue))
    }

    /// One for each tiling, with its class: on every adapter those of a GPU with many registers, and of one with
    /// few; on software adapters with subgroups also their own.
    pub(crate) fn with_each_tiling() -> impl Iterator<Item = (Self, DeviceClass, Tiling)> {
        Self::with_each_class().flat_map(|(gpu, class)| {
            let is_gpus = !class.is_software();
            let tilings = Tiling::orders(class).concat().into_iter();
            let tilings = tilings
                .filter(move |tiling| is_gpus || matches!(tiling.tile, Tile::Subgroup { .. }));
            tilings.map(move |tiling| (Self::on(gpu.gpu.clone()), class, tiling))
        })
    }

    /// A device with all of the adapter's workgroup memory, and the class of a large GPU with as much.
    pub(crate) fn nvidia() -> (Self, DeviceClass) {
        let gpu = Self::with_subgroups();
        let memory = gpu.gpu.device.limits().max_compute_workgroup_storage_size;
        let class = DeviceClass::named("nvidia").expect("a class");
        (gpu, class.with_workgroup_memory(memory))
    }

    /// The classes of [`with_each_tiling`](Self::with_each_tiling), each with a device.
    pub(crate) fn with_each_class() -> impl Iterator<Item = (Self, DeviceClass)> {
        let mali = DeviceClass::named("mali").expect("a class");
        let own = Self::with_subgroups();
        let class = own.gpu.class;
        [Self::nvidia(), (Self::new(), mali), (own, class)].into_iter()
    }

    /// The tilings whose patches are one tile. Larger patches are compared with them by their bits.
    pub(crate) fn with_each_tile() -> impl Iterator<Item = (Self, DeviceClass, Tiling)> {
        Self::with_each_tiling().filter(|(_, _, tiling)| [tiling.down, tiling.across] == [1, 1])
    }
}
