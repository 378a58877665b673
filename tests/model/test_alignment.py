"""The contrastive loss between encoders: against the formula, absent inputs, what learns by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trunkline import ConfigError, MultiTaskModel, fit, load, modalities, tasks
from trunkline.balancers import Equal, UPGrad
from trunkline.data import Draw, read_table
from trunkline.engine import Engine, Whole
from trunkline.model.alignment import TEMPERATURE, Alignment, contrast
from trunkline.schema import Preprocessing, RowBatches
from trunkline.types import Tokens

torch.set_num_threads(1)


def unit(rows: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, 5, dtype=torch.float64), dim=-1)


def test_contrast_is_the_cross_entropy_of_finding_the_other_input() -> None:
    """Against PyTorch's, on the rows that have both alone."""
    torch.manual_seed(0)
    first, second = unit(6), unit(6)
    both = torch.tensor([True, False, True, True, False, True])
    cosines = first[both] @ second[both].T / TEMPERATURE
    places = torch.arange(4)
    expected = (
        torch.nn.functional.cross_entropy(cosines, places) + torch.nn.functional.cross_entropy(cosines.T, places)
    ) / 2
    loss, counts = contrast(first, second, both)
    torch.testing.assert_close(loss, expected)
    assert counts == 1


def test_what_is_absent_changes_nothing_and_one_row_is_nothing_to_find() -> None:
    torch.manual_seed(0)
    first, second = unit(3).requires_grad_(), unit(3).requires_grad_()
    for both, counted in (([False, False, False], 0), ([False, True, False], 0), ([False, True, True], 1)):
        loss, counts = contrast(first, second, torch.tensor(both))
        assert counts == counted and (loss > 0) == bool(counted)
        for gradient in torch.autograd.grad(loss, [first, second]):
            assert torch.isfinite(gradient).all()
            assert not gradient[~torch.tensor(both)].any()
            assert bool(gradient.any()) == bool(counted)


def test_three_encoders_are_the_mean_over_pairs() -> None:
    torch.manual_seed(0)
    module = Alignment(["a", "b", "c"], 4, 0.5)
    rows = {name: torch.randn(5, 4) for name in "abc"}
    present = {name: torch.ones(5, dtype=torch.bool) for name in "abc"}
    present["c"][1:] = False  # nobody has both a and c, or b and c, in two rows
    said = module({name: Tokens.of_rows(x) for name, x in rows.items()}, present)
    a, b = (torch.nn.functional.normalize(one(rows[name]), dim=-1) for one, name in zip(module.maps, "ab"))
    torch.testing.assert_close(said, 0.5 * contrast(a, b, present["a"])[0])
    (noted,) = module.noted
    assert not noted.requires_grad
    torch.testing.assert_close(noted, 2 * said.detach())
    module.forget()
    assert not module.noted


def table() -> list[dict[str, Any]]:
    """Two inputs that say the same of a row in other words, and a label of neither."""
    rng = np.random.default_rng(0)
    names, words = ["red", "blue", "green", "black"], ["rot", "blau", "gruen", "schwarz"]
    rows: list[dict[str, Any]] = []
    for place in rng.integers(0, 4, 200):
        rows.append({"name": names[place], "word": words[place], "coin": int(rng.random() < 0.5)})
    for row in rows[::7]:
        row["word"] = None
    return rows


def model(**options: Any) -> MultiTaskModel:
    bound = {"name": modalities.Text(), "word": modalities.Text()}
    return MultiTaskModel(bound, {"coin": tasks.Binary()}, width=16, **options)


@pytest.mark.parametrize("balancer", [Equal(), UPGrad()])
def test_the_total_has_it_beside_the_tasks(balancer: Any) -> None:
    """Its gradient is added to the encoders', whatever balances the tasks; in parts, the mean over them."""
    rows = read_table(table()[:12])
    batches = RowBatches(Preprocessing.fit(model().schema(), rows, range(12)), rows)
    torch.manual_seed(0)
    network = model(align=0.3).build(batches.preprocessing).eval()
    batch = batches[Draw(tuple(range(12)), None)]
    level = "losses" if isinstance(balancer, Equal) else "features"
    assert network.alignment is not None
    alone = network.alignment(*network.encoded(batch))
    gradients: dict[float, list[Tensor]] = {}
    parameters = list(network.encoders.parameters())
    for weight in (0.3, 0.0):
        network.alignment.weight = weight
        engine = Engine(balancer, ("coin",), level=level)  # type: ignore[arg-type]
        network.zero_grad()
        network.training_loss(batch, engine).backward()
        gradients[weight] = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
    expected = torch.autograd.grad(alone, parameters, allow_unused=True)
    for with_it, without, own in zip(gradients[0.3], gradients[0.0], expected):
        torch.testing.assert_close(with_it - without, torch.zeros_like(without) if own is None else own)


