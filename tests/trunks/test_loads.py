"""How much each task takes of each expert, as a trunk tells after a step of training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from trunkline.trunks import CATALOG, PLE, DSelectK, MMoE
from trunkline.trunks.ple import PLEModule
from trunkline.types import Tokens

torch.set_num_threads(1)
ROWS = Tokens.of_rows(torch.randn(8, 6, generator=torch.Generator().manual_seed(0)))
MIXING = {"mmoe": MMoE, "dselect_k": DSelectK, "ple": PLE}


@pytest.mark.parametrize("name", MIXING)
def test_loads_are_what_a_view_is_made_of(name: str) -> None:
    """With experts that say a number each, whatever they read, a view is the sum of loads times these."""
    torch.manual_seed(0)
    module = MIXING[name]().build(["a", "b"], 6).train()
    assert module.loads() == {}
    numbers = {}
    for task, experts in of_each_task(module).items():
        numbers[task] = [float(2**i) for i in range(len(experts))]
        for expert, number in zip(experts, numbers[task]):
            expert.forward = lambda x, number=number: torch.full_like(x, number)
    taps = module.share(ROWS)
    views = {task: module.view(task, taps).values.mean() for task in ("a", "b")}
    assert set(module.loads()) == {"a", "b"}
    for task, loads in module.loads().items():
        assert sum(loads.values()) == pytest.approx(1.0, abs=1e-6) and len(loads) == len(numbers[task])
        expected = sum(load * number for load, number in zip(loads.values(), numbers[task]))
        assert float(views[task]) == pytest.approx(expected, rel=1e-5)


def of_each_task(module: Any) -> dict[str, list[nn.Module]]:
    """The experts that a task's view is made of, in the order of its loads."""
    if isinstance(module, PLEModule):
        return {task: [*module.own[-1][k], *module.shared[-1]] for k, task in enumerate(module.tasks)}
    return {task: list(module.experts) for task in module.tasks}


@pytest.mark.parametrize("name", MIXING)
def test_all_rows_of_a_step_count_and_no_others(name: str) -> None:
    """In however many parts they come; not those of the step before, and none in evaluation."""
    torch.manual_seed(0)
    module = MIXING[name](dropout=0.0).build(["a", "b"], 6).train()
    for parameter in module.parameters():
        nn.init.normal_(parameter)

    def learn(*parts: Tokens) -> dict[str, dict[str, float]]:
        module.forget_loads()
        for part in parts:
            module.view("a", module.share(part))
        return module.loads()

    whole = learn(ROWS)
    assert set(whole) == {"a"} and len(set(whole["a"].values())) > 1
    parts = learn(*(Tokens.of_rows(ROWS.row()[part]) for part in (slice(0, 3), slice(3, 8), slice(8, 8))))
    assert parts["a"] == pytest.approx(whole["a"], abs=1e-6)
    other = Tokens.of_rows(torch.randn(8, 6) * 9)
    assert learn(other)["a"] != pytest.approx(whole["a"], abs=1e-3)
    learn(ROWS)
    module.eval()
    module.view("a", module.share(other))
    assert module.loads() == whole


@pytest.mark.parametrize("name", [name for name in CATALOG if name not in MIXING])
def test_trunks_without_experts_tell_nothing(name: str) -> None:
    module = CATALOG[name]().build(["a", "b"], 16).train()
    taps = module.share(Tokens.of_rows(torch.randn(4, 16)))
    module.view("a", taps)
    assert module.loads() == {}
