"""Tags: alignment of words with tokens, spans as conlleval counts them, honest scores for words that were cut."""

import json
import random

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.contexts import WordsContext
from trunkline.data import read_table
from trunkline.errors import DataError
from trunkline.modalities.text import Text
from trunkline.schema import Schema, TaskColumn, find_faults
from trunkline.tasks import Category, Labels
from trunkline.tasks.bio import bio_spans, is_bio
from trunkline.tasks.crf import Chain, packed
from trunkline.tasks.tag_metric import TagsMetric
from trunkline.tasks.tag_words import IGNORED, UNREAD, TaggedWords
from trunkline.tasks.tags import Tags
from trunkline.types import Span, Tokens

torch.set_num_threads(1)

BIO_TAGS = ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
STATE = {"tags": BIO_TAGS, "counts": [1, 1, 1, 1, 6]}


def context(*sizes: int) -> WordsContext:
    """Words of so many tokens each; 0 for a word that was not read."""
    stops = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return WordsContext(("w",) * len(sizes), tuple((b - a, b) for a, b in zip(sizes, stops, strict=True)))


def tagged(*labels: int, places: list[int] | None = None) -> TaggedWords:
    """Words of these labels, one token each."""
    return TaggedWords(list(labels), places or list(range(len(labels))), [True] * len(labels))


def as_tokens(values: torch.Tensor) -> Tokens:
    mask = torch.ones(values.shape[:2], dtype=torch.bool)
    return Tokens(values, mask, (Span("text", 0, values.shape[1], "words", (values.shape[1],)),))


def logits_of(rows: list[list[str]], tags: list[str] = BIO_TAGS, length: int | None = None) -> torch.Tensor:
    """Logits that say these tags, one token a word."""
    length = length or max(len(row) for row in rows)
    numbers = torch.tensor([[tags.index(t) for t in row] + [0] * (length - len(row)) for row in rows])
    return torch.nn.functional.one_hot(numbers, len(tags)).float()


def scores(true: list[list[str]], said: list[list[str]], tags: list[str] = BIO_TAGS) -> dict[str, float | None]:
    task, state = Tags(), {"tags": tags, "counts": [1] * len(tags)}
    target = task.collate([[task.prepare(row, state, context(*[1] * len(row)))] for row in true])
    metric = task.metric([state])
    metric.update(logits_of(said, tags), target)
    (result,) = metric.compute()
    return result


class TestCells:
    def test_lists_of_parquet_as_pandas_reads_them(self, tmp_path):
        """Arrays."""
        rows = {"note": ["red cat", "a b"], "slots": [["O", "B-x"], ["O", "O"]], "marks": [["m", "n"], []]}
        pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
        frame = pd.read_parquet(tmp_path / "t.parquet")
        assert isinstance(frame["slots"][0], np.ndarray)
        schema = Schema({"note": Text()}, {"slots": TaskColumn(Tags(), "slots", of="note"), "marks": Labels()})
        for source in (frame, tmp_path / "t.parquet"):
            table = read_table(source)
            assert find_faults(schema, table) == []
            assert [Tags().read(cell) for cell in table.column("slots")] == rows["slots"]
            assert [Labels().read(cell) for cell in table.column("marks")] == rows["marks"]
        with pytest.raises(DataError, match="one name is wanted here, not array"):
            Category().read(frame["slots"][0])
        with pytest.raises(DataError, match="a list is wanted here, not array"):
            Tags().read(np.array([["O"]]))

    @pytest.mark.parametrize("cell", [["O", "B-LOC"], ("O", "B-LOC"), "O B-LOC", " O\tB-LOC\n", '["O", "B-LOC"]'])
    def test_lists_and_strings(self, cell):
        assert Tags().read(cell) == ["O", "B-LOC"]

    @pytest.mark.parametrize(
        ("cell", "says"),
        [(3, "tags are a list, or a string"), (["O", 1], "a tag is a string, not 1"), ("[O", "like a JSON list")],
    )
    def test_bad_cells(self, cell, says):
        with pytest.raises(DataError, match=says):
            Tags().read(cell)

    def test_one_tag_a_word(self):
        with pytest.raises(DataError, match="3 tags for 2 words; there must be one tag a word"):
            Tags().prepare(["O", "O", "O"], STATE, context(1, 1))

    def test_tags_without_text(self):
        with pytest.raises(DataError, match="no text whose words they name"):
            Tags().prepare(["O"], STATE, None)

    def test_nothing_to_learn(self):
        with pytest.raises(DataError, match="no word of the training split has a tag"):
            Tags().fit([[], []])

    def test_tags_that_are_not_bio_beside_others_are_told(self):
        with pytest.warns(UserWarning, match=r"3 of 5 words .* not BIO .*'X-PER' \(2\), 'b-per' \(1\); so"):
            Tags().fit([["O", "B-PER", "X-PER"], ["b-per", "X-PER"]])

    @pytest.mark.parametrize("tags", [["O", "B-PER", "I-PER"], ["NOUN", "VERB", "O"], ["B", "I", "O"]])
    def test_tags_of_one_kind_are_not(self, tags, recwarn):
        Tags().fit([tags])
        assert not recwarn.list

    @pytest.mark.parametrize("crf", [False, True])
    def test_spans_that_begin_with_i_are_counted(self, crf):
        rows = [["I-PER", "O", "I-PER"], ["I-PER", "I-LOC"], ["B-PER", "I-PER", "O"]]
        said = (
            r"4 of 8 words .* nothing: 'I-PER' at the start \(2\), 'I-PER' after 'O' \(1\), 'I-LOC' after 'I-PER' \(1\)"
        )
        with pytest.warns(UserWarning, match=said):
            Tags(crf=crf).fit(rows)
        assert bio_spans(rows[1]) == {(0, 1, "PER"), (1, 2, "LOC")}

    @pytest.mark.parametrize("cell", ["O B-\ud800", ["O", "B-\ud800"], '["O", "B-\\ud800"]'])
    def test_half_a_pair_is_no_tag(self, cell):
        with pytest.raises(DataError, match="is not valid Unicode"):
            Tags().read(cell)

    def test_state_survives_json(self):
        state = Tags().fit([["O", "B-PER"], ["O"]])
        assert state == json.loads(json.dumps(state)) == {"tags": ["B-PER", "O"], "counts": [1, 2]}


