//! How inference divides a network into dispatches.

use super::cost::{self, Tasks};
use super::device_class::DeviceClass;
use super::order::LayerSizes;
use super::packing::Packing;
use super::tiling::Tiling;

/// Layers that the table of `network_forward` has room for.
pub(crate) const MOST_LAYERS_IN_ONE: usize = 16;

/// Which kernels compute the layers. All of them give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InferencePlan {
    /// `narrow_forward`: all layers in one dispatch, whose invocations own rows.
    Narrow,
    /// `network_forward`: all layers in one dispatch, whose workgroups own tiles of rows.
    InOne,
    /// `layer_forward`: a dispatch per layer.
    Layers,
}

impl InferencePlan {
    /// The fastest plan for these layers.
    pub(crate) fn new(class: DeviceClass, layers: &[LayerSizes]) -> Self {
        if is_narrow(class, layers) {
            Self::Narrow
        } else if fits_one_dispatch(class, layers) {
            Self::InOne
        } else {
            Self::Layers
        }
    }
}

/// Whether an invocation has registers for the values of a row, and the driver compiles a line for each weight
/// quickly. On lavapipe, 768 lines take as long as `network_forward`, and 1,200 lines twice as long.
fn is_narrow(class: DeviceClass, layers: &[LayerSizes]) -> bool {
    /// Of a layer's inputs and outputs, without the rest.
    const OF_THE_REST: u32 = 32;
    /// The smallest uniform buffer that a device may allow is 16 KiB.
    const MOST_VALUES: u64 = (16 << 10) / 4;
    let most_weights = if class.is_software() { 768 } else { 2048 };
    let weights = layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.weights()));
    let widest = layers.iter().map(|layer| layer.inputs.max(layer.outputs)).max().unwrap_or(0);
    let registers = widest.saturating_mul(2).saturating_add(OF_THE_REST);
    (1..=most_weights).contains(&weights)
        && registers <= class.registers
        && Packing::new(layers).values <= MOST_VALUES
}

/// Whether one dispatch by tiles is possible, and faster than one per layer. Wide layers fill more workgroups
/// alone, and every tile of rows would read their weights again. With more inputs than a software adapter's
/// loops reach it is not possible. Few rows of a GPU have long sums: a workgroup a strip takes them faster.
fn fits_one_dispatch(class: DeviceClass, layers: &[LayerSizes]) -> bool {
    const WIDEST: u32 = 128;
    let tiling = Tiling::single(class);
    let rounds = layers.iter().fold(0, |sum: u64, layer| {
        let strips = u64::from(tiling.strips(layer.outputs));
        sum.saturating_add(strips.saturating_mul(tiling.rounds_of_patch(layer.inputs)))
    });
    (1..=MOST_LAYERS_IN_ONE).contains(&layers.len())
        && layers.iter().all(|layer| layer.outputs <= WIDEST)
        && class.can_loop(rounds)
        && (class.is_software() || !is_long(class, layers))
}

/// Whether one dispatch takes a tile of rows clearly longer than a dispatch per layer. Many rows would save
/// what the layers in between write and read, about a tenth of the time.
fn is_long(class: DeviceClass, layers: &[LayerSizes]) -> bool {
    const CLEARLY: f64 = 1.5;
    let tiling = Tiling::single(class);
    let tasks = |workgroups: u64, strips: u32, layer: &LayerSizes| {
        let reads = u64::from(strips) * u64::from(tiling.reads(layer.inputs));
        Tasks { workgroups, tiling, reads, rest: f64::from(strips) * cost::FINISHED_TILE }
    };
    let strips = |layer: &LayerSizes| tiling.strips(layer.outputs);
    let of_layer =
        |layer: &LayerSizes| cost::dispatch(class, &[tasks(strips(layer).into(), 1, layer)], 0);
    let of_layers: f64 = layers.iter().map(of_layer).sum();
    let all = layers.iter().map(|layer| tasks(1, strips(layer), layer));
    let all = all.reduce(|a, b| Tasks { reads: a.reads + b.reads, rest: a.rest + b.rest, ..a });
    all.is_some_and(|all| cost::dispatch(class, &[all], 0) > CLEARLY * of_layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_networks_are_computed_by_rows() {
        use InferencePlan::{InOne, Layers, Narrow};
        for (sizes, on_lavapipe, on_nvidia, on_mali) in [
            (&[2, 16, 16, 3][..], Narrow, Narrow, Narrow),
            (&[2, 24, 24, 3], Narrow, Narrow, InOne),
            (&[2, 32, 32, 1], InOne, Narrow, InOne),
            (&[2, 64, 64, 3], InOne, InOne, InOne),
            (&[100, 2], InOne, Narrow, InOne),
            (&[1, 1], Narrow, Narrow, Narrow),
            (&[64, 128, 64, 10], InOne, InOne, InOne),
            (&[784, 100, 100, 10], InOne, Layers, Layers),
            (&[784, 30, 10], InOne, InOne, InOne),
            (&[784, 512, 256, 10], Layers, Layers, Layers),
            (&[1; 30], Layers, Layers, Layers),
            (&[], Layers, Layers, Layers),
            (&[u32::MAX; 4], Layers, Layers, Layers),
        ] {
            let found = ["lavapipe-256", "nvidia", "mali"].map(|name| {
                let class = DeviceClass::named(name).expect(name);
                InferencePlan::new(class, &LayerSizes::of_network(sizes, true))
            });
            assert_eq!(found, [on_lavapipe, on_nvidia, on_mali], "{sizes:?}");
        }
    }
}
