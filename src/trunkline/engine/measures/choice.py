"""Which measure a parameter gets: a small model of what each costs and what it misses.

A projection to `c` directions costs `c / in` of a weight gradient a task. Exact products cost `N / in` where `N` rows
go through a layer, and are taken while that is at most twice as much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
import torch.utils.checkpoint
from torch import Tensor

from trunkline.engine.distributed import num_ranks, sum_counts
from trunkline.engine.graph import Graph, Use
from trunkline.engine.measures.bias import Summed
from trunkline.engine.measures.contract import Measure
from trunkline.engine.measures.conv import Convolved
from trunkline.engine.measures.embedding import LookedUp
from trunkline.engine.measures.exact import Exact
from trunkline.engine.measures.linear import ByRows, Projected, activation

Kind = Literal["exact", "linear", "matrix", "convolution", "convolution bias", "embedding"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Columns = Callable[[int], int]

DEARER = 2  # exact products may cost so many times a projection

_SLOTS = {"AddmmBackward0": 2, "MmBackward0": 1, "ConvolutionBackward0": 1, "EmbeddingBackward0": 0}
_READ = {  # what a measure reads of what autograd has saved
    "AddmmBackward0": "mat1",
    "MmBackward0": "self",
    "ConvolutionBackward0": "input",
    "EmbeddingBackward0": "indices",
}


def measures_of(
    leaves: Sequence[Tensor], graph: Graph, *, columns: Columns, generator: torch.Generator, blank: Tensor
) -> list[Measure]:
    """One for each leaf, the same on all ranks.

    Args:
        leaves: the same on all ranks, in the same order.
        graph: of this rank.
        columns: of a projection, from a layer's width.
        generator: of the step's directions, in the same state on all ranks.
        blank: a zero, on the device and in the precision wanted.
    """
    uses = [graph.uses(leaf) if leaf in graph.leaf_nodes else [] for leaf in leaves]
    kinds = _agreed([measure_kind(own) if leaf in graph.leaf_nodes else None for leaf, own in zip(leaves, uses)])
    return [_measure(*each, columns, generator, blank) for each in zip(leaves, uses, kinds, strict=True)]


def measure_kind(uses: Sequence[Use]) -> Kind:
    """Of a parameter that enters these operations; `exact` where it enters others, or several kinds."""
    kinds = {_kind(use) for use in uses}
    return kinds.pop() if len(kinds) == 1 else "exact"


def _kind(use: Use) -> Kind:
    node: Any = use.node  # what autograd has saved has no type
    name = node.name()
    if name == "ConvolutionBackward0" and use.slot == 2:
        return "convolution bias"
    if _SLOTS.get(name) != use.slot or not _is_at_hand(node):
        return "exact"
    match name:
        case "AddmmBackward0" if node._saved_alpha != 1:
            return "exact"
        case "ConvolutionBackward0":
            plain = node._saved_groups == 1 and not node._saved_transposed
            return "convolution" if plain and not use.is_transposed else "exact"
        case "EmbeddingBackward0":
            return "exact" if node._saved_scale_grad_by_freq or use.is_transposed else "embedding"
        case _:
            return "linear" if use.is_transposed else "matrix"


def _is_at_hand(node: Any) -> bool:
    """What the parameter was multiplied with is dense, real, and can be read without running a checkpoint again."""
    name = _READ[node.name()]
    raw = getattr(node, f"_raw_saved_{name}")
    is_packed = getattr(raw, "unpack_hook", None) is not None  # versions of PyTorch before 2.7 do not tell
    if is_packed and type(raw.data).__module__ == torch.utils.checkpoint.__name__:
        return False  # it would be unpacked once more than the pass allows
    saved: Tensor = getattr(node, f"_saved_{name}")
    return saved.layout == torch.strided and not saved.is_complex()


def _agreed(kinds: Sequence[Kind | None]) -> list[Kind]:
    """Of all ranks; `None` where a rank does not use a parameter."""
    if num_ranks() == 1:
        return [kind or "exact" for kind in kinds]
    counts = iter(sum_counts([kind == known for kind in kinds for known in KINDS]))
    found = [{known for known in KINDS if next(counts)} for _ in kinds]
    return [each.pop() if len(each) == 1 else "exact" for each in found]


def _measure(
    leaf: Tensor, uses: Sequence[Use], kind: Kind, columns_of: Columns, generator: torch.Generator, blank: Tensor
) -> Measure:
    if kind == "exact":
        return Exact(leaf)
    if kind == "convolution bias":
        return Summed(uses, outputs=leaf.numel())
    if kind == "embedding":
        return LookedUp(uses, shape=leaf.shape, blank=blank)
    width = leaf.shape[0] if kind == "matrix" else leaf.shape[1]
    columns = columns_of(width)
    if columns >= width:
        return Exact(leaf)
    if kind == "convolution":
        return Convolved(uses, shape=leaf.shape, columns=columns, generator=generator, blank=blank)
    if num_ranks() == 1 and sum(len(activation(use)) for use in uses) <= DEARER * columns:
        return ByRows(uses, blank=blank)
    outputs = leaf.numel() // width
    return Projected(uses, width=width, columns=columns, outputs=outputs, generator=generator, blank=blank)
