// Record: a step into the history, which the counts then know as taken. Needs counts.wgsl.
//
// The kernel has `counts`, and `history`, which goes round: of each step two pairs of numbers, the bits of loss
// and accuracy, then the rows of the batch and the number of the step. One invocation calls this.

fn record(loss_and_accuracy: vec2<u32>, rows: u32, capacity: u32) {
    let place = 2u * (counts[TAKEN] % capacity);
    history[place] = loss_and_accuracy;
    history[place + 1u] = vec2<u32>(rows, counts[NUMBER]);
    counts[TAKEN] += 1u;
    counts[NUMBER] += 1u;
    counts[OF_NETWORK] += 1u;
}
