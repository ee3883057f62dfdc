// Counts: where the GPU keeps how many steps it has taken. src/kernels/record_step.rs says what each is; the
// kernel has `counts`.
//
// A step has a number from when it is encoded, and is taken when its encoder is submitted. Each encoder brings
// the number and the learning rate of its first step along.

const TAKEN = 0u;
const NUMBER = 1u;
const RATE = 2u;  // the bits of a float
const SKIPPED = 3u;
const OF_NETWORK = 4u;
const LAST_SKIPPED = 5u;
