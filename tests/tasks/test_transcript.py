"""Transcripts: the loss is the sum over all paths, the search finds the likeliest text, of words that may be said."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline import ConfigError, DataError, MultiTaskModel, fit, load, testing
from trunkline.arrays.ctc_search import Lexicon, search
from trunkline.arrays.ngram import END, NGram
from trunkline.arrays.written import greedy
from trunkline.data import read_table
from trunkline.modalities import Audio
from trunkline.schema import RowBatches, TaskColumn
from trunkline.tasks import Transcript
from trunkline.tasks.ctc import CtcHead, align
from trunkline.tasks.transcript import score_transcripts
from trunkline.types import Span, Tokens

WIDTH = 16
TEXTS = ["a b", "ab", "bb a", "a"]


def make_view(lengths: Sequence[int], seed: int = 0, longest: int | None = None) -> Tokens:
    most = longest or max(lengths)
    values = torch.randn(len(lengths), most, WIDTH, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(most) < torch.tensor(lengths).unsqueeze(1)
    return Tokens(values, mask, (Span("x", 0, most, "time", (most,)),))


def target_of(task: Transcript, texts: Sequence[str | None], state: Any) -> dict[str, Tensor]:
    return task.collate([[None if text is None else task.prepare(text, state, None)] for text in texts])


def said_by(path: Sequence[int]) -> tuple[int, ...]:
    return tuple(c for c, _ in itertools.groupby(path) if c)


def sums_of(slots: Tensor) -> dict[tuple[int, ...], float]:
    """Probability of all that `[S, C]` log-probabilities may say, path by path."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(slots.shape[1]), repeat=len(slots)):
        found[said_by(path)] += math.exp(sum(float(slots[s, c]) for s, c in enumerate(path)))
    return found


def texts_of(slots: Tensor, letters: str) -> dict[str, float]:
    """The same by text. Behind its last word one space is no letter; before its first there may be none."""
    found: dict[str, float] = defaultdict(float)
    for units, p in sums_of(slots).items():
        text = "".join(letters[c - 1] for c in units)
        if not text.startswith(" "):
            found[text.removesuffix(" ")] += p
    return found


class TestLoss:
    @pytest.mark.parametrize("options", [{}, {"slots": 1}, {"vocabulary": 300}, {"beams": 3, "words": "training"}])
    def test_contract(self, options: dict[str, Any]) -> None:
        testing.check_task(Transcript(**options), TEXTS, make_view([8, 9, 10, 7]))

    def test_it_is_the_sum_over_all_paths(self) -> None:
        torch.manual_seed(0)
        task, head, view = Transcript(), CtcHead(WIDTH, 3, 1), make_view([4, 5, 3])
        state = task.fit(["ab", "ba"])
        output = head.predict_output(view)
        texts = ["ab", "bb", ""]
        total, weight = head.loss(output, target_of(task, texts, state))
        units = [tuple(" ab".index(c) for c in text) for text in texts]
        expected = sum(-math.log(sums_of(output[row, :length])[units[row]]) for row, length in enumerate([4, 5, 3]))
        assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
        assert float(weight) == 2 + 2 + 1

    def test_padding_changes_neither_loss_nor_slope(self) -> None:
        torch.manual_seed(0)
        task = Transcript()
        state = task.fit(TEXTS)
        head, target = CtcHead(WIDTH, 4, 2), target_of(task, ["ab", "b a"], state)
        found = []
        for longest in (5, 9):
            view = make_view([5, 3], longest=5)
            wide = torch.full((2, longest, WIDTH), 7.0)
            wide[:, :5] = view.values
            mask = torch.arange(longest) < torch.tensor([[5], [3]])
            head.zero_grad()
            output = head.predict_output(Tokens(wide, mask, (Span("x", 0, longest, "time", (longest,)),)))
            total, _ = head.loss(output, target)
            total.backward()
            found.append((total.detach().clone(), head.linear.weight.grad.clone(), head.norm.weight.grad.clone()))
        logits = head.linear(head.norm(make_view([5, 3], longest=5).values)).unflatten(2, (2, -1)).flatten(1, 2)
        theirs = F.ctc_loss(logits.log_softmax(2).transpose(0, 1), target["values"], torch.tensor([10, 6]),
                            target["sizes"], reduction="sum")  # fmt: skip
        (slope,) = torch.autograd.grad(theirs, head.linear.weight)
        for total, weights, norms in found:
            torch.testing.assert_close(total, theirs.detach().reshape(1))
            torch.testing.assert_close(weights, slope)
            torch.testing.assert_close(norms, found[0][2])

    @pytest.mark.parametrize("lengths", [[2, 4], [2, 2]], ids=["beside a longer one", "with no longer one"])
    def test_a_row_without_slots_enough_teaches_nothing(self, lengths: list[int]) -> None:
        task = Transcript()
        state = task.fit(TEXTS)
        head, view = CtcHead(WIDTH, 4, 1), make_view(lengths)
        both = head.loss(head.predict_output(view), target_of(task, ["bb", "ab"], state))  # `bb` needs three
        alone = head.loss(head.predict_output(view), target_of(task, [None, "ab"], state))
        torch.testing.assert_close(both, alone)
        both[0].backward()
        assert all(torch.isfinite(p.grad).all() for p in head.parameters())

    @pytest.mark.parametrize(("slots", "classes", "units"), [(1500, 2001, 100), (3000, 70, 400), (6000, 30, 800)])
    def test_a_long_row_costs_much_and_teaches(self, slots: int, classes: int, units: int) -> None:
        """Before anything is learned every path is unlikely: that is no row that cannot be said."""
        head = CtcHead(4, classes, 1)
        output = torch.full((2, slots, classes), 1 / classes).log()
        silent = slots - units + 1  # the second row has one slot less than it needs
        output[1, -silent:] = head.predict_output(
            Tokens(torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.bool), ())
        )[0]
        values = torch.arange(units).remainder(classes - 1).add(1).repeat(2, 1)
        target = {"flags": torch.ones(2, 1, dtype=torch.bool), "sizes": torch.full((2,), units), "values": values}
        total, weight = head.loss(output, target)
        first, _ = head.loss(output[:1], {name: value[:1] for name, value in target.items()})
        assert float(weight) == units and float(total) == float(first) > 1e4

    def test_half_precision_is_summed_in_full(self) -> None:
        task = Transcript()
        state = task.fit(TEXTS)
        head, view = CtcHead(WIDTH, 4, 2), make_view([9])
        with torch.autocast("cpu", torch.bfloat16):
            output = head.predict_output(view)
            total, _ = head.loss(output, target_of(task, ["a b"], state))
        assert output.dtype == total.dtype == torch.float32


