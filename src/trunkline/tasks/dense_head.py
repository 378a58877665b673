"""Heads and metrics of dense tasks.

Shape legend: `n` rows, `C` channels, 1 or 3, `H, W` pixels as the encoder sees them. Targets hold NaN in all channels
of a pixel that is not known.
"""

from __future__ import annotations

import torch
import torchmetrics
from torch import Tensor
from torch.nn import functional as F

from trunkline.tasks.contract import Scores, Target
from trunkline.tasks.dense_scales import as_reported
from trunkline.tasks.pixels import PixelHead
from trunkline.types import State, Tokens

SHORT = 1e-3  # vectors below are not stretched to 1, which would stretch their gradients, too
WITHIN = {"within_11": 11.25, "within_22": 22.5, "within_30": 30.0}


def known_of(target: Target) -> Tensor:
    """`[n, 1, H, W]` bool."""
    return ~target["values"][:, :1].isnan()


class ValueHead(PixelHead):
    """Scaled values, `[n, C, H, W]`."""

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Huber's error of scaled values, a mean over channels, summed over known pixels, and their number.

        Squared up to one standard deviation, so that the mean is aimed at, as `rmse` asks; a line beyond, so that a
        sensor's outliers and the edges of things, where a pixel's place decides, pull with limited force (Huber,
        "Robust estimation of a location parameter", 1964; of depth and disparity Chang and Chen, "Pyramid stereo
        matching network", 2018).
        """
        known = known_of(target)
        truth = torch.where(known, target["values"], 0.0)
        error = torch.where(known, output.to(truth.dtype) - truth, 0.0)
        total = 2 * F.huber_loss(error, torch.zeros_like(error), reduction="none").mean(1)
        return total.sum().unsqueeze(0), known.sum().to(total.dtype).unsqueeze(0)


class DirectionHead(PixelHead):
    """Unit vectors, `[n, 3, H, W]`."""

    def predict_output(self, view: Tokens) -> Tensor:
        """Of length 1."""
        said = super().predict_output(view)
        return F.normalize(said.to(torch.promote_types(said.dtype, torch.float32)), dim=1, eps=SHORT)

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """1 − cosine, summed over known pixels, and their number (Eigen and Fergus, "Predicting depth, surface normals
        and semantic labels with a common multi-scale convolutional architecture", 2015, equation 2).
        """
        known = known_of(target)
        truth = torch.where(known, target["values"], 0.0)
        cosine = (output.to(truth.dtype) * truth).sum(1, keepdim=True)
        total = torch.where(known, 1 - cosine, 0.0)
        return total.sum().unsqueeze(0), known.sum().to(total.dtype).unsqueeze(0)


class ValueErrors(torchmetrics.Metric):
    """`rmse` and `abs_err` of known pixels, in the map's units, over all channels.

    Args:
        state: of the task.
    """

    full_state_update = False
    squares: Tensor
    sizes: Tensor
    count: Tensor

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state = state
        for name in ("squares", "sizes", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Target) -> None:
        """`output [n, C, H, W]`, `target["values"] [n, C, H, W]`."""
        truth = as_reported(target["values"], self.state, is_limited=False)
        known = known_of(target).expand_as(truth)
        error = as_reported(output, self.state)[known] - truth[known]
        self.squares += error.square().sum()
        self.sizes += error.abs().sum()
        self.count += known.sum()

    def compute(self) -> list[Scores | None]:
        """`None` where no pixel was known."""
        if not self.count:
            return [None]
        return [{"rmse": float((self.squares / self.count).sqrt()), "abs_err": float(self.sizes / self.count)}]


class DirectionErrors(ValueErrors):
    """The angle between what is said and what is true, too: its mean in degrees, and the share of pixels within 11.25,
    22.5 and 30 degrees (Fouhey, Gupta and Hebert, "Data-driven 3D primitives for single image understanding", 2013).

    Args:
        state: of the task.
    """

    angles: Tensor
    within: Tensor

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.add_state("angles", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("within", torch.zeros(len(WITHIN), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Target) -> None:
        """`output [n, 3, H, W]`, `target["values"] [n, 3, H, W]`."""
        super().update(output, target)
        angles = angles_between(as_reported(output, self.state), target["values"].double())[known_of(target)[:, 0]]
        limits = torch.tensor(list(WITHIN.values()), dtype=angles.dtype, device=angles.device)
        self.angles += angles.sum()
        self.within += (angles < limits[:, None]).sum(1)

    def compute(self) -> list[Scores | None]:
        """`None` where no pixel was known."""
        (scores,) = super().compute()
        if scores is None:
            return [None]
        pixels = self.count / 3
        shares = dict(zip(WITHIN, (self.within / pixels).tolist()))
        return [{"angle_mean": float(self.angles / pixels), **scores, **shares}]


def angles_between(first: Tensor, second: Tensor) -> Tensor:
    """Of vectors `[n, 3, H, W]`, in degrees, `[n, H, W]`; exact for small ones, too."""
    across = torch.linalg.cross(first, second, dim=1).norm(dim=1)
    return torch.rad2deg(torch.atan2(across, (first * second).sum(1)))
