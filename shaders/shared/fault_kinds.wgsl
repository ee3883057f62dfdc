// Fault kinds: the kinds of a layer's values that may not be finite (faults.wgsl).

// The layer's quad for each kind. src/layout.rs has their number, src/trainer/fault.rs reads them.
const STATISTICS_FAULT = 0u;
const LOSS_FAULT = 0u;  // of the output layer, which has no statistics
const GAMMA_FAULT = 1u;
const BIASES_FAULT = 1u;  // of a layer that has no gamma
const BETA_FAULT = 2u;
const WEIGHTS_FAULT = 3u;
