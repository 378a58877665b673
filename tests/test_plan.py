"""What is decided before the first step, and from which rows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from trunkline import defaults
from trunkline.config import Config, load_config
from trunkline.data import write_rows
from trunkline.defaults import Facts
from trunkline.errors import ConfigError, RunError
from trunkline.facts import facts_of
from trunkline.plan import Plan, draw_weights, make_plan
from trunkline.run import evaluate, fit
from trunkline.run.wiring import settings_of
from trunkline.schema import RowBatches
from trunkline.sources import columns_of, fingerprints, read_splits

CONFIG = """\
data: {train: rows.csv, split: split}
inputs: {x: number, z: number}
tasks: {y: category, w: {type: binary, weight: 3}}
balancer: upgrad
"""


def plan_of(folder: Path, rows: list[dict], config: str = CONFIG) -> Plan:
    folder.mkdir(exist_ok=True)
    write_rows(folder / "rows.csv", rows)
    (folder / "c.yaml").write_text(config)
    resolved = load_config(folder / "c.yaml", columns=columns_of)
    return make_plan(resolved, read_splits(resolved))


def rows_with(held_out_label: object) -> list[dict]:
    """60 training rows, a fifth of them with `w`; 40 held-out rows, all or none of them with `w`."""
    rows = [
        {"split": "train", "x": i, "z": -i, "y": "ab"[i % 2], "w": i % 2 if i % 5 == 0 else None} for i in range(60)
    ]
    return rows + [{"split": "val", "x": 1000, "z": 0, "y": "a", "w": held_out_label} for _ in range(40)]


def test_nothing_is_chosen_from_held_out_rows(tmp_path: Path) -> None:
    first, second = plan_of(tmp_path / "1", rows_with(None)), plan_of(tmp_path / "2", rows_with(1))
    assert first.config.training == second.config.training
    assert first.config.balancer == second.config.balancer
    assert {k: v for k, v in first.reasons.items()} == {k: v for k, v in second.reasons.items()}
    assert first.network.preprocessing.states == second.network.preprocessing.states
    assert first.engine.rates == second.engine.rates


def test_what_writes_has_settings_of_its_own(tmp_path: Path) -> None:
    """A text to be written has many words to learn from: smaller batches, no ensemble, whatever the other tasks are."""
    rows = [
        {"split": "val" if i % 4 == 0 else "train", "z": f"a {i}", "w": f"b {i}", "y": "ab"[i % 2]} for i in range(200)
    ]
    config = "data: {train: rows.csv, split: split}\ninputs: {z: {type: text, encoder: scratch}}\n"
    told = plan_of(tmp_path / "1", rows, config + "tasks: {y: category, w: text}\n")
    plain = plan_of(tmp_path / "2", rows, config + "tasks: {y: category}\n")
    assert "sequences" in told.reasons["training.lr"] and "sequences" in told.reasons["training.batch_size"]
    assert "sequences" not in plain.reasons["training.lr"]
    members = [plan.config.trunk.options["members"] for plan in (told, plain) if plan.config.trunk]
    assert members == [1, 4]
    assert told.config.training.lr != plain.config.training.lr


def test_a_rare_task_is_divided_by_what_is_expected(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, rows_with(None))
    assert plan.engine.rates == {"w": pytest.approx(12 / 60)}
    assert plan.engine.preferences == {"y": 0.5, "w": 1.5}
    batch = plan_of(tmp_path / "b", rows_with(None), CONFIG + "training: {normalise: batch}\n")
    assert batch.engine.rates == {}


def test_every_class_stays_in_training(tmp_path: Path) -> None:
    """Whatever the seed, a rare class of any task is not held out by a split by share."""
    rows = [
        {
            "x": i,
            "z": i,
            "y": "ab"[i % 2],
            "w": i % 2,
            "rare": "once" if i == 7 else "often",
            "many": "p|q" if i else "r",
        }
        for i in range(40)
    ]
    config = CONFIG.replace("split: split", "validation: 0.4").replace(
        "tasks: {", "tasks: {rare: category, many: labels, "
    )
    for seed in range(8):
        plan = plan_of(tmp_path / str(seed), rows, config + f"training: {{seed: {seed}}}\n")
        assert {0, 7} <= set(plan.splits.train.rows.tolist())
        assert plan.splits.validation is not None
        assert len(plan.splits.validation) == 16


def test_the_default_share_is_written_down(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, rows_with(None), CONFIG.replace(", split: split", ""))
    assert plan.config.data is not None
    assert plan.config.data.validation == 0.2
    assert plan.reasons["data.validation"]
    assert plan.splits.validation is not None
    assert len(plan.splits.validation) == 20


def test_a_run_is_not_judged_by_a_table_that_changed(tmp_path: Path) -> None:
    """The same share of a longer table holds rows that were trained on."""
    rows = [{"x": i, "z": np.sin(i), "y": "ab"[i % 2], "w": i % 2} for i in range(60)]
    write_rows(tmp_path / "rows.csv", rows)
    (tmp_path / "c.yaml").write_text(CONFIG.replace("split: split", "validation: 0.2"))
    run = fit(tmp_path / "c.yaml", overrides=["training.steps=2", "width=8"], out=tmp_path / "run")
    found = evaluate(run.folder)
    assert found["scores"] == run.metrics["validation"] and found["judged"] == "validation"
    write_rows(tmp_path / "rows.csv", [*rows, rows[0]])
    with pytest.raises(RunError, match=r"rows.csv changed since .* was trained: give a table"):
        evaluate(run.folder)
    assert evaluate(run.folder, tmp_path / "rows.csv")["scores"]["y"] is not None


def test_features_chosen_by_hand_on_different_rows_warns(tmp_path: Path) -> None:
    rows = [
        {"x": i, "z": i, "y": "ab"[i % 2] if i % 4 < 2 else None, "w": i % 2 if i % 4 > 1 else None} for i in range(40)
    ]
    by_hand = CONFIG.replace(", split: split", "").replace("upgrad", "{type: upgrad, level: features}")
    with pytest.warns(UserWarning, match=r"'y' and 'w'|'w' and 'y'"):
        plan_of(tmp_path / "a", rows, by_hand)
    plan = plan_of(tmp_path / "b", rows, CONFIG.replace(", split: split", ""))
    assert plan.engine.level == "last"


@pytest.mark.parametrize(
    ("inputs", "tasks", "more", "chosen", "members"),
    [
        ("a: text, b: text, x: number", "y: category", "", "late", 1),
        ("a: text, x: number", "y: category", "", "concat", 4),  # one input that could be all that is heard
        ("a: text, b: text", "y: category, t: {type: tags, column: tags, of: a}", "", "concat", 4),  # tags need tokens
        ("a: text, b: text", "y: category", "trunk: transformer", "concat", None),
        ("a: text, b: text", "y: category", "fusion: mean", "mean", 4),
        ("a: text, b: text", "y: category", "trunk: {type: hard, members: 2}", "concat", 2),
    ],
)
def test_few_rows_with_several_texts_are_fused_late(
    tmp_path: Path, inputs: str, tasks: str, more: str, chosen: str, members: int | None
) -> None:
    rows = [{"a": "red fox", "b": f"big {i}", "x": i, "y": "ab"[i % 2], "tags": "O O"} for i in range(60)]
    config = f"data: {{train: rows.csv}}\ninputs: {{{inputs}}}\ntasks: {{{tasks}}}\n{more}\n"
    plan = plan_of(tmp_path, rows, config)
    assert plan.config.fusion is not None and plan.config.trunk is not None
    assert plan.config.fusion.type == chosen
    assert plan.config.trunk.options.get("members") == members
    assert (plan.reasons.get("fusion") is None) == bool(more == "fusion: mean")


@pytest.mark.parametrize(
    ("sampling", "kind", "size"),
    [("{a: 1, b: 1, c: 6}", "others", None), ("{a: 3, b: 1, c: 4}", "sequences", 32), ("equal", "places", 8)],
)
def test_of_several_tables_settings_go_by_what_is_drawn(
    tmp_path: Path, sampling: str, kind: str, size: int | None
) -> None:
    """A few pictures with boxes among many other rows do not make batches of eight."""
    Picture.new("RGB", (32, 32)).save(tmp_path / "a.png")
    write_rows(tmp_path / "a.jsonl", [{"note": f"red {i}", "said": "rot"} for i in range(40)])
    boxes = [{"box": [2, 2, 20, 20], "label": "cell"}]
    write_rows(tmp_path / "b.jsonl", [{"photo": "a.png", "boxes": boxes} for _ in range(40)])
    write_rows(tmp_path / "c.jsonl", [{"note": f"red {i}", "size": i, "kind": "ab"[i % 2]} for i in range(40)])
    (tmp_path / "c.yaml").write_text(
        "data:\n  tables: {a: {train: a.jsonl}, b: {train: b.jsonl}, c: {train: c.jsonl}}\n"
        f"  sampling: {sampling}\n"
        "inputs: {note: text, photo: image, size: number}\n"
        "tasks: {said: {type: text, of: note}, boxes: {type: boxes, of: photo}, kind: category}\n"
    )
    config = load_config(tmp_path / "c.yaml", columns=columns_of)
    plan = make_plan(config, read_splits(config))
    drawn = draw_weights(config.data, plan.splits.train, np.ones(len(plan.splits.train), dtype=bool))
    train = plan.source(plan.splits.train)
    labelled = train.labelled[plan.splits.train.rows]
    facts = facts_of(plan.config, train, plan.splits.train.rows, labelled, drawn)
    assert facts.kind == kind
    assert size is None or plan.config.training.batch_size == size
    share = {"others": 1.0, "sequences": 3 / 8, "places": 1 / 3}[kind]
    assert facts.share == pytest.approx(share)
    assert (f"{share:.0%} of" in plan.reasons["training.lr"]) == (share < 1)


def test_a_table_of_several_splits_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counted(RowBatches):
        def __init__(self, *of: Any, **how: Any) -> None:
            made.append(of[1].source)
            super().__init__(*of, **how)

    monkeypatch.setattr("trunkline.plan.RowBatches", Counted)
    plan = plan_of(tmp_path, rows_with(1))
    assert made == ["rows.csv"]
    assert plan.splits.validation is not None
    assert plan.source(plan.splits.train) is plan.source(plan.splits.validation)


def test_rows_of_a_table_larger_than_memory_are_mixed_within_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = plan_of(tmp_path / "1", rows_with(1))
    assert small.config.training.shuffle == "all"
    monkeypatch.setattr("trunkline.facts.memory", lambda: small.splits.train.table.nbytes)
    large = plan_of(tmp_path / "2", rows_with(1))
    assert large.config.training.shuffle == 100 // 8
    assert "larger than half of the memory" in large.reasons["training.shuffle"]
    assert settings_of(large.config.training).shuffle == 12
    assert settings_of(small.config.training).shuffle is None
    with pytest.raises(ConfigError, match=r"training\.shuffle.* at least 1"):
        plan_of(tmp_path / "3", rows_with(1), CONFIG + "training: {shuffle: 0}\n")


def test_the_digest_of_a_large_file_is_of_pieces_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path, rows_with(1))
    path = tmp_path / "rows.csv"
    assert fingerprints(plan.config) == {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}
    monkeypatch.setattr("trunkline.sources.READ_WHOLE", 64)
    monkeypatch.setattr("trunkline.sources.BLOCK", 16)
    first = fingerprints(plan.config)
    content = path.read_bytes()
    for changed in (content[:-1] + b"9", b"z" + content[1:], content + b"\n"):
        path.write_bytes(changed)
        assert fingerprints(plan.config) != first
    path.write_bytes(content)
    assert fingerprints(plan.config) == first
    path.write_bytes(b"0" * 200)
    zeros = fingerprints(plan.config)
    path.write_bytes(b"0" * 201)  # whose pieces are the same
    assert fingerprints(plan.config) != zeros


def test_what_tasks_share_is_counted_over_all_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Facts] = []
    choose = defaults.choose
    monkeypatch.setattr("trunkline.plan.choose", lambda config, facts: found.append(facts) or choose(config, facts))
    plan_of(tmp_path / "1", rows_with(1))
    monkeypatch.setattr("trunkline.facts.PIECE", 7)
    plan_of(tmp_path / "2", rows_with(1))
    at_once, in_pieces = found
    assert at_once.overlap.tolist() == in_pieces.overlap.tolist() == [[60, 12], [12, 12]]
    assert at_once.counts.tolist() == in_pieces.counts.tolist() == [60, 12]


def facts_of_rows(rows: int, *, teaching: int, beside: int = 0) -> Facts:
    """Of tasks that all rows are labelled for, beside some of a run that is started from."""
    overlap = torch.zeros(beside + teaching, beside + teaching)
    overlap[beside:, beside:] = rows
    names = tuple(map(str, range(beside + teaching)))
    return Facts(rows, 1, 0, True, "plain", 1.0, None, None, names, overlap, overlap.diagonal())


def of_y(**training: Any) -> Config:
    return load_config({"inputs": {"x": "number"}, "tasks": {"y": "number"}, "training": training}, columns=None)


def test_epochs_are_those_of_all_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` are as many as are there, as they will be when it trains."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    facts, steps = facts_of_rows(6400, teaching=1), {}
    for devices, accelerator in ((1, "gpu"), (4, "gpu"), ("auto", "gpu"), ("auto", "cpu")):
        config = of_y(epochs=10, batch_size=64, devices=devices, accelerator=accelerator)
        steps[devices, accelerator] = defaults.choose(config, facts)[0].training.steps
    assert list(steps.values()) == [1000, 250, 250, 1000]


def test_tasks_of_the_run_that_is_started_from_are_not_rare_ones() -> None:
    alone, beside = (defaults.choose(of_y(), facts_of_rows(2000, teaching=1, beside=k)) for k in (0, 9))
    assert beside[0].training.batch_size == alone[0].training.batch_size == 64
    assert beside[0].training.steps == alone[0].training.steps
    assert "labelled on 100%" in beside[1]["training.batch_size"]
