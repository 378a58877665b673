"""A task that reads a pyramid: its input's encoder gives one, and nobody else sees more tokens than before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trunkline import ConfigError, MultiTaskModel, Predictor
from trunkline.balancers import Equal, UPGrad
from trunkline.data import Draw, Table, read_table
from trunkline.engine import Engine
from trunkline.export import export_onnx
from trunkline.export.dense import dense_values
from trunkline.fusion import CATALOG as FUSION
from trunkline.fusion.layers import Pool
from trunkline.modalities import Image, Text
from trunkline.modalities.resnet import ResNet, ResNetPyramid
from trunkline.model import Network
from trunkline.pooling import pooling_for
from trunkline.schema import InputColumn, Preprocessing, RowBatches, Schema, TaskColumn
from trunkline.tasks import Category, Mask
from trunkline.tasks import Text as TextTask
from trunkline.trunks import CATALOG as TRUNKS
from trunkline.types import Span, Tokens

ROWS = tuple(range(8))


@pytest.fixture(scope="module")
def table() -> Table:
    """Every second row has no picture, every third no note."""
    rng = np.random.default_rng(0)
    return read_table(
        [
            {
                "photo": None if i % 2 else rng.integers(0, 256, (32, 40, 3)).astype(np.uint8),
                "area": None if i % 2 else rng.integers(0, 2, (32, 40)).astype(np.uint8),
                "note": "red" if i % 2 or i % 3 else None,
                "kind": "ab"[i // 2 % 2],
                "title": "a b",
            }
            for i in range(8)
        ]
    )


def model(trunk: str = "hard", fusion: str = "concat", **tasks: Any) -> MultiTaskModel:
    inputs = {"photo": Image(size=(32, 40)), "note": Text()}
    every = {"kind": Category(), "area": TaskColumn(Mask(), "area", of="photo"), **tasks}
    return MultiTaskModel(inputs, every, fusion=FUSION[fusion](), trunk=TRUNKS[trunk](), width=16)


def built(model: MultiTaskModel, table: Table) -> tuple[Network, RowBatches]:
    preprocessing = Preprocessing.fit(model.schema(), table, ROWS)
    torch.manual_seed(0)
    return model.build(preprocessing).eval(), RowBatches(preprocessing, table)


def test_without_such_a_task_nothing_changes(table: Table) -> None:
    """The very layers and tokens of `build`; who reads one input's pyramid leaves another input alone."""
    plain = MultiTaskModel({"photo": Image(size=32), "note": Text()}, {"kind": Category()}, width=16)
    network, batches = built(plain, table)
    torch.manual_seed(0)
    expected = Image(size=32).build(batches.preprocessing.input_state("photo"), 16)
    assert isinstance(network.encoders[0], ResNet)
    assert [*network.encoders[0].state_dict()] == [*expected.state_dict()]
    pixels = batches[Draw(ROWS, None)].inputs["photo"].values
    assert torch.equal(network.encoders[0](pixels).values, expected(pixels).values)
    two = {"photo": Image(size=32), "other": InputColumn(Image(size=32), "photo"), "note": Text()}
    network, _ = built(MultiTaskModel(two, {"area": TaskColumn(Mask(), "area", of="photo")}, width=16), table)
    assert [type(encoder) for encoder in network.encoders][:2] == [ResNetPyramid, ResNet]


def test_an_encoder_that_is_shared_gives_one_where_any_of_its_inputs_is_read(table: Table) -> None:
    two = {"photo": Image(size=32), "other": InputColumn(Image(size=32), "photo", share="photo"), "note": Text()}
    network, batches = built(MultiTaskModel(two, {"area": TaskColumn(Mask(), "area", of="other")}, width=16), table)
    assert isinstance(network.encoders[0], ResNetPyramid) and network.encoders[0] is network.encoders[1]
    assert network.predict(batches[Draw(ROWS, None)])["area"].output.shape == (4, 2, 32, 32)


def test_who_cannot_give_one_is_refused() -> None:
    class Flat(Image):
        gives_pyramid = False

    for modality, has in ((Text(), "words"), (Flat(), "single-grid")):
        with pytest.raises(ConfigError, match=f"tasks.area.of: 'x' has {has} tokens, this kind of task reads pyramid"):
            Schema({"x": modality}, {"area": TaskColumn(Mask(), "area", of="x")})


def test_others_read_one_grid_of_it(table: Table) -> None:
    class Grid(Mask):
        reads = "grid"

    more = {"grid": TaskColumn(Grid(), "area", of="photo"), "title": TaskColumn(TextTask(), "title", of="photo")}
    network, batches = built(model(**more), table)
    batch = batches[Draw(ROWS, None)]
    shared, part = network.share(batch), batch.inputs["photo"]
    views = {unit.name: network.view(unit, shared, part, {}) for unit, _ in network.units()}
    assert [s.shape for s in views["area"].spans] == [(8, 10), (4, 5), (2, 3)]
    assert [s.shape for s in views["grid"].spans] == [(8, 10)]
    assert [s.shape for s in views["title"].spans] == [(2, 3)]
    assert torch.equal(views["grid"].values, views["area"].values[:, :80])


