"""The running average of the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from training.small_runs import STEPS, write_small_world
from training.test_training import plan_of, same, train_plan, weights_of
from trunkline.training.average import Average
from trunkline.training.judge import Judge
from trunkline.training.stepper import Stepper


def layer(value: float = 0.0) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(2)
    nn.init.constant_(norm.weight, value)
    return norm


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_it_is_the_average_with_fewer_steps_at_first(decay: float) -> None:
    norm = layer()
    average, expected = Average(norm, decay), torch.zeros(2)
    for step in range(1, 30):
        norm.weight.data.fill_(float(step))
        average.update()
        share = min(decay, (1 + step) / (10 + step))
        expected = share * expected + (1 - share) * step
    torch.testing.assert_close(average.state()["weight"], expected)
    assert norm.weight.tolist() == [29.0, 29.0]


def test_the_first_weights_are_soon_forgotten() -> None:
    norm = layer(1e6)
    average = Average(norm, 0.9999)
    norm.weight.data.fill_(1.0)
    for _ in range(100):
        average.update()
    assert average.state()["weight"].max() < 2.0


def test_it_takes_the_place_of_the_weights_and_gives_it_back() -> None:
    norm, x = layer(1.0), torch.randn(8, 2)
    optimiser = torch.optim.SGD(norm.parameters(), lr=0.1)
    average = Average(norm, 0.5)
    norm.weight.data.fill_(3.0)
    average.update()
    norm(x)  # running statistics are the network's own
    with average.in_place():
        assert norm.weight.tolist() == average_of(1.0, 3.0)
        assert norm.state_dict()["num_batches_tracked"] == 1
    assert norm.weight.tolist() == [3.0, 3.0]
    norm(x).sum().backward()
    optimiser.step()
    assert average.state()["weight"].tolist() == average_of(1.0, 3.0)


def average_of(first: float, second: float) -> list[float]:
    share = 2 / 11
    return pytest.approx([share * first + (1 - share) * second] * 2)


def test_frozen_parameters_are_left_alone() -> None:
    norm = layer(1.0)
    norm.bias.requires_grad_(False)
    assert list(Average(norm, 0.5).state()) == ["weight"]


def test_the_average_is_judged_and_kept_and_the_weights_learn_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps are those of a run without an average; what is looked at and stored is the average."""
    world = write_small_world(tmp_path / "world")
    plain, averaged, blind = (plan_of(world) for _ in range(3))
    train_plan(plain, tmp_path / "plain", validate=False)
    looks, averages = [], []
    look, step = Judge.look, Stepper.step

    def spy_on_looks(self: Judge) -> object:
        looks.append(weights_of(averaged))
        return look(self)

    def spy_on_steps(self: Stepper, *given: object) -> None:
        step(self, *given)
        assert self.average is not None
        averages.append({name: value.clone() for name, value in self.average.state().items()})
        if len(averages) == STEPS:
            assert same(weights_of(averaged), weights_of(plain))

    monkeypatch.setattr(Judge, "look", spy_on_looks)
    monkeypatch.setattr(Stepper, "step", spy_on_steps)
    fitted = train_plan(averaged, tmp_path / "averaged", validations=2, ema=0.8)
    assert len(averages) == STEPS
    for seen, number in zip(looks, (STEPS // 2, STEPS)):
        assert all(torch.equal(seen[name], value) for name, value in averages[number - 1].items())
    best = averages[fitted.best_step - 1]
    assert all(torch.equal(weights_of(averaged)[name], value) for name, value in best.items())
    stored = load_file(tmp_path / "averaged" / "checkpoints" / "best.safetensors")
    assert all(torch.equal(stored[name], best[name]) for name in stored if name in best)
    monkeypatch.undo()
    train_plan(blind, tmp_path / "blind", validate=False, ema=0.8)
    assert all(torch.equal(weights_of(blind)[name], value) for name, value in averages[-1].items())
