"""Tokens of a text → log-mel frames, all at once.

How long each token is said is learned from an alignment that is found on the way (see `alignment.py`); what is said of
it in each of its frames, by convolutions over frames. After FastSpeech 2 (Ren et al. 2021), with the aligner of Badlani
et al. (2021) in place of given durations, and with pitch and energy, where they are asked for, as FastPitch has its
pitch (Łańcucki 2021, section 2): the mean over each token's frames, foretold from the text and heeded by the frames.

Shape legend: `n` rows, `L` tokens of the view, `D` its width, `T` frames, `M` mel bands, `C` channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from trunkline.tasks.alignment import all_paths, are_alignable, best_path, diagonal
from trunkline.tasks.contract import Head, Target
from trunkline.tasks.ctc import NEVER
from trunkline.types import Tokens

FRAMES = 8  # of a token, before anything is learned
COLDNESS = 0.05  # of the distances in the alignment


class SpeechHead(Head):
    """The acoustic model; frames are standardised by band.

    The loss is the mean distance of the bands of a frame (L1), and beside it `−log p` of all alignments, the same for
    the best one, and the squared error of the logarithm of each token's duration in frames: all summed and divided by
    frames, so that a token's duration counts as one of its frames does.

    Args:
        width: `D`.
        mels: `M`.
        channels: `C`.
        depth: convolution blocks over tokens, and over frames.
        dropout: probability.
        prosody: pitch and energy of tokens.
        longest: frames of a sound, at most.
        mean: of each band, before it was standardised.
        std: likewise.
        vocoder: frames `[1, T, M]` → a sound `[1, S]`; a network that does not learn, where there is one.
        weights: puts its weights into it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        width: int,
        mels: int,
        *,
        channels: int,
        depth: int,
        dropout: float,
        prosody: bool = False,
        longest: int,
        mean: Tensor,
        std: Tensor,
        vocoder: nn.Module | None = None,
        weights: Callable[[nn.Module], None] | None = None,
    ) -> None:
        super().__init__()
        self.longest = longest
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.vocoder = vocoder
        self.weights = weights
        self.norm, self.entry = nn.LayerNorm(width), nn.Linear(width, channels)
        self.tokens = Blocks(channels, depth, dropout)
        self.aligner = Aligner(channels, mels, dropout)
        pace = nn.Linear(channels, 1)
        with torch.no_grad():
            pace.weight.zero_()
            pace.bias.fill_(math.log(FRAMES))
        self.pace = nn.Sequential(nn.Linear(channels, channels), nn.GELU(), nn.Dropout(dropout), pace)
        self.prosody, self.tint = None, None
        if prosody:
            self.prosody = nn.Sequential(
                nn.Linear(channels, channels), nn.GELU(), nn.Dropout(dropout), nn.Linear(channels, 2)
            )
            self.tint = nn.Conv1d(2, channels, 3, padding=1)
        self.place = nn.Linear(PLACES, channels)
        self.frames = Blocks(channels, depth, dropout)
        self.exit = nn.Linear(channels, mels)

    def train_output(self, view: Tokens, target: Target) -> dict[str, Tensor]:
        """With the true sound's durations, as the best alignment has them.

        Returns:
            `frames [n, T, M]`; `log_p [n, T, L]` of the tokens in each frame; `path [n, T]`, the best alignment;
            `pace [n, L]`, the logarithm of each token's frames as they would be said; `durations [n, L]`, those of the
            best alignment; `tokens [n]`. With prosody also the squared error of pitch and energy, `slips [n, L]`.
        """
        x, tokens = self._read(view), view.mask.sum(1)
        log_p = self.aligner(x, view.mask, target["values"], target["sizes"])
        path = best_path(log_p, target["sizes"], tokens)
        here = torch.arange(path.shape[1], device=path.device) < target["sizes"].unsqueeze(1)
        durations = torch.zeros(x.shape[:2], device=x.device).scatter_add(1, path, here.float())
        slips: dict[str, Tensor] = {}
        voiced = x
        if self.prosody is not None:
            true = prosody_of(target["pitch"], target["values"].mean(2), path, here, x.shape[1])
            slips["slips"] = (self.prosody(x).float() - true).square().sum(2)
            voiced = self._tinted(x, true, view.mask)
        frames = self._say(voiced, path, durations, here)
        return {
            **slips,
            "frames": frames,
            "log_p": log_p,
            "path": path,
            "pace": self.pace(x).squeeze(2),
            "durations": durations,
            "tokens": tokens,
        }

    def predict_output(self, view: Tokens) -> dict[str, Tensor]:
        """With durations of its own: `frames [n, T, M]`, and of each row its own `sizes [n]`, one at least."""
        x = self._read(view)
        durations = self.pace(x).squeeze(2).float().exp() * view.mask
        ends = durations.cumsum(1).round().clamp(max=self.longest).long()  # [n, L]; so that errors do not add up
        sizes = ends[:, -1].clamp(min=1)
        longest = sizes.max().item()  # which `int` would make a constant of an exported graph
        torch._check(longest >= 1)  # which an exported graph must be told
        steps = torch.arange(longest, device=x.device).expand(x.shape[0], -1).contiguous()
        last = (view.mask.sum(1, keepdim=True) - 1).clamp(min=0)
        path = torch.minimum(token_at(ends, steps), last)
        whole = torch.diff(ends, dim=1, prepend=torch.zeros_like(ends[:, :1])).float()
        if self.prosody is not None:
            x = self._tinted(x, self.prosody(x).float(), view.mask)
        return {"frames": self._say(x, path, whole, steps < sizes.unsqueeze(1)), "sizes": sizes}

    def finish(self, output: dict[str, Tensor]) -> dict[str, Tensor]:
        """With a vocoder also `wave [n, S]`; each row is made by itself, so that it is the same beside any other."""
        if self.vocoder is None:
            return output
        frames = output["frames"] * self.std + self.mean
        waves = [self.vocoder(row[None, :size])[0] for row, size in zip(frames, output["sizes"].tolist())]
        return {**output, "wave": nn.utils.rnn.pad_sequence(waves, batch_first=True)}

    def load_pretrained(self) -> None:
        """The vocoder's weights, if there is one."""
        if self.vocoder is not None and self.weights is not None:
            self.weights(self.vocoder)

    def loss(self, output: dict[str, Tensor], target: Target) -> tuple[Tensor, Tensor]:
        """`(sum [1], frames [1])`. A sound that has fewer frames than its text has tokens teaches nothing."""
        sizes, tokens, durations = target["sizes"], output["tokens"], output["durations"]
        counts = are_alignable(sizes, tokens)
        here = torch.arange(output["path"].shape[1], device=sizes.device) < sizes.unsqueeze(1)  # [n, T]
        missed = (output["frames"].float() - target["values"]).abs().mean(2)
        chosen = output["log_p"].gather(2, output["path"].unsqueeze(2)).squeeze(2)
        paths = all_paths(output["log_p"], sizes, tokens)
        slips = (output["pace"].float() - durations.clamp(min=1).log()).square() + output.get("slips", 0.0)
        slips = slips * (durations > 0)
        by_row = ((missed - chosen) * here).sum(1) + paths + slips.sum(1)
        total = torch.where(counts, by_row, 0.0).sum()
        return total.reshape(1), (sizes * counts).sum().to(total.dtype).reshape(1)

    def _tinted(self, x: Tensor, prosody: Tensor, mask: Tensor) -> Tensor:
        """`x [n, L, C]` with what pitch and energy, `[n, L, 2]`, make of it."""
        assert self.tint is not None
        alone = (prosody * mask.unsqueeze(2)).to(x.dtype)
        return x + self.tint(alone.transpose(1, 2)).transpose(1, 2)

    def _read(self, view: Tokens) -> Tensor:
        """`[n, L, D]` → `[n, L, C]`."""
        return self.tokens(self.entry(self.norm(view.values)), view.mask)

    def _say(self, x: Tensor, path: Tensor, durations: Tensor, here: Tensor) -> Tensor:
        """Frames `[n, T, M]`, of tokens `[n, L, C]` and the token of each frame `[n, T]`; `here`: which there are."""
        spread = x.gather(1, path.unsqueeze(2).expand(-1, -1, x.shape[2]))
        places = places_of(path, durations).to(x.dtype)
        return self.exit(self.frames(spread + self.place(places), here))


