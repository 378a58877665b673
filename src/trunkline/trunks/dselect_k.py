"""DSelect-k: gates that learn which experts to do without (Hazimeh et al., NeurIPS 2021).

Shape legend: `B` rows, `E` experts, `k` selectors of a gate, `m = log₂ E` bits of an expert's number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.layers import ResidualMLP
from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.trunks.layers import Loads, mixture, outer_linears
from trunkline.types import Tokens

TINY = 1e-6  # inside the logarithm of a probability that may be 0


def smooth_step(t: Tensor, gamma: float) -> Tensor:
    """`−2/γ³ t³ + 3/(2γ) t + ½` between `−γ/2` and `γ/2`; exactly 0 below and 1 above, where nothing is learned."""
    u = (t / gamma).clamp(-0.5, 0.5)
    return -2 * u**3 + 1.5 * u + 0.5


def codes(experts: int) -> Tensor:
    """The binary numbers of the experts, `[E, m]` bool."""
    bits = experts.bit_length() - 1
    return (torch.arange(experts).unsqueeze(1) >> torch.arange(bits)) % 2 == 1


def selected(z: Tensor, code: Tensor, gamma: float) -> Tensor:
    """The single-expert selector: `rᵢ = Π S(z_j)` over bits that are set in `i`, `Π (1 − S(z_j))` over the others.

    Args:
        z: `[…, m]`.
        code: `[E, m]` bool.
        gamma: of the smooth step.

    Returns:
        `[…, E]`, not negative, with sum 1; one expert alone where all `|z| ≥ γ/2`.
    """
    bits = smooth_step(z, gamma).unsqueeze(-2)
    return torch.where(code, bits, 1 - bits).prod(-1)


def entropy(r: Tensor) -> Tensor:
    """`−Σ r log r`, `[…, E]` → `[…]`: 0 where one expert is selected."""
    return -(r * (r + TINY).log()).sum(-1)


class Gate(nn.Module):
    """One task's gate: `q = Σᵢ softmax(α)ᵢ r(z⁽ⁱ⁾)`, with `α = G x` and `z⁽ⁱ⁾ = W⁽ⁱ⁾ x`.

    A static gate reads a constant one, so that `α` and `z` are free.
    """

    code: Tensor

    def __init__(self, inputs: int, experts: int, k: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("code", codes(experts), persistent=False)
        near = gamma / 100  # undecided, as in the authors' own code
        self.alpha = nn.Parameter(torch.empty(k, inputs).uniform_(-0.05, 0.05))
        self.z = nn.Parameter(torch.empty(k, self.code.shape[1], inputs).uniform_(-near, near))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, inputs]` → the experts' weights `q [B, E]`, and what each selector says `r [B, k, E]`."""
        alpha = nn.functional.linear(x, self.alpha)  # [B, k]
        z = nn.functional.linear(x, self.z.flatten(0, 1)).unflatten(-1, self.z.shape[:2])  # [B, k, m]
        r = selected(z, self.code, self.gamma)
        return (torch.softmax(alpha, -1).unsqueeze(-1) * r).sum(-2), r


class DSelectKModule(TrunkModule):
    """Layers of `DSelectK`; the taps are the experts' outputs and, where gates read rows, these last."""

    has_penalty: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[str],
        width: int,
        *,
        experts: int,
        k: int,
        is_static: bool,
        gamma: float,
        entropy: float,
        expansion: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.is_static, self.entropy = is_static, entropy
        self.experts = nn.ModuleList(ResidualMLP(width, expansion=expansion, dropout=dropout) for _ in range(experts))
        self.gates = nn.ModuleList(Gate(1 if is_static else width, experts, k, gamma) for _ in tasks)
        self.seen = Loads()

    def share(self, tokens: Tokens) -> Taps:
        experts = tuple(tokens.with_values(expert(tokens.values)) for expert in self.experts)
        return experts if self.is_static else (*experts, Tokens.of_rows(tokens.row()))

    def view(self, task: str, taps: Taps) -> Tokens:
        q, _ = self.gate(task, taps)
        if self.training:
            self.seen.note(task, q)
        return taps[0].with_values(mixture(q, [tap.values for tap in taps[: len(self.experts)]]))

    def gate(self, task: str, taps: Taps) -> tuple[Tensor, Tensor]:
        """A task's weights of the experts `[B, E]`, and what each of its selectors says `[B, k, E]`."""
        values = taps[0].values
        x = values.new_ones(values.shape[0], 1) if self.is_static else taps[-1].row()
        q, r = self.gates[self.tasks.index(task)](x)
        return q, r

    def penalty(self, task: str, taps: Taps) -> Tensor:
        _, r = self.gate(task, taps)
        return self.entropy * entropy(r).sum(-1)

    def private(self, task: str) -> Sequence[nn.Module]:
        return [self.gates[self.tasks.index(task)]]

    def loads(self) -> dict[str, dict[str, float]]:
        names = [f"expert {i + 1}" for i in range(len(self.experts))]
        return {task: dict(zip(names, loads)) for task in self.tasks if (loads := self.seen.of(task))}

    def forget_loads(self) -> None:
        self.seen.forget()

    def last_shared(self) -> Sequence[nn.Linear]:
        return outer_linears(self.experts)


