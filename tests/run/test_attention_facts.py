"""What the report tells of texts that were written: what was read for them, in a run with holes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trunkline import fit
from trunkline.contexts import GridContext, TimeContext, WordsContext
from trunkline.data import write_rows
from trunkline.predictor import Reading
from trunkline.run import Run
from trunkline.run.facts.attention import PARTS, READ, WRITTEN, Source, map_of, most_read, sources_of, told
from trunkline.showing import Attended
from trunkline.tasks.text_head import TextHead
from trunkline.types import Span
from worlds import write_world

WORDS = WordsContext(("isn't", "it", "cut"), ((0, 3), (3, 4), (4, 4)))
TEXT = Span("note", 1, 7, "words", (6,))
THERE = [True] * 5 + [False] * 2  # the row has one token, the text four; two are padding


def test_each_word_has_its_tokens_and_padding_is_no_ones() -> None:
    assert sources_of(TEXT, THERE, {"note": WORDS}, {}) == [
        Source("note", "word", (1, 2, 3), "isn't"),
        Source("note", "word", (4,), "it"),
    ]
    marked = WordsContext(("it",), ((1, 2),))
    assert sources_of(TEXT, THERE, {"note": marked}, {}) == [
        Source("note", "word", (2,), "it"),
        Source("note", "marks", (1, 3, 4)),
    ]


def test_what_is_no_text_is_one_source() -> None:
    assert sources_of(Span(None, 0, 1, "set", (1,)), THERE, {}, {}) == [Source(None, "row", (0,))]
    assert sources_of(TEXT, THERE, {}, {}) == [Source("note", "absent", (1, 2, 3, 4))]
    picture = {"note": GridContext((8, 8), (0, 0, 8, 8), (8, 8))}
    assert sources_of(Span("note", 1, 5, "grid", (2, 2)), THERE, picture, {}) == [Source("note", "grid", (1, 2, 3, 4))]
    assert sources_of(TEXT, [False] * 7, {"note": WORDS}, {}) == []
    size, pooled = Span("size", 0, 1, "set", (1,)), {"size": ("size", "shop")}
    assert sources_of(size, THERE, {"size": None}, {}) == [Source("size", "set", (0,))]
    assert sources_of(size, THERE, {"shop": None}, {}) == [Source("size", "absent", (0,))]
    assert sources_of(size, THERE, {"shop": None}, pooled) == [Source("table (2 columns)", "set", (0,))]
    assert sources_of(size, THERE, {"note": WORDS}, pooled) == [Source("table (2 columns)", "absent", (0,))]


def test_a_sound_is_told_part_by_part() -> None:
    span, context = Span("talk", 2, 8, "time", (6,), (2.0,)), {"talk": TimeContext(8000, 4000, 0.02)}
    there = [True] * 7 + [False]
    assert [(s.tokens, s.word) for s in sources_of(span, there, context, {})] == [
        ((2,), "0.00 s"), ((3,), "0.04 s"), ((4,), "0.08 s"), ((5,), "0.12 s"), ((6,), "0.16 s")
    ]  # fmt: skip
    long = Span("talk", 0, 2 * PARTS + 1, "time", (2 * PARTS + 1,), (2.0,))
    parts = sources_of(long, [True] * (2 * PARTS + 1), context, {})
    assert len(parts) <= PARTS and {len(part.tokens) for part in parts[:-1]} == {3} and parts[1].word == "0.12 s"
    assert [token for part in parts for token in part.tokens] == list(range(2 * PARTS + 1))


def test_of_many_words_those_that_most_was_read_of() -> None:
    words = [Source("note", "word", (i,), str(i)) for i in range(READ + 3)]
    weights = np.full((1, READ + 4), 0.01)
    weights[0, [4, 7, 9]] = 0.001, 0.002, 0.003
    found = most_read([*words, Source(None, "row", (READ + 3,))], weights)
    assert len(found) == READ + 2 and found[-1] == Source(None, "others", (4, 7, 9), "3 other words")
    assert [s.word for s in found[:6]] == ["0", "1", "2", "3", "5", "6"]
    assert most_read(words[:READ], weights) == words[:READ]


def test_facts_of_one_row() -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(11), WRITTEN + 2)
    weights[:, 5:7], weights[:, 0] = 0, weights[:, 0] + weights[:, 5:7].sum(1)
    spans = (Span(None, 0, 1, "set", (1,)), TEXT, Span("photo", 7, 11, "grid", (2, 2)))
    contexts = {"note": WORDS, "photo": GridContext((8, 8), (0, 0, 8, 8), (8, 8))}
    mask = torch.tensor([*THERE, *[True] * 4])
    facts = told(Reading(Attended(("w",) * (WRITTEN + 2), weights), spans, mask, contexts), {})
    assert [s["kind"] for s in facts["sources"]] == ["row", "word", "word", "grid"]
    assert (len(facts["words"]), facts["more"], facts["unread"]) == (WRITTEN, 2, 1)
    shares = np.array(facts["weights"])
    np.testing.assert_allclose(shares.sum(1), 1, atol=3e-4)
    np.testing.assert_allclose(shares[:, 1], weights[:WRITTEN, 1:4].sum(1), atol=1e-4)
    np.testing.assert_allclose(facts["maps"]["photo"], weights[:, 7:].mean(0).reshape(2, 2), atol=1e-4)


def test_a_fine_grid_is_told_in_cells() -> None:
    weights = np.random.default_rng(0).random((3, 40 * 20))
    found = map_of(Span("photo", 0, 800, "grid", (40, 20)), weights)
    assert found.shape == (14, 10)
    np.testing.assert_allclose(found.sum(), weights.mean(0).sum())
    np.testing.assert_allclose(found[0, 1], weights.mean(0).reshape(40, 20)[:3, 2:4].sum())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, int]:
    """Two texts, a picture and a table; the texts of many rows were written from what is left. And rows looked at."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("texts")
    rows = [json.loads(line) for line in write_world(folder, 72, holes=0.2).read_text().splitlines()]
    for i, row in enumerate(rows):
        row |= {
            "title": None if i % 3 else f"{row['kind']} thing, {i}",
            "split": ("train", "train", "train", "test")[i % 4],
        }
    write_rows(folder / "rows.jsonl", rows)
    config = {
        "data": {"table": str(folder / "rows.jsonl"), "split": "split"},
        "inputs": {"photo": {"type": "image", "size": 16, "encoder": "scratch"}, "note": "text", "title": "text",
                   "size": "number", "shop": "category"},
        "tasks": {"german": {"type": "text", "max_length": 12}, "slots": {"type": "tags", "of": "note"}},
        "trunk": {"type": "transformer", "layers": 1},
        "width": 16,
        "training": {"steps": 30, "threads": 1, "lr": 0.01},
    }  # fmt: skip
    looked, attention = [], TextHead.attention

    def counted(head: TextHead, view: Any, ids: torch.Tensor) -> torch.Tensor:
        looked.append(len(ids))
        return attention(head, view, ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextHead, "attention", counted)
        found = fit(config, out=folder / "run")
    return found, sum(looked)


