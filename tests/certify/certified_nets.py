"""Small random networks of every layer that bounds know."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHAPE = (2, 6, 6)


class Residual(nn.Module):
    """Two branches, one taken from the other and rectified."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.outer = nn.Conv2d(3, 3, 3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(2, 3, 1, stride=2)
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.outer(F.relu(self.norm(self.inner(x)), inplace=True))
        y -= self.shortcut(x)
        return self.head(F.leaky_relu(y, 0.2).mean(dim=(2, 3)))


class Rearranged(nn.Module):
    """Arithmetic with constants, slices, concatenation and a view, as functions rather than layers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.tensor([0.4, 0.6]).view(1, 2, 1, 1))
        self.weight = nn.Parameter(torch.randn(36, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = 2 * (x - self.offset) / 0.7
        x = torch.cat([x[:, :1], 1 - F.relu(x[:, 1:])], dim=1).permute(0, 2, 1, 3)
        x = F.pad(x.sum(dim=2), (1, 0))[..., 1:]
        return self.head(F.relu(x.reshape(len(x), -1) @ self.weight))


def _sequential(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


BUILDERS = {
    "dense": lambda: _sequential(
        nn.Flatten(), nn.Linear(72, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 8), nn.LeakyReLU(0.1), nn.Linear(8, 3)
    ),
    "max_pool": lambda: _sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), nn.Flatten(), nn.Linear(27, 3)
    ),
    "max_pool_first": lambda: _sequential(
        nn.BatchNorm2d(2),
        nn.MaxPool2d(2, 2, dilation=2, ceil_mode=True),
        nn.Conv2d(2, 4, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 1),
    ),
    "avg_pool": lambda: _sequential(
        nn.Conv2d(2, 4, 2, dilation=2, groups=2),
        nn.ReLU6(),
        nn.AvgPool2d(2, 1, padding=1),
        nn.AdaptiveAvgPool2d((2, 1)),
        nn.Flatten(1),
        nn.Linear(8, 3),
    ),
    "curved": lambda: _sequential(
        nn.Flatten(),
        nn.Linear(72, 6),
        nn.Tanh(),
        nn.Linear(6, 6),
        nn.Sigmoid(),
        nn.Linear(6, 5),
        nn.Hardtanh(-0.5, 2.0),
        nn.Linear(5, 3),
        nn.Softmax(dim=1),
    ),
    "residual": Residual,
    "rearranged": Rearranged,
}


def randomise(module: nn.Module, seed: int) -> None:
    """Other weights and statistics in place; their size varies, so that some networks are steep and some flat."""
    generator = torch.Generator().manual_seed(seed)
    size = 1.0 + 3.0 * torch.rand((), generator=generator)
    with torch.no_grad():
        for value in module.parameters():
            fan_in = max(1, value[0].numel()) if value.ndim > 1 else 4
            value.copy_(size * torch.randn(value.shape, generator=generator) / fan_in**0.5)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.copy_(0.3 * torch.randn(part.num_features, generator=generator))
                part.running_var.copy_(0.5 + torch.rand(part.num_features, generator=generator))
