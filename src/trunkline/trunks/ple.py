"""Progressive layered extraction (Tang et al., RecSys 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.layers import ResidualMLP
from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.trunks.layers import Loads, mixture, outer_linears
from trunkline.types import Tokens


class PLEModule(TrunkModule):
    """Layers of `PLE`.

    The taps are what the shared experts of the top level say and, of one level, the tokens; of several, what all
    experts of the level below the top say and the rows that its gates read.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        width: int,
        *,
        levels: int,
        experts: int,
        task_experts: int,
        expansion: float,
        dropout: float,
    ) -> None:
        super().__init__()

        def several(count: int) -> nn.ModuleList:
            return nn.ModuleList(ResidualMLP(width, expansion=expansion, dropout=dropout) for _ in range(count))

        def gate(count: int) -> nn.Linear:
            return nn.Linear(width, count, bias=False)

        every = experts + len(tasks) * task_experts
        self.tasks = tuple(tasks)
        self.num_shared, self.num_own = experts, task_experts
        self.shared = nn.ModuleList(several(experts) for _ in range(levels))
        self.own = nn.ModuleList(nn.ModuleList(several(task_experts) for _ in tasks) for _ in range(levels))
        self.gates = nn.ModuleList(nn.ModuleList(gate(task_experts + experts) for _ in tasks) for _ in range(levels))
        self.shared_gates = nn.ModuleList(gate(every) for _ in range(levels - 1))
        self.seen = Loads()
        if levels > 1:
            self.closed = (
                "has a gate below the top that reads every task's experts, so another task's would change what all are "
                "told; one of `levels: 1` can be added to"
            )

    def share(self, tokens: Tokens) -> Taps:
        levels, tasks = len(self.shared), range(len(self.tasks))
        common, own = tokens, [tokens] * len(self.tasks)
        said: Taps = (tokens,)
        for level in range(levels - 1):
            of_tasks = [self._own(level, k, own[k]) for k in tasks]
            of_all = self._shared(level, common)
            every = [expert for experts in (*of_tasks, of_all) for expert in experts]
            rows = [Tokens.of_rows(read.row()) for read in (own if level else [tokens])]
            said = tuple(map(tokens.with_values, every)) + tuple(rows)
            common = _mixed(self.shared_gates[level], common, every)
            if level < levels - 2:
                own = [self._extracted(level, k, own[k].row(), of_tasks[k], of_all, tokens) for k in tasks]
        return tuple(map(tokens.with_values, self._shared(levels - 1, common))) + said

    def view(self, task: str, taps: Taps) -> Tokens:
        k, top = self.tasks.index(task), len(self.shared) - 1
        of_all, below = [tap.values for tap in taps[: self.num_shared]], taps[self.num_shared :]
        read = below[0] if top == 0 else self._read(k, below)
        return self._extracted(top, k, read.row(), self._own(top, k, read), of_all, read)

    def _read(self, k: int, below: Taps) -> Tokens:
        """What a task's own part of the top level reads, `gᵏ` of the level below."""
        count = self.num_own * len(self.tasks)
        own = [tap.values for tap in below[k * self.num_own : (k + 1) * self.num_own]]
        of_all = [tap.values for tap in below[count : count + self.num_shared]]
        rows = below[count + self.num_shared :]
        row = rows[k if len(rows) > 1 else 0].row()  # at the first level all tasks' gates read the same
        return self._extracted(len(self.shared) - 2, k, row, own, of_all, below[0])

    def _extracted(
        self, level: int, k: int, row: Tensor, own: Sequence[Tensor], of_all: Sequence[Tensor], layout: Tokens
    ) -> Tokens:
        """`gᵏ`: a task's own experts and the shared ones, by its gate of this level."""
        gate = torch.softmax(cast(nn.ModuleList, self.gates[level])[k](row), -1)
        if self.training and level == len(self.shared) - 1:
            self.seen.note(self.tasks[k], gate)
        return layout.with_values(mixture(gate, [*own, *of_all]))

    def _own(self, level: int, k: int, read: Tokens) -> list[Tensor]:
        experts = cast(nn.ModuleList, cast(nn.ModuleList, self.own[level])[k])
        return [expert(read.values) for expert in experts]

    def _shared(self, level: int, read: Tokens) -> list[Tensor]:
        return [expert(read.values) for expert in cast(nn.ModuleList, self.shared[level])]

    def private(self, task: str) -> Sequence[nn.Module]:
        k = self.tasks.index(task)
        return [cast(nn.ModuleList, own)[k] for own in (self.own[0], self.gates[0])]

    def loads(self) -> dict[str, dict[str, float]]:
        """At the top level: of the task's own experts, then of the shared ones."""
        shared = [f"shared {i + 1}" for i in range(self.num_shared)]
        names = {task: [*(f"{task}: {i + 1}" for i in range(self.num_own)), *shared] for task in self.tasks}
        return {task: dict(zip(names[task], loads)) for task in self.tasks if (loads := self.seen.of(task))}

    def forget_loads(self) -> None:
        self.seen.forget()

    def last_shared(self) -> Sequence[nn.Linear]:
        return outer_linears(cast(nn.ModuleList, self.shared[-1]))


