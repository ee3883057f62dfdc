"""Checks what docs/conventions.md says of Keras, with the numbers of tests/library/conventions.rs.

    scripts/check-keras

Prints Keras's value in each row, and ztilde's, which those tests check.
"""

import sys

import keras
import numpy
from keras import layers, losses, ops, optimizers

RATE = 0.125
wrong = 0


def expect(row, found, expected, ours=None):
    """Compares a row of the table. `ours` is ztilde's value, if it differs from Keras's."""
    global wrong
    found = float(numpy.ravel(ops.convert_to_numpy(found))[0])
    is_so = abs(found - expected) <= 2e-6 * max(1, abs(expected))
    wrong += not is_so
    ours = "the same" if ours is None else ours if isinstance(ours, str) else f"{ours:.7g}"
    print(f"{row:<52}{found:>11.7g}{ours:>14}{'' if is_so else f'   NOT {expected:.7g}'}")


def default(of, name):
    return of.get_config()[name]


def stepped(optimizer, gradients, rates=(RATE, RATE)):
    """The value of a parameter of 1/2 after steps along these gradients."""
    parameter = keras.Variable(0.5)
    optimizer.build([parameter])
    for gradient, rate in zip(gradients, rates):
        optimizer.learning_rate = rate
        optimizer.apply([ops.convert_to_tensor(gradient, "float32")])
    return parameter


print(f"{'Keras ' + keras.__version__:<52}{'Keras':>11}{'ztilde':>14}")
batch = numpy.array([[1.0], [3.0]])
layer = layers.BatchNormalization(momentum=0.25, epsilon=0.5)
expect("normalized by the variance over n, and epsilon", -layer(batch, training=True), 1.5**-0.5)
expect("running mean of 1 and 3 with a momentum of 1/4", layer.moving_mean, 1.5, 0.5)
expect("running variance", layer.moving_variance, 1, 1.25)
layer.set_weights([numpy.array([value]) for value in (1, 0, 0, 3.5)])
expect("inference, with epsilon inside the root", layer(batch, training=False), 0.5)
layer = layers.BatchNormalization(momentum=0)
expect("normalized batch of one row", layer(batch[:1], training=True), 0, "an error")
expect("variance of one row", layer.moving_variance, 0, "an error")
expect("momentum", default(layers.BatchNormalization(), "momentum"), 0.99, 0.1)
expect("epsilon", default(layers.BatchNormalization(), "epsilon"), 1e-3, 1e-5)

momentum = optimizers.SGD(momentum=0.5)
expect("momentum, the second step at twice the rate", stepped(momentum, [1, 1], (RATE, 2 * RATE)), 0.0625, 0)
rmsprop = optimizers.RMSprop(rho=0.75, epsilon=0.5)
expect("RMSprop's epsilon inside the root", stepped(rmsprop, [1]), 0.5 - RATE / 0.75**0.5, 0.5 - RATE)
for name, expected, ours in [("rho", 0.9, 0.99), ("epsilon", 1e-7, 1e-8), ("momentum", 0, None)]:
    expect(f"RMSprop's {name}", default(optimizers.RMSprop(), name), expected, ours)
adam = optimizers.Adam(beta_1=0.5, beta_2=0.75, epsilon=1)
expect("Adam's epsilon added to the uncorrected root", stepped(adam, [1]), 0.5 - RATE / 3, 0.5 - RATE / 2)
expect("Adam's epsilon", default(optimizers.Adam(), "epsilon"), 1e-7, 1e-8)
adam = optimizers.Adam(beta_1=0.5, beta_2=0.75, epsilon=0.25, weight_decay=0.5)
expect("Adam's weight decay, beside it", stepped(adam, [0]), 0.5 - RATE / 4, 0.5 - RATE / 2)
expect("AdamW's weight decay", default(optimizers.AdamW(), "weight_decay"), 0.004, "as asked for")

squared = losses.MeanSquaredError()(numpy.zeros([2, 2]), numpy.array([[1.0, 2.0]] * 2))
expect("mean squared error of 1 and 2", squared, 2.5)
quarter, rest = -numpy.log([0.25, 0.75])
logits = numpy.log([[1.0, 3.0]] * 2)
entropy = losses.CategoricalCrossentropy(from_logits=True)
weighed = entropy(numpy.eye(2), logits, sample_weight=numpy.array([3.0, 1.0]))
expect("classes that weigh 3 and 1", weighed, (3 * quarter + rest) / 2, (3 * quarter + rest) / 4)
entropy = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.5)
expect("labels smoothed by 1/2", entropy(numpy.eye(2)[[0, 0]], logits), 0.75 * quarter + 0.25 * rest)
layer = layers.Dense(2)
layer.build([1, 3])
expect("rows of the weights of 3 inputs and 2 outputs", layer.kernel.shape[0], 3, 2)
expect("leaky ReLU's slope", default(layers.LeakyReLU(), "negative_slope"), 0.3, 0.01)
expect("GELU of 1, exact", keras.activations.gelu(ops.ones([1])), 0.8413447)
sys.exit(f"{wrong} rows of docs/conventions.md are wrong" if wrong else 0)
