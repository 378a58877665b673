"""Numbers as curves: the piecewise linear encoding, knots, and values of their own."""

import numpy as np
import pytest
import torch

from trunkline.modalities import Number
from trunkline.modalities.curves import BUDGET, KNOTS, Curves, bent, fit_curve, thinned

torch.set_num_threads(1)


def build(columns: list[np.ndarray], width: int = 6) -> tuple[Curves, torch.Tensor]:
    """Curves of these columns with random parameters in float64, and the columns standardised as a batch would be."""
    states = [Number().fit(column.tolist()) for column in columns]
    torch.manual_seed(0)
    curves = Curves(states, width, inputs=len(columns)).double()
    for parameter in curves.parameters():
        torch.nn.init.normal_(parameter)
    items = [[Number().prepare(v, s, None)[0] for v in c.tolist()] for c, s in zip(columns, states)]
    return curves, torch.tensor(items, dtype=torch.float32).T.double()


def test_pieces_are_the_papers_encoding():
    """Gorishniy et al. 2022, eq. 1: 0 below a piece, 1 above it, the share in between."""
    column = np.arange(200.0)
    curves, x = build([column])
    knots = torch.cat([curves.low[0], curves.low[0, -1:] + curves.span[0, -1:]])
    pieces = curves.pieces(x)[:, 0]
    for k in range(len(knots) - 1):
        expected = torch.tensor(np.interp(x[:, 0], knots[k : k + 2], [0.0, 1.0]))
        torch.testing.assert_close(pieces[:, k], expected, atol=1e-6, rtol=0)


def test_knots_lie_where_the_values_are_and_a_frequent_value_counts_once():
    column = np.concatenate([np.zeros(900), np.linspace(10, 20, 100)])
    knots = fit_curve(column)["knots"]
    assert knots[0] == 0
    assert sum(10 <= knot <= 20 for knot in knots) > KNOTS * 0.8


def test_few_rows_have_few_pieces():
    assert len(fit_curve(np.arange(100.0))["knots"]) == 11
    assert fit_curve(np.arange(15.0)) == {"knots": [], "common": []}


def test_a_common_value_has_a_token_of_its_own_and_its_neighbour_does_not():
    column = np.concatenate([np.full(50, 7298.0), np.arange(7000.0, 7600.0, 7.0)])
    curves, _ = build([column])
    state = Number().fit(column.tolist())
    at = torch.tensor([[Number().prepare(v, state, None)[0]] for v in (7298.0, 7299.0)], dtype=torch.float32).double()
    own = curves._own(at)
    assert own[0].abs().sum() > 0
    assert own[1].abs().sum() == 0


def test_total_is_the_sum_of_the_tokens_that_are_there():
    rng = np.random.default_rng(0)
    curves, x = build([rng.normal(size=300), rng.integers(0, 5, 300).astype(float), rng.exponential(size=300)])
    flags = torch.rand(300, 3) < 0.6
    torch.testing.assert_close(curves.total(x, None), curves.tokens(x).sum(1))
    torch.testing.assert_close(curves.total(x, flags), (curves.tokens(x) * flags.unsqueeze(-1)).sum(1))


def test_one_wild_value_moves_neither_scale_nor_line():
    column = [*np.random.default_rng(0).normal(size=500).tolist(), 1e12]
    state = Number().fit(column)
    assert abs(state["mean"]) < 0.2
    assert 0.8 < state["std"] < 1.2
    assert bent(torch.tensor(1e9)) == pytest.approx(4.0, abs=1e-3)


@pytest.mark.parametrize("columns", [1, 20, 300])
def test_a_wide_table_has_fewer_pieces_a_column(columns):
    states = [Number().fit(np.arange(1000.0).tolist())] * columns
    curves = Curves(states, 4, inputs=columns)
    assert curves.low.numel() <= BUDGET
    assert curves.low.shape[1] <= KNOTS


def test_thinned_keeps_the_ends():
    assert thinned(range(100), 5) == [0, 24, 49, 74, 99]
    assert thinned(range(100), 3) == []
