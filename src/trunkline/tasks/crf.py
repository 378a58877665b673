"""A linear-chain CRF over the words of a text: a tag also depends on the one before.

Lafferty, McCallum, Pereira, "Conditional random fields", ICML 2001; over a neural network: Huang, Xu, Yu,
"Bidirectional LSTM-CRF models for sequence tagging", 2015. Of tags `y` of the words of `x`

    log p(y | x) = start[y₁] + Σₜ emissions[t, yₜ] + Σₜ between[yₜ₋₁, yₜ] + end[y_T] − log Z(x).

Shape legend: `n` rows, `L` tokens, `W` words, `T` of them that are reached (see `tag_words.py`), `C` tags, `D` width.
A word among the `T` that was not read has emissions of 0: only its neighbours say what it is.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trunkline.tasks.contract import Head, Target
from trunkline.tasks.tag_words import IGNORED, is_whole, logits_of_words
from trunkline.types import Tokens

FORBIDDEN = -1e4  # log of a factor that is 0; finite, so that no difference of two is NaN


class Chain(NamedTuple):
    """What a CRF knows of neighbours.

    Attributes:
        start: of each tag, that it is the first, `[C]`.
        between: that the tag of the column follows that of the row, `[C, C]`.
        end: that it is the last, `[C]`, or `[n, C]` where rows differ.
    """

    start: Tensor
    between: Tensor
    end: Tensor


def log_partition(emissions: Tensor, mask: Tensor, chain: Chain) -> Tensor:
    """The log of the sum over all paths, by the forward algorithm, `[n]`; 0 for a row without words.

    A step is a product of matrices of exponentials, as Rabiner's scaled recursion ("A tutorial on hidden Markov
    models", 1989, section V.A), in double precision where the device has it: a sum over pairs of tags in the log domain
    costs ten times as much with 120 tags. A tag that is reached with less than e⁻⁷⁰⁰ of the best one's weight (e⁻⁸⁷ in
    single precision) counts as reached with that.

    Args:
        emissions: `[n, T, C]`.
        mask: `[n, T]`, each row's words first.
        chain: of `C` tags.
    """
    if emissions.shape[1] == 0:
        return emissions.sum((1, 2))
    is_single = emissions.device.type == "mps"
    dtype = torch.float32 if is_single else torch.float64
    factors, said = chain.between.to(dtype).exp(), emissions.to(dtype)
    alpha = chain.start + said[:, 0]
    with torch.autocast("mps", enabled=False) if is_single else nullcontext():  # which leaves float64 as it is
        for t in range(1, emissions.shape[1]):
            best = alpha.detach().amax(1, keepdim=True)
            reached = ((alpha - best).exp() @ factors).clamp(min=torch.finfo(dtype).tiny)
            alpha = torch.where(mask[:, t, None], best + reached.log() + said[:, t], alpha)
    return torch.where(mask[:, 0], (alpha + chain.end).logsumexp(1), 0.0).to(emissions.dtype)


def path_score(emissions: Tensor, tags: Tensor, mask: Tensor, chain: Chain) -> Tensor:
    """The score of one path of tags `[n, T]`, `[n]`; 0 for a row without words. Behind the mask nothing is read."""
    if emissions.shape[1] == 0:
        return emissions.sum((1, 2))
    tags = tags.masked_fill(~mask, 0)
    last = tags.gather(1, (mask.sum(1, keepdim=True) - 1).clamp(min=0))  # [n, 1]
    said = torch.where(mask, emissions.gather(2, tags[..., None])[..., 0], 0.0).sum(1)
    steps = torch.where(mask[:, 1:], chain.between[tags[:, :-1], tags[:, 1:]], 0.0).sum(1)
    ends = chain.start[tags[:, 0]] + chain.end.expand(len(tags), -1).gather(1, last)[:, 0]
    return torch.where(mask[:, 0], said + steps + ends, 0.0)


def best_path(emissions: Tensor, mask: Tensor, chain: Chain) -> Tensor:
    """The path with the highest score, by Viterbi's algorithm, `[n, T]`; anything behind the mask."""
    rows, length, tags = emissions.shape
    if length == 0:
        return torch.zeros(rows, 0, dtype=torch.long, device=emissions.device)
    stay = torch.arange(tags, device=emissions.device).expand(rows, tags)
    score, steps = chain.start + emissions[:, 0], []
    for t in range(1, length):
        best, before = (score[:, :, None] + chain.between).max(1)
        here = mask[:, t, None]
        score = torch.where(here, best + emissions[:, t], score)
        steps.append(torch.where(here, before, stay))
    path = [(score + chain.end).argmax(1, keepdim=True)]
    for before in reversed(steps):
        path.append(before.gather(1, path[-1]))
    return torch.cat(path[::-1], 1)


