// One sum over all WORKGROUP_SIZE invocations of a workgroup, always in the same order.
//
// Called in uniform control flow; invocations without work give 0. The kernel says what a Sum is: a float, or
// a vector of them, which takes as many barriers.

var<workgroup> workgroup_values: array<Sum, WORKGROUP_SIZE>;

fn workgroup_sum(value: Sum, index: u32) -> Sum {
    workgroupBarrier();  // The sum of the call before may still be read.
    workgroup_values[index] = value;
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if index < half {
            workgroup_values[index] += workgroup_values[index + half];
        }
    }
    workgroupBarrier();
    return workgroup_values[0];
}
