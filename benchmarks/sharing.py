"""What each trunk costs, counted: multiply–adds of a training step and of a prediction, relative to `hard`.

    python -m benchmarks.sharing

Every trunk has its defaults; every task is labelled on every row and reads all tokens. What is counted are the matrix
products of the trunk and of all tasks' views (`torch.utils.flop_counter`), without encoders and heads.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from trunkline.trunks import CATALOG, Trunk
from trunkline.types import Span, Tokens

TASKS = (2, 5, 12)
ROWS, WORDS, WIDTH = 4, 16, 64


def tokens(learns: bool) -> Tokens:
    """A row token and some words; where encoders learn, gradients go on to them."""
    spans = (Span(None, 0, 1, "set", (1,)), Span("note", 1, 1 + WORDS, "words", (WORDS,)))
    mask = torch.ones(ROWS, 1 + WORDS, dtype=torch.bool)
    return Tokens(torch.randn(ROWS, 1 + WORDS, WIDTH, requires_grad=learns), mask, spans)


def multiply_adds(trunk: Trunk, tasks: int, *, learns: bool) -> int:
    """Of one pass through the trunk and the views of all tasks; with `learns`, forth and back."""
    names = [str(k) for k in range(tasks)]
    module, given = trunk.build(names, WIDTH).train(learns).requires_grad_(learns), tokens(learns)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(learns):
        taps = module.share(given)
        views = [module.view(name, taps).values for name in (names[:1] if module.one_view else names)]
        if learns:
            torch.stack(views).square().sum().backward()
    return counter.get_total_flops() // 2


def table() -> list[str]:
    """Lines of `docs/sharing.md`."""
    head = [f"{kind}, {count} tasks" for kind in ("step", "prediction") for count in TASKS]
    lines = [f"| trunk | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    for name, trunk in CATALOG.items():
        costs = [
            multiply_adds(trunk(), count, learns=learns) / multiply_adds(CATALOG["hard"](), count, learns=learns)
            for learns in (True, False)
            for count in TASKS
        ]
        lines.append(f"| `{name}` | {' | '.join(f'{cost:.1f}' for cost in costs)} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
