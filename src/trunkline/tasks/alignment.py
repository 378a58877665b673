"""Which frame of a sound belongs to which token of a text, found without being told.

Tokens are said in their order, each for one frame at least, and none is left out: so an alignment is a path that in
each frame stays at its token or goes on to the next. After Badlani et al. 2021, "One TTS alignment to rule them all".

Shape legend: `n` rows, `T` frames, `L` tokens, `C` channels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.tasks.ctc import NEVER


def are_alignable(frames: Tensor, tokens: Tensor) -> Tensor:
    """Whether rows have a frame for each token, and both: `[n]`, `[n]` → `[n]` bool."""
    return (frames >= tokens) & (tokens > 0)


def all_paths(log_p: Tensor, frames: Tensor, tokens: Tensor) -> Tensor:
    """`−log` of the sum over all alignments of the product of their frames' probabilities, `[n]` (eq. 2 to 4).

    This is CTC with one class a token and a blank that never is (there it is given a chance, which lets frames belong
    to no token). Rows that have no alignment have 0. PyTorch's CTC asks the device for both lengths, and waits for it.

    Args:
        log_p: of the tokens in each frame, `[n, T, L]`.
        frames: of each row, `[n]`.
        tokens: of each row, `[n]`.
    """
    rows, _, longest = log_p.shape
    blank = torch.full_like(log_p[:, :, :1], NEVER)
    labels = torch.arange(1, longest + 1, device=log_p.device).expand(rows, -1)
    slots = torch.cat([blank, log_p], 2).transpose(0, 1).float()
    costs = F.ctc_loss(slots, labels, frames, tokens, reduction="none", zero_infinity=True)
    return torch.where(are_alignable(frames, tokens), costs, 0.0)


@torch.no_grad()
def best_path(log_p: Tensor, frames: Tensor, tokens: Tensor) -> Tensor:
    """The likeliest alignment: the token of each frame, `[n, T]` (Kim et al. 2020, "Glow-TTS", algorithm 1).

    Behind a row's last frame stands its last token; rows that have no alignment have anything.

    Args:
        log_p: of the tokens in each frame, `[n, T, L]`.
        frames: of each row, `[n]`.
        tokens: of each row, `[n]`.
    """
    below = log_p.new_full((len(log_p), 1), -torch.inf)
    best = torch.cat([log_p[:, 0, :1], below.expand(-1, log_p.shape[2] - 1)], 1)  # [n, L]
    moved = [torch.zeros_like(best, dtype=torch.bool)]
    for frame in range(1, log_p.shape[1]):
        from_before = torch.cat([below, best[:, :-1]], 1)
        moved.append(from_before > best)
        best = torch.maximum(best, from_before) + log_p[:, frame]
    place = (tokens - 1).clamp(min=0).unsqueeze(1)  # [n, 1]
    path = []
    for frame in reversed(range(log_p.shape[1])):
        path.append(place)
        is_first = moved[frame].gather(1, place) & (frame < frames).unsqueeze(1)
        place = place - is_first.long()
    return torch.cat(path[::-1], 1)


def diagonal(frames: Tensor, tokens: Tensor, longest: tuple[int, int], *, sharpness: float = 1.0) -> Tensor:
    """Log-probability of each token in each frame before anything is known: that both run on evenly, `[n, T, L]`.

    Beta-binomial over the tokens, with `α = ω t` and `β = ω (T − t + 1)` in frame `t` from 1 (section 3.3). A row's
    frames and tokens beyond its own have anything.

    Args:
        frames: of each row, `[n]`.
        tokens: of each row, `[n]`.
        longest: `(T, L)`.
        sharpness: `ω`.
    """
    steps, places = (torch.arange(size, device=frames.device, dtype=torch.float32) for size in longest)
    all_frames, last = frames.view(-1, 1, 1).float(), (tokens.view(-1, 1, 1) - 1).clamp(min=0).float()
    t = torch.minimum(steps.view(1, -1, 1) + 1, all_frames)
    k = torch.minimum(places.view(1, 1, -1), last)
    alpha, beta = sharpness * t, sharpness * (all_frames - t + 1)
    return (
        _log_choose(last, k)
        + torch.lgamma(k + alpha)
        + torch.lgamma(last - k + beta)
        - torch.lgamma(last + alpha + beta)
        + torch.lgamma(alpha + beta)
        - torch.lgamma(alpha)
        - torch.lgamma(beta)
    )


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
