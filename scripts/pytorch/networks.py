"""The networks, optimizers and losses of both sides, under PyTorch's names and under ztilde's."""

import dataclasses

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

# ztilde rounds epsilons and rates to single precision; PyTorch in double precision does not.
single = lambda number: torch.tensor(number, dtype=torch.float32).item()

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky-relu": lambda: nn.LeakyReLU(single(0.01)),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "identity": nn.Identity,
    "mish": nn.Mish,
    "elu": nn.ELU,
    "softplus": lambda: nn.Softplus(threshold=1000),
    "gelu-tanh": lambda: nn.GELU("tanh"),
}

LABEL_SMOOTHING, CLASS_WEIGHTS = single(0.1), [0.5, 2.0, 1.25]


def network(sizes, activation, batch_norm, epsilon=1e-5, momentum=0.1):
    modules = []
    for inputs, outputs in zip(sizes[:-2], sizes[1:-1]):
        modules.append(nn.Linear(inputs, outputs, bias=not batch_norm))
        if batch_norm:
            modules.append(nn.BatchNorm1d(outputs, single(epsilon), single(momentum)))
        modules.append(ACTIVATIONS[activation]())
    return nn.Sequential(*modules, nn.Linear(*sizes[-2:]))


@dataclasses.dataclass
class Method:
    """An optimizer, and the names of its state: `optimizer.velocity.0.weight` of ztilde's snapshots is
    `exp_avg` of the parameter `0.weight` in the state of PyTorch's Adam."""

    make: object  # PyTorch's, given the groups of parameters
    ours: object  # ztilde's, in the metadata of a snapshot
    rate: float
    state: dict
    counts_steps: bool
    weight_decay: float = 0.0
    decays_all: bool = False

    def optimizer(self, model):
        """Two groups: the weights decay; the rest decays only if asked to."""
        rest = self.weight_decay if self.decays_all else 0.0
        named = list(model.named_parameters())
        weights = [parameter for _, parameter in named if parameter.dim() == 2]
        others = [parameter for _, parameter in named if parameter.dim() == 1]
        return self.make([
            {"params": weights, "weight_decay": self.weight_decay},
            {"params": others, "weight_decay": rest},
        ])

    def names(self, model):
        """The parameters' numbers in the state of a PyTorch optimizer."""
        named = list(model.named_parameters())
        return [name for dim in (2, 1) for name, parameter in named if parameter.dim() == dim]

    def metadata(self):
        return {
            "method": self.ours,
            "learning_rate": self.rate,
            "schedule": "constant",
            "warm_up": 0,
            "weight_decay": self.weight_decay,
            "decays_all": self.decays_all,
        }


class Lion(Optimizer):
    """Program 1 of arXiv 2302.06675, which PyTorch does not have."""

    def __init__(self, groups):
        super().__init__(groups, {"lr": 0.001, "betas": (0.9, 0.99)})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (beta1, beta2), rate = group["betas"], group["lr"]
            for parameter in group["params"]:
                state = self.state[parameter]
                mean = state.setdefault("exp_avg", torch.zeros_like(parameter))
                push = (beta1 * mean + (1 - beta1) * parameter.grad).sign()
                parameter -= rate * (push + group["weight_decay"] * parameter)
                mean.mul_(beta2).add_(parameter.grad, alpha=1 - beta2)


def momentum(nesterov):
    return {
        "make": lambda groups: SGD(groups, lr=0.05, momentum=0.9, nesterov=nesterov),
        "ours": {"momentum": {"momentum": 0.9, "nesterov": nesterov}},
        "rate": 0.05,
        "state": {"velocity": "momentum_buffer"},
        "counts_steps": False,
    }


def adam(make, decoupled):
    # The usual epsilon of 1e-8 would turn the rounding error of a gradient near 0 into full steps.
    return {
        "make": lambda groups: make(groups, lr=0.005, betas=(0.9, 0.999), eps=1e-5),
        "ours": {"adam": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-5, "decoupled": decoupled}},
        "rate": 0.005,
        "state": {"velocity": "exp_avg", "mean_square": "exp_avg_sq"},
        "counts_steps": True,
    }


RMSPROP = {
    "make": lambda groups: RMSprop(groups, lr=0.002, alpha=0.99, eps=1e-5),
    "ours": {"rmsprop": {"smoothing": 0.99, "epsilon": 1e-5}},
    "rate": 0.002,
    "state": {"mean_square": "square_avg"},
    "counts_steps": True,
}

METHODS = {
    "gradient descent": Method(
        make=lambda groups: SGD(groups, lr=0.1),
        ours="gradient-descent",
        rate=0.1,
        state={},
        counts_steps=False,
        weight_decay=0.01,
    ),
    "momentum": Method(**momentum(False), weight_decay=0.01, decays_all=True),
    "nesterov": Method(**momentum(True)),
    "rmsprop": Method(**RMSPROP, weight_decay=0.01),
    "adam": Method(**adam(Adam, False)),
    "adam, decay": Method(**adam(Adam, False), weight_decay=0.01, decays_all=True),
    "adamw": Method(**adam(AdamW, True), weight_decay=0.1),
    "lion": Method(
        make=Lion,
        ours={"lion": {"beta1": 0.9, "beta2": 0.99}},
        rate=0.001,
        state={"velocity": "exp_avg"},
        counts_steps=False,
        weight_decay=0.1,
    ),
}


def cross_entropy(outputs, targets):
    # PyTorch weighs each part of a smoothed target; ztilde weighs each row by its own class.
    weights = torch.tensor(CLASS_WEIGHTS, dtype=outputs.dtype)[targets]
    losses = F.cross_entropy(outputs, targets, reduction="none", label_smoothing=LABEL_SMOOTHING)
    return (weights * losses).sum() / weights.sum()


# PyTorch's, and the options of ztilde's that are not the defaults.
LOSSES = {
    "softmax-cross-entropy": (
        cross_entropy,
        {"label_smoothing": LABEL_SMOOTHING, "class_weights": CLASS_WEIGHTS},
    ),
    "mean-squared-error": (F.mse_loss, {}),
    "binary-cross-entropy": (F.binary_cross_entropy_with_logits, {}),
    "mean-absolute-error": (F.l1_loss, {}),
    "huber": (lambda *pair: F.huber_loss(*pair, delta=0.5), {"loss": {"huber": {"delta": 0.5}}}),
}
