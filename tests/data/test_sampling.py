import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data import EpochSampler, EveryRowSampler

counts = {"n": st.integers(1, 60), "batch_size": st.integers(1, 9), "world": st.integers(1, 5)}


def ranks_of(sampler, n, batch_size, world, **options):
    rows = [7 * i + 1 for i in range(n)]
    return [sampler(rows, batch_size, rank=rank, world=world, **options) for rank in range(world)]


@settings(max_examples=200, deadline=None)
@given(**counts, drop_last=st.booleans(), epoch=st.integers(0, 3))
def test_ranks_have_equal_batches_and_share_no_row(n, batch_size, world, drop_last, epoch):
    n = max(n, world)
    samplers = ranks_of(EpochSampler, n, batch_size, world, drop_last=drop_last)
    for sampler in samplers:
        sampler.set_epoch(epoch)
    epochs = [list(sampler) for sampler in samplers]
    assert {len(draws) for draws in epochs} == {len(samplers[0])}
    assert len(samplers[0]) >= 1
    drawn = Counter(row for draws in epochs for draw in draws for row in draw.rows)
    assert set(drawn.values()) == {1}
    assert all(1 <= len(draw.rows) <= batch_size for draws in epochs for draw in draws)
    left = n - len(drawn)
    assert left < (batch_size * world if drop_last else world)
    seeds = [draw.seed for draws in epochs for draw in draws]
    assert len(set(seeds)) == len(seeds)


@settings(max_examples=50, deadline=None)
@given(**counts)
def test_a_step_of_all_ranks_is_a_batch_of_one_process(n, batch_size, world):
    n = max(n, world)
    steps = zip(*ranks_of(EpochSampler, n, batch_size, world, seed=5))
    alone = ranks_of(EpochSampler, n, batch_size * world, 1, seed=5)[0]
    for step, whole in zip(steps, alone):
        assert sorted(row for draw in step for row in draw.rows) == sorted(whole.rows)


@settings(max_examples=100, deadline=None)
@given(**counts)
def test_evaluation_sees_every_row_once(n, batch_size, world):
    samplers = ranks_of(EveryRowSampler, n, batch_size, world)
    draws = [list(sampler) for sampler in samplers]
    assert [len(d) for d in draws] == [len(s) for s in samplers]
    assert sorted(row for rank in draws for draw in rank for row in draw.rows) == [7 * i + 1 for i in range(n)]


def test_evaluation_is_in_order():
    assert [d.rows for d in EveryRowSampler([4, 2, 9], 2)] == [(4, 2), (9,)]


def test_a_draw_follows_from_seed_epoch_and_number():
    def epoch(seed, number):
        sampler = EpochSampler(range(100), 8, seed=seed)
        sampler.set_epoch(number)
        return list(sampler)

    assert epoch(0, 3) == epoch(0, 3)
    for other in (epoch(1, 3), epoch(0, 4)):
        assert other != epoch(0, 3)
        assert not {d.seed for d in other} & {d.seed for d in epoch(0, 3)}


def test_an_interrupted_epoch_goes_on():
    sampler = EpochSampler(range(20), 3, seed=1)
    whole = list(sampler)
    assert list(itertools.islice(sampler, 4, None)) == whole[4:]


@pytest.mark.parametrize("sampler", [EpochSampler, EveryRowSampler])
def test_arguments_out_of_range(sampler):
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        sampler(range(5), 0)
    with pytest.raises(ValueError, match=r"rank must be in 0 … 1, not 2"):
        sampler(range(5), 1, rank=2, world=2)


def test_more_processes_than_rows():
    with pytest.raises(ValueError, match="2 rows are too few for 3 processes"):
        EpochSampler(range(2), 1, rank=0, world=3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 3), st.integers(0, 9))
def test_rows_of_one_length_come_together_and_none_is_lost(count: int, size: int, world: int, seed: int) -> None:
    if count < world:
        return
    lengths = np.random.default_rng(seed).integers(1, 100, 1000)
    rows = np.random.default_rng(seed + 1).choice(1000, count, replace=False)
    ranks = [EpochSampler(rows, size, seed=seed, lengths=lengths, rank=r, world=world) for r in range(world)]
    plain = [EpochSampler(rows, size, seed=seed, rank=r, world=world) for r in range(world)]
    drawn = [[draw.rows for draw in one] for one in ranks]
    assert [len(of) for of in drawn] == [len(one) for one in plain]
    assert [[len(batch) for batch in of] for of in drawn] == [[len(d.rows) for d in one] for one in plain]
    every = [row for of in drawn for batch in of for row in batch]
    assert len(set(every)) == len(every) and set(every) <= set(rows.tolist())
    again = [[draw.rows for draw in one] for one in ranks]
    assert again == drawn
    if world == 1 and count >= 20 * size and size > 1:
        spread = np.mean([np.ptp(lengths[list(batch)]) for batch in drawn[0]])
        random = np.mean([np.ptp(lengths[list(draw.rows)]) for draw in plain[0]])
        assert spread < random / 2


def test_batches_of_one_length_come_in_random_order() -> None:
    lengths = np.arange(400)
    means = [np.mean(draw.rows) for draw in EpochSampler(range(400), 8, lengths=lengths)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


def test_each_batch_has_its_share_of_every_table() -> None:
    """However much longer the texts of one table are; else a step would have the tasks of one of them alone."""
    rng = np.random.default_rng(0)
    whose = np.array(["long"] * 600 + ["short"] * 300)
    lengths = np.where(whose == "long", rng.integers(100, 200, 900), rng.integers(1, 20, 900))
    sampler = EpochSampler(range(900), 30, lengths=lengths, whose=whose)
    draws = [np.array(draw.rows) for draw in sampler]
    assert sorted(np.concatenate(draws).tolist()) == list(range(900))
    assert all(abs((whose[rows] == "long").sum() - 20) <= 1 for rows in draws)
    for table, most in (("long", 100), ("short", 20)):
        spread = [np.ptp(lengths[rows[whose[rows] == table]]) for rows in draws]
        assert np.mean(spread) < most / 10  # rows of one table in a batch are of about one length
    assert any((whose[list(draw.rows)] == "short").all() for draw in EpochSampler(range(900), 30, lengths=lengths))


def test_one_table_is_as_none() -> None:
    lengths = np.random.default_rng(0).integers(1, 9, 200)
    plain = [draw.rows for draw in EpochSampler(range(200), 8, lengths=lengths)]
    assert [draw.rows for draw in EpochSampler(range(200), 8, lengths=lengths, whose=np.zeros(200))] == plain
