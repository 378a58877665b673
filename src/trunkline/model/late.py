"""Late fusion in the network: every expert's view goes through the head, and the head joins what was said.

Shape legend: `E` experts, `B` rows of a batch, `n` rows looked at, `G` tasks of a head. Rows of all experts lie one
expert after the other, `E · B`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.fusion import LateModule
from trunkline.model.ensemble import repeated
from trunkline.model.modulation import factors, losses_alone, modulate
from trunkline.model.numbers import HeadWatch, answer
from trunkline.schema import Schema
from trunkline.tasks import Head
from trunkline.trunks import Trunk


def check_late(schema: Schema, trunk: Trunk) -> None:
    """Can every task join what is said of each input, and does the trunk do without their tokens?

    Raises:
        ConfigError: names the tasks, or the trunk.
    """
    faults = []
    if deaf := [name for name, column in schema.tasks.items() if not column.task.can_combine]:
        kinds = ", ".join(f"{name!r} ({type(schema.tasks[name].task).__name__.lower()})" for name in deaf)
        faults.append(f"fusion: late joins answers about the whole row, and {kinds} cannot be joined; "
                      "take another fusion, or leave them out")  # fmt: skip
    if trunk.wants_tokens:
        faults.append(f"trunk: {type(trunk).__name__.lower()} mixes the tokens of all inputs, which fusion late keeps "
                      "apart; take `trunk: hard`, or another fusion")  # fmt: skip
    if faults:
        raise ConfigError("\n".join(faults))


def rows_of_each(rows: Tensor | None, experts: int, stacked: int) -> Tensor | None:
    """These rows `[n]` of every expert, `[E · n]`, among `stacked = E · B`; `None` for all."""
    if rows is None:
        return None
    starts = torch.arange(experts, device=rows.device) * (stacked // experts)
    return (starts.unsqueeze(1) + rows).flatten()


def at_rows(present: Tensor, rows: Tensor | None) -> Tensor:
    """`[E, B]` → of these rows, `[E, n]`."""
    return present if rows is None else present.index_select(1, rows)


def joined(head: Head, output: Any, present: Tensor) -> Any:
    """What all experts say `[E · n, …]`, and which speak `[E, n]` → `[n, …]`."""
    return head.combine(output.unflatten(0, (present.shape[0], -1)), present)


def late_loss(
    head: Head,
    view: Tensor,
    target: Mapping[str, Tensor],
    present: Tensor,
    fusion: LateModule,
    blend: Tensor | None = None,
    watch: HeadWatch | None = None,
) -> tuple[Tensor, Tensor]:
    """`(sum [G], weight [G])` of what is said together and of what each expert that speaks says alone.

    Both are sums over rows, so they add up over batches and processes as any task's do.

    Args:
        head: of the task.
        view: `[V, E · n, D]`.
        target: of the `n` rows, with `flags`.
        present: `[E, n]`.
        fusion: has the share of each row's weight that its experts have alone, and how experts that are ahead are
            slowed down, see `Late`.
        blend: shares of what is said together and of each expert alone in its place, `[E + 1, G]`.
        watch: of the head's losses and gradients.
    """
    experts, each = present.shape[0], _of_each(target, present)
    if fusion.modulation > 0:  # each task has a gradient of its own, whatever it reads
        view = view.expand(target["flags"].shape[1], -1, -1)
    output = answer(head, view, each, watch)
    if fusion.modulation > 0:
        _slow_down(head, view, output.detach(), target, present, fusion)
    if blend is not None:
        total, weight = ((blend * apart).sum(0) for apart in _apart(head, output, target, present))
        return total, weight
    together = head.loss(joined(head, output, present), dict(target))
    apart = head.loss(output, each)
    total, weight = ((1 - fusion.alone) * a + fusion.alone / experts * b for a, b in zip(together, apart))
    return total, weight


def losses_apart(head: Head, view: Tensor, target: Mapping[str, Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
    """`(sum [E + 1, G], weight [E + 1, G])` of what is said together, and of each expert alone where it speaks.

    Args:
        head: of the tasks.
        view: `[V, E · n, D]`.
        target: of the `n` rows, with `flags`.
        present: `[E, n]`.
    """
    return _apart(head, head.train_output(view, _of_each(target, present)), target, present)


def _of_each(target: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
    """The rows once for each expert, with the labels of those in which it speaks."""
    each = repeated(target, len(present))
    return {**each, "flags": each["flags"] & present.flatten().unsqueeze(1)}


def _apart(head: Head, output: Any, target: Mapping[str, Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
    together = head.loss(joined(head, output, present), dict(target))
    alone = losses_alone(head, output.unflatten(0, (len(present), -1)), target, present)
    sums, weights = (torch.cat([one.reshape(1, -1), own]).float() for one, own in zip(together, alone))
    return sums, weights


def _slow_down(
    head: Head, view: Tensor, output: Tensor, target: Mapping[str, Tensor], present: Tensor, fusion: LateModule
) -> None:
    """Modulate what comes back through the view `[G, E · n, D]`, but for the joint expert's.

    Noise is drawn also where no gradient is recorded: a look at a step that is to come has its random numbers.
    """
    inputs = fusion.experts - fusion.joint
    present, rows = present[:inputs], present.shape[1]
    noise = torch.randn_like(view[:, : inputs * rows]).unflatten(1, (inputs, rows)) if fusion.noise else None
    if not view.requires_grad:
        return
    said = output.unflatten(0, (fusion.experts, rows))[:inputs]
    factor = factors(head, said, target, present, fusion.modulation)
    labelled = present & target["flags"].T.unsqueeze(1)  # [G, M, n]

    def changed(gradient: Tensor) -> Tensor:
        own = gradient[:, : inputs * rows].unflatten(1, (inputs, rows))
        own = modulate(own, factor, labelled, present.sum(0) > 1, noise)
        return torch.cat([own.flatten(1, 2), gradient[:, inputs * rows :]], 1)

    view.register_hook(changed)
