"""What a report shows of boxes and masks: worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trunkline.run.facts.boxes import NOTHING, figures_of_boxes, pairs_of
from trunkline.run.facts.data import summary
from trunkline.run.facts.quality import describe
from trunkline.showing import OUTLINED, Outline, colour_of, outlined
from trunkline.tasks import Boxes, Mask
from trunkline.tasks.mask import confusion_scores


def one(label: str, *box: float, **more: Any) -> dict[str, Any]:
    return {"box": list(box), "label": label, **more}


def test_each_thing_is_paired_with_what_was_said_of_it() -> None:
    true = [one("cat", 0, 0, 10, 10), one("dog", 20, 0, 30, 10), one("dog", 40, 0, 50, 10),
            one("dog", 0, 50, 50, 90, iscrowd=True)]  # fmt: skip
    said = [
        one("dog", 0, 0, 10, 9, score=0.9),  # overlaps the cat more than what is right does, and is surer
        one("cat", 0, 0, 10, 8, score=0.8),
        one("cat", 20, 0, 30, 9, score=0.7),
        one("dog", 2, 52, 10, 60, score=0.6),  # in the crowd
        one("cat", 12, 52, 20, 60, score=0.6),  # in a crowd of another class
        one("dog", 40, 0, 50, 10, score=0.2),  # too unsure to be shown
    ]
    assert sorted(pairs_of(said, true)) == sorted(
        [("cat", "cat"), ("dog", "cat"), (NOTHING, "dog"), (NOTHING, "cat"), ("dog", NOTHING)]
    )
    assert pairs_of([], []) == []
    assert pairs_of([], true[:1]) == [("cat", NOTHING)] and pairs_of(said[:1], []) == [(NOTHING, "dog")]


def test_figures_of_two_pictures() -> None:
    true = [[one("cat", 0, 0, 10, 10), one("dog", 20, 0, 30, 10)], [one("cat", 0, 0, 10, 10)]]
    said = [[one("cat", 0, 0, 10, 10, score=0.95), one("cat", 20, 0, 30, 10, score=0.85)], []]
    told = figures_of_boxes(said, true, ["ant", "cat", "dog"])
    assert told["confusion"] == {
        "classes": ["cat", "dog", NOTHING],
        "counts": [[1, 0, 1], [1, 0, 0], [0, 0, 0]],
        "merged": 0,
    }
    cat, dog = told["curves"]
    assert (cat["name"], dog["name"], dog["points"]) == ("cat", "dog", [])
    assert cat["points"] == [[i / 100, 1.0] for i in range(51)], "half of them found, and before the mistake"
    bins = told["reliability"]["bins"]
    assert [(b["count"], b["accuracy"]) for b in bins] == [(1, 0.0), (1, 1.0)]
    assert told["reliability"]["ece"] == pytest.approx((0.85 + 0.05) / 2)
    assert {c["name"]: c["map50"] for c in told["classes"]} == {"cat": pytest.approx(51 / 101), "dog": 0.0}
    assert figures_of_boxes([[]], true[1:], ["cat"])["reliability"] is None


def test_overlap_of_a_masks_classes_is_what_the_metric_means_over() -> None:
    rng = np.random.default_rng(0)
    said, true = (rng.integers(0, 3, (8, 9)) for _ in range(2))
    told = describe([said], [true], Mask().fit([true.astype(np.uint16)]))
    counts = torch.zeros(3, 3, dtype=torch.long)
    for t, s in zip(true.flat, said.flat):
        counts[t, s] += 1
    assert np.mean([c["iou"] for c in told["classes"]]) == pytest.approx(confusion_scores(counts)["miou"])


def test_answers_of_a_kind_without_named_classes_have_figures_too() -> None:
    said = [[one("cell", 0, 0, 4, 4, score=0.9)]]
    assert [c["name"] for c in describe(said, [[one("cell", 0, 0, 4, 4)]], {})["classes"]] == ["cell"]


def test_boxes_are_drawn_large_enough_for_their_names() -> None:
    tiny = outlined(np.zeros((24, 32, 1), np.uint8), [Outline([8, 12, 24, 20], 1, "a name of many letters", 0.5)])
    assert tiny.shape == (240, 320, 3), "ten times as large"
    assert tuple(tiny[125, 81]) == colour_of(1) == tuple(tiny[195, 239])
    assert tuple(tiny[109, 80]) == colour_of(1), "the name stands above"
    assert not tiny[150, 160].any(), "and nothing within"
    large = outlined(np.zeros((900, 600, 3), np.uint8), [Outline([0, 0, 600, 900], 0, "all")])
    assert max(large.shape) == OUTLINED and tuple(large[2, 1]) == colour_of(0), "its name stands inside"


def test_many_classes_have_colours_of_their_own() -> None:
    assert len({colour_of(number) for number in range(21)}) == 21
    assert all(0 <= level <= 255 for number in range(21) for level in colour_of(number))


def test_a_legend_has_the_colours_of_the_pictures() -> None:
    boxes = Boxes().fit([[one("cat", 0, 0, 4, 4), one("dog", 0, 0, 4, 4)]])
    assert Boxes().legend(boxes) == [("cat", colour_of(0)), ("dog", colour_of(1))]
    assert Mask().legend({"names": ["sky", "road"]}) == [("road", colour_of(0))], "the first class is bare"


def test_the_data_card_counts_boxes_by_class() -> None:
    told = summary([[one("cat", 0, 0, 4, 4), one("dog", 0, 0, 4, 4)], [], [one("cat", 0, 0, 4, 4)]], "boxes")
    assert told is not None and told["classes"] == [["cat", 2], ["dog", 1]]
    assert summary([[]], "boxes") == {"kind": "classes", "classes": [], "more": 0, "rest": 0}
