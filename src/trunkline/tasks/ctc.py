"""Connectionist temporal classification: what is said, without knowing when (Graves et al., 2006).

Class 0 is the blank. A path has a class a slot; what it says are its classes, of which runs are one and blanks none.

Shape legend: `n` rows, `L` tokens, `D` width, `S` slots (`L` times those of a token), `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.arrays.ctc_search import BLANK
from trunkline.tasks.contract import Head, Target
from trunkline.types import Tokens

NEVER = -1e4  # log-probability of what cannot be: finite, so that no slope is lost in infinities


class CtcHead(Head):
    """Tokens in time → log-probabilities of the classes in every slot, `[n, S, C]`.

    Slots that a row does not have say nothing for sure, so that an output knows no padding.

    Args:
        width: `D`.
        classes: `C`, the blank among them.
        slots: of each token.
    """

    def __init__(self, width: int, classes: int, slots: int) -> None:
        super().__init__()
        self.slots = slots
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, slots * classes)

    def predict_output(self, view: Tokens) -> Tensor:
        """`[n, S, C]`."""
        logits = self.linear(self.norm(view.values)).unflatten(2, (self.slots, -1)).flatten(1, 2)
        said = logits.float().log_softmax(2)
        silent = torch.full_like(said[:1, :1], NEVER).index_fill(2, said.new_tensor([BLANK]).long(), 0.0)
        return torch.where(view.mask.repeat_interleave(self.slots, 1).unsqueeze(2), said, silent)

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """`−log p(target)`: `(sum [1], units [1])`; an empty target counts as one unit.

        A row that has fewer slots than its target needs can say it on no path: it teaches nothing.
        """
        flags = target["flags"][:, 0]
        sizes = target["sizes"] * flags
        costs = F.ctc_loss(
            output.transpose(0, 1),
            target["values"],
            torch.full_like(sizes, output.shape[1]),
            sizes,
            blank=BLANK,
            reduction="none",
            zero_infinity=True,  # else a row that cannot be said has a slope of NaN
        )
        counts = flags & (needed_slots(target["values"], sizes) <= own_slots(output))
        total = torch.where(counts, costs, 0.0).sum()
        return total.reshape(1), (sizes.clamp(min=1) * counts).sum().to(total.dtype).reshape(1)


def own_slots(output: Tensor) -> Tensor:
    """How many slots a row of `output [n, S, C]` has: those in which it is not sure to say nothing, `[n]`.

    What a row costs does not tell it: with many slots and classes every path is as unlikely before anything is learned.
    """
    return (output[:, :, BLANK + 1 :] != NEVER).any(2).sum(1)


def needed_slots(units: Tensor, sizes: Tensor) -> Tensor:
    """Of each target, `units [n, U]` of which the first `sizes [n]` count: one a unit, one between two equal ones."""
    is_second = torch.arange(1, units.shape[1], device=units.device) < sizes.unsqueeze(1)
    return sizes + ((units[:, 1:] == units[:, :-1]) & is_second).sum(1)


def align(log_p: np.ndarray, units: Sequence[int]) -> list[tuple[int, int]]:
    """The likeliest path that says `units`: for each its first slot, and one past its last (Viterbi).

    Args:
        log_p: of the classes in each slot of one row, `[S, C]`.
        units: classes but the blank, in their order.

    Returns:
        One pair a unit; none where there are fewer slots than the units need.
    """
    if not units:
        return []
    path = [BLANK, *(one for unit in units for one in (unit, BLANK))]  # [2 U + 1]
    said = log_p[:, path]
    skips = np.array([i > 1 and one not in (BLANK, path[i - 2]) for i, one in enumerate(path)])
    best = np.full(len(path), -np.inf)
    best[:2] = said[0, :2]
    steps = []
    for slot in said[1:]:
        before = np.stack(
            [best, np.r_[-np.inf, best[:-1]], np.where(skips, np.r_[-np.inf, -np.inf, best[:-2]], -np.inf)]
        )
        steps.append(before.argmax(0))
        best = before.max(0) + slot
    place = max(len(path) - 2, len(path) - 1, key=best.__getitem__)
    if best[place] == -np.inf:
        return []
    places = [place]
    for step in reversed(steps):
        place -= int(step[place])
        places.append(place)
    places.reverse()
    return [(places.index(own), len(places) - places[::-1].index(own)) for own in range(1, len(path), 2)]