class TestAlignment:
    def test_the_label_sits_at_the_first_token(self):
        words = Tags().prepare(["O", "B-PER", "I-PER", "O"], STATE, context(2, 1, 3, 0))
        assert words == ([4, 1, 3, 4], [0, 2, 3, UNREAD], [True] * 4)
        target = Tags().collate([[words]])
        assert target["values"].tolist() == [[4, IGNORED, 1, 3]]
        assert target["labels"].tolist() == [[4, 1, 3, 4]]
        assert target["places"].tolist() == [[0, 2, 3]]

    @given(st.text("ab.,' ", max_size=30), st.integers(1, 8), st.randoms(use_true_random=False))
    @settings(max_examples=100, deadline=None)
    def test_decoding_the_target_gives_the_tags_back(self, row, limit, rng):
        ids, words = Text(max_length=limit).prepare(row, {"ids": {}}, None)
        tags = [rng.choice(BIO_TAGS) for _ in words.words]
        target = Tags().collate([[Tags().prepare(tags, STATE, words)]])
        labels = torch.nn.functional.pad(target["values"], (0, len(ids) - target["values"].shape[1]), value=4)
        output = torch.nn.functional.one_hot(labels.clamp(min=0), len(BIO_TAGS)).float()
        (said,) = Tags().decode(output, [STATE], [words])
        assert said[0] == [tag if a < b else "O" for tag, (a, b) in zip(tags, words.spans, strict=True)]
        assert [STATE["tags"][i] for i in target["labels"][0].tolist()] == tags

    def test_a_row_without_text_has_no_tags(self):
        assert Tags().decode(torch.zeros(2, 1, 5), [STATE], [None, context()]) == [[None, []]]

    def test_collate_marks_what_is_absent(self):
        target = Tags().collate([[tagged(4, 1, places=[0, 2])], [None], [tagged(0, 2, places=[0, UNREAD])]])
        assert target["values"].tolist() == [[4, IGNORED, 1], [IGNORED] * 3, [0, IGNORED, IGNORED]]
        assert target["labels"].tolist() == [[4, 1], [IGNORED] * 2, [0, 2]]
        assert target["places"].tolist() == [[0, 2], [IGNORED] * 2, [0, IGNORED]]
        assert target["flags"].tolist() == [[True], [False], [True]]


