"""A page from the files of a small run whose columns have nasty names."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trunkline import fit, load
from trunkline.data import write_rows
from trunkline.errors import RunError
from trunkline.report import make_page, write_page
from trunkline.run import Run, report

EVIL = "<script>alert(1)</script>"
IMG = '"><img src=x onerror=alert(2)>'


def rows_of(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        x, y = rng.normal(size=2)
        rows.append({
            EVIL: x,
            "y": y if i % 3 else None,
            "word": IMG if x > 0 else "plain & simple",
            "kind": f"{IMG} one" if x > 0 else "other",
            "is_big": bool(y > 0),
            f"sum {EVIL}": x + y if i % 4 else None,
            "noise": float(rng.normal()),
            "split": ("train", "train", "train", "val", "test")[i % 5],
        })  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("nasty")
    write_rows(folder / "rows.jsonl", rows_of(600))
    config = {
        "data": {"table": str(folder / "rows.jsonl"), "split": "split"},
        "inputs": {EVIL: "number", "y": "number", "word": "text"},
        "tasks": {"kind": "category", "is_big": "binary", f"sum {EVIL}": "number", "noise": "number"},
        "width": 32,
        "training": {"steps": 80, "threads": 1, "lr": 0.005},
    }
    return fit(config, out=folder / "run")


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.texts: list[str] = []
        self.within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.within = tag

    def handle_data(self, data: str) -> None:
        if self.within == "h2" and data.strip():
            self.headings.append(data.strip())
        if self.within not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return Page((run.folder / "report.html").read_text())


def facts(run: Run, name: str) -> dict[str, Any]:
    return json.loads((run.folder / "report" / f"{name}.json").read_text())


def test_every_section_is_there(page: Page) -> None:
    assert page.headings == [
        "At a glance", "What to look at", "The data", "The network", "How it learned", "All scores", "Right and wrong",
        "How sure it is", "Rows to look at", "When inputs are missing", "What was chosen, and why",
        "The same run again",
    ]  # fmt: skip


def test_what_comes_from_data_is_text_and_nothing_else(page: Page) -> None:
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert all(not (name or "").startswith("on") for _, attributes in page.elements for name in attributes)
    assert "alert(1)" in page.text
    assert "alert(2)" in page.text


def test_the_page_asks_no_network_for_anything(run: Run, page: Page) -> None:
    for _, attributes in page.elements:
        for key in ("src", "href", "srcset", "data", "action", "poster"):
            if (value := attributes.get(key)) is not None:
                assert value.startswith(("data:", "#")), value
    text = (run.folder / "report.html").read_text()
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "url(" not in text
    assert "@import" not in text
    assert any(a.get("http-equiv") == "Content-Security-Policy" and "default-src 'none'" in (a.get("content") or "")
               for _, a in page.elements)  # fmt: skip


def test_every_link_of_the_contents_leads_somewhere(page: Page) -> None:
    anchors = {attributes.get("id") for _, attributes in page.elements}
    links = [a["href"] for tag, a in page.elements if tag == "a"]
    assert len(links) > 10
    assert all(link is not None and link[1:] in anchors for link in links)


def test_it_says_what_is_no_better_than_guessing(page: Page, run: Run) -> None:
    assert facts(run, "quality")["tasks"]["noise"]["interval"]["better"] < 0.975
    assert "No better than guessing: noise." in page.text or "not surely better than guessing" in page.text
    assert "better than guessing at 3 of 4" in page.text


def test_intervals_hold_the_scores(run: Run) -> None:
    for task, told in facts(run, "quality")["tasks"].items():
        score = run.metrics["test"][task][told["metric"]]
        assert told["interval"]["low"] <= score + 1e-6 and score <= told["interval"]["high"] + 1e-6, task
        assert told["rows"] == (90 if task.startswith("sum") else 120)


def test_every_file_has_a_version(run: Run) -> None:
    names = {path.stem for path in (run.folder / "report").glob("*.json")}
    assert names >= {"data", "model", "quality", "absence", "gallery", "choices", "system"}
    assert all(facts(run, name)["version"] == 1 for name in names)


def test_the_picture_counts_every_parameter(run: Run) -> None:
    model = facts(run, "model")
    parts = [*model["encoders"], *model["heads"], model["fusion"], model["trunk"], model["missing"]]
    assert sum(part["parameters"] for part in parts) == model["total"] == run.metrics["parameters"]


def test_an_input_that_is_hidden_is_as_good_as_gone(run: Run, tmp_path: Path) -> None:
    """What the subsets say is what `evaluate` says of a table without those columns."""
    absence = facts(run, "absence")
    assert len(absence["subsets"]) == 3
    test = [row for row in rows_of(600) if row["split"] == "test"]
    gone = {"word": ["word"], "table (2 columns)": [EVIL, "y"]}
    for subset in absence["subsets"][1:]:
        (group,) = set(gone) - set(subset["kept"])
        left = [{k: v for k, v in row.items() if k not in gone[group]} for row in test]
        scores, majority = load(run.folder).evaluate(_table(left))
        for task, metric in absence["metric"].items():
            assert subset["scores"][task] == pytest.approx((scores[task] or {})[metric], abs=1e-5)
            assert subset["majority"][task] == pytest.approx((majority[task] or {})[metric], abs=1e-5)


def _table(rows: list[dict[str, Any]]) -> Any:
    from trunkline.data import read_table

    return read_table(rows)


def test_worst_rows_are_worse_than_best_rows(run: Run) -> None:
    gallery = facts(run, "gallery")
    for task, ends in gallery["ends"].items():
        errors = {end: [gallery["rows"][i]["answers"][task]["error"] for i in ends[end]] for end in ("best", "worst")}
        assert max(errors["best"]) <= min(errors["worst"])


def test_the_page_is_made_anew_from_files_alone(run: Run, tmp_path: Path) -> None:
    """No weights, no tables, no torch."""
    shutil.copytree(run.folder, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    (tmp_path / "run" / "report.html").unlink()
    made = tmp_path / "run" / "report.html"
    code = (
        "import sys; from trunkline.report import write_page; "
        f"write_page([{str(tmp_path / 'run')!r}], {str(made)!r}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    first = (run.folder / "report.html").read_text()
    assert made.read_text().replace(str(tmp_path / "run"), str(run.folder)) == first


def test_a_run_without_report_files_has_a_page_of_what_there_is(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "report")
    page = Page(report(tmp_path / "old").read_text())
    assert page.headings == [
        "At a glance", "What to look at", "How it learned", "All scores", "What was chosen, and why",
        "The same run again",
    ]  # fmt: skip


def test_several_runs_stand_side_by_side(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "second")
    config = (tmp_path / "second" / "config.yaml").read_text()
    (tmp_path / "second" / "config.yaml").write_text(config.replace("lr: 0.005", "lr: 0.123"))
    page = Page(report([run.folder, tmp_path / "second"], tmp_path / "both.html").read_text())
    assert page.headings[0] == "Side by side"
    assert "training.lr" in page.text
    assert "0.123" in page.text
    assert page.headings.count("At a glance") == 2


def test_twins_beside_a_run_are_shown(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    twin = tmp_path / "run-twins" / "twin-0"
    twin.mkdir(parents=True)
    (twin / "metrics.json").write_text(json.dumps({"test": {"kind": {"accuracy": 0.123}}, "validation": None}))
    page = Page(make_page([tmp_path / "run"]))
    assert "0.123" in page.text
    assert "Better together: kind." in page.text


def test_folders_that_are_no_runs(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere is no finished run: it is not there"):
        make_page([tmp_path / "nowhere"])
    with pytest.raises(RunError, match=r"has no metrics\.json"):
        make_page([tmp_path])
    with pytest.raises(RunError, match="at least one run"):
        make_page([])
    shutil.copytree(run.folder, tmp_path / "later")
    (tmp_path / "later" / "report" / "data.json").write_text('{"version": 2}')
    with pytest.raises(RunError, match=r"data\.json is of version 2; this trunkline reads version 1"):
        write_page([tmp_path / "later"], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_report_that_fails_leaves_a_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("trunkline.run.reporting.write_page", full)
    write_rows(tmp_path / "rows.jsonl", [{"x": i, "y": i % 2} for i in range(40)])
    config = {
        "data": {"train": str(tmp_path / "rows.jsonl")},
        "inputs": {"x": "number"},
        "tasks": {"y": "binary"},
        "width": 8,
        "training": {"steps": 2, "threads": 1},
    }
    with pytest.warns(UserWarning, match="the run is finished, but its report could not be written: No space left"):
        fit(config, out=tmp_path / "run")
    assert load(tmp_path / "run").predict([{"x": 1.0}])
    assert not (tmp_path / "run" / "report.html").exists()
