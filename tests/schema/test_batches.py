"""Rows → batches: leaving out, following, repeating."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trunkline import ConfigError, DataError, InputColumn, TaskColumn
from trunkline.contexts import GridContext
from trunkline.data import Draw, read_table
from trunkline.modalities import Category, Image, Number
from trunkline.modalities import Text as TextInput
from trunkline.schema import Preprocessing, RowBatches, Schema, drop_inputs
from trunkline.tasks import Binary, Mask, Tags, Text
from trunkline.tasks import Category as CategoryTask
from worlds import schema, world


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_never_all_inputs_are_dropped(seed: int, rate: float, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    present = rng.random((64, sum(sizes))) < 0.7
    present[~present.any(1), 0] = True
    stops = np.cumsum(sizes).tolist()
    kept = drop_inputs(present, [slice(stop - size, stop) for size, stop in zip(sizes, stops)], rate, rng)
    assert kept.any(1).all()
    assert not (kept & ~present).any()


def test_inputs_are_dropped_at_the_rate_asked_for() -> None:
    present = np.ones((20_000, 3), dtype=bool)
    kept = drop_inputs(present, [slice(g, g + 1) for g in range(3)], 0.2, np.random.default_rng(0))
    assert kept.mean(0) == pytest.approx(0.8 + 0.2**3 / 3, abs=0.01)


def test_a_block_is_dropped_whole_or_loses_one_input() -> None:
    present = np.ones((20_000, 5), dtype=bool)
    kept = drop_inputs(present, [slice(0, 4), slice(4, 5)], 0.2, np.random.default_rng(0))
    left = kept[:, :4].sum(1)
    assert set(left.tolist()) == {0, 3, 4}
    gone = 0.2 - 0.2**2 / 2  # of the rows that lost both, half keep the block
    assert (left == 0).mean() == pytest.approx(gone, abs=0.01)
    assert (left == 3).mean() == pytest.approx(0.2 * (1 - gone), abs=0.01)
    assert np.ptp(kept[left == 3, :4].mean(0)) < 0.05


def test_a_table_alone_loses_one_input_at_a_time() -> None:
    present = np.ones((20_000, 3), dtype=bool)
    kept = drop_inputs(present, [slice(0, 3)], 0.3, np.random.default_rng(0))
    assert set(kept.sum(1).tolist()) == {2, 3}
    assert kept.mean(0) == pytest.approx(0.9, abs=0.01)


def test_the_target_of_a_dropped_input_is_dropped_too(tmp_path: Path) -> None:
    table = world(tmp_path, 32, holes=0.0)
    batches = RowBatches(Preprocessing.fit(schema(), table, range(32)), table, input_dropout=0.7)
    batch = batches[Draw(tuple(range(32)), 1)]
    photo = batch.present["photo"]
    assert 0 < photo.sum() < 32
    assert torch.equal(batch.labelled["area"], photo)
    assert len(batch.targets["area"].values["values"]) == int(photo.sum())
    assert batch.labelled["kind"].all()


def test_a_row_is_not_left_without_anything_to_teach() -> None:
    """Its only label hangs on the input that would be left out: then the input stays, and the step is not empty."""
    rows = [{"note": "a b", "x": i, "slots": "O B-x"} for i in range(8)]
    bound = Schema({"note": TextInput(), "x": Number()}, {"slots": TaskColumn(Tags(), "slots", of="note")})
    table = read_table(rows)
    batches = RowBatches(Preprocessing.fit(bound, table, range(8)), table, input_dropout=0.9)
    for seed in range(5):
        batch = batches[Draw(tuple(range(8)), seed)]
        assert batch.counts == (8,)
        assert batch.present["note"].all()
        assert not batch.present["x"].all()


def test_held_out_tables_need_not_have_everything() -> None:
    train = read_table([{"x": i, "z": i, "y": i % 2, "w": i % 2} for i in range(6)])
    states = Preprocessing.fit(Schema({"x": Number(), "z": Number()}, {"y": Binary(), "w": Binary()}), train, range(6))
    batch = RowBatches(states, read_table([{"x": 1, "y": 1}]))[Draw((0,), None)]
    assert batch.present.values.tolist() == [[True, False]]
    assert batch.labelled.values.tolist() == [[True, False]]
    with pytest.raises(DataError, match=r"no column 'y'.*\n.*no column 'w'"):
        RowBatches(states, read_table([{"x": 1}]))


def test_statistics_are_taken_from_everywhere() -> None:
    """A modality that looks at a few values sees them from the whole training split."""

    class Few(Number):
        fit_sample = 3

    rows = [{"x": i, "y": i % 2} for i in range(11)]
    states = Preprocessing.fit(Schema({"x": Few()}, {"y": Binary()}), read_table(rows), range(11)).states
    assert states["inputs"]["x"]["mean"] == 5.0


def test_the_same_draw_gives_the_same_batch(tmp_path: Path) -> None:
    table = world(tmp_path, 16)
    first, second = (
        RowBatches(Preprocessing.fit(schema(), table, range(16)), table, input_dropout=0.3) for _ in range(2)
    )
    second[Draw((3, 4), 9)]  # whatever was drawn before
    for draw in (Draw((0, 5, 7), 11), Draw((0, 5, 7), None)):
        a, b = first[draw], second[draw]
        assert torch.equal(a.present.values, b.present.values)
        for parts, others in ((a.inputs, b.inputs), (a.targets, b.targets)):
            assert parts.keys() == others.keys()
            for name, part in parts.items():
                for k, v in part.values.items():
                    torch.testing.assert_close(v, others[name].values[k], atol=0, rtol=0, equal_nan=True)


def test_what_is_hidden_does_not_hide_that_a_row_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"no picture")
    PIL.Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "1.png")
    rows = [{"photo": str(tmp_path / f"{i}.png"), "n": float(i), "y": "ab"[i]} for i in (0, 1)]
    table = read_table([rows[1], rows[0]])
    bound = Schema({"photo": Image(16), "n": Number()}, {"y": CategoryTask()})
    preprocessing = Preprocessing.fit(bound, read_table([rows[1], {**rows[1], "n": 0.0, "y": "a"}]), range(2))
    source = RowBatches(preprocessing, table, is_lenient=True)
    with pytest.warns(UserWarning, match="taken for absent"):
        source.hiding({"n"})[Draw((0, 1), None)]
    with pytest.warns(UserWarning, match="taken for absent"):
        assert source[Draw((0, 1), None)].present["photo"].tolist() == [True, False]


def test_a_mask_follows_its_picture(tmp_path: Path) -> None:
    """After augmentation, the bright square and its mask still lie on each other."""
    table = world(tmp_path, 12, holes=0.0)
    bound = schema(("area",))
    batches = RowBatches(Preprocessing.fit(bound, table, range(12)), table)
    moved = 0
    for seed in range(6):
        batch = batches[Draw(tuple(range(12)), seed)]
        contexts = [c for c in batch.context["photo"] if isinstance(c, GridContext)]
        moved += sum(c.crop != (0, 0, 16, 16) for c in contexts)
        pixels = next(iter(batch.inputs["photo"].values.values())).float()
        bright = pixels.amax(1) > 0.6 * pixels.amax((1, 2, 3), keepdim=True)[:, 0]  # colours change, too
        masks = batch.targets["area"].values["values"].reshape(12, 16, 16) > 0
        overlap = (bright & masks).sum((1, 2)) / (bright | masks).sum((1, 2)).clamp(min=1)
        assert float(overlap.mean()) > 0.7
    assert moved > 0, "nothing was augmented"


def test_states_come_from_the_training_rows_alone() -> None:
    rows = [{"x": 0, "y": "a"}, {"x": 2, "y": "b"}, {"x": 1000, "y": "a"}]
    bound = Schema({"x": Number()}, {"y": CategoryTask()})
    states = Preprocessing.fit(bound, read_table(rows), [0, 1]).states
    assert states["inputs"]["x"] == {"mean": 1.0, "std": pytest.approx(0.98), "knots": [], "common": []}
    assert states["tasks"]["y"]["prior"] == [0.5, 0.5]


def test_states_survive_json() -> None:
    import json

    rows = [{"x": i, "c": "ab"[i % 2], "y": i % 2} for i in range(6)]
    bound = Schema({"x": Number(), "c": Category()}, {"y": Binary()})
    states = Preprocessing.fit(bound, read_table(rows), range(6)).states
    table = read_table(rows)
    again = RowBatches(Preprocessing(bound, json.loads(json.dumps(states))), table)
    first = RowBatches(Preprocessing(bound, states), table)
    draw = Draw((0, 1, 2), None)
    assert all(torch.equal(v, again[draw].inputs["x"].values[k]) for k, v in first[draw].inputs["x"].values.items())


class TestErrorsSayWhere:
    def test_bad_cell(self) -> None:
        rows = [{"x": 1, "y": 0}, {"x": "many", "y": 1}]
        with pytest.raises(DataError, match=r"rows, row 2, column 'x': 'many' is not a number"):
            Preprocessing.fit(Schema({"x": Number()}, {"y": Binary()}), read_table(rows), range(2))

    def test_bad_label(self) -> None:
        rows = [{"x": 1, "y": "maybe"}]
        with pytest.raises(DataError, match=r"row 1, column 'y': 'maybe' is not a yes or no"):
            Preprocessing.fit(Schema({"x": Number()}, {"y": Binary()}), read_table(rows), range(1))

    def test_one_class_only(self) -> None:
        rows = [{"x": 1, "y": "cat"}] * 3
        with pytest.raises(DataError, match=r"column 'y': a category task needs at least 2 classes.*\['cat'\]"):
            Preprocessing.fit(Schema({"x": Number()}, {"y": CategoryTask()}), read_table(rows), range(3))

    def test_missing_columns_all_at_once(self) -> None:
        bound = Schema({"size": Number(), "z": Number()}, {"y": Binary()})
        with pytest.raises(DataError) as caught:
            Preprocessing.fit(bound, read_table([{"sise": 1, "yy": 1}]), [0])
        assert str(caught.value).count("no column") == 3
        assert "Did you mean 'sise'?" in str(caught.value)

    def test_states_that_cannot_be_fitted_all_at_once(self) -> None:
        rows = [{"x": 1, "a": None, "b": None, "c": "one"}] * 3
        bound = Schema({"x": Number()}, {"a": Binary(), "b": CategoryTask(), "c": CategoryTask()})
        with pytest.raises(DataError) as caught:
            Preprocessing.fit(bound, read_table(rows), range(3))
        assert [f"column {c!r}" in line for c, line in zip("abc", str(caught.value).splitlines())] == [True] * 3

    def test_a_target_that_is_an_input_too(self) -> None:
        with pytest.raises(ConfigError, match=r"tasks.y.column: 'z' is read by input 'x', which would give it away"):
            Schema({"x": InputColumn(Number(), "z")}, {"y": TaskColumn(Binary(), "z")})

    def test_a_table_cell_has_no_tokens(self) -> None:
        with pytest.raises(ConfigError, match=r"tasks.y.of: 'x' is one cell of a table"):
            Schema({"x": Number()}, {"y": TaskColumn(Text(), "y", of="x")})

    def test_bindings_all_at_once(self) -> None:
        with pytest.raises(ConfigError) as caught:
            Schema(
                {"photo": Image(), "x": InputColumn(Number(), "x")},
                {
                    "a": Mask(),
                    "b": TaskColumn(Mask(), "b", of="foto"),
                    "c": TaskColumn(Mask(), "c", of="x"),
                    "d": TaskColumn(Binary(), "d", of="x"),
                },
            )
        lines = str(caught.value).splitlines()
        assert [line.split(".")[1].split(":")[0] for line in lines] == ["a", "b", "c", "d"]
        assert "Did you mean 'photo'?" in lines[1]


def test_a_column_that_is_called_as_the_input_is_not_passed_over() -> None:
    """Input `voice` reads column `speaker`; rows that say `voice` would be said in no voice at all."""
    schema = Schema({"word": TextInput(), "voice": InputColumn(Category(), "speaker")}, {"kind": Binary()})
    rows = [{"word": "a", "speaker": "ann", "kind": 0}, {"word": "b", "speaker": "bob", "kind": 1}]
    states = Preprocessing.fit(schema, read_table(rows), [0, 1])
    wrong = read_table([{"word": "a", "voice": "ann"}])
    with pytest.raises(DataError, match=r"input 'voice' reads column 'speaker'.*call that one 'speaker', or leave it"):
        RowBatches(states, wrong, with_targets=False)
    for fine in ({"word": "a"}, {"word": "a", "speaker": "ann", "voice": "loud"}):
        RowBatches(states, read_table([fine]), with_targets=False)


def test_an_input_may_be_called_as_another_column() -> None:
    """Input `kind` reads `sort`, and a task reads `kind`: rows with the label alone are no mistake."""
    inputs = {"word": TextInput(), "kind": InputColumn(Category(), "sort")}
    schema = Schema(inputs, {"aim": TaskColumn(Binary(), "kind")})
    rows = [{"word": "a", "sort": "x", "kind": 0}, {"word": "b", "sort": "y", "kind": 1}]
    states = Preprocessing.fit(schema, read_table(rows), [0, 1])
    RowBatches(states, read_table([{"word": "a", "kind": 1}]))
