"""What was exported, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkline.export.onnx import Exported
    from trunkline.export.quantizing import Quantized

SHOWN = 4  # of tasks that have one head


def tell(written: Exported) -> Iterator[str]:
    """Where it is, and how near the original."""
    yield f"{written.path}: {written.megabytes:.1f} MB"
    for head, difference in written.differences.items():
        name = _listed(written.tasks.get(head, (head,)))
        yield f"  {name}: differs from PyTorch by at most {difference:.1e}"
    for name, (same, texts) in written.texts.items():
        yield f"  {name}: {same} of {texts} texts are PyTorch's, token by token"
    for name, said in written.sounds.items():
        yield (f"  {name}: {said.same} of {said.count} sounds are as long as PyTorch's; log-mel differs by at most "
               f"{said.mel:.1e}, samples by {said.wave:.1e}")  # fmt: skip
    for name, found in written.boxes.items():
        yield (f"  {name}: {found.same} of {found.count} boxes are PyTorch's, {found.more} are others; edges differ "
               f"by at most {found.edge:.1e} of a pixel, scores by {found.score:.1e}")  # fmt: skip
    if written.prepared:
        worst = max(written.prepared, key=lambda name: written.prepared[name])
        most = written.prepared[worst]
        told = f"{worst} differs most, by {most:.1e}" if most > 0 else "no difference in any input"
        yield f"  prepared without PyTorch: {told}"


def _listed(tasks: Sequence[str]) -> str:
    """Some of them by name.

    Example:
        >>> _listed(["a", "b"]), _listed([f"t{n}" for n in range(9)])
        ('a, b', 't0, t1, t2, t3 and 5 more tasks')
    """
    rest = len(tasks) - SHOWN
    return ", ".join(tasks) if rest < 2 else f"{', '.join(tasks[:SHOWN])} and {rest} more tasks"


def tell_smaller(smaller: Quantized) -> Iterator[str]:
    """Sizes, times and scores with smaller weights, beside those of the full graph."""
    (large, small), (slow, fast) = smaller.megabytes, smaller.milliseconds
    yield (f"{smaller.path}: {small:.1f} MB (full: {large:.1f}), {fast:.2f} ms a row (full: {slow:.2f}); on "
           f"{smaller.rows} held-out rows, full → {smaller.precision}:")  # fmt: skip
    full, now = smaller.scores
    for task, scores in now.items():
        for metric, score in (scores or {}).items():
            before = (full[task] or {}).get(metric)
            if score is not None and before is not None:
                yield f"  {task} {metric}: {before:.4f} → {score:.4f}"
