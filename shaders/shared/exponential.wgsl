// exp, log and sigmoid, accurate to a few units in the last place and the same on every device: WGSL's own
// may be wrong by a hundred units. Polynomials are least-squares fits on their intervals, in order of the
// powers.

// Needs rounded.wgsl and magnitudes.wgsl.

// exp(x) for x ≤ 0: 2ⁿ · exp(rest), with x = n · log 2 + rest and |rest| ≤ log 2 / 2.
fn exponential(x: f32) -> f32 {
    if x < -87.0 {
        return 0.0;  // Below the smallest normal number.
    }
    let n = round(x * 1.44269504);
    let biased = u32(i32(n) + 127);
    // log 2 in two parts: n times the first is exact.
    let rest = rounded(x - n * 0.693359375, biased) + n * 2.12194440e-4;
    var p = 0.0013951717410;
    p = p * rest + 0.0083695985377;
    p = p * rest + 0.0416661873460;
    p = p * rest + 0.1666651219130;
    p = p * rest + 0.5;
    let fraction = (p * rest * rest + rest) + 1.0;
    return fraction * bitcast<f32>(biased << 23u);
}

// log(1 + x) for x ≥ 0, without rounding 1 + x where x is small.
fn log_one_plus(x: f32) -> f32 {
    var rest = x;
    var exponent = 0.0;
    if x > 0.41421356 {
        // 1 + x = 2ⁿ · (1 + rest), with 1 + rest between √½ and √2.
        let bits = bits_of(1.0 + x) - 0x3f3504f3u;
        exponent = f32(bits >> 23u);
        rest = bitcast<f32>((bits & 0x7fffffu) + 0x3f3504f3u) - 1.0;
    }
    var p = 0.0691696405411;
    p = p * rest - 0.1179191321135;
    p = p * rest + 0.1187340170145;
    p = p * rest - 0.1238404437900;
    p = p * rest + 0.1421856582165;
    p = p * rest - 0.1666926443577;
    p = p * rest + 0.2000223100185;
    p = p * rest - 0.2499998658895;
    p = p * rest + 0.3333331048489;
    let square = rest * rest;
    let small = p * square * rest - exponent * 2.12194440e-4;
    return exponent * 0.693359375 + ((small - 0.5 * square) + rest);
}

// 1 / (1 + exp(−x)), from the smaller of its two parts: the exponent is never positive, and the result is at
// most 1, although WGSL's quotient of 1 and 1 may be above 1.
fn sigmoid(x: f32) -> f32 {
    let e = exponential(-abs(x));
    let smaller = e / (1.0 + e);
    return select(smaller, 1.0 - smaller, x >= 0.0);
}