class TestHead:
    def head(self):
        torch.manual_seed(0)
        return Tags().build([STATE], 8).double()

    @pytest.mark.parametrize("length", [3, 5])
    def test_loss_is_cross_entropy_over_words_at_any_padding(self, length):
        head = self.head()
        view = as_tokens(torch.randn(2, length, 8, dtype=torch.double))
        target = Tags().collate([[tagged(4, 1, places=[0, 2])], [tagged(0)]])
        output = head.train_output(view, target)
        total, weight = head.loss(output, target)
        log = output.log_softmax(2)
        torch.testing.assert_close(total, -(log[0, 0, 4] + log[0, 2, 1] + log[1, 0, 0]).reshape(1))
        assert weight.tolist() == [3.0]

    def test_target_padded_further_than_the_tokens(self):
        head, task = self.head(), Tags()
        target = task.collate([[tagged(4)], [tagged(0, 1)]])
        wider = {**target, "values": torch.nn.functional.pad(target["values"], (0, 4), value=IGNORED)}
        output = head.predict_output(as_tokens(torch.randn(2, 2, 8, dtype=torch.double)))
        assert head.loss(output, target) == head.loss(output, wider)

    def test_what_is_not_labelled_is_not_read(self):
        head = self.head()
        target = Tags().collate([[tagged(4)], [tagged(2)]])
        target["flags"][1] = False
        values = torch.randn(2, 1, 8, dtype=torch.double, requires_grad=True)
        total, weight = head.loss(head.predict_output(as_tokens(values)), target)
        total.sum().backward()
        assert weight.tolist() == [1.0]
        assert values.grad[1].abs().max() == 0

    def test_a_tag_that_training_never_saw_has_no_loss(self):
        head, task = self.head(), Tags()
        output = torch.randn(1, 2, 5, dtype=torch.double)
        both = task.collate([[task.prepare(["B-LOC", "B-NEW"], STATE, context(1, 1))]])
        alone = task.collate([[tagged(0)]])
        assert head.loss(output, both) == head.loss(output, alone)


def conlleval_spans(tags: list[str]) -> set[tuple[int, int, str]]:
    """The state machine of conlleval.pl (CoNLL-2000): startOfChunk and endOfChunk."""

    def split(tag: str) -> tuple[str, str]:
        return (tag[0], tag[2:]) if tag != "O" else ("O", "")

    spans, start, previous = set(), 0, ("O", "")
    for i, tag in enumerate([*tags, "O"]):
        (p, p_kind), (t, t_kind) = previous, split(tag)
        ends = (p in "BI" and t in "BO") or (p != "O" and p_kind != t_kind)
        starts = (t == "B") or (p == "O" and t == "I") or (t != "O" and p_kind != t_kind)
        if ends:
            spans.add((start, i, p_kind))
        if starts:
            start = i
        previous = (t, t_kind)
    return spans


