"""Small float models to put on crossbars, each with inputs; seeded, so the same in every test."""

import pytest
import torch
from torch import nn


class Mixer(nn.Module):
    """Mixes tokens, then channels, as the paper's face mixer does; ReLU, so that every step is exact."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Linear(6, 6, bias=False)
        self.channels = nn.Linear(10, 10)
        self.head = nn.Linear(10, 4)

    def forward(self, x):
        x = x + self.tokens(x.transpose(1, 2)).transpose(1, 2).relu()
        x = x + self.channels(x).relu()
        return self.head(x[:, 0])


def mlp():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 5)), torch.rand(7, 12) - 0.5


def cnn():
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 16, 5),
    )
    return model, torch.rand(3, 1, 10, 10)


def mixer():
    torch.manual_seed(3)
    return Mixer(), torch.rand(4, 6, 10) - 0.5


MODELS = pytest.mark.parametrize("build", [mlp, cnn, mixer])
