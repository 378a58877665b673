"""A cell that is a graph → nodes with features, and edges between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from trunkline.arrays.molecules import Molecule, read_smiles
from trunkline.cells import as_number, parse_json, whole_text
from trunkline.errors import DataError, brief, suggest

KEYS = ("nodes", "edges", "edge_features")
Features = tuple[float | str, ...]  # of one node or edge: numbers and names


@dataclass(frozen=True)
class NodesAndEdges:
    """A graph as it was said.

    Attributes:
        nodes: of each its features, always as many.
        edges: `(from, to)`, numbers of nodes, counted from 0.
        edge_features: of each edge, always as many; none where none were said.
        smiles: of a molecule, whose edges have no direction; `None` of any other graph.
    """

    nodes: tuple[Features, ...]
    edges: tuple[tuple[int, int], ...]
    edge_features: tuple[Features, ...]
    smiles: str | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """What people call each node: an atom its element, any other its number."""
        return tuple(str(place if self.smiles is None else node[0]) for place, node in enumerate(self.nodes))

    @property
    def has_both_ways(self) -> bool:
        """Whether there is, for every edge, one in the other direction."""
        edges = set(self.edges)
        return all((end, start) in edges for start, end in edges)


def read_graph(cell: Any) -> NodesAndEdges:
    """A molecule as SMILES; else JSON, or a mapping, with `nodes` and perhaps `edges` and `edge_features`.

    Raises:
        DataError: it is none of these, has no nodes, its features are ragged or not finite, or an edge is out of range.
    """
    if isinstance(cell, str):
        text = whole_text(cell.strip())
        return read_mapping(_parse(text)) if text.startswith("{") else _of_molecule(read_smiles(text))
    if isinstance(cell, Mapping):
        return read_mapping(cell)
    raise DataError(f'{cell!r:.80} is no graph; give SMILES, or {{"nodes": [[…], …], "edges": [[0, 1], …]}}')


def read_mapping(said: Mapping[str, Any]) -> NodesAndEdges:
    """`{"nodes": [[…], …], "edges": [[i, j], …], "edge_features": [[…], …]}`; a single feature needs no list around it.

    Raises:
        DataError: see `read_graph`.
    """
    for key in said:
        if key not in KEYS:
            raise DataError(f"a graph has no {brief(key)}.{suggest(str(key), KEYS)}")
    nodes = _table(said.get("nodes"), "node")
    if not nodes:
        raise DataError("the graph has no nodes; leave the cell empty where it is absent")
    edges = tuple(_edge(edge, place, len(nodes)) for place, edge in enumerate(_items(said.get("edges"), "edges")))
    features = _table(said.get("edge_features"), "edge")
    if features and len(features) != len(edges):
        raise DataError(f"features of {len(features)} edges, but there are {len(edges)} edges; give one list an edge")
    return NodesAndEdges(nodes, edges, features or ((),) * len(edges))


def _of_molecule(molecule: Molecule) -> NodesAndEdges:
    return NodesAndEdges(molecule.atoms, molecule.bonds, molecule.bond_features, molecule.smiles)


def _parse(text: str) -> Mapping[str, Any]:
    try:
        return parse_json(text)
    except ValueError as error:
        raise DataError(f"{text[:80]!r} starts like a JSON object but is none: {error}") from None


def _items(said: Any, what: str) -> Sequence[Any]:
    """A list or an array, as a list; `None` is an empty one."""
    if isinstance(said, np.ndarray):
        return said.tolist()
    if said is not None and not isinstance(said, (list, tuple)):
        raise DataError(f"{what} of a graph are a list, not {said!r:.60}")
    return said or ()


def _table(said: Any, what: str) -> tuple[Features, ...]:
    """Features of all nodes, or of all edges."""
    rows = tuple(_features(row, f"{what} {place}") for place, row in enumerate(_items(said, f"{what}s")))
    for place, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{what} {place} has {len(row)} features and {what} 0 has {len(rows[0])}; all must have as many"
            )
    return rows


def _features(said: Any, where: str) -> Features:
    row = said if isinstance(said, (list, tuple, np.ndarray)) else [said]
    return tuple(_feature(value, f"{where}, feature {place}") for place, value in enumerate(_items(row, where)))


def _feature(value: Any, where: str) -> float | str:
    if isinstance(value, str):
        return whole_text(value)
    if not isinstance(value, Real):
        raise DataError(f"{where}: {value!r:.60} is neither a number nor a name")
    try:
        return as_number(value)
    except DataError:
        raise DataError(f"{where}: {value!r} is not finite") from None


def _edge(said: Any, place: int, nodes: int) -> tuple[int, int]:
    ends = said if isinstance(said, (list, tuple, np.ndarray)) else ()
    if len(ends) != 2 or not all(isinstance(end, Integral) and not isinstance(end, bool) for end in ends):
        raise DataError(f"edge {place}: {said!r:.60} is no pair of node numbers; give [from, to], counted from 0")
    if not all(0 <= end < nodes for end in ends):
        raise DataError(f"edge {place}: {list(ends)} is out of range; nodes are numbered 0 to {nodes - 1}")
    return int(ends[0]), int(ends[1])
