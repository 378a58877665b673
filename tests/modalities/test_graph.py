"""Graphs: what is read of molecules and JSON, what nodes hear, and that neither order nor other rows matter."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trunkline.arrays.nodes import encode_features
from trunkline.config import load_config
from trunkline.data import read_table, write_rows
from trunkline.errors import ConfigError, DataError
from trunkline.modalities import Graph, Number
from trunkline.modalities.graph_encoder import GraphEncoder, flatten
from trunkline.modalities.graph_features import fit_features
from trunkline.model import MultiTaskModel
from trunkline.plan import make_plan
from trunkline.run import fit
from trunkline.schema import Preprocessing, RowBatches
from trunkline.sources import split_rows
from trunkline.tasks import Binary
from trunkline.types import Tokens

for extra in ("rdkit", "torch_geometric"):
    pytest.importorskip(extra, reason="graphs need the extra `graphs`")

KINDS = ("gin", "gat", "gps")
WIDTH = 16


def path(nodes: int, **more: Any) -> dict[str, Any]:
    """A chain, of nodes with a name and a number."""
    features = [["ab"[i % 2], i / 2] for i in range(nodes)]
    return {"nodes": features, "edges": [[i, i + 1] for i in range(nodes - 1)], **more}


def encoder_of(cells: list[Any], **options: Any) -> tuple[Graph, Any, GraphEncoder]:
    """The modality, its state and its layers, as they are after training."""
    graph = Graph(**options)
    state = graph.fit(map(graph.read, cells))
    torch.manual_seed(0)
    return graph, state, graph.build(state, WIDTH).eval()


def tokens_of(cells: list[Any], graph: Graph, state: Any, encoder: GraphEncoder) -> Tokens:
    with torch.no_grad():
        return encoder(graph.collate([graph.prepare(graph.read(cell), state, None)[0] for cell in cells]))


class TestReading:
    def test_a_molecule(self) -> None:
        ethanol = Graph().read(" CCO ")
        assert ethanol.smiles == "CCO"
        assert ethanol.nodes == (
            ("C", "1", "0", "SP3", "no", "3", "none", "none", "0"),
            ("C", "2", "0", "SP3", "no", "2", "none", "none", "0"),
            ("O", "1", "0", "SP3", "no", "1", "none", "none", "0"),
        )
        assert ethanol.edges == ((0, 1), (1, 2))
        assert ethanol.edge_features == (("SINGLE", "no", "no", "STEREONONE"),) * 2

    def test_rings_charges_and_sides(self) -> None:
        benzene = Graph().read("c1ccccc1")
        assert set(benzene.nodes) == {("C", "2", "0", "SP2", "yes", "1", "none", "6", "1")}
        assert len(benzene.edges) == 6 and set(benzene.edge_features) == {("AROMATIC", "yes", "yes", "STEREONONE")}
        assert Graph().read("[NH4+]").nodes == (("N", "0", "1", "SP3", "no", "4", "none", "none", "0"),)
        indene = Graph().read("C1C=Cc2ccccc12").nodes  # its two rings of 5 and 6 have two atoms in common
        assert [node[-2:] for node in indene] == [("5", "1")] * 3 + [("5", "2")] + [("6", "1")] * 4 + [("5", "2")]
        assert {node[-2:] for node in Graph().read("C1CCCCCCCCC1").nodes} == {("large", "1")}
        assert Graph().read("F/C=C/F").edge_features[1] == ("DOUBLE", "no", "no", "STEREOE")
        left, right = (Graph().read(cell).nodes[1][6] for cell in ("N[C@@H](C)C(=O)O", "N[C@H](C)C(=O)O"))
        assert (left, right) == ("S", "R")  # alanine, and its mirror image
        assert Graph().read("C[C@H](N)C(=O)O").nodes[1][6] == "S"  # however it is written

    @pytest.mark.parametrize("write", [lambda said: said, json.dumps, lambda said: {**said, "edge_features": None}])
    def test_json(self, write: Any) -> None:
        read = Graph().read(write({"nodes": [[1, "red"], [2.5, "blue"]], "edges": [[0, 1], [1, 1], [0, 1]]}))
        assert read.nodes == ((1.0, "red"), (2.5, "blue"))
        assert read.edges == ((0, 1), (1, 1), (0, 1))
        assert read.edge_features == ((), (), ())

    def test_single_features_arrays_and_a_node_by_itself(self) -> None:
        assert Graph().read({"nodes": ["C", "N"]}).nodes == (("C",), ("N",))
        said = {"nodes": np.array([[1, 2], [3, 4]]), "edges": np.array([[1, 0]]), "edge_features": np.array([0.5])}
        read = Graph().read(said)
        assert read.nodes == ((1.0, 2.0), (3.0, 4.0)) and read.edges == ((1, 0),) and read.edge_features == ((0.5,),)
        assert Graph().read('{"nodes": [[]], "edges": []}').nodes == ((),)

    @pytest.mark.parametrize(
        ("cell", "message"),
        [
            ("C(C", r"'C\(C' is no SMILES that RDKit can read: it is not written as SMILES are"),
            ("C(C)(C)(C)(C)C", "RDKit can read: Explicit valence for atom # 0 C, 5, is greater than permitted"),
            ("", "the molecule has no atoms"),
            ('{"nodes": [[1]', "starts like a JSON object but is none"),
            ({"nodes": [[1]], "edge": []}, "a graph has no 'edge'. Did you mean 'edges'"),
            ({"nodes": []}, "the graph has no nodes; leave the cell empty"),
            ({"edges": [[0, 1]]}, "the graph has no nodes"),
            ({"nodes": [[1, 2], [3]]}, "node 1 has 1 features and node 0 has 2; all must have as many"),
            ({"nodes": [[1, float("nan")]]}, "node 0, feature 1: nan is not finite"),
            ('{"nodes": [[1], [NaN]]}', "node 1, feature 0: nan is not finite"),
            ({"nodes": [[1], [None]]}, "node 1, feature 0: None is neither a number nor a name"),
            ({"nodes": [[1], [2]], "edges": [[0, 2]]}, r"edge 0: \[0, 2\] is out of range; nodes are numbered 0 to 1"),
            ({"nodes": [[1], [2]], "edges": [[0, 1], [0, -1]]}, r"edge 1: \[0, -1\] is out of range"),
            ({"nodes": [[1], [2]], "edges": [[0, 1, 1]]}, r"edge 0: \[0, 1, 1\] is no pair of node numbers"),
            ({"nodes": [[1], [2]], "edges": [0, 1]}, "edge 0: 0 is no pair of node numbers"),
            ({"nodes": [[1], [2]], "edges": [[0, 0.5]]}, "edge 0: .* is no pair of node numbers"),
            ({"nodes": [[1]], "edges": [[0, 0]], "edge_features": [[1], [2]]}, "features of 2 edges, but there are 1"),
            ({"nodes": 3}, "nodes of a graph are a list, not 3"),
            (3.5, "3.5 is no graph; give SMILES"),
        ],
    )
    def test_bad_cells_say_why(self, cell: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            Graph().read(cell)

    def test_rdkit_writes_nothing_of_its_own(self, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(DataError):
            Graph().read("C(C")
        assert capfd.readouterr().err == ""

    def test_what_is_shown(self) -> None:
        shown = Graph().show(Graph().read("c1ccccc1"))
        assert (shown.kind, shown.text, shown.suffix) == ("picture", "c1ccccc1", ".png")
        assert shown.data.startswith(b"\x89PNG")
        assert Graph().show(Graph().read(path(3))).text == "3 nodes, 2 edges: a, 0; b, 0.5; a, 1"
        assert Graph().show(Graph().read({"nodes": [[], []]})).text == "2 nodes, 0 edges"

    def test_missing_extras_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=r"a graph that is a molecule needs rdkit, .* \"trunkline\[graphs\]\""):
            Graph().read("CCO")
        with pytest.raises(ConfigError, match=r"a graph input needs torch_geometric, .* \"trunkline\[graphs\]\""):
            Graph().fit([])


class TestFeatures:
    def test_numbers_are_scaled_and_names_numbered(self) -> None:
        states = fit_features([(1.0, "b"), (3.0, "a"), (5.0, 2.0)], "nodes")
        assert states == [{"mean": 3.0, "std": pytest.approx(1.633, abs=1e-3)}, {"values": ["2", "a", "b"]}]
        names, numbers = encode_features([(3.0, "b"), (3.0, "never seen"), (3.0, 2.0)], states, "nodes")
        assert names.tolist() == [[3], [0], [1]]
        assert numbers.tolist() == [[0.0], [0.0], [0.0]]

    def test_what_training_did_not_have(self) -> None:
        graph = Graph()
        state = graph.fit([graph.read({"nodes": [[1], [2]], "edges": [[0, 1]]})])
        with pytest.raises(DataError, match="feature 0 of nodes is 'x'; in training it was always a number"):
            graph.prepare(graph.read({"nodes": ["x"]}), state, None)
        with pytest.raises(DataError, match="nodes have 2 features; in training they had 1"):
            graph.prepare(graph.read({"nodes": [[1, 2]]}), state, None)
        with pytest.raises(DataError, match="edges have 1 features; in training they had 0"):
            graph.prepare(graph.read({"nodes": [1], "edges": [[0, 0]], "edge_features": [1]}), state, None)
        with pytest.raises(DataError, match="nodes of some graphs have 1 features, those of others 2"):
            graph.fit([graph.read({"nodes": [1]}), graph.read({"nodes": [[1, 2]]})])

    def test_a_graph_without_edges_fits_those_with_features(self) -> None:
        cells = [path(2, edge_features=[[0.5, "x"]]), path(1)]
        assert tokens_of(cells[1:], *encoder_of(cells)).values.isfinite().all()


class TestDirections:
    def test_edges_go_both_ways_but_a_loop_is_one(self) -> None:
        graph = Graph()
        said = {"nodes": [1, 2], "edges": [[0, 1], [1, 1], [0, 1]], "edge_features": ["x", "y", "z"]}
        state = graph.fit([graph.read(said)])
        item, _ = graph.prepare(graph.read(said), state, None)
        assert item.ends.tolist() == [[0, 1], [1, 1], [0, 1], [1, 0], [1, 0]]
        assert item.edge_names.flatten().tolist() == [1, 2, 3, 1, 3]
        item, _ = Graph(directed=True).prepare(graph.read(said), state, None)
        assert item.ends.tolist() == [[0, 1], [1, 1], [0, 1]]

    def test_bonds_go_both_ways_whatever_is_said(self) -> None:
        graph = Graph(directed=True)
        assert len(graph.prepare(graph.read("CC"), graph.fit([graph.read("CC")]), None)[0].ends) == 2

    @pytest.mark.parametrize("kind", ["gin", "gat"])
    def test_a_node_hears_of_those_whose_edges_come_to_it(self, kind: str) -> None:
        cells = [{"nodes": [a, b], "edges": [[0, 1]]} for a, b in ((1, 5), (2, 5), (1, 6))]
        one, other_start, other_end = tokens_of(cells, *encoder_of(cells, kind=kind, directed=True)).values
        assert not torch.allclose(one[1], other_start[1])  # node 1 hears of node 0
        assert torch.equal(one[0], other_end[0])  # but node 0 not of node 1

    def test_lists_that_have_both_ways_are_seen(self) -> None:
        one_way, both_ways = path(3), {"nodes": [1, 2], "edges": [[0, 1], [1, 0], [1, 1]]}
        read = Graph().read
        assert Graph().choose([read(both_ways), read({"nodes": [1]})], 9)["directed"][0] is True
        assert Graph().choose([read(both_ways), read(one_way)], 9)["directed"][0] is False
        assert Graph().choose([read("CC")], 9)["directed"][0] is False


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("virtual_node", [False, True])
class TestInvariance:
    def test_the_order_of_nodes_is_that_of_tokens_and_nothing_else(self, kind: str, virtual_node: bool) -> None:
        rng = np.random.default_rng(0)
        ends = rng.integers(0, 7, (12, 2))
        nodes = [[float(rng.normal()), "abc"[i % 3]] for i in range(7)]
        said = {"nodes": nodes, "edges": ends.tolist(), "edge_features": rng.normal(size=(12, 2)).tolist()}
        order, shuffled = rng.permutation(7), rng.permutation(12)
        other = {
            "nodes": [nodes[i] for i in order],
            "edges": [order.argsort()[ends[e]].tolist() for e in shuffled],
            "edge_features": [said["edge_features"][e] for e in shuffled],
        }
        tokens = tokens_of([said, other], *encoder_of([said], kind=kind, virtual_node=virtual_node))
        torch.testing.assert_close(tokens.values[0][order], tokens.values[1], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(tokens.values[0], tokens.values[1], atol=1e-2)

    def test_a_row_alone_and_in_a_batch_is_the_same_in_training_too(self, kind: str, virtual_node: bool) -> None:
        cells = ["C", "CCO", "c1ccccc1C(=O)O", "[Na+].[Cl-]"]
        graph, state, encoder = encoder_of(cells, kind=kind, virtual_node=virtual_node, dropout=0.0)
        encoder.train()
        together = tokens_of(cells, graph, state, encoder)
        assert together.mask.sum(1).tolist() == [1, 3, 9, 2]
        assert not together.values[~together.mask].any()
        for row, cell in enumerate(cells):
            alone = tokens_of([cell], graph, state, encoder).values[0]
            torch.testing.assert_close(together.values[row, : len(alone)], alone, atol=1e-5, rtol=1e-5)

    def test_padding_that_is_carried_along_changes_nothing(self, kind: str, virtual_node: bool) -> None:
        """As on a device that is not waited for."""
        cells = [path(2), path(6), path(1)]
        graph, state, encoder = encoder_of(cells, kind=kind, virtual_node=virtual_node)
        values = graph.collate([graph.prepare(graph.read(cell), state, None)[0] for cell in cells])
        flat = flatten(values["mask"], values["ends"], values["edge_mask"], is_packed=False)
        assert len(flat.slots) == 3 * 7 and flat.ends.shape == (2, 3 * 10)
        torch.testing.assert_close(encoder.run(values, flat), encoder(values).values, atol=1e-5, rtol=1e-5)


def test_graphs_of_about_one_size_can_come_together() -> None:
    """A row is as long as its graph is written, whatever it is written as."""
    cells = ["CCO", None, path(5), json.dumps(path(2))]
    table = read_table([{"net": cell, "dose": 1.0, "good": n % 2} for n, cell in enumerate(cells)])
    model = MultiTaskModel({"net": Graph(), "dose": Number()}, {"good": Binary()})
    states = Preprocessing.fit(model.schema(), table, [2, 3])
    lengths = RowBatches(states, table).lengths()
    assert lengths is not None and lengths.tolist() == [3, 0, len(str(path(5))), len(cells[3] or "")]


def test_gps_is_that_of_pytorch_geometric() -> None:
    """Its forward pass, which packs the nodes of each graph, against the same layers on padded ones."""
    cells = [path(2), path(6), path(1)]
    graph, state, encoder = encoder_of(cells, kind="gps", dropout=0.0)
    values = graph.collate([graph.prepare(graph.read(cell), state, None)[0] for cell in cells])
    layer = encoder.layers[0]
    for is_packed in (True, False):
        flat = flatten(values["mask"], values["ends"], values["edge_mask"], is_packed=is_packed)
        edges = flat.of_edges(values["edge_names"]), flat.of_edges(values["edge_numbers"])
        x = torch.randn(len(flat.slots), 16) * flat.is_node.unsqueeze(1)
        ours = layer(x, flat, edges)
        packed = flat.is_node
        ends = flatten(values["mask"], values["ends"], values["edge_mask"], is_packed=True).ends
        real = values["edge_mask"].flatten()
        features = layer.edges(values["edge_names"].flatten(0, 1)[real], values["edge_numbers"].flatten(0, 1)[real])
        theirs = layer.conv(x[packed], ends, flat.rows[packed], edge_attr=features)
        torch.testing.assert_close(ours[packed], theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gcn"}, "kind: 'gcn' is not known; give one of gin, gat, gps"),
        ({"layers": 0}, "layers: 0 is out of range"),
        ({"kind": "gat", "heads": 0}, "heads: 0 is out of range; give 1 or more"),
        ({"dropout": 1}, "dropout: 1 is not a probability"),
        ({"kind": "gat", "heads": 5}, "heads=5 of a graph encoder does not divide the model's width 16"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Graph(**options).build({"nodes": [], "edges": []}, WIDTH)


def ringed(rng: np.random.Generator) -> tuple[dict[str, Any], bool]:
    """A random tree, or one with an edge more, which closes a ring; what nodes have tells nothing."""
    size, has_ring = int(rng.integers(5, 10)), bool(rng.integers(2))
    edges = [[i, int(rng.integers(0, i))] for i in range(1, size)]
    apart = [[i, j] for i in range(size) for j in range(i) if [i, j] not in edges]
    more = [apart[int(rng.integers(len(apart)))]] if has_ring else []
    return {"nodes": [["ab"[int(rng.integers(2))]] for _ in range(size)], "edges": [*edges, *more]}, has_ring


# Attention averages what neighbours say: it cannot count them, and learns of a ring from their letters alone.
@pytest.mark.parametrize(("kind", "share"), [("gin", 0.85), ("gat", 0.65), ("gps", 0.75)])
def test_it_learns_what_only_edges_tell(kind: str, share: float) -> None:
    rng = np.random.default_rng(0)
    cells, labels = zip(*(ringed(rng) for _ in range(400)))
    graph, state, encoder = encoder_of(list(cells), kind=kind, dropout=0.0)
    items = [graph.prepare(graph.read(cell), state, None)[0] for cell in cells]
    head = torch.nn.Linear(WIDTH, 1)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1e-2)
    y = torch.tensor(labels, dtype=torch.float32)
    values, held_out = graph.collate(items[:300]), graph.collate(items[300:])
    for _ in range(60):
        optimizer.zero_grad()
        said = head(encoder(values).row())[:, 0]
        torch.nn.functional.binary_cross_entropy_with_logits(said, y[:300]).backward()
        optimizer.step()
    with torch.no_grad():
        right = (head(encoder(held_out).row())[:, 0] > 0) == (y[300:] > 0)
    assert right.float().mean() > share


def test_beside_a_number_missing_in_some_rows_with_a_tag_a_node(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    molecules = ["CCO", "c1ccccc1", "C1CCCCC1N", "CC(=O)O", "CCCCN", "O=C1CCCC1"]
    rows: list[dict[str, Any]] = [{"dose": float(rng.normal())} for _ in range(120)]
    for place, row in enumerate(rows):
        if place % 5:
            smiles = molecules[place % 6]
            parts = ["O" if atom[7] == "none" else "ring" for atom in Graph().read(smiles).nodes]
            row.update(smiles=smiles, ring="1" in smiles, parts=parts)
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "config.yaml").write_text(
        "data: {train: rows.jsonl, validation: 0.2, test: 0.2}\n"
        "inputs: [smiles, dose]\n"
        "tasks: {ring: binary, parts: {type: tags, of: smiles}}\n"
        "training: {steps: 60, batch_size: 16}\n"
        "width: 16\n"
    )
    run = fit(tmp_path / "config.yaml", out=tmp_path / "run")
    assert run.config.inputs["smiles"].type == "graph"
    assert run.metrics["test"]["ring"]["accuracy"] > 0.9
    assert run.metrics["test"]["parts"]["accuracy"] > 0.9
    whole, alone = run.predictor.predict(read_table([{"smiles": "C1CC1CO", "dose": 0.0}, {"dose": 1.0}]))
    assert whole["parts"] == ["ring", "ring", "ring", "O", "O"] and alone["parts"] is None
    assert [*(tmp_path / "run" / "report" / "gallery").glob("*.png")]


def test_bad_molecules_are_told_with_their_rows() -> None:
    rows = [{"molecule": "CCO", "y": i % 2} for i in range(20)]
    rows[6]["molecule"] = "C(C"
    config = load_config({"inputs": {"molecule": "graph"}, "tasks": {"y": "binary"}}, columns=["molecule", "y"])
    with pytest.raises(DataError, match=r"row 7, column 'molecule': 'C\(C' is no SMILES"):
        make_plan(config, split_rows(config, read_table(rows), None, None))
