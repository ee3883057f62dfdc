// Record: writes a step to the history, and counts it as taken. Needs counts.wgsl.
//
// The kernel declares `counts`, and `history`, a ring buffer of two pairs per step: the bits of the loss
// and of the accuracy, then the rows of the batch and the number of the step. Only one invocation may
// call this.

fn record(loss_and_accuracy: vec2<u32>, rows: u32, capacity: u32) {
    let place = 2u * (counts[TAKEN] % capacity);
    history[place] = loss_and_accuracy;
    history[place + 1u] = vec2<u32>(rows, counts[NUMBER]);
    counts[TAKEN] += 1u;
    counts[NUMBER] += 1u;
    counts[OF_NETWORK] += 1u;
}
