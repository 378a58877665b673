"""An ensemble that shares its weights: every member's row goes through the head, and what is said is averaged.

Shape legend: `M` members, `n` rows looked at, `G` tasks of a head. Rows of all members lie one member after the other,
`M · n`.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trunkline.model.numbers import HeadWatch, answer
from trunkline.tasks import Head


def rows_of_members(rows: Tensor) -> Tensor:
    """The row tokens that a view begins with, `[n, M, D]` → `[M · n, D]`."""
    return rows.transpose(0, 1).flatten(0, 1)


def averaged(output: Tensor, members: int) -> Tensor:
    """What every member says `[M · n, …]` → its mean `[n, …]`; of logits that is the geometric mean of the odds."""
    return output.unflatten(0, (members, -1)).mean(0)


def members_loss(
    head: Head, view: Tensor, target: Mapping[str, Tensor], members: int, watch: HeadWatch | None = None
) -> tuple[Tensor, Tensor]:
    """`(sum [G], weight [G])`: the mean over members, each of which is judged by itself; the weight is that of one."""
    each = repeated(target, members)
    total, weight = head.loss(answer(head, view, each, watch), each)
    return total / members, weight / members


def repeated(target: Mapping[str, Tensor], times: int) -> dict[str, Tensor]:
    """The same rows, several times over."""
    return {name: value.repeat(times, *[1] * (value.dim() - 1)) for name, value in target.items()}