class TestSearch:
    def slots(self, seed: int, length: int = 4, classes: int = 4) -> Tensor:
        made = torch.randn(length, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
        return (1.5 * made).log_softmax(1)

    def test_greedy(self) -> None:
        output = F.one_hot(torch.tensor([[1, 1, 0, 1, 2, 2], [0, 0, 0, 0, 0, 0]]), 3).float()
        assert greedy(output.numpy()) == [[1, 1, 2], []]

    @pytest.mark.parametrize("seed", range(10))
    def test_a_wide_search_finds_the_likeliest_text(self, seed: int) -> None:
        slots, letters = self.slots(seed), "abc"
        sums = texts_of(slots, letters)
        assert search(slots.numpy(), letters, Lexicon(), 1000) == max(sums, key=lambda text: sums[text])

    @pytest.mark.parametrize("seed", range(10))
    def test_only_words_that_may_be_said(self, seed: int) -> None:
        slots, letters = self.slots(seed, length=5), "ab "
        known = frozenset({"ab", "ba", "b"})
        sums = texts_of(slots, letters)
        allowed = {text: p for text, p in sums.items() if "  " not in text and set(text.split(" ")) <= known | {""}}
        assert search(slots.numpy(), letters, Lexicon(known), 1000) == max(allowed, key=lambda text: allowed[text])

    @pytest.mark.parametrize("seed", range(10))
    def test_words_that_follow_each_other_are_likelier(self, seed: int) -> None:
        slots, letters = self.slots(seed, length=5), "ab "
        model = NGram([["a", "b"], ["a", "b"], ["b"]], 2)

        def score(text: str, sound: float) -> float:
            words = text.split()
            likely = sum(model.log2(words[:i], w) for i, w in enumerate([*words, END]))
            return math.log(sound) + 0.7 * math.log(2) * likely

        scores = {text: score(text, p) for text, p in texts_of(slots, letters).items() if "  " not in text}
        best = max(scores, key=lambda text: scores[text])
        assert search(slots.numpy(), letters, Lexicon(model=model, weight=0.7), 1000) == best

    def test_a_word_that_does_not_end_is_not_said(self) -> None:
        slots = np.log(np.array([[0.01, 0.97, 0.01, 0.01]] * 2))  # `a` for sure, where `ab` is the only word
        assert search(slots, "ab ", Lexicon(frozenset({"ab"})), 1) == ""


def test_ngrams_by_hand() -> None:
    model = NGram([["a", "b"], ["a", "c"]], 2)  # words: a, b, c, the end; and all others
    p_b = (1 + 4 / 5) / (6 + 4)  # of 6 places b has one, 4 different words were seen
    assert 2 ** model.log2(["a"], "b") == pytest.approx((1 + 2 * p_b) / (2 + 2))
    assert 2 ** model.log2([], "a") == pytest.approx((2 + 1 * (2 + 4 / 5) / 10) / (2 + 1))
    for before in ([], ["a"], ["b"], ["new"], ["a", "b"]):
        assert sum(2 ** model.log2(before, word) for word in [*model.words, "other"]) == pytest.approx(1)
    single = NGram([["a", "a", "b"]], 1)
    assert 2 ** single.log2(["b"], "a") == pytest.approx((2 + 3 / 4) / (4 + 3))


def test_scores_by_hand() -> None:
    found = score_transcripts(["the cat sat", "", "same"], ["the bat sat down", "a", "same"])
    assert found["wer"] == pytest.approx((1 + 1 + 1) / (4 + 1 + 1))
    assert found["cer"] == pytest.approx((1 + 5 + 1) / (16 + 1 + 4))
    assert found["exact"] == pytest.approx(1 / 3)
    assert score_transcripts(["x"], [""]) == {"wer": None, "cer": None, "exact": 0.0}


def test_texts_are_read_and_told(tmp_path: Path) -> None:
    task = Transcript()
    assert task.read("  two \t words\n") == "two words" and task.read(7) == "7"
    with pytest.raises(DataError, match="a text is a string"):
        task.read([1])
    state = task.fit(["no", "on"])
    assert state["letters"] == ["n", "o"]
    assert task.prepare("nope", state, None)[0] == [1, 2], "letters that training never saw are not learned"
    assert set(task.names("nope")) - set(task.known_names(state)) == {"p", "e"}
    path = tmp_path / "words.txt"
    path.write_text("yes\nno\n\n")
    (tmp_path / "other.txt").write_bytes(b"stra\xdfe")
    with pytest.raises(ConfigError, match=r"words: .*other.txt is not UTF-8"):
        Transcript(beams=2, words=str(tmp_path / "other.txt")).fit(["no"])
    state = Transcript(beams=2, words=str(path)).fit(["no"])
    assert state["words"] == ["no", "yes"] and state["letters"] == [" ", "e", "n", "o", "s", "y"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 20}, "vocabulary=20: at least 259"),
        ({"slots": 0, "beams": 0}, r"(?s)slots=0: at least 1.*beams=0: at least 1"),
        ({"words": "training"}, "give `beams` of 2 or more"),
        ({"ngram": 2, "beams": 4, "vocabulary": 300}, "leave `vocabulary` out"),
        ({"ngram_weight": -1.0}, "ngram_weight=-1.0: 0 or more"),
        ({"words": "nowhere.txt", "beams": 2}, "there is no file nowhere.txt"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Transcript(**options).fit(TEXTS)


@pytest.mark.parametrize("options", [{}, {"beams": 4, "ngram": 2, "words": "training"}, {"vocabulary": 270}])
def test_what_was_said_comes_back(options: dict[str, Any]) -> None:
    task = Transcript(**options)
    state = json.loads(json.dumps(task.fit(TEXTS)))
    target = target_of(task, ["bb a"], state)
    path = torch.tensor([one for unit in target["values"][0].tolist() for one in (unit, 0)])
    classes = task.build([state], WIDTH).linear.out_features // 2
    sure = torch.full((1, len(path), classes), -30.0).scatter(2, path.reshape(1, -1, 1), -1e-6)
    assert task.decode(sure, [state], [None]) == [["bb a"]]
    metric = task.metric([state])
    metric.update(sure, target)
    assert metric.compute() == [{"wer": 0.0, "cer": 0.0, "exact": 1.0}]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("units", [(1,), (1, 2), (2, 2), (1, 1, 2)])
def test_an_alignment_is_the_likeliest_path_of_all_that_say_it(units: tuple[int, ...], seed: int) -> None:
    slots = torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)).log_softmax(1)
    paths = [path for path in itertools.product(range(3), repeat=6) if said_by(path) == units]
    best = max(paths, key=lambda path: sum(float(slots[s, c]) for s, c in enumerate(path)))
    runs, start = [], 0
    for c, run in itertools.groupby(best):
        length = len(list(run))
        runs += [(start, start + length)] if c else []
        start += length
    assert align(slots.numpy(), units) == runs