class TestScores:
    @given(st.lists(st.sampled_from(BIO_TAGS), max_size=12))
    @settings(max_examples=300, deadline=None)
    def test_spans_are_those_of_conlleval(self, tags):
        assert bio_spans(tags) == conlleval_spans(tags)

    @pytest.mark.parametrize(
        ("tags", "spans"),
        [
            ("O O", set()),
            ("B-PER I-PER O", {(0, 2, "PER")}),
            ("O I-PER I-PER", {(1, 3, "PER")}),
            ("B-PER B-PER", {(0, 1, "PER"), (1, 2, "PER")}),
            ("B-PER I-LOC", {(0, 1, "PER"), (1, 2, "LOC")}),
            ("B I I O B", {(0, 3, ""), (4, 5, "")}),
            ("B-X-Y I-X-Y", {(0, 2, "X-Y")}),
        ],
    )
    def test_spans_by_hand(self, tags, spans):
        assert bio_spans(tags.split()) == spans

    def test_f1_by_hand(self):
        true = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"]]
        said = [["B-PER", "I-PER", "O", "B-PER"], ["O", "B-LOC"]]
        assert scores(true, said) == {
            "span_f1": pytest.approx(2 * 1 / (3 + 3)), "accuracy": pytest.approx(3 / 6), "exact": 0.0,
        }  # fmt: skip

    def test_perfect_is_one_whatever_the_padding(self):
        rows = [["O", "B-LOC", "I-LOC"], ["B-PER"], []]
        assert scores(rows, rows) == {"span_f1": 1.0, "accuracy": 1.0, "exact": 1.0}

    def test_without_any_span_f1_is_not_defined(self):
        assert scores([["O"]], [["O"]]) == {"span_f1": None, "accuracy": 1.0, "exact": 1.0}

    def test_exact_counts_rows_whose_every_word_is_right(self):
        """Of four rows two are whole, one has no word and is not counted."""
        true = [["O", "B-LOC"], ["B-PER", "O"], ["O"], []]
        assert scores(true, [["O", "B-LOC"], ["B-PER", "B-LOC"], ["O"], []])["exact"] == pytest.approx(2 / 3)

    def test_a_row_that_was_cut_is_exact_where_the_rest_is_outside(self):
        task = Tags()
        rows = [["B-PER", "O"], ["B-PER", "B-LOC"]]
        target = task.collate([[task.prepare(row, STATE, context(1, 0))] for row in rows])
        metric = task.metric([STATE])
        metric.update(logits_of([["B-PER"], ["B-PER"]]), target)
        assert metric.compute()[0]["exact"] == 0.5

    def test_plain_tags_are_spans_of_one_word(self):
        tags = ["ADJ", "NOUN", "O", "VERB"]
        assert not is_bio(tags)
        result = scores([["ADJ", "NOUN", "NOUN", "O"]], [["ADJ", "VERB", "NOUN", "O"]], tags)
        assert result == {"span_f1": pytest.approx(2 / 3), "accuracy": 0.75, "exact": 0.0}

    def test_words_that_were_cut_count(self):
        task = Tags()
        target = task.collate([[task.prepare(["B-PER", "B-LOC", "O"], STATE, context(1, 0, 0))]])
        metric = task.metric([STATE])
        metric.update(logits_of([["B-PER"]]), target)
        assert metric.compute() == [{"span_f1": pytest.approx(2 / 3), "accuracy": pytest.approx(2 / 3), "exact": 0.0}]

    @pytest.mark.parametrize("sizes", [(1, 0, 1, 1), (0, 1, 1, 1), (1, 1, 1, 0), (1, 0, 0, 1), (0, 0, 0, 0)])
    @pytest.mark.parametrize("crf", [False, True])
    def test_scores_are_those_of_what_is_written(self, crf, sizes):
        """Words that nobody read break spans where they stand, in the middle of a text too."""
        true, its, whole = ["B-PER", "I-PER", "I-PER", "O"], context(*sizes), context(1, 1, 1, 1)
        task = Tags(crf=crf)
        logits = logits_of([true[: sum(sizes)] or ["O"]]) * 9
        nothing = torch.zeros(5)
        output = packed(logits, Chain(nothing, torch.zeros(5, 5), nothing)) if crf else logits
        ((said,),) = task.decode(output, [STATE], [its])
        metric, wanted = task.metric([STATE]), Tags().metric([STATE])
        metric.update(output, task.collate([[task.prepare(true, STATE, its)]]))
        wanted.update(logits_of([said]), Tags().collate([[Tags().prepare(true, STATE, whole)]]))
        assert metric.compute() == wanted.compute()

    def test_a_word_without_signs_in_the_middle_breaks_a_span(self):
        """By hand: `B-PER O I-PER O` is written, of which neither span is the true one."""
        task = Tags()
        target = task.collate([[task.prepare(["B-PER", "I-PER", "I-PER", "O"], STATE, context(1, 0, 1, 1))]])
        metric = task.metric([STATE])
        metric.update(logits_of([["B-PER", "I-PER", "O"]]), target)
        assert metric.compute() == [{"span_f1": 0.0, "accuracy": 0.75, "exact": 0.0}]

    def test_counts_are_moved_once_however_many_rows(self, monkeypatch):
        rows = [["O", "B-LOC"], ["B-PER", "O"], ["O"], []]
        moves, to = [], torch.Tensor.to
        monkeypatch.setattr(torch.Tensor, "to", lambda self, *args, **kw: moves.append(self) or to(self, *args, **kw))
        assert scores(rows, rows)["exact"] == 1.0
        assert len(moves) == 1

    def test_batches_and_ranks_add_up(self):
        rng = random.Random(0)
        rows = [[rng.choice(BIO_TAGS) for _ in range(rng.randint(1, 6))] for _ in range(20)]
        said = [[rng.choice(BIO_TAGS) for _ in row] for row in rows]
        task, whole = Tags(), scores(rows, said)
        ranks = [task.metric([STATE]) for _ in range(2)]
        for i, (row, say) in enumerate(zip(rows, said, strict=True)):
            target = task.collate([[task.prepare(row, STATE, context(*[1] * len(row)))]])
            ranks[i % 2].update(logits_of([say], length=9), target)
        ranks[0].merge_state(ranks[1])
        assert ranks[0].compute() == [whole]

    @pytest.mark.parametrize(
        ("true", "said"),
        [
            ("O B-ORG I-ORG O", "O B-PER I-PER O"),
            ("B-ORG B-DATE I-DATE B-PER", "O O O B-PER"),
            ("B-ORG I-PER", "O I-PER"),
            ("B-SUB I-SUB", "O I-SUB"),
            ("O I-ORG I-ORG", "O O O"),
            ("B I", "B O"),
        ],
    )
    @pytest.mark.parametrize("cut", [False, True])
    def test_tags_that_training_never_saw_are_missed_spans(self, true, said, cut):
        """The figures of the names themselves; a kind whose `I-` is known is the same kind under a new `B-`."""
        true, said = true.split(), said.split()
        tags = [*BIO_TAGS, "I-SUB", "B"]
        task, state = Tags(), {"tags": tags, "counts": [1] * len(tags)}
        said = ["O"] * len(said) if cut else said
        target = task.collate([[task.prepare(true, state, context(*[0 if cut else 1] * len(true)))]])
        metric = task.metric([state])
        metric.update(logits_of([said], tags), target)
        right, found = conlleval_spans(true) & conlleval_spans(said), len(conlleval_spans(said))
        assert metric.compute() == [{
            "span_f1": pytest.approx(2 * len(right) / (len(conlleval_spans(true)) + found)),
            "accuracy": pytest.approx(sum(t == s for t, s in zip(true, said)) / len(true)),
            "exact": 0.0,
        }]  # fmt: skip

    def test_an_unseen_outside_is_no_span(self):
        assert scores([["O", "B-LOC"]], [["B-LOC", "B-LOC"]], ["B-LOC", "B-PER"]) == {
            "span_f1": pytest.approx(2 / 3), "accuracy": 0.5, "exact": 0.0,
        }  # fmt: skip

    def test_no_data_is_none(self):
        metric = TagsMetric(BIO_TAGS, 4)
        metric.update(torch.zeros(1, 1, 5), Tags().collate([[None]]))
        assert metric.compute() == [None]

    def test_baseline_says_the_most_frequent_tag(self):
        target = Tags().collate([[tagged(4, 1, 4)]])
        output = Tags().baseline([STATE], target)
        assert output.shape == (1, 3, 5)
        metric = Tags().metric([STATE])
        metric.update(output, target)
        assert metric.compute() == [{"span_f1": 0.0, "accuracy": pytest.approx(2 / 3), "exact": 0.0}]

    @pytest.mark.parametrize("crf", [False, True])
    def test_baseline_says_it_of_words_that_were_not_read_too(self, crf):
        task = Tags(crf=crf)
        target = task.collate([[tagged(4, 4, 4, places=[0, -1, 1])]])
        metric = task.metric([STATE])
        metric.update(task.baseline([STATE], target), target)
        (found,) = metric.compute()
        assert found["accuracy"] == 1.0


