import torch

from trunkline import gramian as gramians

NAN = float("nan")


def test_known_pairs_are_those_that_share_a_row():
    labelled = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1]]).bool()
    known = gramians.known_pairs(labelled)
    assert known.tolist() == [[True, True, False], [True, True, False], [False, False, True]]


def test_a_task_shares_with_itself_even_without_rows():
    assert gramians.known_pairs(torch.zeros(4, 2, dtype=torch.bool)).tolist() == [[True, False], [False, True]]


def test_cosines_are_the_cosines_of_the_rows():
    rows = torch.randn(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    unit = rows / rows.norm(dim=1, keepdim=True)
    torch.testing.assert_close(gramians.cosines(rows @ rows.T), unit @ unit.T, rtol=0, atol=1e-12)


def test_cosine_of_an_unknown_pair_or_a_zero_gradient_is_nan_and_never_zero():
    gramian = torch.tensor([[4.0, NAN, 0.0], [NAN, 1.0, 0.0], [0.0, 0.0, 0.0]])
    cosines = gramians.cosines(gramian)
    assert cosines[0, 0] == cosines[1, 1] == 1.0
    assert cosines[0, 1].isnan()
    assert cosines[2].isnan().all()


def test_conflicts_are_known_and_negative():
    gramian = torch.tensor([[1.0, -0.5, NAN], [-0.5, 1.0, 0.2], [NAN, 0.2, 1.0]])
    assert gramians.conflicts(gramian).nonzero().tolist() == [[0, 1], [1, 0]]
    assert gramians.conflict_share(gramian) == 0.5  # one of two known pairs


def test_share_of_conflicts_is_unknown_when_no_pair_is_known():
    assert gramians.conflict_share(torch.tensor([[1.0, NAN], [NAN, 1.0]])).isnan()
    assert gramians.conflict_share(torch.ones(1, 1)).isnan()
