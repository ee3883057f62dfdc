// One sum per column over the LANES invocations that share it, always in the same order.
//
// The kernel has a workgroup of COLUMNS × LANES and calls this in uniform control flow; invocations
// without work give 0.

var<workgroup> lane_values: array<f32, COLUMNS * LANES>;

fn lane_sum(value: f32, column: u32, lane: u32) -> f32 {
    workgroupBarrier();  // The sum of the call before may still be read.
    lane_values[lane * COLUMNS + column] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            lane_values[lane * COLUMNS + column] += lane_values[(lane + half) * COLUMNS + column];
        }
    }
    workgroupBarrier();
    return lane_values[column];
}
