// Row, together: a workgroup owns a row, and each invocation every ROW_LANES-th column (row_loss.wgsl). Needs
// workgroup_sum.wgsl.

alias Sum = f32;

override ROW_LANES: u32 = WORKGROUP_SIZE;

var<workgroup> lane_largest: array<Largest, WORKGROUP_SIZE>;

// The workgroup's first row, and how far apart its rows are.
fn first_row(workgroup: u32, invocation: u32) -> u32 {
    return workgroup;
}

fn row_stride(workgroups: u32) -> u32 {
    return workgroups;
}

// The invocation's first column; its next ones are ROW_LANES apart.
fn own_lane(invocation: u32) -> u32 {
    return invocation;
}

// The sum over the invocations, always in the same order.
fn row_sum(own: f32, lane: u32) -> f32 {
    return workgroup_sum(own, lane);
}

// The first largest of all columns.
fn row_largest(own: Largest, lane: u32) -> Largest {
    workgroupBarrier();  // That of the row before may still be read.
    lane_largest[lane] = own;
    for (var half = ROW_LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            lane_largest[lane] = larger(lane_largest[lane], lane_largest[lane + half]);
        }
    }
    workgroupBarrier();
    return lane_largest[0];
}
