"""The CRF beside a sum and a maximum over every path, written out."""

from __future__ import annotations

import itertools
import random
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from trunkline import testing
from trunkline.contexts import WordsContext
from trunkline.tasks import Tags
from trunkline.tasks.bio import barred, irregular, may_follow, possible
from trunkline.tasks.crf import (
    FORBIDDEN,
    Chain,
    best_path,
    likeliest_path,
    log_likelihood,
    log_partition,
    packed,
    path_score,
    unpacked,
)
from trunkline.types import Span, Tokens

torch.set_num_threads(1)

BIO_TAGS = ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
LENGTHS = (4, 1, 0, 3)


def case(tags: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Chain]:
    torch.manual_seed(seed)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    start, between, end = torch.randn(tags), torch.randn(tags, tags), torch.randn(tags)
    emissions = torch.randn(len(LENGTHS), max(LENGTHS), tags) * 2
    return emissions.double(), mask, Chain(start.double(), between.double(), end.double())


def score(emissions: Tensor, path: tuple[int, ...], chain: Chain) -> float:
    """Of one row, term by term."""
    total = float(chain.start[path[0]] + chain.end[path[-1]])
    total += sum(float(emissions[t, tag]) for t, tag in enumerate(path))
    return total + sum(float(chain.between[a, b]) for a, b in itertools.pairwise(path))


def paths(length: int, tags: int) -> list[tuple[int, ...]]:
    return list(itertools.product(range(tags), repeat=length))


def as_tokens(values: Tensor) -> Tokens:
    mask = torch.ones(values.shape[:2], dtype=torch.bool)
    return Tokens(values, mask, (Span("text", 0, values.shape[1], "words", (values.shape[1],)),))


def context(*sizes: int) -> WordsContext:
    stops = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return WordsContext(("w",) * len(sizes), tuple((b - a, b) for a, b in zip(sizes, stops, strict=True)))


@pytest.mark.parametrize("seed", range(3))
def test_every_path_is_summed_and_the_best_is_found(seed: int) -> None:
    emissions, mask, chain = case(seed=seed)
    sums, best = log_partition(emissions, mask, chain), best_path(emissions, mask, chain)
    for row, length in enumerate(LENGTHS):
        if length == 0:
            assert sums[row] == 0
            continue
        scores = {path: score(emissions[row], path, chain) for path in paths(length, 3)}
        torch.testing.assert_close(sums[row], torch.tensor(list(scores.values())).double().logsumexp(0))
        assert tuple(best[row, :length].tolist()) == max(scores, key=lambda path: scores[path])


@pytest.mark.parametrize("nats", [50.0, 150.0, 600.0])
def test_the_only_way_to_a_tag_counts_however_unlikely_it_is(nats: float) -> None:
    """Tag 2 follows tag 1 alone, and at the first word tag 0 is far likelier: the best path takes the unlikely way."""
    between = torch.zeros(3, 3)
    between[0, 2] = between[2, 2] = FORBIDDEN
    emissions = torch.tensor([[[nats, 0.0, -nats], [0.0, 0.0, 2 * nats]]], requires_grad=True)
    total = log_partition(emissions, torch.ones(1, 2, dtype=torch.bool), Chain(torch.zeros(3), between, torch.zeros(3)))
    assert total.tolist() == pytest.approx([2 * nats])
    (slope,) = torch.autograd.grad(total.sum(), emissions)
    assert slope[0, :, :].tolist() == [pytest.approx([0, 1, 0]), pytest.approx([0, 0, 1])]


def test_the_score_of_a_path_is_its_terms() -> None:
    emissions, mask, chain = case()
    tags = torch.tensor([[0, 2, 1, 1], [2, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 2]])
    found = path_score(emissions, tags, mask, chain)
    for row, length in enumerate(LENGTHS):
        wanted = score(emissions[row], tuple(tags[row, :length].tolist()), chain) if length else 0.0
        assert float(found[row]) == pytest.approx(wanted, abs=1e-12)


