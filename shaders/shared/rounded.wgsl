// Rounded: rounds a difference to a float before it is used; and a sum that compensates for its
// roundings.
//
// Metal's compilers, which wgpu and browsers use with fast math, may reorder sums: (input − center) −
// rest becomes input − (center + rest), and that sum rounds to the center alone, which loses the digits
// that two steps would keep. Integer operations are not reordered. `rows >> 31` is always 0, but the
// compiler cannot prove it, so the XOR acts as a barrier.

fn rounded(difference: f32, rows: u32) -> f32 {
    return bitcast<f32>(bitcast<u32>(difference) ^ (rows >> 31u));
}

fn rounded_quad(differences: vec4<f32>, rows: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(differences) ^ vec4<u32>(rows >> 31u));
}

// A sum, and the excess of its last rounding, which is subtracted from the next value (Kahan 1965). The error
// is one rounding for any number of values.
struct CompensatedSum {
    sum: vec4<f32>,
    excess: vec4<f32>,
}

fn compensated_sum(before: CompensatedSum, value: vec4<f32>, rows: u32) -> CompensatedSum {
    let added = value - before.excess;
    let sum = rounded_quad(before.sum + added, rows);
    return CompensatedSum(sum, rounded_quad(sum - before.sum, rows) - added);
}