def log_likelihood(
    emissions: Tensor, tags: Tensor, mask: Tensor, chain: Chain, possible: Tensor | None = None
) -> Tensor:
    """Of each row `log p(tags | emissions)`, `[n]`.

    Args:
        emissions: `[n, T, C]`.
        tags: `[n, T]`.
        mask: `[n, T]`, each row's words first.
        chain: of `C` tags.
        possible: words whose tags some path can take (see `bio.possible`), `[n, T]`; `None`: all. For the others the
            sum is over all tags (Tsuboi et al., "Training conditional random fields using incomplete annotations",
            2008).
    """
    total = log_partition(emissions, mask, chain)
    if possible is None:
        return path_score(emissions, tags, mask, chain) - total
    others = tags[..., None] != torch.arange(emissions.shape[2], device=tags.device)
    allowed = emissions.masked_fill(possible[..., None] & others, FORBIDDEN)
    return log_partition(allowed, mask, chain) - total


def packed(logits: Tensor, chain: Chain) -> Tensor:
    """Logits `[n, L, C]` and the chain in one tensor `[n, L + C + 2, C]`, in single precision at least.

    Behind the tokens stand `between`, then `start`, then `end`.
    """
    table = torch.cat([chain.between, chain.start[None], chain.end[None]])
    dtype = torch.promote_types(torch.promote_types(logits.dtype, table.dtype), torch.float32)
    return torch.cat([logits.to(dtype), table.to(dtype).expand(logits.shape[0], -1, -1)], 1)


def unpacked(output: Tensor) -> tuple[Tensor, Chain]:
    """The opposite of `packed`."""
    count = output.shape[2]
    logits, table = output[:, : -(count + 2)], output[0, -(count + 2) :]
    return logits, Chain(table[-2], table[:-2], table[-1])


def ending(chain: Chain, whole: Tensor) -> Chain:
    """The chain for rows of which some go on behind the last word that is reached: nothing ends there."""
    return chain._replace(end=torch.where(whole[:, None], chain.end, 0.0))


def likeliest_path(output: Tensor, places: Tensor, whole: Tensor) -> Tensor:
    """What a `CrfHead` says → the likeliest tags of each row's words together, `[n, T]`; `IGNORED` where is no word.

    Args:
        output: `[n, L + C + 2, C]`.
        places: of the words' first tokens, `[n, T]`.
        whole: rows all of whose words are reached, `[n]`.
    """
    (logits, chain), mask = unpacked(output), places != IGNORED
    return best_path(logits_of_words(logits, places), mask, ending(chain, whole)).masked_fill(~mask, IGNORED)


class CrfHead(Head):
    """Tokens → logits and the chain, `[n, L + C + 2, C]` (see `packed`).

    Args:
        width: `D`.
        barred: which tag may not begin a row, `[C]`, and which may not follow which, `[C, C]`.
    """

    not_first: Tensor
    not_next: Tensor

    def __init__(self, width: int, barred: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        count = len(barred[0])
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, count)
        self.start = nn.Parameter(torch.zeros(count))
        self.between = nn.Parameter(torch.zeros(count, count))
        self.end = nn.Parameter(torch.zeros(count))
        self.register_buffer("not_first", barred[0], persistent=False)
        self.register_buffer("not_next", barred[1], persistent=False)

    def predict_output(self, view: Tokens) -> Tensor:
        """Logits for every token; those of a word's first token count. Behind them the chain."""
        start = self.start.masked_fill(self.not_first, FORBIDDEN)
        between = self.between.masked_fill(self.not_next, FORBIDDEN)
        return packed(self.linear(self.norm(view.values)), Chain(start, between, self.end))

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Minus the log-likelihood of each row's tags together: `(sum [1], words [1])`.

        Divided by the words it is a loss per word, as cross entropy is: both are equal where the chain is all zeros and
        every word was read.
        """
        (logits, chain), places = unpacked(output), target["places"]
        mask = (places != IGNORED) & target["flags"]
        labels, possible = target["labels"][:, : places.shape[1]], target.get("possible")
        chain = ending(chain, is_whole(target))
        log = log_likelihood(logits_of_words(logits, places), labels, mask, chain, possible)
        words = mask if possible is None else mask & possible
        return -log.sum().reshape(1), words.sum().to(log.dtype).reshape(1)
