"""Networks on which steps are measured: a shared part, and a head a task. The data are drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class Workload:
    """A shared part, its input, and what each task makes of the features.

    Attributes:
        trunk: what is shared.
        inputs: of one step.
        width: of the features; heads are linear in them.
        targets: `[rows of the features, tasks]`.
    """

    trunk: nn.Module
    inputs: Tensor
    heads: nn.Module
    targets: Tensor

    def loss(self, task: int, view: Tensor) -> Tensor:
        """Mean squared error of one task's head."""
        return F.mse_loss(self.heads[task](view), self.targets[task])  # type: ignore[index]


def mlp(tasks: int) -> Workload:
    """Four layers of 512, batch 128."""
    layers = [nn.Linear(512, 512) for _ in range(4)]
    trunk = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    return _workload(trunk, torch.randn(128, 512), [nn.Linear(512, 1) for _ in range(tasks)])


def resnet(tasks: int) -> Workload:
    """torchvision's ResNet-18 on 32×32 pictures, batch 64; its first convolution as it is for larger ones."""
    from torchvision.models import resnet18

    trunk = resnet18(num_classes=1)
    trunk.fc = nn.Identity()
    return _workload(trunk, torch.randn(64, 3, 32, 32), [nn.Linear(512, 1) for _ in range(tasks)])


class Encoder(nn.Module):
    """Transformer over embedded tokens; features are the means over tokens."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, L]` → `[B, D]`."""
        return self.layers(self.embedding(tokens)).mean(1)


def transformer(tasks: int) -> Workload:
    """Four layers of 256, 16 texts of 64 tokens."""
    return _workload(Encoder(4, 256), torch.randint(1000, (16, 64)), [nn.Linear(256, 1) for _ in range(tasks)])


def decoder(tasks: int) -> Workload:
    """A convolutional encoder and decoder on 32×32 pictures, batch 16; heads predict every pixel."""
    widths = [3, 32, 64, 128]
    down = [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairwise(widths)]
    up = [
        nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(a, b, 3, 1, 1), nn.BatchNorm2d(b), nn.ReLU())
        for a, b in ((128, 64), (64, 32), (32, 32))
    ]
    return _workload(nn.Sequential(*down, *up), torch.randn(16, 3, 32, 32), [nn.Conv2d(32, 1, 1) for _ in range(tasks)])


def _workload(trunk: nn.Module, inputs: Tensor, heads: list[nn.Module]) -> Workload:
    with torch.no_grad():
        features = trunk(inputs)
        targets = torch.stack([torch.randn_like(heads[0](features)) for _ in heads])
    return Workload(trunk, inputs, nn.ModuleList(heads), targets)


NETWORKS: dict[str, Callable[[int], Workload]] = {
    "mlp": mlp,
    "resnet18": resnet,
    "transformer": transformer,
    "decoder": decoder,
}