def test_probabilities_of_all_paths_add_up_to_one() -> None:
    emissions, _, chain = case()
    every = torch.tensor(paths(4, 3))
    mask = torch.ones_like(every, dtype=torch.bool)
    log = log_likelihood(emissions[:1].expand(len(every), -1, -1), every, mask, chain)
    assert float(log.exp().sum()) == pytest.approx(1)
    torch.testing.assert_close(log_likelihood(emissions[:1].expand(81, -1, -1), every, mask, chain, mask), log)


def test_gradients() -> None:
    emissions, mask, chain = case()
    tags = torch.tensor([[0, 2, 1, 1], [2, 0, 0, 0], [0, 0, 0, 0], [1, 7, 0, 2]])  # 7: never seen

    def likelihood(e: Tensor, *parts: Tensor) -> Tensor:
        return log_likelihood(e, tags, mask, Chain(*parts), tags < 3)

    assert torch.autograd.gradcheck(likelihood, [x.requires_grad_() for x in (emissions, *chain)])
    assert torch.autograd.gradcheck(lambda e, *c: log_partition(e, mask, Chain(*c)), [emissions, *chain])


@pytest.mark.parametrize("behind", [0.0, 1e6, -1e6])
def test_a_row_is_the_same_alone_and_whatever_stands_behind_it(behind: float) -> None:
    emissions, mask, chain = case()
    emissions = emissions.masked_fill(~mask[..., None], behind).requires_grad_()
    tags = torch.tensor([[0, 2, 1, 1], [2, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 2]])
    log = log_likelihood(emissions, tags, mask, chain)
    best = best_path(emissions, mask, chain)
    for row, length in enumerate(LENGTHS):
        there = emissions[row : row + 1, :length]
        alone = log_likelihood(there, tags[row : row + 1, :length], mask[row : row + 1, :length], chain)
        torch.testing.assert_close(alone[0], log[row], rtol=0, atol=1e-12)
        assert best_path(there, mask[row : row + 1, :length], chain)[0].tolist() == best[row, :length].tolist()
    (slope,) = torch.autograd.grad(log.sum(), emissions)
    assert not slope[~mask].any()


def test_a_tag_that_training_never_saw_is_summed_over() -> None:
    emissions, _, chain = case()
    row, mask = emissions[:1], torch.ones(1, 4, dtype=torch.bool)
    tags = torch.tensor([[0, 99, 2, 1]])
    log = log_likelihood(row, tags, mask, chain, tags < 3)
    each = [score(row[0], (0, tag, 2, 1), chain) for tag in range(3)]
    wanted = torch.tensor(each).double().logsumexp(0) - log_partition(row, mask, chain)[0]
    torch.testing.assert_close(log[0], wanted)
    nothing = log_likelihood(row, torch.full((1, 4), 99), mask, chain, ~mask)
    assert float(nothing[0]) == pytest.approx(0, abs=1e-12)


