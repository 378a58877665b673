"""How far what is said lies from what should be heard.

Shape legend: `n` rows, `T` frames, `M` mel bands.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torchmetrics
from torch import Tensor

from trunkline.tasks.contract import Scores, Target

TOGETHER = 2**24  # distances between frames that are held at once


def warped(distances: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The mean distance between two sequences along the best way to stretch them onto each other, `[n]`.

    Dynamic time warping in its symmetric form (Sakoe and Chiba 1978, table I, P = 0): a step in both counts twice, so
    all ways have the same weight, the lengths' sum, by which it is divided.

    Args:
        distances: `[n, T1, T2]`, of each frame of the one from each of the other.
        rows: length of the one, `[n]`.
        columns: length of the other, `[n]`.
    """
    many, longest, other = distances.shape
    places = torch.arange(longest, device=distances.device)
    never = distances.new_full((many, 1), torch.inf)
    before = distances.new_full((many, longest), torch.inf)  # of the last diagonal, by place in the one
    earlier, found = before, distances.new_zeros(many)
    for diagonal in range(longest + other - 1):
        column = diagonal - places
        here = distances[:, places, column.clamp(0, other - 1)]
        both = torch.cat([never, earlier[:, :-1]], 1) + here
        best = torch.minimum(torch.minimum(before, torch.cat([never, before[:, :-1]], 1)), both)
        if diagonal == 0:
            best = torch.where(places == 0, here, torch.inf)  # the first pair: twice in all
        now = torch.where((column >= 0) & (column < other), best + here, torch.inf)
        is_end = rows + columns - 2 == diagonal
        found = torch.where(is_end, now.gather(1, (rows - 1).unsqueeze(1)).squeeze(1), found)
        earlier, before = before, now
    return found / (rows + columns)


def sound_distances(said: Tensor, said_sizes: Tensor, true: Tensor, true_sizes: Tensor, std: Tensor) -> Tensor:
    """Decibels between sounds, `[n]`: the root mean square over bands of their log-mel frames, along the best warp.

    Args:
        said: standardised frames `[n, T1, M]`.
        said_sizes: frames of each, `[n]`.
        true: `[n, T2, M]`.
        true_sizes: `[n]`.
        std: of each band in decibels, `[M]`.
    """
    a, b = (std * x.float() for x in (said, true))
    few = max(1, TOGETHER // (a.shape[1] * b.shape[1]))
    parts = [slice(start, start + few) for start in range(0, len(a), few)]
    distances = (torch.cdist(a[part], b[part]) / a.shape[2] ** 0.5 for part in parts)
    return torch.cat([warped(d, said_sizes[part], true_sizes[part]) for d, part in zip(distances, parts)])


class SpeechMetric(torchmetrics.Metric):
    """`mel_distance` in decibels, and `duration_error`, the share by which a sound is too long or too short.

    Args:
        std: of each band in decibels.
    """

    full_state_update = False
    std: Tensor
    distance: Tensor
    length: Tensor
    count: Tensor

    def __init__(self, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("std", std, persistent=False)
        for name in ("distance", "length", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, output: Mapping[str, Tensor], target: Target) -> None:
        """An output with `frames` and `sizes`, a target with `values` and `sizes`."""
        said, true = output["sizes"], target["sizes"]
        self.distance += sound_distances(output["frames"], said, target["values"], true, self.std).double().sum()
        self.length += ((said - true).abs() / true).double().sum()
        self.count += len(true)

    def compute(self) -> list[Scores | None]:
        """The scores; `None` where no sound was heard."""
        if not self.count:
            return [None]
        return [{"mel_distance": float(self.distance / self.count), "duration_error": float(self.length / self.count)}]
