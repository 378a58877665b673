"""Alignments: against the sum over, and the best of, all of them written out; and the prior against SciPy."""

from __future__ import annotations

import itertools
import math

import pytest
import scipy.stats
import torch
from torch import Tensor

from trunkline.tasks.alignment import all_paths, are_alignable, best_path, diagonal


def alignments(frames: int, tokens: int) -> list[list[int]]:
    """All that stay or go on by one, from the first token to the last."""
    found = []
    for ends in itertools.combinations(range(1, frames), tokens - 1):
        cuts = [0, *ends, frames]
        found.append([token for token in range(tokens) for _ in range(cuts[token], cuts[token + 1])])
    return found


def scored(log_p: Tensor, path: list[int]) -> float:
    return float(sum(log_p[frame, token] for frame, token in enumerate(path)))


SIZES = [(5, 3), (4, 4), (6, 1), (3, 2), (7, 4)]  # frames, tokens


@pytest.fixture
def padded() -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities of rows of several lengths side by side; garbage beyond."""
    generator = torch.Generator().manual_seed(0)
    log_p = torch.randn(len(SIZES), 8, 5, generator=generator)
    for row, (_, tokens) in enumerate(SIZES):
        log_p[row, :, tokens:] = -1e4
    frames, tokens = torch.tensor(SIZES).T
    return log_p.log_softmax(2), frames, tokens


def test_the_sum_over_all_alignments(padded: tuple[Tensor, Tensor, Tensor]) -> None:
    log_p, frames, tokens = padded
    found = all_paths(log_p, frames, tokens)
    for row, (own, words) in enumerate(SIZES):
        total = sum(math.exp(scored(log_p[row], path)) for path in alignments(own, words))
        assert float(found[row]) == pytest.approx(-math.log(total), rel=1e-4)


def test_the_best_alignment(padded: tuple[Tensor, Tensor, Tensor]) -> None:
    log_p, frames, tokens = padded
    found = best_path(log_p, frames, tokens)
    for row, (own, words) in enumerate(SIZES):
        best = max(alignments(own, words), key=lambda path: scored(log_p[row], path))
        assert found[row, :own].tolist() == best
        assert found[row, own:].tolist() == [words - 1] * (8 - own), "behind a row's own frames stands its last token"


def test_too_few_frames_or_no_token_have_no_alignment() -> None:
    frames, tokens = torch.tensor([2, 3, 4]), torch.tensor([3, 3, 0])
    assert are_alignable(frames, tokens).tolist() == [False, True, False]
    log_p = torch.randn(3, 4, 3).log_softmax(2).requires_grad_()
    costs = all_paths(log_p, frames, tokens)
    assert costs[[0, 2]].tolist() == [0.0, 0.0]
    costs.sum().backward()
    assert log_p.grad is not None
    assert bool(torch.isfinite(log_p.grad).all())
    assert not bool(log_p.grad[[0, 2]].any())
    assert best_path(log_p, frames, tokens).shape == (3, 4)


def test_the_prior_is_beta_binomial_and_sums_to_one() -> None:
    frames, tokens = torch.tensor([6, 4]), torch.tensor([5, 2])
    found = diagonal(frames, tokens, (6, 5))
    for row, (own, words) in enumerate(((6, 5), (4, 2))):
        assert torch.allclose(found[row, :own, :words].exp().sum(1), torch.ones(own), atol=1e-4)
        for t in range(1, own + 1):
            wanted = scipy.stats.betabinom(words - 1, t, own - t + 1).logpmf(range(words))
            assert found[row, t - 1, :words].tolist() == pytest.approx(wanted.tolist(), abs=1e-4)
    assert bool(torch.isfinite(found).all()), "nothing beyond a row's own is NaN"
