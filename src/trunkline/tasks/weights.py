"""Class weights: how much a row of each class counts in the loss, which stays a weighted mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from trunkline.errors import DataError, suggest
from trunkline.types import State

ClassWeights = Literal["balanced"] | Sequence[float] | Mapping[str, float]


def weights_of(given: ClassWeights | None, classes: Sequence[str], shares: Sequence[float]) -> list[float] | None:
    """One weight a class, in order; `None` where none are given.

    Args:
        given: `balanced` gives every class the same part of the loss, `1 / (K · share)`, as scikit-learn defines it; a
            list has one weight a class in order; a mapping names some classes, the others have weight 1.
        classes: names, in order.
        shares: of the training rows that each has.

    Raises:
        DataError: they do not fit the classes.
    """
    if given is None:
        return None
    if given == "balanced":
        return [1.0 if share == 0 else 1 / (len(classes) * share) for share in shares]
    if isinstance(given, Mapping):
        if unknown := [name for name in given if name not in classes]:
            raise DataError(f"class_weights: {unknown[0]!r} is no class.{suggest(unknown[0], classes)}")
        weights = [float(given.get(name, 1.0)) for name in classes]
    else:
        weights = [float(weight) for weight in given]
    if len(weights) != len(classes):
        raise DataError(f"class_weights: {len(weights)} weights for {len(classes)} classes ({', '.join(classes)})")
    if min(weights) < 0 or max(weights) == 0:
        raise DataError(f"class_weights: {weights} must be positive, or 0 for a class that does not count")
    return weights


def shares_state(counts: Mapping[str, int], classes: Sequence[str], given: ClassWeights | None) -> State:
    """What fitting learns of classes: `{"prior": their shares}`, and their `weights` where some are given."""
    prior = [counts[name] / sum(counts.values()) for name in classes]
    weights = weights_of(given, classes, prior)
    return {"prior": prior, **({} if weights is None else {"weights": weights})}


def weight_table(weights: Sequence[Sequence[float] | None]) -> Tensor | None:
    """One list a task of a stack → `[G, K]`; `None` where there are none (a stack has equal options)."""
    given = [weight for weight in weights if weight is not None]
    return torch.tensor(given) if given else None


def shifted(shares: Sequence[float], weights: Sequence[float] | None) -> list[float]:
    """The shares that weighted classes seem to have: what a network that knows no input learns to say."""
    weighted = list(shares) if weights is None else [share * weight for share, weight in zip(shares, weights)]
    return [share / sum(weighted) for share in weighted]