def token_at(ends: Tensor, steps: Tensor) -> Tensor:
    """Which token is said in a frame: the first that ends behind it. `ends [n, L]`, `steps [n, T]` → `[n, T]`.

    As many tokens have ended as the sum over frames says (`searchsorted`, which ONNX does not have).
    """
    frames = steps.shape[1]
    ended = torch.zeros(ends.shape[0], frames + 1, dtype=torch.long, device=ends.device)
    return ended.scatter_add(1, ends.clamp(max=frames), torch.ones_like(ends)).cumsum(1)[:, :frames]


def prosody_of(pitch: Tensor, energy: Tensor, path: Tensor, here: Tensor, tokens: int) -> Tensor:
    """Means over the frames of each token, `[n, L, 2]`: of pitch where it is voiced, 0 where it never is; of energy.

    Args:
        pitch: of each frame, `[n, T]`, NaN where it is not voiced.
        energy: of each frame, `[n, T]`.
        path: the token of each frame, `[n, T]`.
        here: frames that there are, `[n, T]` bool.
        tokens: `L`.
    """

    def mean(values: Tensor, counts: Tensor) -> Tensor:
        none = values.new_zeros(len(values), tokens)
        total = none.scatter_add(1, path, values.masked_fill(~counts, 0.0))
        return total / none.scatter_add(1, path, counts.to(values.dtype)).clamp(min=1)

    return torch.stack([mean(pitch, here & ~pitch.isnan()), mean(energy, here)], 2)