def gallery(run: Run) -> dict[str, Any]:
    return json.loads((run.folder / "report" / "gallery.json").read_text())


def test_only_rows_that_are_shown_are_read_again(run: tuple[Run, int]) -> None:
    facts = gallery(run[0])
    wanted = {*facts["random"], *facts["ends"]["german"]["best"], *facts["ends"]["german"]["worst"]}
    told = [i for i, row in enumerate(facts["rows"]) if row["answers"].get("german", {}).get("attention")]
    assert told and set(told) <= wanted
    written = [i for i in wanted if facts["rows"][i]["answers"].get("german", {"said": {"text": ""}})["said"]["text"]]
    assert run[1] == len(written) == len(told)
    assert not any(row["answers"]["slots"]["attention"] for row in facts["rows"] if "slots" in row["answers"])


def test_what_was_read_is_of_the_rows_own_inputs(run: tuple[Run, int]) -> None:
    facts, kinds = gallery(run[0]), set()
    for row in facts["rows"]:
        if not (read := row["answers"].get("german", {}).get("attention")):
            continue
        np.testing.assert_allclose(np.sum(read["weights"], axis=1), 1, atol=3e-3)
        assert read["words"] == row["answers"]["german"]["said"]["text"].split()[: len(read["words"])]
        for name in ("note", "title", "size", "shop"):
            absent = [s for s in read["sources"] if s["input"] == name and s["kind"] == "absent"]
            assert len(absent) == (row["inputs"][name] is None)
        for name in ("note", "title"):
            words = [s["word"] for s in read["sources"] if s["input"] == name and s["kind"] == "word"]
            assert words == (row["inputs"][name]["text"].split() if row["inputs"][name] else [])
        assert ("photo" in read["maps"]) == (row["inputs"]["photo"] is not None)
        kinds |= {s["kind"] for s in read["sources"]}
    assert kinds >= {"row", "word", "absent", "grid"}


def test_rows_are_ranked_by_their_own_chrf(run: tuple[Run, int]) -> None:
    facts = gallery(run[0])
    scores = {end: [facts["rows"][i]["answers"]["german"]["scores"]["chrf"] for i in places]
              for end, places in facts["ends"]["german"].items()}  # fmt: skip
    assert scores["worst"] == sorted(scores["worst"]) and scores["best"] == sorted(scores["best"], reverse=True)
    assert min(scores["best"]) >= max(scores["worst"])


def test_the_page_shows_it(run: tuple[Run, int]) -> None:
    facts, page = gallery(run[0]), (run[0].folder / "report.html").read_text()
    told = [row for row in facts["rows"] if row["answers"].get("german", {}).get("attention")]
    assert page.count('<details class="read"') >= len(told)
    assert facts["texts"] == ["note", "title"] and facts["kinds"]["slots"]
    assert 'class="span ' in page and 'class="texts sourced"' in page


def test_all_that_reads_the_gallery_can_be_written(run: tuple[Run, int], tmp_path: Path) -> None:
    from trunkline.report import write_page

    first = (run[0].folder / "report.html").read_text()
    assert write_page([run[0].folder], tmp_path / "again.html").read_text() == first