class TestBio:
    def chain(self, but: list[list[str | None]]) -> Chain:
        torch.manual_seed(0)
        first, between = barred(BIO_TAGS, but)
        start, steps = torch.randn(5).double(), torch.randn(5, 5).double()
        return Chain(
            start.masked_fill(first, FORBIDDEN), steps.masked_fill(between, FORBIDDEN), torch.zeros(5).double()
        )

    @pytest.mark.parametrize("but", [[], [["O", "I-PER"]], [[None, "I-LOC"], ["B-PER", "I-LOC"]]])
    def test_only_what_is_allowed_is_summed_and_said(self, but: list[list[str | None]]) -> None:
        torch.manual_seed(1)
        chain, seen = self.chain(but), {tuple(pair) for pair in but}
        emissions = torch.randn(20, 4, 5).double() * 3
        mask = torch.ones(20, 4, dtype=torch.bool)
        allowed = [
            path
            for path in paths(4, 5)
            if all(
                may_follow(*pair) or pair in seen
                for pair in itertools.pairwise([None, *(BIO_TAGS[tag] for tag in path)])
            )
        ]
        sums, best = log_partition(emissions, mask, chain), best_path(emissions, mask, chain)
        for row in range(20):
            scores = {path: score(emissions[row], path, chain) for path in allowed}
            torch.testing.assert_close(sums[row], torch.tensor(list(scores.values())).double().logsumexp(0))
            assert tuple(best[row].tolist()) == max(scores, key=lambda path: scores[path])

    def test_what_training_holds_is_allowed(self) -> None:
        rows = [["I-PER", "I-PER", "O", "I-LOC"], ["B-PER", "I-LOC"], ["O", "I-LOC"]]
        state = Tags(crf=True).fit([*rows, ["B-LOC"]])
        assert state["irregular"] == [[None, "I-PER"], ["B-PER", "I-LOC"], ["O", "I-LOC"]]
        assert irregular([["B-PER", "I-PER", "I-PER", "O"]]) == []

    def test_other_tags_may_follow_each_other(self) -> None:
        state = Tags(crf=True).fit([["NOUN", "INF"], ["O"]])
        assert "irregular" not in state
        assert not any(x.any() for x in barred(state["tags"], ()))

    def test_a_label_that_is_forbidden_after_the_one_before_is_left_out(self) -> None:
        """`O` is known, `I-PER` behind it cannot be: what is left is the likelihood of `O` and the last `O`."""
        chain = self.chain([])
        emissions, mask = torch.randn(1, 3, 5).double(), torch.ones(1, 3, dtype=torch.bool)
        can = possible(["O", "I-PER", "O"], BIO_TAGS, [])
        assert can == [True, False, True]
        log = log_likelihood(emissions, torch.tensor([[4, 3, 4]]), mask, chain, torch.tensor([can]))
        each = torch.tensor([score(emissions[0], (4, tag, 4), chain) for tag in range(5)]).double()
        torch.testing.assert_close(log[0], each.logsumexp(0) - log_partition(emissions, mask, chain)[0])

    @pytest.mark.parametrize("but", [[], [[None, "I-PER"]], [["O", "I-PER"]]])
    def test_what_is_left_has_a_path_and_no_more_can_be_kept(self, but: list[list[str | None]]) -> None:
        """Of every row of four, some of whose tags training never saw: each tag in turn, where a path takes it too."""
        seen = {tuple(pair) for pair in but}
        tags = ["B-PER", "I-PER", "I-LOC", "O"]
        allowed = [
            path
            for path in itertools.product(tags, repeat=4)
            if all(may_follow(*pair) or pair in seen for pair in itertools.pairwise([None, *path]))
        ]
        for row in itertools.product([*tags, "B-NEW"], repeat=4):
            left, wanted = allowed, []
            for place, tag in enumerate(row):
                fewer = [path for path in left if path[place] == tag]
                wanted.append(bool(fewer))
                left = fewer or left
            assert possible(row, tags, but) == wanted

    def test_other_tags_are_possible_where_training_saw_them(self) -> None:
        assert possible(["INF", "NEW", "I-x"], ["I-x", "INF", "NOUN"], []) == [True, False, True]


