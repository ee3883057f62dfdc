// Steps, books: what whole_steps.wgsl records of a step, and its update. Needs counts.wgsl, fault_kinds.wgsl,
// optimizer.wgsl, clip_factor.wgsl and magnitudes.wgsl.

// The counts, and the stop (shared/faults.wgsl), which all invocations keep alike.
struct Books {
    taken: u32,
    number: u32,
    rate: f32,
    skipped: u32,       // by this dispatch
    last_skipped: u32,
    has_stopped: bool,
    stop: u32,          // the number of the step, counted from 1, if it has stopped now, or 0
    overflow: f32,      // the stop's second quad
    faults: u32,        // of the step that stopped, or that was skipped last: as `found`
}

// Faults of this step: bit 4 · layer + kind (fault_kinds.wgsl), layers from 0 on.
var<private> found: u32;
var<private> books: Books;

// After a stop, the running statistics are those from before its step.
fn move_running(place: u32, stride: u32, current: vec4<f32>) {
    let before = running[place];
    let moved = (1.0 - run.momentum) * before + run.momentum * current;
    let kept = running[place + stride];
    running[place] = select(moved, kept, books.has_stopped);
    running[place + stride] = select(before, kept, books.has_stopped);
}

fn note(level: Level, fault: u32, values: vec4<u32>, largest: u32) {
    found |= select(0u, 1u << (4u * (level.number - 1u) + fault), is_any_larger(values, largest));
}

fn record_step(mean: vec2<u32>) {
    if own == 0u {
        memory[run.history + books.taken % run.capacity] = vec4<u32>(mean, rows, books.number);
    }
    books.taken += 1u;
    books.number += 1u;
    note(OUTPUT, LOSS_FAULT, loss_magnitude(mean), LARGEST_FLOAT);
}

fn open_books() {
    books.taken = counts[TAKEN];
    books.number = counts[NUMBER];
    books.rate = bitcast<f32>(counts[RATE]);
    books.has_stopped = parameters[LEARNED].x != 0.0;
    books.overflow = parameters[LEARNED + 1u].x;
}

fn store_books() {
    let before = counts[TAKEN];
    counts[TAKEN] = books.taken;
    counts[NUMBER] = books.number;
    counts[OF_NETWORK] += books.taken - before;
    counts[SKIPPED] += books.skipped;
    if books.skipped > 0u {
        counts[LAST_SKIPPED] = books.last_skipped;
    }
    if books.stop > 0u {
        parameters[LEARNED] = vec4<f32>(1.0, f32(books.stop >> 16u), f32(books.stop & 0xffffu), 0.0);
    }
    parameters[LEARNED + 1u] = vec4<f32>(books.overflow);
    for (var fault = 0u; fault < 4u * OUTPUT.number && books.faults > 0u; fault++) {
        let is_noted = ((books.faults >> fault) & 1u) == 1u;
        parameters[LEARNED + 2u + fault] = vec4<f32>(select(0.0, 1.0, is_noted));
    }
}

// The update.

fn update() {
    let faults = all_found(found);
    let of_step = f32(books.taken & 0xffffu) + 1.0;
    // The step before has overflowed.
    let is_overflow = books.overflow != 0.0 && books.overflow != of_step;
    let is_fault = faults != 0u && !books.has_stopped && !is_overflow;
    let learns = faults == 0u && !books.has_stopped && !is_overflow;
    let shares = bitcast<vec4<f32>>(memory[run.rates + (books.taken - 1u) % run.rate_capacity]);
    let rate = scaled(Rates(shares.x, shares.y, shares.z, shares.w), books.rate);
    var scale = 1.0;
    if CLIPS {
        scale = clip_factor(squared_norm());
    }
    var overflows = 0u;
    // No turn at all, if nothing is learned.
    let end = select(0u, LEARNED, learns);
    for (var quad = own; quad < end; quad += WORKGROUP_SIZE) {
        let gradient = scale * gradients[quad];
        let now = learned(quad, working[quad], gradient, quad < run.decaying, rate);
        working[quad] = now.parameter;
        overflows |= u32(now.is_overflow);
    }
    if all_found(overflows) != 0u {
        books.overflow = of_step;
    }
    if is_fault && SKIPS {
        skip_step(faults);
    } else if (is_fault || is_overflow) && !books.has_stopped {
        books.has_stopped = true;
        books.stop = books.taken - u32(is_overflow);
        books.faults = select(faults, 0u, is_overflow);
    }
}

fn skip_step(faults: u32) {
    books.faults = faults;
    books.taken -= 1u;
    books.skipped += 1u;
    books.last_skipped = books.number - 1u;
    restore_all();
}

fn restore(level: Level) {
    let stride = quads(level.columns);
    if level.is_normalized && own < stride {
        running[level.mean + own] = running[level.mean + stride + own];
        running[level.variance + own] = running[level.variance + stride + own];
    }
}

// What optimizer.wgsl reads and writes.

fn velocity_at(i: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(memory[run.velocity + i]);
}

fn put_velocity(i: u32, value: vec4<f32>) {
    memory[run.velocity + i] = bits_of_quad(value);
}

fn mean_square_at(i: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(memory[run.mean_square + i]);
}

fn put_mean_square(i: u32, value: vec4<f32>) {
    memory[run.mean_square + i] = bits_of_quad(value);
}