def test_what_has_too_few_slots_has_no_alignment() -> None:
    slots = torch.zeros(3, 3).log_softmax(1).numpy()
    assert align(slots, (1, 1)) == [(0, 1), (2, 3)]
    assert align(slots, (1, 1, 1)) == [] and align(slots, (1, 2, 1, 2)) == [] and align(slots, ()) == []
    assert align(slots[:1], (2,)) == [(0, 1)]


def test_words_are_where_their_letters_are() -> None:
    task = Transcript(slots=2)
    state = task.fit(["ab c"])
    head = task.build([state], WIDTH)
    path = torch.tensor([0, 2, 2, 3, 1, 0, 4, 4])  # letters: space, a, b, c
    sure = torch.full((1, 8, 5), -30.0).scatter(2, path.reshape(1, -1, 1), -1e-6)
    head.predict_output = lambda view: sure  # type: ignore[method-assign]
    (found,) = task.attend(head, make_view([4]), ["ab c"], [state])
    assert found.words == ("ab", "c") and found.is_alignment
    np.testing.assert_allclose(found.weights, [[1 / 3, 2 / 3, 0, 0], [0, 0, 0, 1]])
    (nothing,) = task.attend(head, make_view([4]), ["ababababa"], [state])
    assert nothing.words == () and nothing.weights.shape == (0, 4)