PLACES = 4


def places_of(path: Tensor, durations: Tensor) -> Tensor:
    """Where each frame lies in its token, `[n, T, PLACES]`: how far through, twice as waves, and how long it is.

    Args:
        path: the token of each frame, `[n, T]`.
        durations: frames of each token, `[n, L]`.
    """
    starts = durations.cumsum(1) - durations
    long = durations.gather(1, path).clamp(min=1)
    since = torch.arange(path.shape[1], device=path.device) - starts.gather(1, path) + 0.5
    share = since / long
    return torch.stack([share - 0.5, (torch.pi * share).sin(), (2 * torch.pi * share).sin(), long.log()], 2)


class Aligner(nn.Module):
    """How likely each frame of a sound belongs to each token: `softmax(−τ ‖q − k‖²)` (Badlani et al., eq. 5 and 6).

    Multiplied by what is likely before anything is known (`diagonal`).
    """

    def __init__(self, channels: int, mels: int, dropout: float) -> None:
        super().__init__()
        self.key = nn.Linear(channels, channels)
        self.hear = nn.Linear(mels, channels)
        self.frames = Blocks(channels, 1, dropout)
        self.query = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor, frames: Tensor, sizes: Tensor) -> Tensor:
        """`x [n, L, C]` with `mask [n, L]`; `frames [n, T, M]`, of which each row has `sizes [n]` → `[n, T, L]`."""
        here = torch.arange(frames.shape[1], device=sizes.device) < sizes.unsqueeze(1)
        query, key = self.query(self.frames(self.hear(frames.to(x.dtype)), here)), self.key(x)
        with torch.autocast(x.device.type, enabled=False):  # differences of large numbers
            query, key = query.float(), key.float()
            near = COLDNESS * (2 * query @ key.mT - key.square().sum(2).unsqueeze(1))  # ‖q‖² is the same for all tokens
        expected = diagonal(sizes, mask.sum(1), (frames.shape[1], x.shape[1]))
        return (near + expected).masked_fill(~mask.unsqueeze(1), NEVER).log_softmax(2)


class Blocks(nn.Module):
    """Residual blocks of convolutions over a sequence, which see nothing beyond a row's own end.

    Each: 5 neighbours in every channel, a layer norm, two linear layers (Liu et al. 2022, "ConvNeXt", without scale).

    Args:
        channels: `C`.
        depth: blocks.
        dropout: probability.
    """

    def __init__(self, channels: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.near = nn.ModuleList(nn.Conv1d(channels, channels, 5, padding=2, groups=channels) for _ in range(depth))
        self.mix = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(channels),
                nn.Linear(channels, 2 * channels),
                nn.GELU(),
                nn.Linear(2 * channels, channels),
                nn.Dropout(dropout),
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`x [n, S, C]`, `mask [n, S]` → `[n, S, C]`."""
        here = mask.unsqueeze(2)
        for near, mix in zip(self.near, self.mix):
            x = x + mix(near((x * here).transpose(1, 2)).transpose(1, 2))
        return self.norm(x)
