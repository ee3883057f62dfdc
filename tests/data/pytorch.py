# Wrote pytorch.safetensors next to this file, and printed the numbers in tests/library/saving.rs.
#     pip install torch safetensors packaging numpy && python tests/data/pytorch.py
import pathlib

import safetensors.torch
import torch

torch.manual_seed(2)
torch.set_printoptions(precision=9)
model = torch.nn.Sequential(
    torch.nn.Linear(3, 4, bias=False),
    torch.nn.BatchNorm1d(4),
    torch.nn.ReLU(),
    torch.nn.Linear(4, 3),
    torch.nn.ReLU(),
    torch.nn.Linear(3, 2),
)
for parameter in model.parameters():
    torch.nn.init.normal_(parameter)
for _ in range(5):
    model(torch.randn(16, 3) * 3 + 1)  # moves the running statistics
safetensors.torch.save_file(
    model.state_dict(), pathlib.Path(__file__).with_name("pytorch.safetensors")
)
print(torch.__version__, {name: tuple(t.shape) for name, t in model.state_dict().items()})
print(model[0].weight[0], model[1].running_var, model[5].bias)
inputs = torch.tensor([[1.0, -2.0, 0.5], [0.0, 4.0, -1.0], [3.0, 0.25, 2.0]])
print(model.double().eval()(inputs.double()))  # in float64, with the running statistics
