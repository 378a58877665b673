"""Graphs as arrays of nodes and edges.

Shape legend: `n` rows, `L` nodes, `E` edges, `M` nodes or edges, `C` features that are names, `P` that are numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trunkline.arrays.contract import ArrayCells, Arrays, State, lengths_mask, padded
from trunkline.arrays.graphs import NodesAndEdges, read_graph
from trunkline.arrays.scaling import standardised
from trunkline.cells import as_name
from trunkline.contexts import WordsContext
from trunkline.errors import DataError

Row = Sequence[float | str]


class GraphItem(NamedTuple):
    """One graph, prepared.

    Attributes:
        names: of the nodes, `[L, C]`.
        numbers: of the nodes, `[L, P]`.
        ends: of the edges, `[E, 2]`.
        edge_names: `[E, C]`.
        edge_numbers: `[E, P]`.
    """

    names: np.ndarray
    numbers: np.ndarray
    ends: np.ndarray
    edge_names: np.ndarray
    edge_numbers: np.ndarray


@dataclass(frozen=True)
class GraphCells(ArrayCells):
    """Graphs; `directed`: edges of JSON go one way only."""

    directed: bool = False

    def read(self, cell: Any) -> NodesAndEdges:
        """See `read_graph`."""
        return read_graph(cell)

    def prepare(self, value: NodesAndEdges, state: State) -> tuple[GraphItem, WordsContext]:
        """Features as the network takes them, and edges both ways unless they have a direction; nodes stand for words.

        Raises:
            DataError: features are not those of training.
        """
        ends, features = list(value.edges), list(value.edge_features)
        if value.smiles is not None or not self.directed:
            back = [place for place, (start, end) in enumerate(value.edges) if start != end]
            ends += [(value.edges[place][1], value.edges[place][0]) for place in back]
            features += [value.edge_features[place] for place in back]
        return GraphItem(
            *encode_features(value.nodes, state["nodes"], "nodes"),
            np.array(ends, np.int64).reshape(-1, 2),
            *encode_features(features, state["edges"], "edges"),
        ), WordsContext(value.words, tuple((place, place + 1) for place in range(len(value.nodes))))

    def collate(self, items: Sequence[GraphItem]) -> Arrays:
        """Padded to the graphs with the most nodes and the most edges, with zeros that nobody reads.

        `{"names": [n, L, C], "numbers": [n, L, P], "mask": [n, L], "ends": [n, E, 2], "edge_names": [n, E, C],
        "edge_numbers": [n, E, P], "edge_mask": [n, E]}`.
        """
        values = {name: padded([getattr(item, name) for item in items]) for name in GraphItem._fields}
        nodes, edges = ([len(getattr(item, name)) for item in items] for name in ("names", "ends"))
        return {**values, "mask": lengths_mask(nodes), "edge_mask": lengths_mask(edges)}


def encode_features(rows: Sequence[Row], states: Sequence[State], what: str) -> tuple[np.ndarray, np.ndarray]:
    """`[M, C]` ids, 0 of a name that training did not have, and `[M, P]` numbers on their scales.

    Raises:
        DataError: training had another number of features, or numbers where there is a name.
    """
    if rows and len(rows[0]) != len(states):
        raise DataError(f"{what} have {len(rows[0])} features; in training they had {len(states)}")
    columns = [[row[place] for row in rows] for place in range(len(states))]
    names = [_ids(c, s["values"]) for c, s in zip(columns, states) if "values" in s]
    numbers = [_scaled(c, s, place, what) for place, (c, s) in enumerate(zip(columns, states)) if "mean" in s]
    return _beside(names, len(rows), np.int64), _beside(numbers, len(rows), np.float32)


def _ids(column: Row, known: Sequence[str]) -> np.ndarray:
    ids = {name: number for number, name in enumerate(known, start=1)}
    return np.array([ids.get(as_name(value), 0) for value in column], np.int64)


def _scaled(column: Sequence[Any], state: State, place: int, what: str) -> np.ndarray:
    for value in column:
        if isinstance(value, str):
            raise DataError(f"feature {place} of {what} is {value!r}; in training it was always a number")
    return standardised(column, state)


def _beside(columns: Sequence[np.ndarray], rows: int, dtype: Any) -> np.ndarray:
    return np.stack(columns, 1) if columns else np.zeros((rows, 0), dtype)
