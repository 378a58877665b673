from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data import make_splits, read_table, split_by_column, split_by_share, stratify_labels
from trunkline.errors import DataError


@settings(max_examples=100, deadline=None)
@given(
    labels=st.lists(st.sampled_from("aaaaaabbbc"), min_size=20, max_size=200),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 2**32),
)
def test_shares_hold_in_total_and_in_each_class(labels, share, seed):
    left, (held,) = split_by_share(len(labels), [share], labels=labels, seed=seed)
    assert sorted([*left, *held]) == list(range(len(labels)))
    assert len(held) == max(1, round(share * len(labels)))
    classes, of_held = Counter(labels), Counter(labels[i] for i in held)
    rate = len(held) / (len(labels) - len(classes))
    if rate <= 1:
        for name, count in classes.items():
            assert abs(of_held[name] - (count - 1) * rate) <= 1
            assert of_held[name] < count


def test_every_class_of_one_row_trains():
    labels = ["common"] * 50 + [f"rare {i}" for i in range(5)]
    for seed in range(20):
        left, _ = split_by_share(len(labels), [0.3, 0.3], labels=labels, seed=seed)
        assert set(range(50, 55)) <= set(left)


def test_two_rows_of_two_classes():
    """No row can be spared: one is held out all the same, and nothing where no share was asked for."""
    left, (validation, test) = split_by_share(2, [0.1, 0.0], labels=["x", "y"])
    assert (len(left), len(validation), len(test)) == (1, 1, 0)