def _mixed(gate: nn.Module, read: Tokens, experts: Sequence[Tensor]) -> Tokens:
    return read.with_values(mixture(torch.softmax(gate(read.row()), -1), experts))


class PLE(Trunk):
    """Levels of experts, some shared and some of one task, with a gate for each task and one for the shared experts.

    Eq. 1 to 3 of the paper, at each level `j` as in eq. 5: `gᵏʲ = softmax(W_gᵏʲ gᵏʲ⁻¹) Sᵏʲ`, where the rows of `Sᵏʲ`
    are task `k`'s own experts on `gᵏʲ⁻¹` and the shared ones on `gˢʲ⁻¹`. At all levels but the last, the shared experts
    have such a gate, too, whose rows are *all* experts, those of every task among them. `g⁰` is the fused tokens; gates
    read the row, and hold for all its tokens. One level is the paper's CGC (`levels: 1`).

    Through the shared gate every loss reaches every task's experts below the top. So they are shared, whatever their
    name, and so are the tasks' gates two levels below the top and deeper. Private are the own experts and the gate of
    the top level, and the task's gate one level below: what that one mixes goes to its task's top level only. The taps
    lie between: what all experts one level below the top say, what the gates there read, and what the top's shared
    experts say. In each optimiser step, a task's experts learn from rows that lack its label, too.

    A level runs `experts + T · task_experts` experts, and every task gets copies of all their taps: it is for some
    tasks, not for hundreds.

    Args:
        levels: of extraction.
        experts: shared, at each level.
        task_experts: of each task, at each level.
        expansion: hidden units of an expert per unit of width.
        dropout: on an expert's hidden units.
    """

    def __init__(
        self, levels: int = 2, experts: int = 2, task_experts: int = 1, expansion: float = 1.0, dropout: float = 0.1
    ) -> None:
        self.levels = levels
        self.experts = experts
        self.task_experts = task_experts
        self.expansion = expansion
        self.dropout = dropout

    def build(self, tasks: Sequence[str], width: int) -> PLEModule:
        """The layers.

        Raises:
            ConfigError: no level, no shared expert, or none of a task's own.
        """
        if self.levels < 1:
            raise ConfigError(f"trunk.levels: {self.levels} leaves nothing to share; give 1 (CGC) or more")
        if self.experts < 1:
            raise ConfigError(f"trunk.experts: {self.experts} leaves nothing to share; give 1 or more")
        if self.task_experts < 1:
            raise ConfigError(
                f"trunk.task_experts: {self.task_experts} leaves the tasks none of their own; give 1 or more, "
                "or use `trunk: mmoe`"
            )
        return PLEModule(
            tasks,
            width,
            levels=self.levels,
            experts=self.experts,
            task_experts=self.task_experts,
            expansion=self.expansion,
            dropout=self.dropout,
        )