class TestHead:
    STATE: ClassVar = {"tags": BIO_TAGS, "counts": [1, 1, 1, 1, 6], "irregular": []}

    def head(self) -> torch.nn.Module:
        torch.manual_seed(0)
        head = Tags(crf=True).build([self.STATE], 8)
        for part in (head.start, head.between, head.end):
            torch.nn.init.normal_(part)
        return head

    def test_the_contract(self) -> None:
        words = [WordsContext(("a", "b"), ((0, 1), (1, 3)))] * 4
        cells = ["B-x O", "O O", ["O", "B-x"], "B-x I-x"]
        testing.check_task(Tags(crf=True), cells, as_tokens(torch.randn(4, 3, testing.WIDTH)), words)

    def test_without_a_chain_the_loss_is_cross_entropy_a_word(self) -> None:
        task, state = Tags(crf=True), {"tags": ["X", "Y", "Z"], "counts": [1, 1, 1]}
        head = task.build([state], 8)
        rows, where = [["X", "Y"], ["Z"], []], [context(2, 1), context(1), context()]
        target = task.collate([[task.prepare(row, state, its)] for row, its in zip(rows, where)])
        view = as_tokens(torch.randn(3, 3, 8))
        total, weight = head.loss(head.predict_output(view), target)
        plain, words = Tags().build([state], 8).loss(unpacked(head.predict_output(view))[0], target)
        torch.testing.assert_close(total, plain)
        assert weight.tolist() == words.tolist() == [3.0]

    def test_only_first_tokens_take_part_and_padding_does_not(self) -> None:
        task, head = Tags(crf=True), self.head().double()
        rows, where = [["B-PER", "I-PER", "O"], ["O"], []], [context(2, 1, 2), context(3), context()]
        target = task.collate([[task.prepare(row, self.STATE, its)] for row, its in zip(rows, where)])
        values = torch.randn(3, 7, 8).double()
        output = head.predict_output(as_tokens(values))
        total, weight = head.loss(output, target)
        logits, chain = unpacked(output)
        first = logits[0, [0, 2, 3]]
        wanted = score(first, (1, 3, 4), chain) + score(logits[1, :1], (4,), chain)
        sums = log_partition(first[None], torch.ones(1, 3, dtype=torch.bool), chain)[0]
        sums = sums + (chain.start + logits[1, 0] + chain.end).logsumexp(0)
        torch.testing.assert_close(total[0], sums - wanted)
        assert weight.tolist() == [4.0]
        spoilt = values.clone()
        spoilt[:, 5:], spoilt[0, [1, 4]], spoilt[1, 1:] = 9.0, -9.0, 7.0
        again = head.predict_output(as_tokens(spoilt))
        torch.testing.assert_close(head.loss(again, target)[0], total)
        assert task.decode(again, [self.STATE], where) == task.decode(output, [self.STATE], where)
        assert task.decode(output, [self.STATE], [None, where[1], where[2]])[0][0] is None
        assert task.decode(output[2:], [self.STATE], where[2:]) == [[[]]]

    def test_nothing_ends_where_a_text_was_cut(self) -> None:
        task, head = Tags(crf=True), self.head().double()
        output = head.predict_output(as_tokens(torch.randn(1, 2, 8).double()))
        logits, chain = unpacked(output)
        open_end = chain._replace(end=torch.zeros(5).double())
        cut, mask = context(1, 1, 0), torch.ones(1, 2, dtype=torch.bool)
        target = task.collate([[task.prepare(["B-PER", "I-PER", "B-LOC"], self.STATE, cut)]])
        total, weight = head.loss(output, target)
        wanted = score(logits[0], (1, 3), open_end) - log_partition(logits, mask, open_end)[0]
        torch.testing.assert_close(-total[0], wanted)
        assert weight.tolist() == [2.0]
        best = [BIO_TAGS[tag] for tag in best_path(logits, mask, open_end)[0].tolist()]
        assert task.decode(output, [self.STATE], [cut]) == [[[*best, "O"]]]

    def test_a_label_that_nothing_behind_an_unknown_word_can_reach_is_left_out(self) -> None:
        """`I-Y` was seen at the start alone: behind `O` and an unknown word no path comes to it."""
        task = Tags(crf=True)
        state = task.fit([["I-Y"], ["O"]])
        head = task.build([state], 8).double()
        output = head.predict_output(as_tokens(torch.randn(1, 3, 8).double()))
        target = task.collate([[task.prepare(["O", "B-NEW", "I-Y"], state, context(1, 1, 1))]])
        total, weight = head.loss(output, target)
        logits, chain = unpacked(output)
        each = [score(logits[0], (1, *rest), chain) for rest in paths(2, 2)]
        wanted = torch.tensor(each).double().logsumexp(0) - log_partition(logits, torch.ones(1, 3).bool(), chain)[0]
        torch.testing.assert_close(-total[0], wanted)
        assert weight.tolist() == [1.0]

    @pytest.mark.parametrize("row", ["O B-NEW I-PER", "B-NEW I-PER O", "O I-PER I-PER", "I-LOC I-LOC B-NEW"])
    def test_the_loss_of_labels_that_are_partly_possible(self, row: str) -> None:
        """Of an unknown word before a barred one, and of barred ones: the sum over what is left, in a batch of two."""
        task, head = Tags(crf=True), self.head().double()
        output = head.predict_output(as_tokens(torch.randn(2, 3, 8).double()))
        labels, where = [row.split(), ["O", "O"]], [context(1, 1, 1), context(1, 2)]
        target = task.collate([[task.prepare(a, self.STATE, b)] for a, b in zip(labels, where)])
        total, weight = head.loss(output, target)
        logits, chain = unpacked(output)
        can = possible(labels[0], BIO_TAGS, [])
        left = [p for p in paths(3, 5) if all(BIO_TAGS[i] == t or not c for i, t, c in zip(p, labels[0], can))]
        wanted = torch.tensor([score(logits[0], path, chain) for path in left]).double().logsumexp(0)
        wanted = wanted - log_partition(logits[:1], torch.ones(1, 3).bool(), chain)[0]
        wanted = wanted + score(logits[1], (4, 4), chain)
        wanted = wanted - log_partition(logits[1:, :2], torch.ones(1, 2).bool(), chain)[0]
        torch.testing.assert_close(-total[0], wanted)
        assert float(total) < 100
        assert weight.tolist() == [2.0 + sum(can)]

    def test_only_labels_that_are_not_possible_need_a_second_sum(self) -> None:
        task, words = Tags(crf=True), context(1, 1)
        known = task.collate([[task.prepare(["B-PER", "I-PER"], self.STATE, words)], [None]])
        assert set(known) == {"values", "labels", "places", "flags"}
        target = task.collate([[task.prepare(["O", "I-PER"], self.STATE, words)], [None]])
        assert target["possible"].tolist() == [[True, False], [False, False]]

    @pytest.mark.parametrize("tags", ["B-PER I-PER", "O I-PER"])
    def test_the_loss_never_waits_for_a_device(self, tags: str) -> None:
        """A tensor on `meta` has no values that the host could ask for."""
        task, head = Tags(crf=True), self.head().to("meta")
        target = task.collate([[task.prepare(tags.split(), self.STATE, context(1, 1))]])
        target = {name: values.to("meta") for name, values in target.items()}
        total, weight = head.loss(head.predict_output(as_tokens(torch.empty(1, 2, 8, device="meta"))), target)
        (total / weight).sum().backward()

    def test_a_word_that_was_not_read_is_learned_and_said_by_its_neighbours(self) -> None:
        """The chain goes on over it: `B-PER ? I-PER` is one span."""
        task, head = Tags(crf=True), self.head().double()
        gap, mask = context(1, 0, 1), torch.ones(1, 3, dtype=torch.bool)
        output = head.predict_output(as_tokens(torch.randn(1, 2, 8).double()))
        logits, chain = unpacked(output)
        emissions = torch.stack([logits[0, 0], torch.zeros(5).double(), logits[0, 1]])[None]
        target = task.collate([[task.prepare(["B-PER", "I-PER", "I-PER"], self.STATE, gap)]])
        total, weight = head.loss(output, target)
        wanted = score(emissions[0], (1, 3, 3), chain) - log_partition(emissions, mask, chain)[0]
        torch.testing.assert_close(-total[0], wanted)
        assert weight.tolist() == [3.0]
        sure = packed(torch.eye(5).double()[[1, 3]][None] * 99, chain)
        assert task.decode(sure, [self.STATE], [gap]) == [[["B-PER", "I-PER", "I-PER"]]]
        metric = task.metric([self.STATE])
        metric.update(sure, target)
        assert metric.compute() == [{"span_f1": 1.0, "accuracy": 1.0, "exact": 1.0}]

    @pytest.mark.parametrize("irregular", [[], [[None, "I-LOC"], ["O", "I-PER"]]])
    def test_what_bio_forbids_is_not_said_whatever_the_weights(self, irregular: list[list[str | None]]) -> None:
        state, seen = {**self.STATE, "irregular": irregular}, {tuple(pair) for pair in irregular}
        torch.manual_seed(0)
        head, task = Tags(crf=True).build([state], 8), Tags(crf=True)
        for part in (*head.linear.parameters(), head.start, head.between, head.end):
            torch.nn.init.normal_(part, std=3.0)
        output = head.predict_output(as_tokens(torch.randn(200, 6, 8)))
        _, chain = unpacked(output)
        first, between = barred(BIO_TAGS, irregular)
        assert torch.equal(chain.start == FORBIDDEN, first)
        assert torch.equal(chain.between == FORBIDDEN, between)
        (rows,) = task.decode(output, [state], [context(*[1] * 6)] * 200)
        said = {pair for row in rows for pair in itertools.pairwise([None, *row])}
        assert all(may_follow(*pair) or pair in seen for pair in said)
        assert seen <= said  # what training held is said

    def test_rows_without_words_weigh_nothing(self) -> None:
        task, head = Tags(crf=True), self.head()
        target = task.collate([[task.prepare([], self.STATE, context())]] * 2)
        total, weight = head.loss(head.predict_output(as_tokens(torch.randn(2, 1, 8))), target)
        total.sum().backward()
        assert total.tolist() == weight.tolist() == [0.0]
        assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_loses_only_digits_of_the_logits(self, dtype: torch.dtype) -> None:
        task, head = Tags(crf=True), self.head()
        rows = [["B-PER", "I-PER", *["O"] * 60]] * 3
        target = task.collate([[task.prepare(row, self.STATE, context(*[1] * 62))] for row in rows])
        view = as_tokens(torch.randn(3, 62, 8))
        exact, weight = head.loss(head.predict_output(view), target)
        with torch.autocast("cpu", dtype):
            output = head.predict_output(view)
            total, same = head.loss(output, target)
        assert output.dtype == total.dtype == torch.float32
        assert float(same) == float(weight) == 186
        assert float(total) == pytest.approx(float(exact), rel=0.01)
        total.sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in head.parameters())

    def test_what_is_packed_is_unpacked(self) -> None:
        logits, _, chain = case()
        again, same = unpacked(packed(logits, chain))
        assert torch.equal(again, logits)
        assert all(torch.equal(a, b) for a, b in zip(same, chain))

    def test_the_metric_reads_the_path(self) -> None:
        """The likeliest tag of each word by itself would be `O I-PER`."""
        task, state = Tags(crf=True), self.STATE
        logits = torch.zeros(1, 2, 5)
        logits[0, 0, 4], logits[0, 0, 1], logits[0, 1, 3] = 1.0, 0.9, 3.0
        between = torch.zeros(5, 5).masked_fill(barred(BIO_TAGS, [])[1], FORBIDDEN)
        output = packed(logits, Chain(torch.zeros(5), between, torch.zeros(5)))
        target = task.collate([[task.prepare(["B-PER", "I-PER"], state, context(1, 1))]])
        metric = task.metric([state])
        metric.update(output, target)
        assert metric.compute() == [{"span_f1": 1.0, "accuracy": 1.0, "exact": 1.0}]
        assert likeliest_path(output, target["places"], torch.tensor([True])).tolist() == [[1, 3]]
        assert task.decode(output, [state], [context(1, 1)]) == [[["B-PER", "I-PER"]]]


