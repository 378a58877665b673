"""Late fusion: every input speaks for itself, and what they say is multiplied (a product of experts)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.fusion.contract import Fusion, LateModule
from trunkline.fusion.layers import InputVectors
from trunkline.types import Tokens


class ExpertsModule(LateModule):
    """Layers of `Late`; see there."""

    def __init__(self, encoders: Sequence[str], width: int, options: Late) -> None:
        super().__init__()
        self.vectors = InputVectors(encoders, width)
        self.mix = nn.Linear(len(encoders) * width, width) if options.joint and len(encoders) > 1 else None
        self.joint = self.mix is not None
        self.experts = len(encoders) + self.joint
        self.alone, self.modulation, self.noise = options.alone, options.modulation, options.noise
        self.blending = options.blending

    def forward(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Tokens:
        normalised = self.vectors.normalised(tokens)
        rows = [one(x) for one, x in zip(self.vectors.maps, normalised)]
        if self.mix is not None:
            held = [x * present[name].unsqueeze(1) for name, x in zip(self.vectors.encoders, normalised)]
            rows.append(self.mix(torch.cat(held, -1)))
        return Tokens.of_rows(nn.functional.gelu(torch.cat(rows)))

    def speaking(self, present: Tensor) -> Tensor:
        if self.mix is None:
            return present
        return torch.cat([present, present.sum(0, keepdim=True) > 1])


class Late(Fusion):
    """Trunk and heads run on each input alone; each task joins what is said of the inputs that are present.

    For classes the product of experts with the prior counted once, `p(y | x₁ … xₙ) ∝ p(y)^{1−n} Πᵢ p(y | xᵢ)`: exact
    where the inputs are independent given the class (the product rule of Kittler, Hatef, Duin and Matas 1998; products
    of experts in general: Hinton 2002). An absent input's expert takes no part. Each kind of task says how it joins
    (`Head.combine`); kinds that read tokens cannot.

    In training the loss of a row is `(1 − a) · loss(all together) + a / E · Σᵢ loss(expert i alone)` over the experts
    that speak, of `E`, and weighs as much: together they learn to be right, alone to mean what they say.

    With `joint`, one expert more sees all inputs side by side, as `concat` does, and speaks where two or more are
    present. A class is then no exact product any more: what all inputs say together is said by the joint expert and by
    each of the others, and only the loss of what is said together (`a < 1`) keeps them from counting it twice. A number
    is what the joint expert says, since effects that add up are known to no input alone.

    What is said together is right as soon as one expert is, and then nobody has to learn any more. With `modulation`,
    the gradient of an expert that finds the truth more probable than the others do is made smaller as it goes on to the
    trunk and the encoder, task by task (on-the-fly gradient modulation, Peng et al. 2022; see `model/modulation.py`).
    The joint expert is left as it is. Of a step in parts, and in each process, the rows of a part say who is ahead.

    Args:
        alone: `a`. 0 trains only what is said together; with 1 every expert learns alone.
        joint: the expert of all inputs.
        modulation: `α` of the paper, which has .1 to .8; 0 for none.
        blending: weigh what is said together and what each expert says alone by how well what they learn carries over
            to validation rows, task by task, from one look at them to the next (gradient blending, Wang et al. 2020;
            see `model/blending.py`). They begin as `alone` says.
        noise: add noise to the gradients of all experts of one input, as large as they vary over rows ("GE" in the
            paper, whose code does so).
    """

    is_late: ClassVar[bool] = True

    def __init__(
        self,
        alone: float = 0.5,
        *,
        joint: bool = False,
        modulation: float = 0.0,
        noise: bool = False,
        blending: bool = False,
    ) -> None:
        self.alone = alone
        self.joint = joint
        self.modulation = modulation
        self.noise = noise
        self.blending = blending

    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> ExpertsModule:
        """The layers.

        Raises:
            ConfigError: an option cannot be, or tokens are wanted, which the inputs would have to share.
        """
        if not 0 <= self.alone <= 1:
            raise ConfigError(f"fusion.alone: {self.alone} is no share; 0 up to 1 is")
        if not (math.isfinite(self.modulation) and self.modulation >= 0):
            raise ConfigError(f"fusion.modulation: {self.modulation} slows nothing down; 0 (none) or more does")
        if self.noise and not self.modulation:
            raise ConfigError("fusion.noise: is added where gradients are modulated; say `modulation: 0.3`, too")
        if self.blending and self.modulation:
            raise ConfigError(
                "fusion.blending: weighs the experts whose gradients `modulation` changes; take one of both"
            )
        if keep:
            raise ConfigError(f"fusion: late keeps no tokens, and those of {', '.join(map(repr, keep))} are wanted")
        return ExpertsModule(encoders, width, self)
