"""Compares training and inference with PyTorch, on the same files.

    scripts/check-pytorch

1. Models that `ztilde train` wrote load in PyTorch, strictly, and give the same outputs for random rows,
   with every activation, with and without batch normalization. So does `ztilde predict`.
2. ztilde reads networks from PyTorch, with non-trivial running statistics, and trains them with every
   optimizer and loss, while PyTorch trains its own copies on the same batches. Losses, parameters, running
   statistics and the optimizer's state are compared after each step. Halfway, each side also takes over
   the other side's state, and must end with the same values. PyTorch loads ztilde's files strictly.

PyTorch computes in double and in single precision, and the difference is the baseline. The same formula in
another order of sums and products should differ by about as much. The tolerance is a multiple of the
baseline, plus the rounding of a few steps. Where conventions differ, the difference is larger by
orders of magnitude.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch
from networks import ACTIVATIONS, LOSSES, METHODS, network
from safetensors.torch import load_file, save_file
from torch.nn.utils import clip_grad_norm_

# With an odd number of rows no mean of signs, the gradient of an absolute error, is 0: by its sign Lion takes a
# whole step, and rounding would decide which.
SIZES, ROWS, STEPS = [6, 16, 12, 3], 33, 20
TIMES, FLOOR = 5, 1e-6
NAMES = ["loss", "parameters", "running", "state"]

binary, exchange, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])


def run(*arguments):
    """The output of a program on stdout."""
    done = subprocess.run(list(map(str, arguments)), capture_output=True, encoding="utf-8", cwd=folder)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def off(found, expected):
    """The largest difference, relative to 1 plus the value."""
    found, expected = found.double().flatten(), expected.double().flatten()
    if found.shape != expected.shape:
        sys.exit(f"{found.shape} values, but {expected.shape} are expected")
    difference = (found - expected).abs() / (1 + expected.abs())
    return difference.max().item() if len(found) else 0.0


def of_largest(found, expected):
    """The largest difference, relative to the largest value."""
    if not len(expected):
        return 0.0
    return ((found.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def allowed(baseline):
    return TIMES * baseline + FLOOR


def strictly(model, path):
    """Loads all tensors of a model, or of a snapshot without its optimizer's state."""
    tensors = load_file(folder / path)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer.")}
    model.load_state_dict(tensors, strict=True)
    return model


def check_trained_models():
    """Runs the first part; returns whether all differences are within the tolerance."""
    rows = torch.randn(500, 64, generator=torch.Generator().manual_seed(1)) * 0.25 + 0.25
    save_file({"inputs": rows}, folder / "inputs.safetensors")
    # The pixels of the digits, from 0 to 16. Training scales them to 0 to 1.
    lines = [",".join(map(str, row)) for row in (rows * 16).tolist()]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    print(f"{'outputs of models trained here':<34}{'ztilde':>10}{'PyTorch, single':>18}{'ztilde predict':>18}")
    is_well = True
    for activation in ACTIVATIONS:
        for batch_norm in [True, False]:
            options = ["--activation", activation] + ([] if batch_norm else ["--no-batch-norm"])
            run(binary, "train", "--epochs", "2", *options, "--model", "trained.safetensors")
            run(exchange, "predict", "trained.safetensors", "inputs.safetensors", "outputs.safetensors")
            lines = run(binary, "predict", "trained.safetensors", "rows.csv").splitlines()[1:]
            predicted = torch.tensor([[float(cell) for cell in line.split(",")[1:]] for line in lines])
            found = load_file(folder / "outputs.safetensors")["outputs"]
            model = strictly(network([64, 128, 64, 10], activation, batch_norm), "trained.safetensors").eval()
            with torch.no_grad():
                in_single = model(rows)
                expected = model.double()(rows.double())
            ours, baseline = [of_largest(outputs, expected) for outputs in (found, in_single)]
            theirs = of_largest(predicted, expected.softmax(1))
            verdict = "" if ours <= allowed(baseline) and theirs <= allowed(baseline) else "  TOO LARGE"
            is_well &= not verdict
            title = f"{activation}{', batch norm' if batch_norm else ''}"
            print(f"{title:<34}{ours:>10.1e}{baseline:>18.1e}{theirs:>18.1e}{verdict}", flush=True)
    return is_well