def test_where_neighbours_matter_it_beats_plain_tags() -> None:
    """Each word says a pair of tags, which of both only the words before and behind tell; the head sees one word."""
    rng = random.Random(0)
    tags = [f"{kind}{side}" for kind in "abc" for side in "xy"]

    def row() -> tuple[list[int], list[str]]:
        side = rng.choice("xy")
        kinds = [rng.randrange(3) for _ in range(6)]
        # The last word alone says the side, which all words of the row share.
        return [*kinds, 3 + "xy".index(side)], [*("abc"[k] + side for k in kinds), "a" + side]

    def train(task: Tags) -> dict[str, float | None]:
        torch.manual_seed(0)
        state = task.fit([tags])
        head = task.build([state], 8)
        words = torch.eye(8)[:5]
        optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
        for _ in range(150):
            rows = [row() for _ in range(16)]
            view = as_tokens(words[torch.tensor([ids for ids, _ in rows])])
            target = task.collate([[task.prepare(said, state, context(*[1] * 7))] for _, said in rows])
            total, weight = head.loss(head.train_output(view, target), target)
            optimiser.zero_grad()
            (total / weight).sum().backward()
            optimiser.step()
        rows = [row() for _ in range(100)]
        metric = task.metric([state])
        target = task.collate([[task.prepare(said, state, context(*[1] * 7))] for _, said in rows])
        with torch.no_grad():
            metric.update(head.predict_output(as_tokens(words[torch.tensor([ids for ids, _ in rows])])), target)
        (scores,) = metric.compute()
        return scores

    plain, chained = train(Tags()), train(Tags(crf=True))
    assert plain["accuracy"] < 0.75
    assert plain["exact"] < 0.7  # it always says the same side
    assert chained["accuracy"] > 0.97
    assert chained["exact"] > 0.95
