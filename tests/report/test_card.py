"""The model card of small runs, read as a hub and as Markdown read it."""

from __future__ import annotations

import json
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from markdown_it import MarkdownIt

from trunkline import fit
from trunkline.data import write_rows
from trunkline.report import make_card, read_run, write_card
from trunkline.run import Run, report

BAR, LINES, TAG, LINK = "a|b`c\\", "x\n---\nlicense: mine", "</code><b>bold</b>", "[l](http://e.org) www.e.org *s*"


def rows_of(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        x = float(rng.normal())
        rows.append({
            BAR: x,
            LINES: float(rng.normal()) if i % 2 else None,
            "word": "up" if x > 0 else "down",
            TAG: [LINK, "b``d", "rare"][0 if x > 0 else 2 if i % 30 == 0 else 1],
            "noise": float(rng.normal()),
            "split": ("train", "train", "train", "val", "test")[i % 5],
        })  # fmt: skip
    return rows


def config_of(folder: Path, **data: Any) -> dict[str, Any]:
    return {
        "data": {"table": str(folder / "rows.jsonl"), "split": "split", **data},
        "inputs": {BAR: "number", LINES: "number", "word": "text"},
        "tasks": {TAG: "category", "noise": "number"},
        "width": 16,
        "training": {"steps": 20, "threads": 1},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("nasty")
    write_rows(folder / "rows.jsonl", rows_of(300))
    told = {"description": f"made | up {TAG}", "licence": "CC-BY-4.0", "slices": [TAG]}
    return fit(config_of(folder, **told), out=folder / "run")


@pytest.fixture(scope="module")
def card(run: Run) -> str:
    return (run.folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def front_of(card: str) -> dict[str, Any]:
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


def parsed(card: str) -> list[Any]:
    """Tokens of the text, those within lines among them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(card.split("---\n", 2)[2])
    return [one for token in tokens for one in (token, *(token.children or ()))]


def section(card: str, title: str) -> str:
    return card.split(f"## {title}\n")[1].split("\n## ")[0]


def test_a_hub_reads_the_front(run: Run, card: str) -> None:
    front = front_of(card)
    assert front["library_name"] == "trunkline"
    assert {"multimodal", "multi-task", "tabular", "text"} < set(front["tags"])
    assert "license" not in front
    hub = pytest.importorskip("huggingface_hub")
    found = {(e.task_name, e.metric_type): e.metric_value for e in hub.ModelCard(card).data.eval_results}
    for task, scores in run.metrics["test"].items():
        for metric, value in scores.items():
            assert found[" ".join(task.split()), metric] == value


def test_what_comes_from_data_is_no_markup(card: str) -> None:
    tokens = parsed(card)
    html = {token.content.strip() for token in tokens if token.type.startswith("html")}
    assert html == {"<code>", "</code>", card[card.rindex("<!--") :].strip()}
    assert not {token.type for token in tokens} & {"link_open", "image", "em_open", "hr"}
    text = unescape("".join(t.content for t in tokens if t.type in ("text", "code_inline", "fence", "html_inline")))
    for nasty in (BAR, "x --- license: mine", TAG, LINK, "b``d"):
        assert nasty in text, nasty


def test_every_row_of_a_table_has_its_columns(card: str) -> None:
    cells: list[list[int]] = []
    for token in parsed(card):
        if token.type == "table_open":
            cells.append([])
        if token.type == "tr_open":
            cells[-1].append(0)
        if token.type in ("td_open", "th_open"):
            cells[-1][-1] += 1
    assert len(cells) >= 9
    assert all(len(set(rows)) == 1 for rows in cells)


def test_figures_are_those_of_the_run(run: Run, card: str) -> None:
    told = section(card, "Evaluation")
    for task, metric in ((TAG, "accuracy"), ("noise", "r2")):
        for scores in (run.metrics["test"], run.metrics["majority"]):
            assert f"{scores[task][metric]:.3f}" in told
    assert "### By " in told
    assert "### When an input is missing" in told
    assert "### How far probabilities can be believed" in told
    assert "180 train, 60 validation, 60 test" in section(card, "Training data")
    assert "licence: CC-BY-4.0" in section(card, "Training data")
    assert "50" in section(card, "Training data").split("&#124;")[0]
    assert "Training took" in section(card, "Environmental impact")


def test_limits_are_facts(card: str) -> None:
    told = unescape(section(card, "Limitations"))
    assert "were never absent in training" in told
    assert "rare" in told
    assert "TL002" in told


def test_the_code_runs(run: Run, card: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.folder.parent)
    (code,) = [t.content for t in parsed(card) if t.type == "fence" and t.info == "python"]
    exec(compile(code, "card", "exec"), {})


def test_what_is_not_known_is_left_out(run: Run, tmp_path: Path) -> None:
    """A run without report files, held-out rows and a word about its data."""
    shutil.copytree(run.folder, tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "report")
    old = make_card(read_run(tmp_path / "old"))
    assert "## Limitations" not in old or "never absent" not in old
    assert "How far probabilities" not in old
    metrics = json.loads((tmp_path / "old" / "metrics.json").read_text())
    (tmp_path / "old" / "metrics.json").write_text(json.dumps({**metrics, "test": None, "validation": None}))
    bare = make_card(read_run(tmp_path / "old"))
    assert "No rows were held out" in bare
    assert "model-index" not in front_of(bare)
    assert "None" not in bare


def test_report_writes_it_anew_and_keeps_what_was_added(run: Run, tmp_path: Path, card: str) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    path = tmp_path / "run" / "MODEL_CARD.md"
    config = tmp_path / "run" / "config.yaml"
    path.write_text(card + "## Intended use\n\nNone.\n", encoding="utf-8")
    config.write_text(config.read_text().replace("CC-BY-4.0", "CC0-1.0"))
    report(tmp_path / "run")
    anew = path.read_text(encoding="utf-8")
    assert "licence: CC0-1.0" in anew
    assert anew.endswith("## Intended use\n\nNone.\n")
    path.write_text("my own card", encoding="utf-8")
    with pytest.warns(UserWarning, match="is not written anew"):
        write_card(tmp_path / "run")
    assert path.read_text(encoding="utf-8") == "my own card"
    report(tmp_path / "run", tmp_path / "page.html")  # elsewhere: nothing in the folder changes


def test_licence_and_description_are_kept_in_the_resolved_config(run: Run) -> None:
    told = yaml.safe_load((run.folder / "config.yaml").read_text())["data"]
    assert told["licence"] == "CC-BY-4.0"
    assert told["description"] == f"made | up {TAG}"
