"""Multi-gate mixture of experts (Ma et al., KDD 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from trunkline.errors import ConfigError
from trunkline.layers import ResidualMLP
from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.trunks.layers import Loads, mixture, outer_linears
from trunkline.types import Tokens


class MMoEModule(TrunkModule):
    """Layers of `MMoE`; the taps are the experts' outputs and, last, what the gates read."""

    def __init__(self, tasks: Sequence[str], width: int, experts: int, expansion: float, dropout: float) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.experts = nn.ModuleList(ResidualMLP(width, expansion=expansion, dropout=dropout) for _ in range(experts))
        self.gates = nn.ModuleList(nn.Linear(width, experts, bias=False) for _ in tasks)
        self.seen = Loads()

    def share(self, tokens: Tokens) -> Taps:
        experts = tuple(tokens.with_values(expert(tokens.values)) for expert in self.experts)
        return (*experts, Tokens.of_rows(tokens.row()))

    def view(self, task: str, taps: Taps) -> Tokens:
        *experts, gate_input = taps
        gate = torch.softmax(self.gates[self.tasks.index(task)](gate_input.row()), -1)  # [B, E]
        if self.training:
            self.seen.note(task, gate)
        return experts[0].with_values(mixture(gate, [expert.values for expert in experts]))

    def private(self, task: str) -> Sequence[nn.Module]:
        return [self.gates[self.tasks.index(task)]]

    def loads(self) -> dict[str, dict[str, float]]:
        names = [f"expert {i + 1}" for i in range(len(self.experts))]
        return {task: dict(zip(names, loads)) for task in self.tasks if (loads := self.seen.of(task))}

    def forget_loads(self) -> None:
        self.seen.forget()

    def last_shared(self) -> Sequence[nn.Linear]:
        return outer_linears(self.experts)


class MMoE(Trunk):
    """Experts shared by all tasks; each task mixes them by a gate of its own.

    Eq. 6 and 7 of the paper: `fᵏ(x) = Σᵢ softmax(W_gᵏ x)ᵢ fᵢ(x)`, with `x` the fused row; on several tokens a row's
    gate holds for all of them. The gate's input is shared, so it is a tap like the experts' outputs.

    Args:
        experts: how many.
        expansion: hidden units of an expert per unit of width.
        dropout: on an expert's hidden units.
    """

    def __init__(self, experts: int = 4, expansion: float = 1.0, dropout: float = 0.1) -> None:
        self.experts = experts
        self.expansion = expansion
        self.dropout = dropout

    def build(self, tasks: Sequence[str], width: int) -> MMoEModule:
        """The layers.

        Raises:
            ConfigError: fewer than two experts.
        """
        if self.experts < 2:
            raise ConfigError(f"trunk.experts: {self.experts} is no mixture; give 2 or more, or use `trunk: hard`")
        return MMoEModule(tasks, width, self.experts, self.expansion, self.dropout)