def test_splits_follow_the_seed_alone():
    one, two, other = (split_by_share(1000, [0.1, 0.2], seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one[1][0], two[1][0])
    assert set(one[1][0]) != set(other[1][0])


def test_the_test_rows_do_not_depend_on_the_validation_share():
    _, (_, test) = split_by_share(1000, [0.1, 0.2])
    _, (_, same) = split_by_share(1000, [0.3, 0.2])
    np.testing.assert_array_equal(test, same)


def test_every_row_has_the_same_chance():
    counts = sum(np.bincount(split_by_share(30, [0.2], labels=None, seed=s)[1][0], minlength=30) for s in range(2000))
    assert np.abs(counts / 2000 - 0.2).max() < 0.05


def test_too_few_rows_and_impossible_shares():
    with pytest.raises(DataError, match="1 rows are too few"):
        split_by_share(1, [0.1])
    with pytest.raises(ValueError, match="sum to less than 1"):
        split_by_share(10, [0.5, 0.5])


def test_stratify_takes_the_first_column_that_looks_like_categories():
    rows = [{"id": i, "same": "x", "kind": "ab"[i % 2] if i % 5 else None, "other": i % 3} for i in range(100)]
    table = read_table(rows)
    assert set(stratify_labels(table, ["id", "same", "kind", "other"])) == {"a", "b", "None"}
    assert stratify_labels(table, ["same"]) is None
    assert Counter(stratify_labels(table, ["id", "same"])) == {str(i): 10 for i in range(10)}
    assert stratify_labels(table, []) is None


def test_split_by_column():
    table = read_table([{"s": s} for s in ("train", "Val", "validation", "TEST ", "train")])
    splits = split_by_column(table, "s")
    assert [s.rows.tolist() for s in (splits.train, splits.validation, splits.test)] == [[0, 4], [1, 2], [3]]


def test_split_by_column_without_some():
    splits = split_by_column(read_table([{"s": "train"}, {"s": "test"}]), "s")
    assert splits.validation is None
    assert len(splits.test) == 1


def test_strange_splits_are_listed():
    with pytest.raises(DataError, match=r"column 's'.*'late' \(2 rows\), '' \(1 rows\)"):
        split_by_column(read_table([{"s": "late"}, {"s": "late"}, {"s": None}, {"s": "train"}]), "s")
    with pytest.raises(DataError, match="no row is 'train'"):
        split_by_column(read_table([{"s": "test"}]), "s")


def test_make_splits_from_tables_and_shares():
    train, test = read_table([{"a": i} for i in range(20)]), read_table([{"a": 0}])
    splits = make_splits(train, validation=0.1, test=test)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (18, 2, 1)
    assert splits.validation.table is train
    assert splits.test.table is test
    assert make_splits(train).validation is None
    assert len(make_splits(train).train) == 20


def test_numbers_are_stratified_by_ranges():
    rng = np.random.default_rng(0)
    rows = [{"price": float(x) if i % 10 else None} for i, x in enumerate(rng.lognormal(0, 2, 400))]
    table = read_table(rows)
    prices = np.array([np.nan if p is None else p for p in table.column("price")])
    spread = []
    for seed in range(20):
        for stratify in (["price"], []):
            held = make_splits(table, validation=0.1, stratify=stratify, seed=seed).validation.rows
            spread.append(abs(np.nanmedian(prices[held]) / np.nanmedian(prices) - 1))
    assert np.mean(spread[::2]) < 0.3 * np.mean(spread[1::2]), "held-out medians are near the whole's"


@settings(max_examples=50, deadline=None)
@given(
    groups=st.lists(st.sampled_from("abcdefghij"), min_size=20, max_size=120),
    share=st.floats(0.05, 0.5),
    seed=st.integers(0, 2**32),
)
def test_groups_stay_together(groups, share, seed):
    if len(set(groups)) < 3:
        return
    left, (first, second) = split_by_share(len(groups), [share / 2, share / 2], groups=groups, seed=seed)
    assert sorted([*left, *first, *second]) == list(range(len(groups)))
    sides = [{groups[i] for i in part} for part in (left, first, second)]
    assert sum(map(len, sides)) == len(set(groups))
    assert all(sides)


def test_groups_are_stratified_where_they_can_be():
    groups = [f"g{i // 5}" for i in range(1000)]
    labels = [("rare" if (i // 5) % 10 == 0 else "common") for i in range(1000)]
    for seed in range(10):
        _, (held,) = split_by_share(1000, [0.2], labels=labels, groups=groups, seed=seed)
        assert abs(len(held) - 200) <= 5
        assert abs(sum(labels[i] == "rare" for i in held) - 20) <= 5


def test_grouped_splits_of_a_table():
    table = read_table([{"who": f"p{i // 4}" if i < 96 else None, "y": i % 2} for i in range(100)])
    splits = make_splits(table, validation=0.2, test=0.2, group="who", stratify=["y"], seed=3)
    parts = [splits.train, splits.validation, splits.test]
    assert sorted(i for part in parts for i in part.rows) == list(range(100))
    sides = [{table.cell(int(i), "who") for i in part.rows} - {None} for part in parts]
    assert sum(map(len, sides)) == 24
    with pytest.raises(DataError, match=r"column 'who': all rows are one group"):
        make_splits(read_table([{"who": "a"}, {"who": "a"}]), validation=0.5, group="who")
    with pytest.raises(DataError, match=r"no column 'whom'. Did you mean 'who'\?"):
        make_splits(table, validation=0.5, group="whom")


def test_validation_comes_from_training_rows_where_the_column_has_none():
    table = read_table([{"s": "train" if i % 4 else "test", "y": i % 2} for i in range(80)])
    splits = make_splits(table, split="s", default=0.1, seed=1)
    assert splits.share == 0.1
    assert len(splits.validation) == 6
    assert {table.cell(int(i), "s") for i in splits.validation.rows} == {"train"}
    assert not set(splits.validation.rows) & set(splits.train.rows)
    assert len(splits.test) == 20
    named = read_table([{"s": s} for s in ("train", "train", "val")])
    assert make_splits(named, split="s", default=0.1).share is None
    with pytest.raises(DataError, match="names validation rows: leave `validation`"):
        make_splits(named, split="s", validation=0.1)
