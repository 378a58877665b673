"""Texts and spans on the page: what differs, and what is right, missed or false."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import jinja2

from report.test_sections import run_of
from trunkline.report.figures import attention_figure, map_figure
from trunkline.report.page import environment
from trunkline.report.sections.gallery import gallery
from trunkline.report.tagged import sentences
from trunkline.report.written import differing
from trunkline.tasks import Tags

WORDS = "fly from new york to san jose"
STATE = {"tags": ["B-from", "B-to", "I-from", "I-to", "O"], "counts": [9, 5, 1, 1, 9]}


def shown(*spans: tuple[int, int, str]) -> dict[str, Any]:
    return {"kind": "tags", "text": "", "file": None, "tags": [[word, ""] for word in WORDS.split()], "spans": spans}


def told(said: dict[str, Any], true: dict[str, Any] | None) -> tuple[dict[str, list], dict[str, int]]:
    drawn, counts = sentences(said, true, {"from": "#111111", "to": "#222222"})
    return {one["name"]: [(p["text"], p["kind"], p["verdict"]) for p in one["parts"] if p["kind"] is not None]
            for one in drawn}, counts  # fmt: skip


def test_a_span_is_right_when_its_ends_and_its_kind_are() -> None:
    true = shown((2, 4, "from"), (5, 7, "to"))
    assert told(true, true) == (
        {"said": [("new york", "from", "right"), ("san jose", "to", "right")]},
        {"right": 2, "missed": 0, "false": 0},
    )
    for wrong in ((2, 3, "from"), (3, 4, "from"), (1, 4, "from"), (2, 5, "from"), (2, 4, "to")):
        lines, counts = told(shown(wrong, (5, 7, "to")), true)
        assert [verdict for _, _, verdict in lines["said"]] == ["false", "right"], wrong
        assert [verdict for _, _, verdict in lines["true"]] == ["missed", "right"], wrong
        assert counts == {"right": 1, "missed": 1, "false": 1}, wrong


def test_what_only_one_side_has_is_missed_or_false() -> None:
    one, both = shown((5, 7, "to")), shown((2, 4, "from"), (5, 7, "to"))
    assert told(one, both) == (
        {"said": [("san jose", "to", "right")], "true": [("new york", "from", "missed"), ("san jose", "to", "right")]},
        {"right": 1, "missed": 1, "false": 0},
    )
    assert told(both, one) == (
        {"said": [("new york", "from", "false"), ("san jose", "to", "right")], "true": [("san jose", "to", "right")]},
        {"right": 1, "missed": 0, "false": 1},
    )
    assert told(both, None)[0] == {"said": [("new york", "from", ""), ("san jose", "to", "")]}
    assert told(shown(), shown()) == ({"said": []}, {"right": 0, "missed": 0, "false": 0})


def test_all_words_of_a_sentence_stay_in_order() -> None:
    for spans in ((), ((0, 1, "to"),), ((2, 4, "from"), (4, 5, "to"), (5, 7, "to"))):
        drawn, _ = sentences(shown(*spans), None, {})
        assert " ".join(part["text"] for part in drawn[0]["parts"]) == WORDS


def test_tags_that_say_no_spans_are_judged_word_by_word() -> None:
    said = {"tags": [["a", "DET"], ["dog", "VERB"], [",", ""]]}
    true = {"tags": [["a", "DET"], ["dog", "NOUN"], [",", ""]], "spans": None}
    lines, counts = told(said, true)
    assert lines["said"] == [("a", "DET", "right"), ("dog", "VERB", "false")]
    assert lines["true"] == [("a", "DET", "right"), ("dog", "NOUN", "missed")]
    assert counts == {"right": 1, "missed": 1, "false": 1}


def test_spans_are_facts_where_tags_are_bio() -> None:
    said = ["O", "O", "B-from", "I-from", "O", "B-to", "O"]
    true = [*said[:-1], "I-to"]
    answer = Tags().show(said, true, STATE, WORDS)
    assert answer.said.spans == ((2, 4, "from"), (5, 6, "to"))
    assert answer.true is not None and answer.true.spans == ((2, 4, "from"), (5, 7, "to"))
    assert [name for name, _ in Tags().legend(STATE)] == ["from", "to"]
    plain = Tags().show(["X", "Y"], None, {"tags": ["X", "Y"], "counts": [1, 2]}, "a b")
    assert plain.said.spans is None


def test_words_that_differ() -> None:
    said, true = differing("Ein Mann, der schläft.", "Ein alter Mann schläft.")
    assert said == [("Ein Mann", False), (", der", True), (" schläft.", False)]
    assert true == [("Ein ", False), ("alter", True), (" Mann schläft.", False)]
    assert differing("", "a b") == ([], [("a b", True)])
    often = "die Katze " * 120  # frequent words of long texts are compared all the same
    assert differing(f"Nun, {often}eins", f"{often}zwei")[1] == [(often, False), ("zwei", True)]
    assert differing("猫が寝る", "犬が寝る")[0] == [("猫", True), ("が寝る", False)]
    for text, other in (("a  b\nc d", "b d"), (" x ", "y"), ("a b", "a b")):
        runs, others = differing(text, other)
        assert "".join(part for part, _ in runs).strip() == text.strip()
        assert "".join(part for part, _ in others).strip() == other.strip()
        assert all(one[1] != two[1] for one, two in itertools.pairwise(runs))


def page_of(rows: list[dict[str, Any]], tasks: dict[str, dict[str, Any]], **more: Any) -> str:
    """The section of these rows, drawn."""
    facts = {"version": 1, "split": "test", "inputs": list(rows[0]["inputs"]), "tasks": list(tasks), "rows": rows,
             "more": {"tasks": 0, "inputs": 0}, "random": list(range(len(rows))), "ends": {}, **more}  # fmt: skip
    run = run_of(tasks, scores=dict.fromkeys(tasks, 0.7), others={"gallery": json.loads(json.dumps(facts))})
    template: jinja2.Template = environment().get_template("gallery.html")
    found = gallery(run)
    assert found is not None
    return template.render(anchor="g", run=run, **found)


def text(words: str) -> dict[str, Any]:
    return {"kind": "text", "text": words, "file": None, "tags": [], "spans": None}


def answer(said: Any, true: Any, **more: Any) -> dict[str, Any]:
    return {"said": said, "true": true, "confidence": None, "error": 0.5, "scores": {}, "attention": None, **more}


def test_the_page_holds_spans_with_their_verdicts_and_names() -> None:
    one = answer(shown((2, 4, "from"), (5, 6, "to")), shown((2, 4, "from"), (5, 7, "to")))
    row = {"row": 3, "inputs": {"words": text(WORDS)}, "answers": {"slots": one}}
    page = page_of(
        [row], {"slots": {"type": "tags"}}, texts=["words"], kinds={"slots": [["from", "#e69f00"], ["to", "#56b4e9"]]}
    )
    assert page.count('<mark class="span right" style="--c:#e69f00">new york<small>from</small></mark>') == 2
    assert '<mark class="span false" style="--c:#56b4e9">san<small><b>false</b> to</small></mark>' in page
    assert '<mark class="span missed" style="--c:#56b4e9">san jose<small><b>missed</b> to</small></mark>' in page
    assert "1 right · 1 missed · 1 false" in page and '<i style="background:#56b4e9"></i>to' in page


def read(**more: Any) -> dict[str, Any]:
    sources = [{"input": "en", "kind": "word", "word": w} for w in ("<b>", "dog")]
    return {"words": ["Ein", "Hund"], "more": 0, "unread": 0, "maps": {}, **more,
            "sources": [{"input": None, "kind": "row", "word": ""}, *sources],
            "weights": [[0.2, 0.7, 0.1], [0.0, 0.1, 0.9]]}  # fmt: skip


def test_the_page_holds_texts_side_by_side_and_what_was_read() -> None:
    one = answer(
        text("Ein Hund"), text("Der Hund"), scores={"chrf": 71.26}, attention=read(maps={"photo": [[0.1, 0.2]]})
    )
    row = {
        "row": 1,
        "inputs": {"en": text("<b> dog"), "n": text("5")},
        "answers": {"de": one, "kind": answer(text("x"), None)},
    }
    page = page_of([row], {"de": {"type": "text"}, "kind": {"type": "category"}}, texts=["en"])
    assert '<p dir="auto">&lt;b&gt; dog</p>' in page and "<dt>n</dt>" in page and "<dt>en</dt>" not in page
    assert '<mark class="differs">Ein</mark> Hund' in page and '<mark class="differs">Der</mark> Hund' in page
    assert "chrf 71.3" in page and "The strongest cell is 90\xa0% of what was read" in page
    assert page.count('class="weight"') == 5 + 2 and "Hund ← dog: 90%" in page
    assert "“What was read” is the attention of the decoder" in page


def test_rows_of_older_files_are_shown_as_they_are() -> None:
    old = {
        "said": {"kind": "tags", "text": "", "file": None, "tags": [["a", "X"]]},
        "true": None,
        "confidence": None,
        "error": None,
    }
    row = {"row": 1, "inputs": {"en": text("a")}, "answers": {"slots": old, "de": {**old, "said": text("b")}}}
    page = page_of([row], {"slots": {"type": "tags"}, "de": {"type": "text"}})
    assert "What was read" not in page and "no label" in page and "<dt>en</dt>" in page


def test_a_map_is_darker_the_more_was_read(tmp_path: Path) -> None:
    told = read()
    drawn = attention_figure(told["sources"], told["words"], told["weights"], label="x")
    assert 'fill-opacity="1"' in drawn and 'fill-opacity="0.11"' in drawn and "whole row" in drawn
    assert "&lt;b&gt;" in drawn and "<b>" not in drawn
    assert map_figure([[0.0, 0.5], [0.25, 0.0]], label="x").count('fill-opacity="0.5"') == 1
    absent = [{"input": "note", "kind": "absent", "word": ""}, {"input": "photo", "kind": "grid", "word": ""}]
    assert all(name in attention_figure(absent, ["a"], [[0.5, 0.5]], label="x") for name in ("note absent", "photo"))