@pytest.mark.parametrize("fusion", [name for name, kind in FUSION.items() if not kind.is_late])
@pytest.mark.parametrize("trunk", ["hard", "transformer", "mmoe"])
def test_absent_pictures_are_one_token_in_any_company(table: Table, trunk: str, fusion: str) -> None:
    network, batches = built(model(trunk, fusion), table)
    together, dense = batches[Draw(ROWS, None)], batches[Draw(ROWS, None)]
    whole = network.predict(together)["kind"].output
    for row in ROWS:  # alone, a batch without any picture has no grid at all
        alone = network.predict(batches[Draw((row,), None)])["kind"].output
        torch.testing.assert_close(alone[0], whole[row], atol=1e-5, rtol=1e-5)
    taps = network.share_dense(dense_values(dense), dense.present)
    unit, head = next(iter(network.units()))
    torch.testing.assert_close(network.output(unit, head, taps, None, dense.present, {}), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("trunk", ["hard", "transformer", "mtan", "mmoe"])
def test_gradients_at_the_boundary_are_the_plain_ones(table: Table, trunk: str) -> None:
    """With weights of one, a Gramian balancer's boundary hands on the sum; every level gets its own."""

    class Sum(UPGrad):
        def weigh(self, gramian: Any, tasks: Any) -> Any:
            return torch.ones(len(tasks)).to(gramian)

    network, batches = built(model(trunk), table)
    batch, last = batches[Draw(ROWS, 0)], network.trunk.last_shared()
    found = []
    for balancer, level in ((Equal(), "losses"), (Sum(), "features")):
        network.zero_grad(set_to_none=True)
        torch.manual_seed(0)
        engine = Engine(balancer, network.preprocessing.tasks, level=level, last_shared=last)  # type: ignore[arg-type]
        network.training_loss(batch, engine).backward()
        found.append({name: p.grad for name, p in network.named_parameters()})
    for name, gradient in found[0].items():
        assert (gradient is None) == (found[1][name] is None), name
        if gradient is not None:
            torch.testing.assert_close(gradient, found[1][name], atol=1e-5, rtol=1e-4)
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.encoders[0].levels.parameters())


def test_a_transformer_attends_over_so_many_of_all_grids_together() -> None:
    pooling = pooling_for(Tokens.cat([_grid((32, 24)), _grid((16, 12)), _grid((8, 6))]), 256)
    assert pooling is not None and pooling.num_slots <= 256
    assert pooling_for(Tokens.cat([_grid((8, 8)), _grid((4, 4))]), 256) is None


def _grid(shape: tuple[int, int]) -> Tokens:
    length = shape[0] * shape[1]
    mask = torch.ones(1, length, dtype=torch.bool)
    return Tokens(torch.randn(1, length, 4), mask, (Span("x", 0, length, "grid", shape),))


@pytest.mark.parametrize(("trunk", "encoder"), [("hard", "scratch"), ("transformer", "timm:test_resnet.r160_in1k")])
def test_it_is_exported(table: Table, tmp_path: Path, trunk: str, encoder: str) -> None:
    pytest.importorskip("onnxruntime")
    if encoder != "scratch":
        pytest.importorskip("timm")
    every = model(trunk)
    photo = Image(size=(64, 80), encoder=encoder)
    trained = MultiTaskModel({**every.inputs, "photo": photo}, every.tasks, trunk=every.trunk, width=16)
    network, _ = built(trained, table)
    written = export_onnx(Predictor(network), table, tmp_path / "model.onnx")
    assert set(written.differences) == {"kind", "area"} and max(written.differences.values()) < 1e-4


@pytest.mark.parametrize("fusion", ["concat", "attention"])
def test_the_row_hears_of_every_grid(table: Table, fusion: str) -> None:
    network, batches = built(model(fusion=fusion), table)
    batch = batches[Draw(ROWS, None)]
    tokens = network.encoders[0](batch.inputs["photo"].values).named("photo")
    note = Tokens.of_rows(torch.randn(4, 16), "note")
    present = {name: torch.ones(4, dtype=torch.bool) for name in ("photo", "note")}
    row = network.fusion({"photo": tokens, "note": note}, present).row()
    for span in tokens.spans:
        changed = tokens.with_values(tokens.values.clone())
        changed.values[:, span.start : span.stop] += torch.randn(16)
        assert not torch.allclose(network.fusion({"photo": changed, "note": note}, present).row(), row, atol=1e-4)


def test_each_grid_counts_alike_in_the_row() -> None:
    """At the start a pool is the mean; of a pyramid, of the grids' means: a grid of 16 places weighs as one of 4."""
    sizes = (16, 4)
    grids = [Tokens(torch.randn(2, n, 8), torch.ones(2, n, dtype=torch.bool), (Span("x", 0, n, "grid", (n, 1)),))
             for n in sizes]  # fmt: skip
    grids[0].mask[1] = False  # the second row is absent: one token of the coarsest grid
    grids[1].mask[1, 1:] = False
    pool = Pool(8)
    means = [grid.values.mean(1)[0] for grid in grids]
    assert torch.allclose(pool(Tokens.cat(grids))[0], (means[0] + means[1]) / 2, atol=1e-6)
    nn.init.normal_(pool.score.weight)
    assert torch.allclose(pool(Tokens.cat(grids))[1], grids[1].values[1, 0], atol=1e-6)
    hidden = [grid.with_values(grid.values.clone().requires_grad_()) for grid in grids]
    pool(Tokens.cat(hidden))[1].sum().backward()
    assert not hidden[0].values.grad[1].any(), "what is absent is learned from"
