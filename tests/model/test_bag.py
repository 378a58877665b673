"""A bag of words of its own: who reads it, who does not, and rows that have no text."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trunkline import MultiTaskModel
from trunkline.data import Draw, read_table
from trunkline.export.dense import dense_values
from trunkline.fusion import CATALOG as FUSION
from trunkline.layers import Pool
from trunkline.modalities import Number
from trunkline.modalities import Text as TextInput
from trunkline.model import Network
from trunkline.schema import Preprocessing, RowBatches, TaskColumn
from trunkline.tasks import Category, Tags, Text
from trunkline.trunks import CATALOG as TRUNKS
from trunkline.types import Span, Tokens

ROWS: list[dict[str, Any]] = [
    {"note": "a red cat", "size": 1.0, "kind": "x", "slots": "O B-k I-k", "said": "cat"},
    {"note": "so", "kind": "y", "slots": "O", "said": "so so"},
    {"size": -1.0, "kind": "x"},
    {"note": "a cat and a dog", "size": 0.5, "slots": "O O O O O", "said": "dog"},
]
WRITES: dict[str, Any] = {"max_length": 6, "vocabulary": 300, "layers": 1, "heads": 2, "dropout": 0.0, "copy": True}


def built(fusion: str = "concat", trunk: str = "hard") -> tuple[Network, RowBatches]:
    torch.manual_seed(0)
    writes = TaskColumn(Text(**WRITES), "said", of="note")
    model = MultiTaskModel(
        {"note": TextInput(layers=1, bigrams=8, bag=True, min_count=1), "size": Number()},
        {"kind": Category(), "slots": TaskColumn(Tags(), "slots", of="note"), "said": writes},
        fusion=FUSION[fusion](),
        trunk=TRUNKS[trunk](),
        width=16,
    )
    table = read_table(ROWS)
    states = Preprocessing.fit(model.schema(), table, range(len(ROWS)))
    network = model.build(states).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network, RowBatches(states, table)


@pytest.mark.parametrize("trunk", ["hard", "transformer", "mmoe"])
@pytest.mark.parametrize("fusion", ["concat", "attention", "bottleneck", "film", "perceiver"])
def test_a_row_is_the_same_alone_and_in_company_and_on_the_dense_path(fusion: str, trunk: str) -> None:
    network, batches = built(fusion, trunk)
    whole = batches[Draw(tuple(range(4)), None)]
    with torch.inference_mode():
        shared = network.share(whole)
        (dense,) = network.share_dense(dense_values(whole), whole.present)
        for ours, theirs in zip(shared[0].taps, dense.taps):
            torch.testing.assert_close(ours.values, theirs.values, atol=1e-5, rtol=1e-5)
            assert torch.equal(ours.mask, theirs.mask)
        sums, weights = network.losses(whole, shared)
        each = [network.losses(one, network.share(one)) for row in range(4) for one in [batches[Draw((row,), None)]]]
    torch.testing.assert_close(sums, sum(own[0] for own in each))
    assert torch.equal(weights, sum(own[1] for own in each)) and weights.min() > 0


def test_tasks_that_read_words_read_words_alone() -> None:
    network, batches = built()
    batch = batches[Draw((0, 1, 3), None)]
    shared = network.share(batch)
    for name in ("slots", "said"):
        unit = next(unit for unit in network.preprocessing.heads if unit.name == name)
        view = network.view(unit, shared, None, batch.sources)
        assert [span.axis for span in view.spans] == ["words"] and view.mask.sum(1).tolist() == [3, 1, 5]
        assert (view.source is not None) == (name == "said")


def test_the_row_is_read_off_the_bag_and_a_class_learns_by_both() -> None:
    network, batches = built()
    batch = batches[Draw((0, 1, 3), None)]
    encoder: Any = network.encoders[0]
    network.losses(batch, network.share(batch))[0][0].backward()
    assert all(bool(layer.weight.grad.any()) for layer in (encoder.bag.embedding, encoder.bag.pairs, encoder.embedding))
    tokens = network.encoded(batch)[0]["note"]
    fusion: Any = network.fusion
    assert torch.equal(fusion.pools[0](tokens), tokens.values[:, 0])


def test_columns_of_a_table_are_no_tokens_of_a_whole() -> None:
    """Each is a `set` by itself: all of them count in the row."""
    values = torch.randn(3, 2, 8)
    columns = Tokens(
        values, torch.ones(3, 2, dtype=torch.bool), tuple(Span(n, i, i + 1, "set", (1,)) for i, n in enumerate("ab"))
    )
    torch.testing.assert_close(Pool(8)(columns), values.mean(1))


def test_which_tokens_have_places() -> None:
    words, whole = Span("note", 1, 4, "words", (3,)), Span("note", 0, 1, "set", (1,))
    alone, grid = Span("size", 4, 5, "set", (1,)), Span("photo", 5, 9, "grid", (2, 2))
    values = torch.arange(9.0).view(1, 9, 1)
    tokens = Tokens(values, torch.ones(1, 9, dtype=torch.bool), (whole, words, alone, grid), {"ids": values})
    for found in (tokens.coarsest(), tokens.finest()):
        assert found.values.flatten().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
        assert found.source is tokens.source
