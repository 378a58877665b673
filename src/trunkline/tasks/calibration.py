"""After training, on held-out rows: temperatures that make probabilities honest, thresholds that make F1 best.

Shape legend: `m` rows of one task, `n` rows, `G` tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trunkline.types import State

MIN_ROWS = 30  # labelled held-out rows, for one number to be fitted
MIN_EACH = 5  # of them a yes, and a no, for a threshold
COLDEST, HOTTEST = 1 / 20, 20.0
HALVINGS = 40


@dataclass(frozen=True)
class Settled:
    """What is set for one task after training.

    Attributes:
        state: additions to its state.
        skipped: by key, why something was not set.
    """

    state: State = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """How sure a task was of its answers, and whether they were right.

    Attributes:
        confidence: `[m]`, the probability of an answer.
        right: `[m]` bool.
        nll: mean negative logarithm of the probability that the true answers had.
    """

    confidence: Tensor
    right: Tensor
    nll: float


def fit_temperatures(loss: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Temperature scaling of logits by `1 / T` (Guo et al., "On calibration of modern neural networks", ICML 2017).

    The likelihood of logits `β z` is convex in `β = 1 / T`: halving `log β` by the sign of the slope finds every task's
    optimum at once. A normal prior on `log β`, worth one row, keeps a task without a mistake from infinite confidence;
    what it gives lies between 1 and the optimum, so that no task's likelihood is worse than before.

    Args:
        loss: `β [G] → [G]`, mean negative log-likelihood of each task's rows, in float64.
        rows: `[G]`, how many it has.

    Returns:
        `T [G]`, float64.
    """
    low = torch.full(rows.shape, COLDEST, dtype=torch.float64).log()
    high = -low
    for _ in range(HALVINGS):
        middle = ((low + high) / 2).requires_grad_()
        posterior = loss(middle.exp()) + middle.square() / (2 * rows)
        (slope,) = torch.autograd.grad(posterior.sum(), middle)
        low, high = low.where(slope > 0, middle.detach()), high.where(slope <= 0, middle.detach())
    found = ((low + high) / 2).exp()
    is_better = loss(found) < loss(torch.ones_like(found))
    return torch.where(is_better, 1 / found, 1.0)


def settle_temperatures(loss: Callable[[Tensor], Tensor], rows: Tensor) -> list[Settled]:
    """`{"temperature": T}` for each task with rows enough."""
    temperatures = fit_temperatures(loss, rows.double().clamp(min=1))
    return [
        Settled({"temperature": t}) if n >= MIN_ROWS else Settled(skipped={"temperature": too_few(n)})
        for t, n in zip(temperatures.tolist(), rows.tolist())
    ]


def too_few(rows: int) -> str:
    """Why nothing was fitted."""
    return f"{int(rows)} labelled validation rows are too few (at least {MIN_ROWS})"


def best_f1_threshold(logits: Tensor, truth: Tensor) -> float:
    """The probability above which saying yes gives the best F1.

    Args:
        logits: `[m]`, of calibrated probabilities.
        truth: `[m]` bool, with at least one yes.
    """
    ranked, order = logits.double().sort(descending=True)
    hits = truth[order].double().cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(ranked) + 1) + hits[-1])
    is_last = torch.cat([ranked[1:] < ranked[:-1], torch.tensor([True])])  # equal logits are told alike
    best = int(f1.masked_fill(~is_last, -1.0).argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best] - 1
    return float(((ranked[best] + below) / 2).clamp(-12, 12).sigmoid())


def settle_threshold(logits: Tensor, truth: Tensor) -> Settled:
    """`{"threshold": p}` where there are rows enough.

    Args:
        logits: `[m]`, of calibrated probabilities.
        truth: `[m]` bool.
    """
    if len(truth) < MIN_ROWS:
        return Settled(skipped={"threshold": too_few(len(truth))})
    yes = int(truth.sum())
    if min(yes, len(truth) - yes) < MIN_EACH:
        has = f"{yes} yes and {len(truth) - yes} no in the validation rows"
        return Settled(skipped={"threshold": f"{has} are too few (at least {MIN_EACH} of each)"})
    return Settled({"threshold": best_f1_threshold(logits, truth)})


def settle_refusal(heights: Tensor, share: float) -> Settled:
    """`{"least_logit": height}` below which nearly this share of held-out rows lies, where there are rows enough.

    Args:
        heights: `[m]`, the largest logits of rows that have all inputs and a class that is known and not `unknown`.
        share: of them.
    """
    if len(heights) < MIN_ROWS:
        kind = (
            "validation rows with all inputs, labelled with a class that training saw and that is not `unknown` itself,"
        )
        return Settled(skipped={"least_logit": f"{len(heights)} {kind} are too few (at least {MIN_ROWS})"})
    return Settled({"least_logit": float(heights.double().quantile(share, interpolation="lower"))})


def merged(one: Settled, other: Settled) -> Settled:
    """What both set, and what both did not."""
    return Settled({**one.state, **other.state}, {**one.skipped, **other.skipped})
