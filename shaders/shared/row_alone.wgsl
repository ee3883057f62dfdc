// Row, alone: an invocation owns a row, with all of its columns (row_loss.wgsl).

const ROW_LANES = 1u;

// The invocation's first row, and how far apart its rows are.
fn first_row(workgroup: u32, invocation: u32) -> u32 {
    return WORKGROUP_SIZE * workgroup + invocation;
}

fn row_stride(workgroups: u32) -> u32 {
    return WORKGROUP_SIZE * workgroups;
}

// The invocation's first column; its next ones are ROW_LANES apart.
fn own_lane(invocation: u32) -> u32 {
    return 0u;
}

fn row_sum(own: f32, lane: u32) -> f32 {
    return own;
}

fn row_largest(own: Largest, lane: u32) -> Largest {
    return own;
}
