"""`trunkline affinity`: one run, what helps what, and a page that says so."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from training.test_training import interrupt_at
from trunkline.analysis import Helping
from trunkline.cli import app
from trunkline.config import load_config
from trunkline.data import write_rows
from trunkline.errors import ConfigError, RunError
from trunkline.run import affinity, fit
from trunkline.run.facts.affinity import affinity_facts, agreement, means
from trunkline.run.many import alone
from trunkline.sources import columns_of


def config(folder: Path, **training: Any) -> dict[str, Any]:
    """`twice` is `once` with noise, `other` is something else; they share one layer of eight."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 3))
    rows = [
        {"a": a, "b": b, "c": c, "once": a * b, "twice": 2 * a * b + 0.3 * e, "other": c * c}
        for (a, b, c), e in zip(x.tolist(), rng.standard_normal(400).tolist(), strict=True)
    ]
    write_rows(folder / "rows.csv", rows)
    return {
        "data": {"train": str(folder / "rows.csv")},
        "inputs": {name: "number" for name in "abc"},
        "tasks": {name: "number" for name in ("once", "other", "twice")},
        "trunk": {"type": "hard", "members": 1, "dropout": 0.0},
        "width": 16,
        "training": {
            "steps": 300,
            "batch_size": 64,
            "lr": 5e-3,
            "threads": 1,
            "accelerator": "cpu",
            "patience": "off",
            **training,
        },
    }


def test_tasks_that_are_one_help_each_other_and_belong_together(tmp_path: Path) -> None:
    found = affinity(config(tmp_path), out=tmp_path / "run", show_progress=False)
    told = found.found
    once, twice, other = (told["tasks"].index(name) for name in ("once", "twice", "other"))
    assert told["looks"] == 29
    means = np.abs([[one["mean"] for one in row] for row in told["affinity"]])
    alike, unlike = (
        (means[once, twice], means[twice, once]),
        (*means[[once, twice], other], *means[other, [once, twice]]),
    )
    assert min(alike) > 2 * max(unlike)
    assert told["affinity"][once][twice]["is_clear"]
    assert told["agreement"] > 0.9
    assert {frozenset(group) for group in told["groupings"][1]["groups"]} == {
        frozenset({"once", "twice"}),
        frozenset({"other"}),
    }
    assert told["groupings"][2]["score"] == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Which task helps which" in page
    assert "<b>once</b> helps <b>twice</b>" in page


def test_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps(config(tmp_path, steps=30)))
    said = CliRunner().invoke(app, ["affinity", str(path), "training.affinity=5", "--out", str(tmp_path / "run")])
    assert said.exit_code == 0, said.output
    assert "5 looks" in said.output
    assert "which tasks should share a network" in said.output
    assert json.loads((tmp_path / "run" / "report" / "affinity.json").read_text())["looks"] == 5


def test_what_is_not_seen_often_enough_groups_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps(config(tmp_path, steps=12)))
    asked = ["affinity", str(path), "training.affinity=10", "--out", str(tmp_path / "run"), "--resume"]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0, said.output
    assert "1 look:" in said.output and "nothing to group by" in said.output
    assert "which tasks should share a network" not in said.output
    assert "there is no run to go on with; it begins" in said.output.replace("\n", " ")


def test_a_run_that_began_goes_on_as_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config(tmp_path, steps=30)
    interrupt_at(monkeypatch, 12)
    with pytest.raises(KeyboardInterrupt):
        affinity(asked, overrides=["training.affinity=5"], out=tmp_path / "run", show_progress=False)
    monkeypatch.undo()
    assert affinity(asked, out=tmp_path / "run", resume=True, show_progress=False).found["looks"] == 5


def test_what_is_not_clear_counts_for_nothing_in_groups() -> None:
    table = [[Helping(1.0), Helping(0.5, 0.4, 0.6)], [Helping(-0.2, -0.5, 0.1), Helping(1.0)]]
    assert np.isnan(means(table, only_clear=True)[1, 0])
    assert means(table, only_clear=True)[0, 1] == 0.5
    assert means(table)[1, 0] == -0.2


def test_groups_are_made_of_what_is_clear(tmp_path: Path) -> None:
    """`a` and `b` help each other for sure; `c` seems to harm them, and may as well not."""
    looks = [
        {
            "a": {"a": 1.0, "b": 0.5 + e, "c": 0.0},
            "b": {"a": 0.5 - e, "b": 1.0, "c": 0.0},
            "c": {"a": x, "b": x, "c": 1.0},
        }
        for e, x in ((0.0, -1.0), (0.01, 0.6), (0.02, -0.5))
    ]
    lines = [{"step": n, "affinity": {"ahead": look, "slope": look}} for n, look in enumerate(looks)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    subject: Any = SimpleNamespace(folder=tmp_path, preprocessing=SimpleNamespace(tasks=("a", "b", "c")))
    told = affinity_facts(subject)
    assert told["affinity"][2][0]["mean"] == pytest.approx(-0.3)
    assert [one["score"] for one in told["groupings"]] == [pytest.approx(1.0), pytest.approx(1.0), 0]
    assert told["groupings"][1]["groups"] == [["a", "b"], ["c"]]


def test_to_go_on_one_must_say_where(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(json.dumps(config(tmp_path)))
    said = CliRunner().invoke(app, ["affinity", str(tmp_path / "c.yaml"), "--resume"])
    assert said.exit_code == 2
    assert "--resume goes with --out" in said.output


def test_a_twin_has_no_other_task_to_look_at(tmp_path: Path) -> None:
    whole = load_config(config(tmp_path, affinity=5), columns=columns_of)
    assert (whole.training.affinity, alone(whole, "once", whole.inputs).training.affinity) == (5, None)


def test_a_run_that_asks_for_no_look_has_no_such_page(tmp_path: Path) -> None:
    fit(config(tmp_path, steps=12), out=tmp_path / "run", show_progress=False)
    assert "Which task helps which" not in (tmp_path / "run" / "report.html").read_text()


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    asked = config(tmp_path, steps=5)
    with pytest.raises(ConfigError, match="one task alone has no other to help"):
        affinity({**asked, "tasks": {"once": "number"}}, out=tmp_path / "one", show_progress=False)
    with pytest.raises(RunError, match="5 steps, a look every 10: nothing was measured"):
        affinity(asked, out=tmp_path / "run", show_progress=False)


def test_agreement_is_over_pairs_of_different_tasks() -> None:
    one = np.array([[9.0, 1.0, 2.0], [3.0, -9.0, np.nan], [4.0, 5.0, 0.0]])
    assert agreement(one, 2 * one + 1) == pytest.approx(1)
    assert agreement(one, -one) == pytest.approx(-1)
    assert agreement(one, np.ones((3, 3))) is None
    assert agreement(one[:2, :2], one[:2, :2]) is None
