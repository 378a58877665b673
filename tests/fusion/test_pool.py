"""Tokens pooled by attention."""

import torch

from trunkline.fusion.layers import Pool
from trunkline.types import Span, Tokens

torch.set_num_threads(1)


def tokens(rows: int = 3, length: int = 5, axis: str = "words") -> Tokens:
    torch.manual_seed(0)
    mask = torch.ones(rows, length, dtype=torch.bool)
    mask[1, 2:] = False
    return Tokens(torch.randn(rows, length, 8), mask, (Span("x", 0, length, axis, (length,)),))


def test_it_starts_as_the_mean():
    given = tokens()
    torch.testing.assert_close(Pool(8)(given), given.row())


def test_each_head_weighs_its_share_of_the_features():
    """eq. 5 to 7 of Yang et al.: softmax of the scores over the tokens there are, then the weighted sum."""
    given, pool = tokens(), Pool(8)
    torch.nn.init.normal_(pool.score.weight)
    mean, expected = given.row(), []
    for row in range(3):
        there = given.values[row, given.mask[row]]
        weights = pool.score(there).softmax(0)  # [L, H]
        attended = torch.cat([weights[:, h] @ there[:, 2 * h : 2 * h + 2] for h in range(4)])
        expected.append((mean[row] + attended) / 2)
    torch.testing.assert_close(pool(given), torch.stack(expected))


def test_masked_tokens_are_not_read():
    given, pool = tokens(), Pool(8)
    torch.nn.init.normal_(pool.score.weight)
    before = pool(given)
    given.values[1, 2:] = 1e6
    torch.testing.assert_close(pool(given), before)


def test_a_single_token_is_itself_whether_padding_follows_or_not():
    """So stands an absent input: among rows that have it padding follows its one learned token, among others not."""
    given, pool = tokens(), Pool(8)
    torch.nn.init.normal_(pool.score.weight)
    given.mask[:, 1:] = False
    torch.testing.assert_close(pool(given), given.values[:, 0])
    torch.testing.assert_close(pool(Tokens.of_rows(given.values[:, 0], "x")), given.values[:, 0])


def test_columns_of_a_table_and_single_tokens_are_averaged():
    pool = Pool(8)
    torch.nn.init.normal_(pool.score.weight)
    for given in (tokens(axis="set"), tokens(length=1)):
        torch.testing.assert_close(pool(given), given.row())