class Training:
    """PyTorch's side: a network, its optimizer, and all compared values."""

    def __init__(self, case, dtype):
        self.case, self.dtype = case, dtype
        self.model = network(SIZES, case.activation, case.batch_norm, case.epsilon, case.momentum).to(dtype)
        self.model.load_state_dict(case.start)
        self.optimizer = case.method.optimizer(self.model)
        self.losses, self.steps = [], 0

    def step(self, batch):
        inputs, targets = batch
        targets = targets if targets.dtype == torch.int64 else targets.to(self.dtype)
        loss = self.case.loss(self.model.train()(inputs.to(self.dtype)), targets)
        self.optimizer.zero_grad()
        loss.backward()
        if self.case.clip_norm:
            clip_grad_norm_(self.model.parameters(), self.case.clip_norm)
        self.optimizer.step()
        self.steps += 1
        return self.compared(loss.detach())

    def compared(self, loss):
        """The compared values, keyed by NAMES; the optimizer's states are keyed by name."""
        running = [value for name, value in self.model.named_buffers() if "running" in name]
        state = self.state()
        kinds = [torch.cat([state[name].flatten() for name in sorted(state) if f".{kind}." in name])
                 for kind in self.case.method.state]
        parameters = [value.detach().flatten() for value in self.model.parameters()]
        cat = lambda tensors: torch.cat(tensors).clone() if tensors else torch.zeros(0)
        return [loss.reshape(1), cat(parameters), cat(running), kinds]

    def state(self):
        """The optimizer's state, under ztilde's names."""
        names, state = self.case.method.names(self.model), self.optimizer.state_dict()["state"]
        return {
            f"optimizer.{ours}.{names[index]}": values[theirs].clone()
            for index, values in state.items()
            for ours, theirs in self.case.method.state.items()
        }

    def take_over(self, path, steps):
        """The contents of a snapshot that PyTorch's side wrote."""
        strictly(self.model, path)
        tensors = load_file(folder / path)
        described = self.optimizer.state_dict()
        described["state"] = {
            index: {theirs: tensors[f"optimizer.{ours}.{name}"] for ours, theirs in self.case.method.state.items()}
            | ({"step": torch.tensor(float(steps))} if self.case.method.counts_steps else {})
            for index, name in enumerate(self.case.method.names(self.model))
            if self.case.method.state
        }
        self.optimizer.load_state_dict(described)
        self.steps = steps

    def write(self, path):
        """Writes this side's state as a snapshot of ztilde."""
        save_file(self.model.state_dict() | self.state_for_file(), folder / path)
        return self.case.complete(path, self.steps)

    def state_for_file(self):
        empty = {
            f"optimizer.{ours}.{name}": torch.zeros_like(parameter)
            for name, parameter in self.model.named_parameters()
            for ours in self.case.method.state
        }
        return {name: tensor.detach().contiguous() for name, tensor in (empty | self.state()).items()}


class Case:
    """One way to train."""

    def __init__(self, index, method_name, batch_norm, loss_name):
        self.activation = list(ACTIVATIONS)[index % len(ACTIVATIONS)]
        self.method, self.batch_norm = METHODS[method_name], batch_norm
        self.loss, self.loss_options = LOSSES[loss_name]
        self.loss_name = loss_name
        self.clip_norm = 0.25 if index % 2 else None
        self.epsilon, self.momentum = [(1e-5, 0.1), (1e-3, 0.3)][index % 3 == 0]
        self.title = f"{method_name}, {self.activation}{', batch norm' if batch_norm else ''}, {loss_name}"
        torch.manual_seed(index)
        model = network(SIZES, self.activation, batch_norm, self.epsilon, self.momentum)
        for _ in range(5):
            model(torch.randn(ROWS, SIZES[0]) * 2 + 1)  # moves the running statistics
        self.start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.batches = [(torch.randn(ROWS, SIZES[0]) * 2 + 1, self.targets()) for _ in range(STEPS)]

    def targets(self):
        match self.loss_name:
            case "softmax-cross-entropy":
                return torch.randint(SIZES[-1], (ROWS,))
            case "mean-squared-error" | "mean-absolute-error" | "huber":
                return torch.randn(ROWS, SIZES[-1])
            case "binary-cross-entropy":
                return torch.rand(ROWS, SIZES[-1])

    def complete(self, path, steps):
        """Adds the metadata that ztilde needs to a file that PyTorch wrote."""
        options = {
            "batch_size": ROWS,
            "loss": self.loss_name,
            "label_smoothing": 0,
            "class_weights": None,
            "optimizer": self.method.metadata(),
            "clip_norm": self.clip_norm,
            "remainder": "drop",
            "seed": 0,
            "on_fault": "stop",
        }
        network = {"activation": self.activation, "epsilon": self.epsilon, "momentum": self.momentum}
        snapshot = {"version": 2, "steps": steps, "place": None, "options": options | self.loss_options}
        text = json.dumps({"version": 2, **network, "snapshot": snapshot})
        save_file(load_file(folder / path), folder / path, metadata={"ztilde": text})
        return path

    def train_here(self, snapshot, batches):
        """The values to compare after each step, read from the files `0.safetensors`, `1.safetensors`, …"""
        tensors = {f"inputs.{step}": inputs for step, (inputs, _) in enumerate(batches)}
        tensors |= {f"targets.{step}": targets for step, (_, targets) in enumerate(batches)}
        save_file(tensors, folder / "batches.safetensors")
        losses = run(exchange, "train", snapshot, "batches.safetensors", ".").split()
        found = []
        for step, loss in enumerate(losses):
            read = Training(self, torch.float32)
            read.take_over(f"{step}.safetensors", 0)
            found.append(read.compared(torch.tensor(float(loss))))
        strictly(network(SIZES, self.activation, self.batch_norm), "model.safetensors")
        return found


