// Rounded: a difference as a float, before anything else is done with it; and a sum that makes up for what its
// roundings lose.
//
// Metal's compilers, which wgpu and browsers leave at fast math, add and subtract in whatever order they like:
// (input − center) − rest becomes input − (center + rest), and this sum rounds to the center alone, so that
// the digits are gone which two steps would keep. Integers they leave as they are, and that the first bit of
// a number of rows is 0, as it is below 2³¹, they cannot know.

fn rounded(difference: f32, rows: u32) -> f32 {
    return bitcast<f32>(bitcast<u32>(difference) ^ (rows >> 31u));
}

fn rounded_quad(differences: vec4<f32>, rows: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(differences) ^ vec4<u32>(rows >> 31u));
}

// A sum, and what its last rounding added too much, which the next value makes up for (Kahan 1965): the sum is
// off by one rounding then, however many values there are.
struct CompensatedSum {
    sum: vec4<f32>,
    excess: vec4<f32>,
}

fn compensated_sum(before: CompensatedSum, value: vec4<f32>, rows: u32) -> CompensatedSum {
    let added = value - before.excess;
    let sum = rounded_quad(before.sum + added, rows);
    return CompensatedSum(sum, rounded_quad(sum - before.sum, rows) - added);
}
