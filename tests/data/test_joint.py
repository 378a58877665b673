"""Several tables as one: what is whose, and how often which rows are drawn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline import DataError
from trunkline.data import JointSampler, Split, Splits, join_splits, named_table, read_table, table_shares
from trunkline.data.joint_sampling import apportion

TABLES = st.lists(st.integers(1, 30), min_size=2, max_size=4)


def sampler(sizes: list[int], shares: list[float], batch_size: int = 4, **how: object) -> JointSampler:
    whose = np.repeat(np.arange(len(sizes)), sizes)
    rows = 100 + np.random.default_rng(0).permutation(len(whose))
    return JointSampler(rows, whose, shares, batch_size, **how)  # type: ignore[arg-type]


def drawn(one: JointSampler, epochs: int) -> list[list[list[int]]]:
    found = []
    for epoch in range(epochs):
        one.set_epoch(epoch)
        found.append([list(draw.rows) for draw in one])
    return found


def test_shares_by_hand() -> None:
    counts = {"a": 800, "b": 100, "c": 100}
    assert table_shares(counts, "proportional") == {"a": 0.8, "b": 0.1, "c": 0.1}
    assert table_shares(counts, "equal") == pytest.approx(dict.fromkeys("abc", 1 / 3))
    assert table_shares(counts, {"a": 1, "b": 2, "c": 1}) == {"a": 0.25, "b": 0.5, "c": 0.25}
    roots = np.sqrt([800, 100, 100])
    assert list(table_shares(counts, 2.0).values()) == pytest.approx((roots / roots.sum()).tolist())
    assert table_shares({"a": 5, "b": 0}, "equal") == {"a": 1.0, "b": 0.0}, "what has no rows is not drawn"


@given(st.integers(0, 500), st.lists(st.floats(0.001, 1), min_size=1, max_size=6))
def test_whole_numbers_follow_shares_and_never_fall(total: int, weights: list[float]) -> None:
    shares = np.array([0.0, *weights]) / sum(weights)
    counts, more = apportion(total, shares), apportion(total + 1, shares)
    assert counts.sum() == total and counts[0] == 0 and (abs(counts - total * shares) < len(shares)).all()
    assert (more >= counts).all() and more.sum() == total + 1
    exact = apportion(1000, [0.5, 0.3, 0.2])
    assert exact.tolist() == [500, 300, 200]


@settings(max_examples=60, deadline=None)
@given(TABLES, st.data(), st.booleans(), st.integers(0, 3))
def test_tables_are_drawn_by_their_shares_and_rows_in_turn(
    sizes: list[int], data: st.DataObject, is_mixed: bool, seed: int
) -> None:
    weights = data.draw(st.lists(st.floats(0.2, 5), min_size=len(sizes), max_size=len(sizes)))
    shares = (np.array(weights) / sum(weights)).tolist()
    one = sampler(sizes, shares, is_mixed=is_mixed, seed=seed)
    epochs = drawn(one, 3)
    rows = [row for epoch in epochs for batch in epoch for row in batch]
    assert len(rows) == 3 * len(one) * one.size and set(rows) <= set(one.rows.tolist())
    step = 1 if is_mixed else one.size
    for table, share in zip(one.tables, shares):
        times = [Counter(rows)[row] for row in table.tolist()]
        assert max(times) - min(times) <= 1, "each row of a table comes once before any comes again"
        expected = 3 * len(one) * one.size * share
        assert abs(sum(times) - expected) <= step * len(sizes), "over the epochs, not only within each"


@settings(max_examples=30, deadline=None)
@given(TABLES, st.integers(0, 9))
def test_batches_of_one_table(sizes: list[int], seed: int) -> None:
    one = sampler(sizes, [1 / len(sizes)] * len(sizes), is_mixed=False, seed=seed)
    tables = [set(table.tolist()) for table in one.tables]
    whose = [
        [place for place, rows in enumerate(tables) if set(batch) <= rows]
        for epoch in drawn(one, len(sizes))
        for batch in epoch
    ]
    assert all(len(places) == 1 for places in whose)
    assert {place for (place,) in whose} == set(range(len(sizes))), "however few batches an epoch has"


@pytest.mark.parametrize("is_mixed", [True, False])
def test_the_smallest_share_is_drawn_in_the_end(is_mixed: bool) -> None:
    one = sampler([1000, 1000, 40], [0.98, 0.015, 0.005], 512, is_mixed=is_mixed)
    counts = Counter(row for epoch in drawn(one, 100) for batch in epoch for row in batch)
    shares = [sum(counts[row] for row in table.tolist()) / counts.total() for table in one.tables]
    assert shares == pytest.approx([0.98, 0.015, 0.005], abs=0.004)


def test_no_two_rounds_or_batches_are_alike() -> None:
    one = sampler([40, 40], [0.5, 0.5], 8)
    orders, draw_seeds = [], []
    for epoch in range(3):
        one.set_epoch(epoch)
        draws = list(one)
        draw_seeds += [draw.seed for draw in draws]
        orders.append([row for draw in draws for row in draw.rows if row in set(one.tables[0].tolist())])
    assert sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1] != orders[2], (
        "each round has its own order"
    )
    assert len(set(draw_seeds)) == len(draw_seeds), "no batch is augmented as another"
    single = sampler([64, 64], [0.5, 0.5], 8, is_mixed=False)
    small = set(single.tables[0].tolist())
    said = "".join("ab"[set(batch) <= small] for batch in drawn(single, 1)[0])
    assert said not in ("a" * 8 + "b" * 8, "b" * 8 + "a" * 8), "tables come in random order, not in blocks"


def test_mixed_batches_have_rows_of_each_table_by_its_share() -> None:
    one = sampler([300, 60], [0.75, 0.25], 16)
    small = set(one.tables[1].tolist())
    counts = [sum(row in small for row in batch) for batch in drawn(one, 1)[0]]
    assert set(counts) <= {3, 4, 5} and sum(counts) == len(one) * 4


@pytest.mark.parametrize("is_mixed", [True, False])
def test_ranks_draw_what_one_process_would(is_mixed: bool) -> None:
    together = drawn(sampler([20, 13], [0.3, 0.7], 6, is_mixed=is_mixed, seed=3), 2)
    parts = [drawn(sampler([20, 13], [0.3, 0.7], 3, is_mixed=is_mixed, seed=3, rank=r, world=2), 2) for r in (0, 1)]
    for epoch, (first, second) in enumerate(zip(*parts)):
        assert [a + b for a, b in zip(first, second)] == together[epoch]
    with pytest.raises(ValueError, match="too few for 2 processes"):
        sampler([1], [1.0], world=2)


def test_tables_lie_below_each_other_in_their_splits() -> None:
    first = read_table([{"words": "a b", "label": "x", "part": "train"}, {"words": "c", "label": "y", "part": "test"}])
    second, held = read_table([{"text": "d"}]), read_table([{"text": "e", "size": 1}])
    parts = {
        "one": Splits(Split(first, np.array([0])), None, Split(first, np.array([1]))),
        "two": Splits(Split.whole(second), Split.whole(held)),
    }
    naming = {
        "one": lambda table: named_table(table, "one", {"text": "words"}, "part"),
        "two": lambda table: named_table(table, "two", {}),
    }
    joined = join_splits(parts, naming)
    table = joined.train.table
    assert table.columns == ("label", "text", "table", "size")
    assert table.column("text") == ["a b", "c", "d", "e"] and table.column("table") == ["one", "one", "two", "two"]
    assert table.column("label") == ["x", "y", None, None] and table.column("size") == [None, None, None, 1]
    assert joined.train.rows.tolist() == [0, 2]
    assert joined.validation is not None and joined.validation.rows.tolist() == [3]
    assert joined.test is not None and joined.test.rows.tolist() == [1]


@pytest.mark.parametrize(
    ("cells", "columns", "message"),
    [
        ({"word": "a"}, {"text": "words"}, r"has no column 'words'\. Did you mean 'word'"),
        ({"words": "a", "text": "b"}, {"text": "words"}, r"'words' cannot be called 'text': another is called so"),
        ({"table": "a"}, {}, r"a column is called 'table'.*`columns: \{other_name: table\}`"),
    ],
)
def test_names_that_do_not_work(cells: dict[str, str], columns: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        named_table(read_table([cells]), "one", columns)


def test_a_column_may_be_left_out() -> None:
    """So one file is two tables: one to summarise, one to translate."""
    table = named_table(read_table([{"a": 1, "b": 2, "c": 3}]), "one", {"text": "a", "b": None, "d": None})
    assert table.row(0) == {"c": 3, "text": 1, "table": "one"}


def test_two_columns_may_swap_their_names() -> None:
    table = named_table(read_table([{"a": 1, "b": 2}]), "one", {"a": "b", "b": "a"})
    assert table.row(0) == {"a": 2, "b": 1, "table": "one"}
