"""What was exported, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkline.export.onnx import Exported
    from trunkline.export.quantizing import Quantized


def tell(written: Exported) -> Iterator[str]:
    """Where it is, and how near the original."""
    yield f"{written.path}: {written.megabytes:.1f} MB"
    for name, difference in written.differences.items():
        yield f"  {name}: differs from PyTorch by at most {difference:.1e}"
    for name, (same, texts) in written.texts.items():
        yield f"  {name}: {same} of {texts} texts are PyTorch's, token by token"
    for name, said in written.sounds.items():
        yield (f"  {name}: {said.same} of {said.count} sounds are as long as PyTorch's; log-mel differs by at most "
               f"{said.mel:.1e}, samples by {said.wave:.1e}")  # fmt: skip
    if written.prepared:
        worst = max(written.prepared, key=lambda name: written.prepared[name])
        yield f"  prepared without PyTorch: {worst} differs most, by {written.prepared[worst]:.1e}"


def tell_smaller(smaller: Quantized) -> Iterator[str]:
    """Sizes, times and scores with weights of 8 bits, beside those of the full graph."""
    (large, small), (slow, fast) = smaller.megabytes, smaller.milliseconds
    yield (f"{smaller.path}: {small:.1f} MB (full: {large:.1f}), {fast:.2f} ms a row (full: {slow:.2f}); on "
           f"{smaller.rows} held-out rows, full → int8:")  # fmt: skip
    full, now = smaller.scores
    for task, scores in now.items():
        for metric, score in (scores or {}).items():
            before = (full[task] or {}).get(metric)
            if score is not None and before is not None:
                yield f"  {task} {metric}: {before:.4f} → {score:.4f}"