class DSelectK(Trunk):
    """Experts shared by all tasks, of which each task's gate learns to keep at most `k`.

    Eq. 4 and 5 of the paper: `k` selectors, each of which says the number of one expert in binary, a smooth step a
    bit, are mixed by a softmax. Beyond `±γ/2` a bit is exactly 0 or 1 and is not learned any more: the choice is made.
    Until then all experts are mixed, and what drives selectors to a choice is their entropy, `λ` times which is a part
    of each task's loss (so the losses in the log have it in them, and a balancer that weighs the task weighs it).

    Steps of Adam are about as long as the rate, so a static gate needs at least `γ/2` over the rate of them to choose.
    All experts run, chosen or not: a choice makes simple what is learned, not the step cheaper.

    Args:
        experts: how many: a power of two, since each binary number must be an expert's.
        k: selectors of a gate. Two may choose the same expert.
        gating: `row`, by what the fused row is (on several tokens a row's gate holds for all of them), or `static`, the
            same for all rows.
        gamma: width of the smooth step; a smaller one decides sooner.
        entropy: the paper's `λ`; 0 leaves choices to the losses alone.
        expansion: hidden units of an expert per unit of width.
        dropout: on an expert's hidden units.
    """

    def __init__(
        self,
        experts: int = 4,
        k: int = 2,
        gating: Literal["row", "static"] = "row",
        gamma: float = 1.0,
        entropy: float = 0.01,
        expansion: float = 1.0,
        dropout: float = 0.1,
    ) -> None:
        self.experts = experts
        self.k = k
        self.gating = gating
        self.gamma = gamma
        self.entropy = entropy
        self.expansion = expansion
        self.dropout = dropout

    def build(self, tasks: Sequence[str], width: int) -> DSelectKModule:
        """The layers.

        Raises:
            ConfigError: experts that cannot be counted in bits, more selectors than experts, or numbers out of range.
        """
        if faults := list(self._faults()):
            raise ConfigError("\n".join(faults))
        return DSelectKModule(
            tasks,
            width,
            experts=self.experts,
            k=self.k,
            is_static=self.gating == "static",
            gamma=self.gamma,
            entropy=self.entropy,
            expansion=self.expansion,
            dropout=self.dropout,
        )

    def _faults(self) -> Iterator[str]:
        if self.experts < 2 or self.experts.bit_count() != 1:
            higher = 1 << max(1, self.experts.bit_length())
            near = f"{higher // 2} or {higher}" if self.experts > 2 else "2 or 4"
            yield f"trunk.experts: {self.experts} is no power of two, and experts are chosen bit by bit; give {near}"
        if not 1 <= self.k <= max(1, self.experts):
            yield f"trunk.k: {self.k} of {self.experts} experts cannot be selected; give 1 to {self.experts}"
        if self.gating not in ("row", "static"):
            yield f"trunk.gating: {self.gating!r} is neither 'row' nor 'static'"
        if self.gamma <= 0:
            yield f"trunk.gamma: {self.gamma} is no width of a step; give more than 0"
        if self.entropy < 0:
            yield f"trunk.entropy: {self.entropy} would reward indecision; give 0 or more"
