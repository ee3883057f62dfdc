// Counts: how many steps the GPU has taken. `Counts` in src/fused/record_step.rs describes each value.
// The kernel declares `counts`.
//
// A step gets its number when it is encoded, and is taken when its encoder is submitted. Each encoder
// copies the number and the learning rate of its first step into the counts.

const TAKEN = 0u;
const NUMBER = 1u;
const RATE = 2u;  // the bits of a float
const SKIPPED = 3u;
const OF_NETWORK = 4u;
const LAST_SKIPPED = 5u;