NAMES = [f"name{i}" for i in range(40)]
FILLERS = ["the", "a", "big", "red", "runs", "sees", "very", "often", "cat", "dog"]


def sentence(rng: random.Random, names: list[str]) -> tuple[str, list[str]]:
    """A name after `Mr.` is a person (both its words), after `in` a place, else nothing: only context tells."""
    words: list[str] = []
    tags: list[str] = []
    for _ in range(rng.randint(2, 4)):
        kind = rng.choice(["person", "place", "plain", "filler"])
        first, second = rng.sample(names, 2)
        if kind == "person":
            words += ["Mr.", first, f"{second},"]
            tags += ["O", "B-PER", "I-PER"]
        elif kind == "place":
            words += ["in", f"({first})"]
            tags += ["O", "B-LOC"]
        elif kind == "plain":
            words += ["by", first]
            tags += ["O", "O"]
        else:
            words += rng.choices(FILLERS, k=2)
            tags += ["O", "O"]
    return " ".join(words), tags


def test_a_text_encoder_and_a_tags_head_learn_a_grammar():
    """In a bare loop; the names of the test sentences never occurred in training."""
    torch.manual_seed(0)
    rng = random.Random(0)
    train = [sentence(rng, NAMES[:30]) for _ in range(500)]
    test = [sentence(rng, NAMES[30:]) for _ in range(100)]
    text, task = Text(layers=1, dropout=0.0, max_length=24), Tags()
    text_state, tag_state = text.fit([row for row, _ in train]), task.fit([tags for _, tags in train])
    encoder, head = text.build(text_state, 32), task.build([tag_state], 32)

    def batch(rows):
        items = [text.prepare(row, text_state, None) for row, _ in rows]
        labels = [[task.prepare(tags, tag_state, words)] for (_, tags), (_, words) in zip(rows, items, strict=True)]
        return text.collate([ids for ids, _ in items]), task.collate(labels)

    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(150):
        values, target = batch(rng.sample(train, 32))
        total, weight = head.loss(head.train_output(encoder(values), target), target)
        optimiser.zero_grad()
        (total / weight).sum().backward()
        optimiser.step()

    encoder.eval()
    values, target = batch(test)
    metric = task.metric([tag_state])
    metric.update(head.predict_output(encoder(values)), target)
    (result,) = metric.compute()
    assert result["span_f1"] > 0.9
    assert result["accuracy"] > 0.9
