"""Level `sketch`: the Gramian at all that is shared, estimated without weight gradients of large layers.

Each task's gradients go down the shared part in a pass of their own, which needs gradients of activations only. What a
pass leaves of a parameter is a small form (see `measures`). The ordinary backward pass then goes on with the weighted
sum: the update is an exact combination of the tasks' gradients, only its weights follow from an estimate.

Shape legend: `T` tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from trunkline.engine.distributed import num_ranks
from trunkline.engine.graph import Graph, agreed_leaves, gradients_at
from trunkline.engine.levels import Comparison, Gradients
from trunkline.engine.measures import Measure, measures_of
from trunkline.engine.products import nothing_yet
from trunkline.engine.refusals import check_passable
from trunkline.errors import ConfigError


class Sketch(nn.Module):
    """How gradients are estimated. Each comparison draws directions of its own, the same on all ranks.

    Args:
        share: directions in which a layer's input is looked at, as a share of its width. The costs of a task grow by
            this share of a weight gradient; 1 is exact.
        least: directions at least; narrower layers are exact.
        seed: of all directions.

    Raises:
        ConfigError: `share` is no share, or `least` is under 2.
    """

    def __init__(self, *, share: float = 1 / 16, least: int = 16, seed: int = 0) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ConfigError(f"sketch.share: {share} is no share; above 0 up to 1 can be")
        if least < 2:
            raise ConfigError(f"sketch.least: {least} directions are too few; 2 or more can be")
        self.share, self.least, self.seed = share, least, seed
        self.drawn = 0  # comparisons so far; on the host, where it costs nothing to look at

    def draws(self) -> torch.Generator:
        """Of the next comparison."""
        self.drawn += 1
        return torch.Generator().manual_seed((self.seed * 1_000_003 + self.drawn) % 2**32)  # only so many bits count

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}drawn"] = torch.tensor(self.drawn)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
        self.drawn = int(state_dict.get(f"{prefix}drawn", 0))

    def extra_repr(self) -> str:
        """Shown in the model's print-out."""
        return f"share={self.share}, least={self.least}, seed={self.seed}"

    def columns(self, width: int) -> int:
        """Directions for an input of this width."""
        return max(self.least, ceil(self.share * width))


class Sketched(Comparison):
    """One pass a task, forms of each parameter.

    Args:
        taps: through which the tasks read.
        shared: what is shared is among these, in the same order on all ranks; needed where there are several.
        sketch: how.
    """

    def __init__(self, taps: Sequence[Tensor], shared: Sequence[Tensor], sketch: Sketch) -> None:
        self.taps = [get_gradient_edge(tap) for tap in taps]
        self.shared, self.sketch = shared, sketch

    def gramian(
        self, gradients: Sequence[Gradients], tasks: Sequence[int], kept: Sequence[Tensor], blank: Tensor
    ) -> Tensor:
        """Linear forms, summed over ranks before products are taken."""
        graph = Graph(self.taps)
        check_passable("sketch", graph, self.shared)
        is_ordered = bool(self.shared) or num_ranks() > 1
        leaves = agreed_leaves(graph.leaves, self.shared) if is_ordered else graph.leaves
        measures = measures_of(
            leaves, graph, columns=self.sketch.columns, generator=self.sketch.draws(), blank=blank.new_zeros(())
        )
        with Passes(self.taps, graph, measures) as passes:
            for own in gradients:
                passes.run(own)
        gramian = nothing_yet(len(blank), blank)
        for measure in measures:
            gramian += measure.gramian(blank)
        return gramian


class Passes:
    """One task's gradients after the other go down, and each measure takes its part.

    Asked for all of them at the end, autograd would keep the gradients of all activations. So where a pass goes on
    below an operation, its measure looks at the gradient on the way, and it is gone again; only at the lower ends must
    the pass bring it.

    Args:
        taps: where passes start.
        graph: below them.
        measures: of its parameters.
    """

    def __init__(self, taps: Sequence[GradientEdge], graph: Graph, measures: Sequence[Measure]) -> None:
        self.taps = taps
        inner = graph.above(_nodes([edge for measure in measures for edge in measure.edges], graph))
        single = {m: m.edges[0] for m in measures if len(m.edges) == 1}
        self.on_the_way = {m: e for m, e in single.items() if isinstance(e, GradientEdge) and e.node in inner}
        self.at_the_end = [m for m in measures if m not in self.on_the_way]
        self._waiting: set[Measure] = set()
        self._handles: list[Any] = []

    def __enter__(self) -> Passes:
        for measure, edge in self.on_the_way.items():
            node: Any = edge.node
            self._handles.append(node.register_prehook(partial(self._show, measure, edge.output_nr)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def run(self, own: Gradients) -> None:
        """The next task's, one gradient a tap."""
        self._waiting = set(self.on_the_way)
        found = iter(gradients_at(self.taps, [edge for m in self.at_the_end for edge in m.edges], own))
        for measure in self.at_the_end:
            measure.take([next(found) for _ in measure.edges])
        for measure in self._waiting:
            measure.take([None])  # no gradient came by

    def _show(self, measure: Measure, output: int, gradients: Gradients) -> None:
        if measure in self._waiting:
            self._waiting.remove(measure)
            measure.take([gradients[output]])


def _nodes(edges: Sequence[GradientEdge | Tensor], graph: Graph) -> list[Node]:
    """Where they stand; a leaf that only other ranks use stands nowhere."""
    found = [graph.leaf_nodes.get(edge) if isinstance(edge, Tensor) else edge.node for edge in edges]
    return [node for node in found if node is not None]