def test_of_a_step_in_parts_it_is_the_mean() -> None:
    rows = read_table(table()[:12])
    batches = RowBatches(Preprocessing.fit(model().schema(), rows, range(12)), rows)
    network = model(align=0.3).build(batches.preprocessing).eval()
    parts = [batches[Draw(tuple(range(start, start + 6)), None)] for start in (0, 6)]
    assert network.alignment is not None
    losses = [network.losses(part, network.share(part)) for part in parts]
    sums, weights = (torch.stack(each).sum(0).detach() for each in zip(*losses))
    whole = Whole([12], 12, 2, sums, weights)
    found = {}
    for weight in (0.3, 0.0):
        network.alignment.weight = weight
        engine = Engine(Equal(), ("coin",), level="losses")
        found[weight] = sum(network.training_loss(part, engine, whole).detach() for part in parts)
    network.alignment.weight = 0.3
    expected = sum(network.alignment(*network.encoded(part)).detach() for part in parts) / 2
    torch.testing.assert_close(found[0.3] - found[0.0], expected)


def test_a_fit_learns_it_writes_it_down_and_comes_back(tmp_path: Path) -> None:
    rows = table()
    fit(
        model(), rows[40:], validation=rows[:40], balancer=Equal(), align=1.0, steps=60, lr=0.01, threads=1,
        accelerator="cpu", out=tmp_path / "run",
    )  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    curve = [line["align"] for line in lines if "align" in line]
    assert curve[-1] < 0.8 * curve[0]
    network = load(tmp_path / "run").network
    assert network.alignment is not None and network.alignment.weight == 1.0


def test_half_precision_leaves_it_in_single(tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 2, "threads": 1, "accelerator": "cpu", "precision": "bf16-mixed"}
    run = fit(model(), table()[:60], align=0.5, out=tmp_path / "run", **options)
    line = json.loads((run.folder / "log.jsonl").read_text().splitlines()[0])
    assert 0 < line["align"] < 20


def test_parts_are_logged_together(tmp_path: Path) -> None:
    """The mean over the parts of a step, not the last of them."""
    rows = table()[:60]
    network_of = fit(model(), rows, align=0.5, accumulate=2, batch_size=16, steps=1, threads=1, accelerator="cpu",
                     out=tmp_path / "run")  # fmt: skip
    assert len(load(network_of.folder).network.alignment.noted) == 0  # type: ignore[union-attr]
    line = json.loads((network_of.folder / "log.jsonl").read_text().splitlines()[0])
    assert line["align"] > 0


def test_what_it_may_be(tmp_path: Path) -> None:
    """The model may say it, a run's own option wins; what is no weight, or of one encoder, is refused."""
    rows = table()[:60]
    options: dict[str, Any] = {"steps": 2, "threads": 1, "accelerator": "cpu"}
    assert fit(model(align=0.2), rows, out=tmp_path / "a", **options).config.training.align == 0.2
    run = fit(model(align=0.2), rows, align=0.0, out=tmp_path / "b", **options)
    assert run.config.training.align == 0.0 and load(run.folder).network.alignment is None
    single = MultiTaskModel({"name": modalities.Text()}, {"coin": tasks.Binary()}, width=16)
    for asked, given, message in [
        (model(), {"align": -1.0}, r"training\.align: must not be negative"),
        (model(align=-1.0), {}, "training.align: -1.0 is no weight"),
        (model(), {"align": float("inf")}, r"training\.align: must not be negative, and finite"),
        (single, {"align": 0.3}, "there is one .'name'."),
    ]:
        with pytest.raises(ConfigError, match=message):
            fit(asked, rows, out=tmp_path / "none", **options, **given)
    assert not (tmp_path / "none" / "config.yaml").exists()