def test_words_are_where_their_subwords_are() -> None:
    task = Transcript(vocabulary=270, slots=1)
    state = task.fit(["ab c", "bb cab"])
    units, _ = task.prepare("bb cab", state, None)
    path = torch.tensor([0, *(one for unit in units for one in (unit, 0))])
    sure = torch.full((1, len(path), state["size"]), -30.0).scatter(2, path.reshape(1, -1, 1), -1e-6)
    head = task.build([state], WIDTH)
    head.predict_output = lambda view: sure  # type: ignore[method-assign]
    (found,) = task.attend(head, make_view([len(path)]), ["bb cab"], [state])
    assert found.words == ("bb", "cab")
    firsts = (found.weights > 0).argmax(1)
    assert firsts[0] == 1 and firsts[1] > len(path) // 3, "the second word comes later"
    assert (found.weights[0] > 0).sum() + (found.weights[1] > 0).sum() <= len(path) - 2


def tones(text: str, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A sound in which every letter is a tone of its own, a space a silence."""
    pitch = {"a": 400.0, "b": 900.0, "c": 1700.0, " ": 0.0}
    time = np.arange(1200) / 8000
    parts = [np.sin(2 * np.pi * pitch[c] * time) * np.hanning(1200) for c in text]
    return (np.concatenate(parts) + 0.01 * rng.standard_normal(1200 * len(text))).astype(np.float32), 8000


def test_tones_are_written_down(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abc"), 3)) + " " + "".join(rng.choice(list("abc"), 2)) for _ in range(96)]
    rows = [{"sound": tones(text, rng), "said": text, "first": text[0]} for text in texts]
    sound = Audio(8000, mels=20, alter=0.0)
    model = MultiTaskModel({"sound": sound}, {"said": TaskColumn(Transcript(), "said", of="sound")}, width=32)
    run = fit(model, rows, steps=150, lr=3e-3, out=tmp_path / "run", show_progress=False)
    assert run.metrics["validation"]["said"]["wer"] < 0.2
    said = run.predictor.predict(rows[:8])
    assert load(tmp_path / "run").predict(rows[:8]) == said
    batches = RowBatches(run.predictor.preprocessing, read_table(rows[:8]))
    for reading, row in zip(run.predictor.attend(batches, range(8), "said", [row["said"] for row in said]), said):
        if len(reading.attended.words) == 2:
            (span,) = (one for one in reading.spans if one.axis == "time")
            tokens = np.arange(reading.attended.weights.shape[1]) - span.start
            first, second = 0.04 * (reading.attended.weights @ tokens)  # seconds: two frames of 20 ms a token
            assert 0 < first < 0.55 < second < 0.95, row
    page = (tmp_path / "run" / "report.html").read_text()
    assert "when it was said" in page and "seconds of the sound" in page and "0.32 s" in page
