"""How a text is looked for, token after token: greedily, with beams, or by drawing.

The search is `generate` of Hugging Face Transformers.

Shape legend: `n` rows, `L` tokens written so far, `K` vocabulary.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.tasks.vocabulary import needed, unwritten
from trunkline.types import State


@dataclass(frozen=True, kw_only=True)
class Search:
    """Options of `Text` that say how texts are looked for; see there."""

    max_length: int
    min_length: int
    beams: int
    length_penalty: float
    no_repeat: int | None
    sample: bool
    temperature: float
    top_p: float

    def check(self) -> None:
        """Hold the options against each other.

        Raises:
            ConfigError: all that is wrong.
        """
        faults = {
            f"max_length={self.max_length}: at least 1": self.max_length < 1,
            f"min_length={self.min_length}: from 0 to max_length={self.max_length}": (
                not 0 <= self.min_length <= max(0, self.max_length)
            ),
            f"beams={self.beams}: at least 1; 1 is greedy": self.beams < 1,
            f"length_penalty={self.length_penalty}: it orders the texts of several beams; give `beams` of 2 or more": (
                self.length_penalty != 1 and self.beams == 1
            ),
            f"length_penalty={self.length_penalty}: a finite number": not math.isfinite(self.length_penalty),
            f"no_repeat={self.no_repeat}: how many tokens in a row must not come twice, at least 1": (
                self.no_repeat is not None and self.no_repeat < 1
            ),
            f"sample: one text is drawn; leave beams={self.beams} out": self.sample and self.beams > 1,
            f"temperature={self.temperature}: from 1e-6 to 1e6": not 1e-6 <= self.temperature <= 1e6,
            f"top_p={self.top_p}: greater than 0, at most 1": not 0 < self.top_p <= 1,
            "temperature and top_p are for drawing; give `sample: true`": (
                not self.sample and (self.temperature, self.top_p) != (1, 1)
            ),
        }
        if said := [fault for fault, is_so in faults.items() if is_so]:
            raise ConfigError("\n".join(f"text task: {fault}" for fault in said))

    def generation(self, state: State) -> Any:
        """As Transformers wants it."""
        return needed("transformers").GenerationConfig(
            max_new_tokens=self.max_length,  # the last of them need not be an end
            min_new_tokens=self.min_length or None,
            num_beams=self.beams,
            length_penalty=self.length_penalty,
            suppress_tokens=unwritten(state),
            do_sample=False,
            pad_token_id=state["pad"],
            bos_token_id=state["begin"],
            decoder_start_token_id=state["begin"],
            eos_token_id=state["end"],
        )

    def processors(self, lengths: Tensor, begun: int) -> Any:
        """What changes the logits of each step beside the options of `generation`.

        Args:
            lengths: `[n]`, tokens that each row reads.
            begun: tokens that stand before each text.
        """
        transformers = needed("transformers")
        steps: list[Any] = []
        if self.no_repeat is not None:
            steps.append(Behind(begun, transformers.NoRepeatNGramLogitsProcessor(self.no_repeat)))
        if self.sample:
            steps.append(transformers.TemperatureLogitsWarper(float(self.temperature)))
            if self.top_p < 1:
                steps.append(Likeliest(self.top_p))
            steps.append(Draw(lengths.tolist()))
        return transformers.LogitsProcessorList(steps)


class Behind:
    """What changes logits for what was written, told of that alone: some texts begin with the token that ends them."""

    def __init__(self, begun: int, processor: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.begun = begun
        self.processor = processor

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Ids `[n, L]` and logits `[n, K]` → logits."""
        return self.processor(ids[:, self.begun :], logits) if ids.shape[1] > self.begun else logits


class Likeliest:
    """Tokens that have a probability together, the likeliest first; of equal ones those with larger ids (`top_p`).

    Holtzman et al., "The curious case of neural text degeneration" (2020), section 3.1. Sorted so that an exported
    network keeps the same ones.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Logits `[n, K]` → logits, `-inf` for all others."""
        upwards, order = logits.sort(dim=1, stable=True)
        is_rare = upwards.softmax(1).cumsum(1) <= 1 - self.share
        is_rare[:, -1] = False
        return logits.masked_fill(torch.zeros_like(is_rare).scatter(1, order, is_rare), -torch.inf)


class Draw:
    """Gumbel noise on the logits: the largest is then a draw from their softmax.

    The noise follows from a row's tokens so far and how many it reads, so a row's text is the same whatever rows are
    beside it, however often it is asked for, and from an exported network (`trunkline.export.writer`). Rows of one
    length with one beginning have their draws in common; each by itself is a fair draw.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = lengths

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Ids `[n, L]` and logits `[n, K]` → logits with noise."""
        rows = zip(ids.tolist(), self.lengths, strict=True)
        noise = torch.stack([gumbel(repr((length, own)), logits.shape[1]) for own, length in rows])
        return logits + noise.to(logits)


def gumbel(seed: str, size: int) -> Tensor:
    """`[size]` independent draws from the standard Gumbel distribution, float64."""
    # as in `trunkline.export.writer.drawn`
    bits = np.random.PCG64(zlib.crc32(seed.encode())).random_raw(size)  # the same in every version of NumPy
    return torch.from_numpy(-np.log(-np.log(((bits >> np.uint64(12)) + 0.5) * 2.0**-52)))
