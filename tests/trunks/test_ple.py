"""PLE against eq. 1 to 3 and 5 of Tang et al. (2020), written as loops."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from trunkline import ConfigError
from trunkline.testing import check_trunk
from trunkline.trunks import PLE
from trunkline.types import Span, Tokens

torch.set_num_threads(1)
TASKS = ("a", "b", "c")


def build(**options: int) -> nn.Module:
    torch.manual_seed(0)
    module = PLE(expansion=1.5, **options).build(TASKS, 6).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def tokens(rows: int = 4) -> Tokens:
    """A row token, and two words."""
    spans = (Span(None, 0, 1, "set", (1,)), Span("note", 1, 3, "words", (2,)))
    return Tokens(torch.randn(rows, 3, 6).double(), torch.ones(rows, 3, dtype=torch.bool), spans)


def by_gate(gate: nn.Linear, read: Tensor, experts: list[Tensor]) -> Tensor:
    """`softmax(W g)` of the first token of one row, which holds for all its tokens `[L, D]`."""
    powers = [(weight * read[0]).sum().exp() for weight in gate.weight]
    assert len(powers) == len(experts)
    total = torch.zeros_like(read)
    for power, expert in zip(powers, experts):
        total += power / sum(powers) * expert
    return total


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_a_tasks_view_is_eq_5(levels: int) -> None:
    """`gᵏʲ = wᵏʲ(gᵏʲ⁻¹) Sᵏʲ`; the shared gate's rows are all experts, at all levels but the last."""
    module, given = build(levels=levels, experts=2, task_experts=2), tokens()
    taps = module.share(given)
    found = [module.view(task, taps).values for task in TASKS]
    for row, x in enumerate(given.values):
        own, common = [x] * 3, x
        for j in range(levels):
            of_tasks = [[expert(own[k]) for expert in module.own[j][k]] for k in range(3)]
            of_all = [expert(common) for expert in module.shared[j]]
            own = [by_gate(module.gates[j][k], own[k], of_tasks[k] + of_all) for k in range(3)]
            if j < levels - 1:
                common = by_gate(module.shared_gates[j], common, [*of_tasks[0], *of_tasks[1], *of_tasks[2], *of_all])
        for k in range(3):
            torch.testing.assert_close(found[k][row], own[k], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    "options", [{"levels": 1}, {"levels": 2, "experts": 1, "task_experts": 2}, {"levels": 3}, {"levels": 4}]
)
def test_the_contract_holds_at_any_depth(options: dict[str, int]) -> None:
    check_trunk(PLE(**options))


def reached(module: nn.Module, task: str) -> set[str]:
    """Names of what a task's loss reaches."""
    named = dict(module.named_parameters())
    loss = module.view(task, module.share(tokens())).values.square().sum()
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name for name, gradient in zip(named, gradients) if gradient is not None}


def test_a_tasks_experts_below_the_top_are_everybodys() -> None:
    """So are the gates two levels below the top; a task's other gates and its experts of the top are its own."""
    module = build(levels=3)
    by_a, by_b = reached(module, "a"), reached(module, "b")
    named = dict(module.named_parameters())
    of_b = {name for name in named if re.match(r"(own|gates)\.\d\.1\.", name)}
    assert {name for name in of_b & by_a if name.startswith("gates")} == {"gates.0.1.weight"}
    assert {name[:8] for name in of_b & by_a if name.startswith("own")} == {"own.0.1.", "own.1.1."}
    assert of_b <= by_b


def test_of_one_level_a_task_sees_nothing_of_anothers_experts() -> None:
    """CGC: a task's own experts are its own."""
    module = build(levels=1)
    assert not [name for name in reached(module, "a") if name.startswith(("own.0.1.", "own.0.2.", "gates.0.1."))]


def test_options_that_cannot_work() -> None:
    for options, match in [
        ({"levels": 0}, r"trunk.levels: 0 .* give 1 \(CGC\)"),
        ({"experts": 0}, "trunk.experts: 0"),
        ({"task_experts": 0}, "trunk.task_experts: 0 .* `trunk: mmoe`"),
    ]:
        with pytest.raises(ConfigError, match=match):
            PLE(**options).build(["a"], 8)
