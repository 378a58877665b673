"""The network that reads graphs: nodes hear of their neighbours, layer by layer, through PyTorch Geometric.

Shape legend: `n` rows, `L` nodes of a row, `E` edges of a row, `M` nodes and `K` edges of all rows together, `D` width.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.modalities.contract import Encoder
from trunkline.modalities.graph_features import FeatureEmbedding
from trunkline.pretrained import need
from trunkline.types import Span, State, Tokens

WHAT = "a graph input"


class Flat(NamedTuple):
    """The graphs of all rows as one.

    Attributes:
        rows: whose each node is, `[M]`.
        slots: where each lies among the `n · (L + 1)` slots of the rows, `[M]`; behind the nodes of each row is one
            slot that padding's edges join to itself.
        is_node: of each, or it is padding `[M]`.
        ends: from which node each edge goes and to which, `[2, K]`.
        edges: which these are, of the `n · E` edges with padding, `[K]`.
        mask: which nodes there are, `[n, L]`.
    """

    rows: Tensor
    slots: Tensor
    is_node: Tensor
    ends: Tensor
    edges: Tensor
    mask: Tensor

    def of_nodes(self, values: Tensor) -> Tensor:
        """`[n, L, …]` → `[M, …]`."""
        if 0 in values.shape[2:]:  # of nothing an exported graph could not tell how many rows it was
            return values.new_zeros(self.slots.shape[0], *values.shape[2:])
        padded = torch.cat([values, values.new_zeros(values.shape[0], 1, *values.shape[2:])], 1)
        return padded.flatten(0, 1).index_select(0, self.slots)

    def of_edges(self, values: Tensor) -> Tensor:
        """`[n, E, …]` → `[K, …]`."""
        if 0 in values.shape[2:]:
            return values.new_zeros(self.edges.shape[0], *values.shape[2:])
        return values.flatten(0, 1).index_select(0, self.edges)

    def to_rows(self, x: Tensor) -> Tensor:
        """`[M, D]` → `[n, L, D]`, 0 at padding."""
        n, length = self.mask.shape
        x = x.new_zeros(n * (length + 1), x.shape[1]).index_copy(0, self.slots, x)
        return x.unflatten(0, (n, length + 1))[:, :length].masked_fill(~self.mask.unsqueeze(2), 0.0)


def flatten(mask: Tensor, ends: Tensor, edge_mask: Tensor, *, is_packed: bool) -> Flat:
    """The graphs of all rows as one.

    Args:
        mask: which nodes there are, `[n, L]`.
        ends: of the edges of each row, `[n, E, 2]`.
        edge_mask: which edges there are, `[n, E]`.
        is_packed: leave padding out. Only the host knows how much that is, so a device would have to be waited for.
    """
    n, length = mask.shape
    is_node = F.pad(mask, (0, 1)).flatten()
    starts = torch.arange(n, device=mask.device).view(n, 1, 1) * (length + 1)
    # Whatever stands where a graph is absent: no edge leaves its row.
    is_here = edge_mask.unsqueeze(2) & (ends >= 0) & (ends < length)
    ends = (ends.masked_fill(~is_here, length) + starts).flatten(0, 1)
    slots, edges = (torch.arange(one.shape[0], device=mask.device) for one in (is_node, ends))
    if is_packed:
        slots, edges = slots[is_node], edges[edge_mask.flatten()]
        ends = (is_node.cumsum(0) - 1)[ends[edges]]
    return Flat(slots // (length + 1), slots, is_node[slots], ends.T, edges, mask)


class GraphEncoder(Encoder):
    """Features → layers in which each node hears of its neighbours, over edges with features → one token a node.

    Every norm is of one node by itself (`LayerNorm`), so a row's tokens depend on no other row.

    Args:
        state: of the features of nodes and edges.
        width: `D`.
        layers: of messages.
        kind: `gin`, `gat` or `gps`.
        heads: of attention.
        dropout: probability.
        virtual_node: each layer begins with what all nodes of the graph say together.
    """

    def __init__(
        self,
        state: State,
        width: int,
        *,
        layers: int,
        kind: str,
        heads: int,
        dropout: float,
        virtual_node: bool,
    ) -> None:
        super().__init__()
        self.embedding = FeatureEmbedding(state["nodes"], width)
        make = {"gin": GinLayer, "gat": GatLayer, "gps": GpsLayer}[kind]
        self.layers = nn.ModuleList(make(state["edges"], width, heads=heads, dropout=dropout) for _ in range(layers))
        self.virtual = nn.ModuleList(VirtualNode(width, dropout) for _ in range(layers if virtual_node else 0))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def leaves_padding(self, device: torch.device) -> bool:
        """Elsewhere than on a CPU it is rather carried along than waited for."""
        return device.type == "cpu"

    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """What `Graph.collate` gives → tokens `[n, L, D]`, one a node."""
        mask = values["mask"]
        is_packed = self.leaves_padding(mask.device) and not torch.compiler.is_exporting()
        tokens = self.run(values, flatten(mask, values["ends"], values["edge_mask"], is_packed=is_packed))
        return Tokens(tokens, mask, (Span("", 0, mask.shape[1], "nodes", (mask.shape[1],)),))

    def run(self, values: dict[str, Tensor], flat: Flat) -> Tensor:
        """The layers, over the graphs of all rows as one → `[n, L, D]`."""
        edges = flat.of_edges(values["edge_names"]), flat.of_edges(values["edge_numbers"])
        x = self.dropout(self.embedding(flat.of_nodes(values["names"]), flat.of_nodes(values["numbers"])))
        for place, layer in enumerate(self.layers):
            if self.virtual:
                x = self.virtual[place](x, flat, values["mask"].shape[0])
            x = layer(x, flat, edges)
        return flat.to_rows(self.norm(x))


class GinLayer(nn.Module):
    """A sum over neighbours, through a small net, added to what came in (Hu et al. 2020, GINE)."""

    def __init__(self, edges: Sequence[State], width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.edges = FeatureEmbedding(edges, width)
        self.norm = nn.LayerNorm(width)
        self.conv = gine(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, flat: Flat, edges: tuple[Tensor, Tensor]) -> Tensor:
        """`[M, D]` → `[M, D]`."""
        return x + self.dropout(self.conv(self.norm(x), flat.ends, self.edges(*edges)))


class GatLayer(nn.Module):
    """Attention to neighbours (Brody et al. 2022, GATv2), then a small net, each added to what came in."""

    def __init__(self, edges: Sequence[State], width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.edges = FeatureEmbedding(edges, width)
        self.norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        # Self loops of its own would replace those that the graph has; a node keeps itself in what it is added to.
        self.conv = geometric().GATv2Conv(width, width // heads, heads, edge_dim=width, add_self_loops=False)
        self.feed_forward = small_net(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, flat: Flat, edges: tuple[Tensor, Tensor]) -> Tensor:
        """`[M, D]` → `[M, D]`."""
        x = x + self.dropout(self.conv(self.norm(x), flat.ends, self.edges(*edges)))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class GpsLayer(nn.Module):
    """A sum over neighbours beside attention to all nodes of the graph (Rampášek et al. 2022, GPS).

    The layers are those of PyTorch Geometric's GPSConv, which packs the nodes of each graph anew and waits for the
    device.
    """

    def __init__(self, edges: Sequence[State], width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.edges = FeatureEmbedding(edges, width)
        norm = {"norm": "layer_norm", "norm_kwargs": {"mode": "node"}}
        self.conv = geometric().GPSConv(width, gine(width), heads=heads, dropout=dropout, act="gelu", **norm)

    def forward(self, x: Tensor, flat: Flat, edges: tuple[Tensor, Tensor]) -> Tensor:
        """`[M, D]` → `[M, D]`."""
        gps, share = self.conv, partial(F.dropout, p=self.conv.dropout, training=self.training)
        near = gps.norm1(x + share(gps.conv(x, flat.ends, edge_attr=self.edges(*edges))))
        far = gps.norm2(x + share(flat.of_nodes(self._attend(flat.to_rows(x), flat.mask))))
        said = near + far
        return gps.norm3(said + gps.mlp(said))

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        """`[n, L, D]` → what its nodes say to each; a row without any reads its padding, which nobody reads."""
        unread = ~(mask | ~mask.any(1, keepdim=True))
        return self.conv.attn(x, x, x, key_padding_mask=unread, need_weights=False)[0]


class VirtualNode(nn.Module):
    """A node beside all others of a graph: what they say in sum, and how many they are, goes to each of them.

    Gilmer et al. 2017, "Neural message passing for quantum chemistry", section 5.2; here it has no state of its own.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.sum_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.size = nn.Linear(1, width)
        self.net = small_net(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, flat: Flat, n: int) -> Tensor:
        """`[M, D]` of `n` graphs → `[M, D]`."""
        said = self.norm(x).masked_fill(~flat.is_node.unsqueeze(1), 0.0)
        total = said.new_zeros(n, said.shape[1]).index_add(0, flat.rows, said)
        count = said.new_zeros(n).index_add(0, flat.rows, flat.is_node.to(said.dtype))
        heard = self.net(self.sum_norm(total) + self.size(count.clamp(min=1).log().unsqueeze(1)))
        return x + self.dropout(heard).index_select(0, flat.rows)


def gine(width: int) -> Any:
    """GINEConv with a small net; edges have the nodes' width."""
    return geometric().GINEConv(small_net(width), train_eps=True)


def small_net(width: int) -> nn.Sequential:
    """`D → 2 D → D`."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


def geometric() -> Any:
    """`torch_geometric.nn`.

    Raises:
        ConfigError: it is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it uses what PyTorch will give up
        return need("torch_geometric.nn", "graphs", WHAT)
