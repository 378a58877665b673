"""Graphs: molecules as SMILES, or nodes and edges with features → one token a node.

Shape legend: `n` rows, `L` nodes, `E` edges, `C` features that are names, `P` that are numbers, `D` width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trunkline.arrays.graphs import NodesAndEdges
from trunkline.arrays.nodes import GraphCells, GraphItem
from trunkline.contexts import WordsContext
from trunkline.errors import ConfigError
from trunkline.modalities.contract import Choices, Modality, as_tensors
from trunkline.modalities.graph_encoder import GraphEncoder, geometric
from trunkline.modalities.graph_features import fit_features
from trunkline.modalities.molecules import shown_molecule
from trunkline.showing import Shown, plain, shown_text
from trunkline.types import State

KINDS = ("gin", "gat", "gps")
EDGES = ("ends", "edge_names", "edge_numbers", "edge_mask")  # what there is one of for each edge
FEW = 5_000  # graphs


class Graph(Modality):
    """A graph: a molecule as SMILES, or JSON with nodes, edges and features of both.

    JSON is `{"nodes": [[1.5, "red"], …], "edges": [[0, 1], …], "edge_features": [["wide"], …]}`: nodes are numbered
    from 0 in their order, features are numbers or names, always as many, and a single one needs no list around it. Self
    loops and edges that are said twice stand as they are.

    Args:
        kind: of layers: `gin` adds up what neighbours say, `gat` attends to them, `gps` adds them up and attends to all
            nodes beside. `None`: `gin`.
        layers: of messages; as many edges away a node hears of others. `None`: by the number of graphs.
        heads: attention heads, of `gat` and `gps`; must divide the model's width.
        dropout: probability. `None`: by the number of graphs.
        virtual_node: each layer begins with what all nodes of the graph say together.
        directed: edges of JSON go one way only, as they are said. `None`: so where training graphs list both ways
            already, else messages go both ways. A molecule's bonds always go both ways.
    """

    axis = "nodes"
    varying: ClassVar = {
        **dict.fromkeys(("names", "numbers", "mask"), (1,)),
        **dict.fromkeys(EDGES, (1,)),
    }
    lengths: ClassVar = dict.fromkeys(EDGES, "edges")

    def __init__(
        self,
        kind: str | None = None,
        *,
        layers: int | None = None,
        heads: int = 4,
        dropout: float | None = None,
        virtual_node: bool | None = None,
        directed: bool | None = None,
    ) -> None:
        self.kind = kind
        self.layers = layers
        self.heads = heads
        self.dropout = dropout
        self.virtual_node = virtual_node
        self.directed = directed

    @property
    def cells(self) -> GraphCells:
        """Reading, and features as the network takes them."""
        return GraphCells(bool(self.directed))

    def read(self, cell: Any) -> NodesAndEdges:
        """Nodes, edges and their features.

        Args:
            cell: SMILES, or JSON (or a mapping) with `nodes` and perhaps `edges` and `edge_features`.

        Raises:
            ConfigError: a molecule, and RDKit is not installed.
            DataError: RDKit cannot read it; or it has no nodes, ragged features, or edges that are out of range.
        """
        return self.cells.read(cell)

    def show(self, value: NodesAndEdges) -> Shown:
        """A molecule's structural formula; of any other graph its size and its first nodes."""
        if value.smiles is not None:
            return shown_molecule(value.smiles)
        some = "; ".join(plain(list(node)) for node in value.nodes[:8] if node)
        more = " …" if some and len(value.nodes) > 8 else ""
        size = f"{len(value.nodes)} nodes, {len(value.edges)} edges"
        return shown_text(f"{size}: {some}{more}" if some else size)

    def count_words(self, value: NodesAndEdges) -> int:
        """Its nodes: tasks may label them one by one, as they do words."""
        return len(value.nodes)

    def choose(self, sample: Sequence[NodesAndEdges], rows: int, *, is_read: bool = False) -> Choices:
        """Depth and dropout by the number of graphs, directions by how edges are listed."""
        layers, dropout = (3, 0.2) if rows < FEW else (4, 0.1)
        said = f"{rows} graphs: the fewer, the smaller the network"
        listed = [graph for graph in sample if graph.smiles is None and graph.edges]
        is_listed = bool(listed) and all(graph.has_both_ways for graph in listed)
        ways = "edges are listed both ways" if is_listed else "edges go both ways unless `directed: true` is said"
        return {
            "kind": ("gin", "sums over neighbours: what a CPU can do"),
            "layers": (layers, said),
            "dropout": (dropout, said),
            "virtual_node": (False, "nodes hear of the whole where inputs come together"),
            "directed": (is_listed, ways),
        }

    def fit(self, values: Iterable[NodesAndEdges]) -> State:
        """`{"nodes": [features], "edges": [features]}`, each with its names, or its mean and scale.

        Raises:
            ConfigError: PyTorch Geometric is not installed.
            DataError: graphs differ in how many features they have.
        """
        geometric()
        graphs = list(values)
        return {
            "nodes": fit_features([node for graph in graphs for node in graph.nodes], "nodes"),
            "edges": fit_features([edge for graph in graphs for edge in graph.edge_features], "edges"),
        }

    def prepare(
        self, value: NodesAndEdges, state: State, rng: np.random.Generator | None
    ) -> tuple[GraphTensors, WordsContext]:
        """Features as the network takes them, and edges both ways unless they have a direction; nodes stand for words.

        Raises:
            DataError: features are not those of training.
        """
        item, context = self.cells.prepare(value, state)
        return GraphTensors(*map(torch.from_numpy, item)), context

    def collate(self, items: Sequence[GraphTensors]) -> dict[str, Tensor]:
        """Padded to the graphs with the most nodes and the most edges, with zeros that nobody reads.

        `{"names": [n, L, C], "numbers": [n, L, P], "mask": [n, L], "ends": [n, E, 2], "edge_names": [n, E, C],
        "edge_numbers": [n, E, P], "edge_mask": [n, E]}`.
        """
        return as_tensors(self.cells.collate([GraphItem(*(value.numpy() for value in item)) for item in items]))

    def build(self, state: State, width: int) -> GraphEncoder:
        """The layers.

        Raises:
            ConfigError: an option is out of range, or PyTorch Geometric is not installed.
        """
        kind = "gin" if self.kind is None else self.kind
        layers = 3 if self.layers is None else self.layers
        dropout = 0.1 if self.dropout is None else self.dropout
        if kind not in KINDS:
            raise ConfigError(f"kind: {kind!r} is not known; give one of {', '.join(KINDS)}")
        if layers < 1:
            raise ConfigError(f"layers: {layers} is out of range; give 1 or more")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout: {dropout} is not a probability; give 0 or more, and less than 1")
        if self.heads < 1:
            raise ConfigError(f"heads: {self.heads} is out of range; give 1 or more")
        if kind != "gin" and width % self.heads:
            raise ConfigError(f"heads={self.heads} of a graph encoder does not divide the model's width {width}")
        return GraphEncoder(
            state,
            width,
            layers=layers,
            kind=kind,
            heads=self.heads,
            dropout=dropout,
            virtual_node=bool(self.virtual_node),
        )


class GraphTensors(NamedTuple):
    """One graph, prepared; see `GraphItem`."""

    names: Tensor
    numbers: Tensor
    ends: Tensor
    edge_names: Tensor
    edge_numbers: Tensor