def differences(found, expected):
    """The differences after one step, keyed by NAMES; the optimizer's relative to its largest value."""
    *found, state = found
    *expected, expected_state = expected
    states = [of_largest(*pair) for pair in zip(state, expected_state, strict=True)]
    return [off(*pair) for pair in zip(found, expected, strict=True)] + [most([0.0, *states])]


def worst(steps, others):
    """The largest differences over all steps, keyed by NAMES."""
    by_step = [differences(*pair) for pair in zip(steps, others, strict=True)]
    return [most(column) for column in zip(*by_step)]


def most(values):
    """The maximum, where NaN is larger than any number."""
    return torch.tensor(values, dtype=torch.float64).max().item()


def check(case):
    """Differences from PyTorch: when both train alone, PyTorch's own in single precision, when PyTorch
    continues a training of ztilde, and when ztilde continues a training of PyTorch."""
    exact, in_single = Training(case, torch.float64), Training(case, torch.float32)
    half = STEPS // 2
    save_file(case.start, folder / "state.safetensors")
    run(exchange, "adopt", "state.safetensors", case.activation, "adopted.safetensors")
    adopted = load_file(folder / "adopted.safetensors")
    if set(adopted) != set(case.start) or any(not torch.equal(adopted[name], case.start[name]) for name in adopted):
        sys.exit(f"{case.title}: what PyTorch saved is not what was read")

    started = in_single.write("start.safetensors")
    here = case.train_here(started, case.batches)
    taken = Training(case, torch.float64)
    taken.take_over(f"{half - 1}.safetensors", half)
    counted = [value for name, value in load_file(folder / f"{STEPS - 1}.safetensors").items() if "tracked" in name]
    there, singles, handed = [], [], None
    for step, batch in enumerate(case.batches):
        there.append(exact.step(batch))
        singles.append(in_single.step(batch))
        if step + 1 == half:
            handed = in_single.write("handed.safetensors")
    tracked = [value for name, value in exact.model.named_buffers() if "tracked" in name]
    if [int(value) for value in counted] != [int(value) for value in tracked]:
        sys.exit(f"{case.title}: {counted} batches were counted, but {tracked} in PyTorch")
    goes_on_there = [taken.step(batch) for batch in case.batches[half:]]
    goes_on_here = case.train_here(handed, case.batches[half:])
    return [
        worst(here, there),
        worst(singles, there),
        worst(goes_on_there, here[half:]),
        worst(goes_on_here, singles[half:]),
    ]


def check_training():
    """Runs the second part; returns whether all differences are within the tolerance."""
    print(f"\n{STEPS} steps here and in PyTorch; the largest difference of loss, parameters, running statistics and")
    print("the optimizer's state: alone, PyTorch's in single precision, PyTorch continues, ztilde continues")
    is_well, index = True, 0
    largest = {}
    for method in METHODS:
        for batch_norm in [False, True]:
            for loss in LOSSES:
                case = Case(index, method, batch_norm, loss)
                alone, baseline, *taken_over = check(case)
                bounds = [allowed(value) for value in baseline]
                is_off = [name for ours in (alone, *taken_over)
                          for name, value, bound in zip(NAMES, ours, bounds) if not value <= bound]
                is_well &= not is_off
                text = "  ".join(" ".join(f"{value:.0e}" for value in values)
                                 for values in (alone, baseline, *taken_over))
                verdict = f"  TOO LARGE: {', '.join(sorted(set(is_off)))}" if is_off else ""
                print(f"{case.title:<64}{text}{verdict}", flush=True)
                shares = [max(ours[i] for ours in (alone, *taken_over)) / bounds[i] for i in range(len(NAMES))]
                for name, value, single, share in zip(NAMES, alone, baseline, shares):
                    former = largest.get(name, (0.0, 0.0, 0.0))
                    largest[name] = tuple(map(max, former, (value, single, share)))
                index += 1
    print(f"\n{'largest of all ' + str(index):<16}{'ztilde':>10}{'PyTorch, single':>18}{'of the bound':>16}")
    for name, (value, single, share) in largest.items():
        print(f"{name:<16}{value:>10.1e}{single:>18.1e}{share:>15.0%}")
    return is_well


torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)
checks = [check_trained_models(), check_training()]
print(f"\ntolerance: {TIMES} times the error of PyTorch in single precision, plus {FLOOR:.0e}")
if not all(checks):
    sys.exit("some differences are too large")
