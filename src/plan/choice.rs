//! The choice of the fastest plan, by the cost model.

use super::device_class::DeviceClass;
use super::layer::{LayerPlan, Place, WeightsPlan};
use super::order::{self, LayerSizes, MOST_WALKED};
use super::tiling::Tiling;
use super::{Batch, OutputKernels, dispatches};

/// The best plan so far whose last layer has this choice, and the choice before.
#[derive(Clone, Copy)]
struct Best {
    time: f64,
    layer: LayerPlan,
    before_takes_next: bool,
}

/// The fastest layers of which `allows` accepts each, by its position: layer by layer, for a layer that takes
/// the gradients of the next one's weights and for one that does not. None if there are no such layers.
pub(super) fn fastest(
    class: DeviceClass,
    batch: Batch,
    layers: &[LayerSizes],
    allows: impl Fn(usize, &LayerPlan) -> bool,
) -> Option<Vec<LayerPlan>> {
    let mut found: Vec<[Option<Best>; 2]> = Vec::with_capacity(layers.len());
    for (index, &sizes) in layers.iter().enumerate() {
        let next = layers.get(index + 1);
        let best = [false, true].map(|takes_next| {
            let before = found.last();
            candidates(class, batch.rows, sizes, index == 0)
                .into_iter()
                .filter(|layer| layer.takes_next == takes_next && allows(index, layer))
                .filter_map(|layer| {
                    let before_takes_next = layer.weights.place == Place::BesideLayerBefore;
                    let until_here = match before {
                        Some(best) => best[usize::from(before_takes_next)]?.time,
                        None => 0.0,
                    };
                    let time = until_here + dispatches::time_of_layer(batch, layer, next);
                    Some(Best { time, layer, before_takes_next })
                })
                .min_by(|a, b| a.time.total_cmp(&b.time))
        });
        found.push(best);
    }
    let mut takes_next = false;
    let mut plan = Vec::with_capacity(layers.len());
    for best in found.iter().rev() {
        let best = best[usize::from(takes_next)]?;
        plan.push(best.layer);
        takes_next = best.before_takes_next;
    }
    plan.reverse();
    Some(plan)
}

/// All ways to compute a layer on this device that the driver's loops allow, or else the one with the
/// shortest loops. The tiling of what is computed beside another layer is that layer's.
pub(super) fn candidates(
    class: DeviceClass,
    rows: u32,
    sizes: LayerSizes,
    is_first: bool,
) -> Vec<LayerPlan> {
    let is_split = sizes.is_split(class, rows);
    let has_split_weights = sizes.has_split_weights(class, rows, is_first);
    let mut found = Vec::new();
    for tiling in Tiling::of_order(class, is_split) {
        let alone = Tiling::of_order(class, has_split_weights).into_iter();
        let mut weights: Vec<_> =
            alone.map(|tiling| WeightsPlan { place: Place::Alone, tiling }).collect();
        if is_split == has_split_weights {
            weights.push(WeightsPlan { place: Place::WithLayer, tiling });
        }
        if !is_first && sizes.follows_split(class, rows) == has_split_weights {
            weights.push(WeightsPlan { place: Place::BesideLayerBefore, tiling });
        }
        for is_divided in [false, true] {
            for takes_next in [false, true] {
                let of = |&weights: &WeightsPlan| LayerPlan {
                    class,
                    sizes,
                    tiling,
                    is_divided,
                    weights,
                    takes_next,
                };
                found.extend(weights.iter().map(of).filter(|layer| layer.is_possible(rows)));
            }
        }
    }
    let loops = |layer: &LayerPlan| {
        let forward = layer.forward_loops(rows);
        forward.max(layer.backward_loops(rows)).max(layer.weights_loops(rows))
    };
    let shortest = found.iter().map(loops).min().unwrap_or(0).max(MOST_WALKED);
    if class.most_rounds().is_some() {
        found.retain(|layer| loops(layer) <= shortest);
    }
    found
}

impl LayerPlan {
    /// Whether the kernels compute a layer in this way.
    fn is_possible(self, rows: u32) -> bool {
        let Self { weights, is_divided, takes_next, .. } = self;
        let is_output = self.sizes.next == 0;
        // On a CPU a dispatch costs more than what its idle cores could do.
        let is_cpu = self.class.lanes.is_some();
        let order = self.order(rows);
        if is_output {
            let is_in_one = self.output() == OutputKernels::InOne;
            let is_one = self.tiling.tiles() == 1;
            let is_short = rows <= OutputKernels::MOST_ROWS && self.is_narrow();
            let can_walk = order::loops(self.tiling, rows, self.sizes) <= MOST_WALKED;
            let has_limit = self.class.most_rounds().is_some();
            let fits = is_short && order.slabs() == 1 && (can_walk || !has_limit);
            let has_reason = if is_cpu { is_in_one == fits } else { fits || !is_in_one };
            return !is_divided && !takes_next && is_one && has_reason;
        }
        let is_with_layer = weights.place == Place::WithLayer;
        let walks = order::is_one_leaf(self.class, rows, self.sizes);
        let is_whole = !is_divided && is_with_layer;
        let has_reason = !is_cpu || is_whole == walks;
        let is_one_each = !(is_with_layer && (is_divided || takes_next));
        is_one_each && has_reason && !(is_divided && order.leaves() == 1)
    }

    /// Whether a tile is as wide as the layer.
    pub(super) fn is_narrow(self) -> bool {
        self.tiling.strips(self.sizes.outputs) == 1
    }
}
