"""Text as a target: teacher forcing, the search, the vocabulary, and scores of the texts as they were given."""

import itertools
import json
import os
import random
import sys
from dataclasses import replace

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import sacrebleu
import tokenizers
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from trunkline.arrays.subwords import tokenizer_of
from trunkline.arrays.written import decode
from trunkline.errors import ConfigError, DataError
from trunkline.modalities.text import Text as TextInput
from trunkline.tasks.text import Text
from trunkline.tasks.text_head import IGNORED, Memory, TextHead
from trunkline.tasks.text_overlap import ROUGE, longest_common, rouge
from trunkline.tasks.text_search import Draw, Likeliest
from trunkline.tasks.vocabulary import BEGIN, END, PAD, encode, unwritten
from trunkline.types import Span, Tokens

torch.set_num_threads(1)

TEXTS = ["the cat sleeps", "the dog sleeps", "a dog barks at the cat", "the cat sleeps"]
WIDTH = 16
STATE = Text(vocabulary=300).fit(TEXTS)


def build(task: Text | None = None) -> TextHead:
    torch.manual_seed(0)
    head = (task or Text(max_length=6)).build([STATE], WIDTH).double().eval()
    torch.nn.init.normal_(head.decoder.lm_head.weight)  # far from uniform, so that no two tokens tie
    torch.nn.init.normal_(head.memory[1].weight, std=30.0)  # so that rows differ
    return head


def make_view(rows: int = 3, length: int = 4, seed: int = 1) -> Tokens:
    """Rows with 1, 2, … tokens."""
    values = torch.randn(rows, length, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    mask = torch.arange(length) <= torch.arange(rows).unsqueeze(1)
    return Tokens(values, mask, (Span("x", 0, length, "set", (length,)),))


def first_tokens(view: Tokens, row: int, length: int) -> Tokens:
    """A row alone, without its padding."""
    span = Span("x", 0, length, "set", (length,))
    return Tokens(view.values[row : row + 1, :length], view.mask[row : row + 1, :length], (span,))


def make_target(texts: list[str | None], task: Text | None = None) -> dict[str, torch.Tensor]:
    task = task or Text()
    return task.collate([[None if text is None else task.prepare(text, STATE, None)] for text in texts])


def scores(written: list[str], true: list[str]) -> dict[str, float]:
    """Through ids and the metric."""
    task = Text()
    ids = make_target(written)["values"].clamp(min=PAD)
    metric = task.metric([STATE])
    metric.update(ids, make_target(true))
    (result,) = metric.compute()
    return result


class TestOverlap:
    @given(st.lists(st.sampled_from("abcd"), max_size=30), st.lists(st.sampled_from("abcde"), max_size=30))
    def test_rouge_is_that_of_rouge_score(self, true, written):
        texts = " ".join(true), "-".join(written)
        said = RougeScorer(list(ROUGE)).score(*texts)
        assert rouge(*texts) == {name: score.fmeasure for name, score in said.items()}

    def test_long_texts_take_no_square_of_their_length(self):
        words = [f"w{i * i % 5003}" for i in range(100_000)]
        assert longest_common(words, words[::2]) == 50_000
        assert rouge(" ".join(words), " ".join(words[:500]))["rougeL"] == pytest.approx(2 * 500 / 100_500)


@pytest.mark.parametrize("width", [32, 128, 512])
def test_weights_begin_so_that_what_they_multiply_stays_as_large(width):
    """Queries and keys next to nothing make attention flat, and its gradient is their product."""
    torch.manual_seed(0)
    decoder = Text(6).build([STATE], width).decoder.get_decoder()
    inputs = torch.randn(400, width)
    for attention in [part for layer in decoder.layers for part in (layer.self_attn, layer.encoder_attn)]:
        query, key = attention.q_proj(inputs).detach(), attention.k_proj(inputs).detach()
        assert query.std() == pytest.approx(1, rel=0.15) and key.std() == pytest.approx(1, rel=0.15)
        heads = [x.unflatten(1, (attention.num_heads, -1)).transpose(0, 1) for x in (query, key)]
        assert (heads[0] @ heads[1].mT * attention.scaling).std() == pytest.approx(1, rel=0.35)


class TestCells:
    def test_white_space_around_is_left_out_and_numbers_are_written_out(self):
        assert [Text().read(cell) for cell in (" a  b\n", "", 7)] == ["a  b", "", "7"]

    @pytest.mark.parametrize(
        ("cell", "says"),
        [([1], "a text is a string, not list"), ("a\ud800", "not valid Unicode"), (None, "not NoneType")],
    )
    def test_bad_cells(self, cell, says):
        with pytest.raises(DataError, match=says):
            Text().read(cell)

    def test_nothing_to_learn(self):
        with pytest.raises(DataError, match="no row of the training split has a text"):
            Text().fit([])

    def test_too_small_a_vocabulary(self):
        with pytest.raises(ConfigError, match="vocabulary=100: at least 259"):
            Text(vocabulary=100).fit(TEXTS)

    def test_heads_must_divide_the_width(self):
        with pytest.raises(ConfigError, match="heads=4 of a text task does not divide the decoder's width 18"):
            Text(decoder_width=18).build([STATE], WIDTH)

    @pytest.mark.parametrize("module", ["transformers", "tokenizers"])
    def test_a_missing_extra_is_named(self, module, monkeypatch):
        monkeypatch.setitem(sys.modules, module, None)
        tokenizer_of.cache_clear()
        with pytest.raises(ConfigError, match=rf'a text task needs {module}, .*pip install "trunkline\[text\]"'):
            Text().build([STATE], WIDTH)


class TestVocabulary:
    @given(st.text(st.characters(codec="utf-8"), max_size=30))
    @settings(max_examples=200, deadline=None)
    def test_any_text_can_be_written(self, text):
        text = Text().read(text)
        ids = encode(text, STATE, 1000)
        assert ids[-1] == END
        assert decode(torch.tensor([ids]), STATE) == [text]

    @pytest.mark.parametrize("text", ["<end>", "a <pad> b", "<begin>"])
    def test_special_tokens_written_in_a_text_are_text(self, text):
        ids = encode(text, STATE, 100)
        assert min(ids[:-1]) > END
        assert decode(torch.tensor([ids]), STATE) == [text]

    def test_frequent_words_are_one_token_anywhere(self):
        assert encode("cat cat", STATE, 9)[0] == encode("cat cat", STATE, 9)[1]

    def test_state_survives_json(self):
        again = json.loads(json.dumps(STATE))
        assert again == STATE
        assert Text().prepare("the cat", again, None) == Text().prepare("the cat", STATE, None)

    def test_what_follows_the_end_is_not_read(self):
        ids = torch.tensor([[*encode("cat", STATE, 9), 40, 41]])
        assert decode(ids, STATE) == ["cat"]

    def test_long_targets_are_cut_for_learning_with_one_warning(self):
        with pytest.warns(UserWarning, match=r"1 of 4 target texts have more than max_length=5 tokens") as caught:
            Text(5, vocabulary=300).fit(TEXTS)
        assert len(caught) == 1
        whole = encode(TEXTS[2], STATE, 100)
        ids, reference = Text(3).prepare(TEXTS[2], STATE, None)
        assert ids == whole[:3]
        assert END not in ids
        assert reference.decode() == TEXTS[2]

    def test_a_text_of_exactly_max_length_tokens_ends(self):
        whole = encode("the cat sleeps", STATE, 100)
        assert Text(len(whole) - 1).prepare("the cat sleeps", STATE, None)[0] == whole


def next_logits(head: TextHead, view: Tokens, ids: torch.Tensor) -> torch.Tensor:
    """Of the token after `ids [n, L]`, the decoder run on all of them: `[n, K]`."""
    read = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=head.memory(view))
    return head.decoder(encoder_outputs=read, attention_mask=view.mask, decoder_input_ids=ids).logits[:, -1]


class TestTeacherForcing:
    def test_logits_equal_those_of_one_step_after_the_other(self):
        head, view, target = build(), make_view(), make_target(["the cat", "a dog", "cat"], Text(6))
        forced = head.train_output(view, target)
        known = torch.full((3, 1), BEGIN)
        for step in range(target["values"].shape[1]):
            logits = next_logits(head, view, known)
            counts = target["values"][:, step] != IGNORED
            torch.testing.assert_close(forced[counts, step], logits[counts], atol=1e-10, rtol=0)
            known = torch.cat([known, target["values"][:, step : step + 1].clamp(min=0)], 1)

    def test_loss_is_cross_entropy_over_tokens(self):
        head, view, target = build(), make_view(), make_target(["the cat", None, "cat"])
        output = head.train_output(view, target)
        total, weight = head.loss(output, target)
        log, tokens = output.log_softmax(2), 0
        expected = torch.zeros(1, dtype=torch.double)
        for row in (0, 2):
            for step, label in enumerate(target["values"][row].tolist()):
                if label != IGNORED:
                    expected -= log[row, step, label]
                    tokens += 1
        torch.testing.assert_close(total, expected)
        assert weight.tolist() == [tokens]

    def test_what_is_not_labelled_is_not_read(self):
        head, view = build(), make_view()
        target = make_target(["the cat", "a dog", "cat"])
        target["flags"][1] = False
        values = view.values.clone().requires_grad_()
        total, weight = head.loss(head.train_output(view.with_values(values), target), target)
        total.sum().backward()
        target["values"][1] = 10**9  # a token that no vocabulary has
        again = head.loss(head.train_output(view, target), target)
        assert values.grad[1].abs().max() == 0
        assert again[0] == total
        assert again[1] == weight

    def test_neighbours_and_padding_change_nothing(self):
        head, view, texts = build(), make_view(), ["the cat", "a dog barks at", "cat"]
        together = head.train_output(view, make_target(texts, Text(6)))
        for row, text in enumerate(texts):
            length = row + 1
            short = first_tokens(view, row, length)
            alone = head.train_output(short, make_target([text], Text(6)))[0]
            torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-10, rtol=0)

    def test_label_smoothing(self):
        view, target = make_view(), make_target(["the cat", "a dog", "cat"])
        plain, smooth = build(), build(Text(6, label_smoothing=0.1))
        output = plain.train_output(view, target)
        uniform = -output.log_softmax(2).mean(2)[target["values"] != IGNORED].sum()
        mixed = 0.9 * plain.loss(output, target)[0] + 0.1 * uniform
        torch.testing.assert_close(smooth.loss(output, target)[0], mixed)

    def test_every_parameter_learns(self):
        head, target = build(), make_target(["the cat", "a dog", "cat"])
        head.loss(head.train_output(make_view(), target), target)[0].sum().backward()
        idle = [name for name, p in head.named_parameters() if p.grad is None]
        assert idle == []


def greedy(head: TextHead, view: Tokens, steps: int) -> list[list[int]]:
    """Row by row, without a cache, the best next token until `<end>`."""
    found = []
    for row in range(len(view.values)):
        ids = [BEGIN]
        while len(ids) <= steps and (len(ids) == 1 or ids[-1] != END):
            logits = next_logits(head, view.take(torch.tensor([row])), torch.tensor([ids]))[0]
            logits[unwritten(STATE)] = -torch.inf
            ids.append(int(logits.argmax()))
        found.append(ids[1:])
    return found


def end_at(head: TextHead, token: int) -> None:
    """Makes `<end>` what `token` was."""
    with torch.no_grad():
        for layer in (head.decoder.lm_head, head.decoder.get_input_embeddings()):
            layer.weight[[END, token]] = layer.weight[[token, END]]


def until_end(ids: list[int]) -> list[int]:
    return ids[: ids.index(END)] if END in ids else ids


class TestSearch:
    def test_greedy_equals_a_loop_by_hand(self):
        head, view = build(), make_view(rows=4)
        assert head.predict_output(view).tolist() == greedy(head, view, 6)

    def test_rows_end_at_end_and_are_padded(self):
        head, view = build(), make_view(rows=4)
        end_at(head, greedy(head, view, 6)[0][2])
        by_hand = greedy(head, view, 6)
        longest = max(map(len, by_hand))
        assert by_hand[0][-1] == END
        assert len({len(ids) for ids in by_hand}) > 1
        assert head.predict_output(view).tolist() == [ids + [PAD] * (longest - len(ids)) for ids in by_hand]

    def test_search_stops_when_all_rows_have_ended(self):
        head, view = build(), make_view(rows=1)
        end_at(head, greedy(head, view, 6)[0][0])
        assert head.predict_output(view).tolist() == [[END]]

    @pytest.mark.parametrize("beams", [1, 3])
    def test_rows_are_searched_one_by_one(self, beams):
        head, view = build(Text(6, beams=beams)), make_view(rows=4)
        end_at(head, greedy(head, view, 6)[0][2])
        together = head.predict_output(view)
        for row in range(4):
            length = row + 1
            short = first_tokens(view, row, length)
            (alone,) = head.predict_output(short).tolist()
            assert until_end(together[row].tolist()) == until_end(alone)

    def test_beams_find_a_text_at_least_as_likely(self):
        view = make_view(rows=1)

        def likelihood(beams: int) -> float:
            head = build(Text(3, beams=beams))
            with torch.no_grad():
                head.memory[1].weight.mul_(0.01)  # so what is written counts, and the best beginning may mislead
                head.decoder.lm_head.weight[END] = 0.0
            ids = head.predict_output(view)
            target = {"values": ids, "flags": torch.ones(1, 1, dtype=torch.bool)}
            return -float(head.loss(head.train_output(view, target), target)[0].detach())

        assert likelihood(50) > likelihood(1)

    @pytest.mark.parametrize("beams", [1, 3])
    def test_texts_have_max_length_tokens_at_most(self, beams):
        """Also where none ends."""
        head = build(Text(6, beams=beams))
        head.decoder.final_logits_bias[0, STATE["end"]] = -1e6
        ids = head.predict_output(make_view())
        assert ids.shape == (3, 6) and STATE["end"] not in ids


class TestScores:
    def test_equal_texts_are_perfect(self):
        texts = ["the cat sleeps at the dog", "a b c d e"]
        perfect = {"bleu": 100.0, "chrf": 100.0, "rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0, "exact": 1.0}
        assert scores(texts, texts) == pytest.approx(perfect)

    def test_bleu_and_chrf_are_those_of_sacrebleu(self):
        written, true = ["the cat sat on a mat", "dogs bark"], ["the cat sat on the mat", "a dog barks"]
        result = scores(written, true)
        assert result["bleu"] == sacrebleu.corpus_bleu(written, [true]).score
        assert result["chrf"] == sacrebleu.corpus_chrf(written, [true]).score

    def test_rouge_by_hand(self):
        result = scores(["a c b d"], ["a b c"])
        assert result["rouge1"] == pytest.approx(2 * 3 / (4 + 3))
        assert result["rouge2"] == 0
        assert result["rougeL"] == pytest.approx(2 * 2 / (4 + 3))
        assert scores(["a b d"], ["a b c d"])["rouge2"] == pytest.approx(2 * 1 / (2 + 3))

    def test_exact_by_hand(self):
        assert scores(["a", "b", "c", "d"], ["a", "b", "x", "D"])["exact"] == 0.5

    def test_a_target_that_was_cut_is_scored_whole(self):
        task = Text(2)
        target = make_target([TEXTS[0]], task)
        metric = task.metric([STATE])
        metric.update(target["values"], target)
        assert metric.compute()[0]["exact"] == 0.0

    def test_batches_and_ranks_add_up(self):
        written = ["the cat", "a dog barks", "", "naïve 🙂"]
        true = ["the cats", "a dog barks at the cat", "not empty", "naïve 🙂"]
        ranks = [Text().metric([STATE]) for _ in range(2)]
        for i, (say, text) in enumerate(zip(written, true, strict=True)):
            ranks[i % 2].update(make_target([say])["values"], make_target([text]))
        ranks[0].merge_state(ranks[1])
        assert ranks[0].compute() == [pytest.approx(scores(written, true))]

    def test_rows_without_a_text_do_not_count(self):
        metric = Text().metric([STATE])
        metric.update(make_target([None])["values"].new_zeros(1, 3), make_target([None]))
        assert metric.compute() == [None]
        metric.update(make_target(["cat", "dog"])["values"], make_target(["cat", None]))
        assert metric.compute()[0]["exact"] == 1.0

    def test_baseline_says_the_most_frequent_text(self):
        target = make_target(["the cat sleeps", "a dog", "cat"])
        output = Text().baseline([STATE], target)
        assert Text().decode(output, [STATE], [None] * 3) == [["the cat sleeps"] * 3]
        metric = Text().metric([STATE])
        metric.update(output, target)
        assert metric.compute()[0]["exact"] == pytest.approx(1 / 3)


class TestSearchOptions:
    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"beams": 0}, "beams=0: at least 1; 1 is greedy"),
            ({"length_penalty": 2.0}, "give `beams` of 2 or more"),
            ({"no_repeat": 0}, "no_repeat=0: .* at least 1"),
            ({"min_length": 65}, "min_length=65: from 0 to max_length=64"),
            ({"min_length": -1}, "min_length=-1"),
            ({"max_length": 0}, "max_length=0: at least 1"),
            ({"sample": True, "beams": 2}, "one text is drawn; leave beams=2 out"),
            ({"sample": True, "temperature": 0.0}, "temperature=0.0: from 1e-6 to 1e6"),
            ({"sample": True, "top_p": 1.5}, "top_p=1.5: greater than 0, at most 1"),
            ({"temperature": 0.5}, "are for drawing; give `sample: true`"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_is_learned(self, options, says):
        with pytest.raises(ConfigError, match=says):
            Text(**options).fit(TEXTS)
        with pytest.raises(ConfigError, match=says):
            Text(**options).build([STATE], WIDTH)

    def test_all_faults_at_once(self):
        with pytest.raises(ConfigError, match=r"(?s)beams=0.*top_p=2"):
            Text(beams=0, top_p=2.0).fit(TEXTS)

    def test_numbers_out_of_range_are_told_together(self):
        wrong = Text(heads=0, layers=-1, dropout=1.5, label_smoothing=2.0, decoder_width=0)
        with pytest.raises(ConfigError, match=r"(?s)layers=-1.*heads=0.*decoder_width=0.*dropout=1.5.*smoothing=2.0"):
            wrong.fit(TEXTS)

    @pytest.mark.parametrize("beams", [1, 3])
    def test_no_run_of_tokens_comes_twice(self, beams):
        view = make_view(rows=3)
        heads = [build(Text(12, beams=beams, no_repeat=n)) for n in (None, 1, 2)]
        for head in heads:
            bias = torch.zeros(STATE["size"], dtype=torch.double)
            bias[40:60] = torch.arange(100, 0, -5)  # so that the same token is the best again and again
            head.decoder.final_logits_bias = bias.unsqueeze(0)
        free, single, pairs = ([[i for i in ids if i > END] for ids in h.predict_output(view).tolist()] for h in heads)
        assert any(len(set(ids)) < len(ids) for ids in free)
        assert all(len(set(ids)) == len(ids) for ids in single)
        assert all(len(set(itertools.pairwise(ids))) == len(ids) - 1 for ids in pairs if ids)

    @pytest.mark.parametrize("beams", [1, 3])
    def test_a_text_has_min_length_tokens(self, beams):
        view = make_view(rows=1)
        head = build(Text(6, beams=beams, min_length=3))
        with torch.no_grad():
            head.decoder.lm_head.weight.mul_(0.1)
        always = torch.full((STATE["size"],), 0.0, dtype=torch.double)
        always[END] = 50.0
        head.decoder.final_logits_bias = always.unsqueeze(0)
        (ids,) = head.predict_output(view).tolist()
        assert ids.index(END) == 3

    def test_a_length_penalty_orders_beams_by_length(self):
        view = make_view(rows=1)

        def length(penalty: float) -> int:
            head = build(Text(6, beams=4, length_penalty=penalty))
            with torch.no_grad():
                head.decoder.lm_head.weight.mul_(0.05)
            bias = torch.zeros(STATE["size"], dtype=torch.double)
            bias[END] = 5.0
            head.decoder.final_logits_bias = bias.unsqueeze(0)
            (ids,) = head.predict_output(view).tolist()
            return ids.index(END) if END in ids else len(ids)

        assert length(-3.0) < length(6.0)

    def test_what_stands_for_nothing_is_never_written(self):
        head = build(Text(6))
        bias = torch.zeros(STATE["size"], dtype=torch.double)
        bias[[PAD, BEGIN]] = 1e6
        head.decoder.final_logits_bias = bias.unsqueeze(0)
        assert head.predict_output(make_view()).min() >= END


class TestPlaces:
    def view(self, first: int) -> Tokens:
        """The row's token, a text of two tokens, padded to `first`, and a picture of four."""
        values = torch.ones(1, 1 + first + 4, WIDTH, dtype=torch.double)
        mask = torch.tensor([[True] * 3 + [False] * (first - 2) + [True] * 4])
        spans = (Span(None, 0, 1, "set", (1,)), Span("x", 1, 1 + first, "words", (first,)),
                 Span("y", 1 + first, 5 + first, "grid", (2, 2)))  # fmt: skip
        return Tokens(values, mask, spans)

    def test_a_token_is_told_where_it_stands_in_its_own_input(self) -> None:
        """Equal tokens differ by their place alone, which padding and other inputs do not move."""
        memory = Memory(WIDTH, 8, in_places=True).double()
        short, long = memory(self.view(2))[0], memory(self.view(5))[0]
        torch.testing.assert_close(short[:3], long[:3])
        torch.testing.assert_close(short[3:], long[6:])
        torch.testing.assert_close(short[0], short[1])
        torch.testing.assert_close(short[1:3], short[3:5])
        assert len({tuple(row) for row in short[3:].detach().round(decimals=6).tolist()}) == 4
        nodes = replace(self.view(2), spans=(*self.view(2).spans[:2], Span("y", 3, 7, "nodes", (4,))))
        told = memory(nodes)[0]
        torch.testing.assert_close(told[3:], told[:1].expand(4, -1))
        plain = Memory(WIDTH, 8, in_places=False).double()(self.view(2))[0]
        torch.testing.assert_close(plain, plain[:1].expand_as(plain))


class TestDrawing:
    def test_a_row_has_its_text_whatever_is_beside_it(self):
        torch.manual_seed(5)
        head, view = build(Text(6, sample=True)), make_view(rows=4)
        together = head.predict_output(view)
        torch.manual_seed(6)  # global random numbers say nothing
        assert head.predict_output(view).tolist() == together.tolist()
        for row in range(4):
            length = row + 1
            short = first_tokens(view, row, length)
            (alone,) = head.predict_output(short).tolist()
            assert until_end(together[row].tolist()) == until_end(alone)

    def test_draws_follow_the_softmax(self):
        logits = torch.tensor([0.0, 1.0, 2.0], dtype=torch.double)
        draws = [int(Draw([n])(torch.tensor([[BEGIN]]), logits[None]).argmax()) for n in range(4000)]
        shares = torch.bincount(torch.tensor(draws)) / len(draws)
        torch.testing.assert_close(shares.double(), logits.softmax(0), atol=0.03, rtol=0)

    def test_each_step_draws_anew(self):
        logits = torch.zeros(1, 50, dtype=torch.double)
        noise = [Draw([4])(torch.tensor([ids]), logits) for ids in ([BEGIN], [BEGIN, 7], [BEGIN, 7, 7], [BEGIN, 8])]
        assert all(torch.corrcoef(torch.cat(pair)).abs()[0, 1] < 0.5 for pair in itertools.combinations(noise, 2))

    @pytest.mark.parametrize("share", [1e-9, 0.3, 0.7, 0.999])
    def test_the_likeliest_are_those_of_transformers(self, share):
        logits = 2 * torch.randn(20, 60, generator=torch.Generator().manual_seed(1))
        expected = transformers.TopPLogitsWarper(share)(None, logits)
        assert torch.equal(Likeliest(share)(torch.zeros(20, 1), logits), expected)

    def test_of_equal_ones_those_with_larger_ids_stay(self):
        equal = Likeliest(0.49)(torch.zeros(1, 1), torch.zeros(1, 40))
        assert equal.isfinite().tolist() == [[False] * 20 + [True] * 20]

    def test_a_low_temperature_and_a_small_top_p_are_greedy(self):
        view, best = make_view(), build().predict_output(make_view()).tolist()
        assert build(Text(6, sample=True, temperature=1e-4)).predict_output(view).tolist() == best
        assert build(Text(6, sample=True, top_p=1e-9)).predict_output(view).tolist() == best
        assert build(Text(6, sample=True, temperature=100.0)).predict_output(view).tolist() != best


class TestTiedEmbeddings:
    def test_one_matrix_reads_and_writes(self):
        tied, free = (Text(tie=tie).build([STATE], WIDTH) for tie in (True, False))
        assert tied.decoder.lm_head.weight is tied.decoder.get_input_embeddings().weight
        sizes = [sum(p.numel() for p in head.parameters()) for head in (tied, free)]
        assert sizes[1] - sizes[0] == STATE["size"] * WIDTH

    def test_its_gradient_is_that_of_both_uses(self):
        view, target = make_view(), make_target(["the cat", "a dog", "cat"])
        tied = Text(dropout=0.0, tie=True).build([STATE], WIDTH).double()
        free = Text(dropout=0.0).build([STATE], WIDTH).double()
        free.load_state_dict(tied.state_dict())
        for head in (tied, free):
            head.loss(head.train_output(view, target), target)[0].sum().backward()
        both = free.decoder.lm_head.weight.grad + free.decoder.get_input_embeddings().weight.grad
        torch.testing.assert_close(tied.decoder.lm_head.weight.grad, both)


def make_tokenizer(folder, **marks):
    """A tiny tokenizer of whole words in lower case, as Transformers writes one."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "dog", "sleeps", "##s"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **marks)
    fast.save_pretrained(folder)
    return str(folder)


BERT = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


class TestPretrainedTokenizer:
    def test_its_words_and_its_marks(self, tmp_path):
        task = Text(tokenizer=make_tokenizer(tmp_path, **BERT))
        state = json.loads(json.dumps(task.fit(["the cat sleeps", "the dogs"])))
        assert (state["pad"], state["begin"], state["end"], state["size"]) == (0, 2, 3, 9)
        assert task.prepare("the dogs", state, None)[0] == [4, 6, 8, 3]  # neither cut at 2 nor padded, one end
        assert decode(torch.tensor([[4, 6, 8, 3, 0, 0]]), state) == ["the dogs"]
        assert unwritten(state) == [0, 1, 2]
        head = task.build([state], WIDTH).double().eval()
        assert head.predict_output(make_view()).min() >= 3

    def test_marks_that_it_lacks_are_added(self, tmp_path):
        task = Text(tokenizer=make_tokenizer(tmp_path, eos_token="[SEP]", bos_token="[SEP]", pad_token="[SEP]"))
        state = task.fit(["the cat"])
        assert (state["end"], state["begin"], state["pad"], state["size"]) == (3, 9, 10, 11)
        assert unwritten(state)[-2:] == [9, 10]
        assert task.build([state], WIDTH).decoder.lm_head.weight.shape == (11, WIDTH)

    def test_texts_that_it_cannot_write_are_told(self, tmp_path):
        with pytest.warns(
            UserWarning, match="cannot write 2 of 3 target texts as they are: 'The cat' becomes 'the cat'"
        ):
            Text(tokenizer=make_tokenizer(tmp_path, **BERT)).fit(["The cat", "the bird", "the cat"])

    def test_what_cannot_be_had(self, tmp_path):
        with pytest.raises(ConfigError, match=r"there is no folder ./nowhere"):
            Text(tokenizer="./nowhere").fit(TEXTS)
        with pytest.raises(ConfigError, match=r"cannot be had: .*give a local folder"):
            Text(tokenizer=str(tmp_path)).fit(TEXTS)


class TestOddTexts:
    @pytest.mark.parametrize(
        "text", ["a\0b\0", "\0", "Привет, мир", "日本語の文", "שלום עולם", "a\x07\x1bb", "e\u0301"]
    )
    def test_scripts_and_control_characters_are_written_and_scored_as_they_are(self, text):
        assert scores([text], [text])["exact"] == 1.0

    def test_white_space_alone_is_the_empty_text(self):
        assert Text().prepare(Text().read(" \t\n"), STATE, None) == ([END], b"")
        assert scores([""], [""])["exact"] == 1.0

    def test_a_hundred_thousand_words(self):
        words = random.Random(0).choices(["the", "cat", "dog", "sleeps", "barks", "naïve"], k=100_000)
        text = " ".join(words)
        with pytest.warns(UserWarning, match=r"1 of 5 target texts have more than max_length=64 tokens"):
            state = Text(vocabulary=300).fit([*TEXTS, text])
        task = Text()
        target = task.collate([[task.prepare(value, state, None)] for value in (text, "cat")])
        assert target["values"].shape == (2, 64)
        metric = task.metric([state])
        metric.update(target["values"].clamp(min=0), target)
        assert metric.compute()[0]["exact"] == 0.5


def test_label_smoothing_by_hand():
    """Every label that counts, over every token of the vocabulary; nothing of padding and of rows without a text."""
    target = make_target(["the cat", None, "cat"])
    output = torch.randn(*target["values"].shape, STATE["size"], dtype=torch.double)
    total, weight = build(Text(6, label_smoothing=0.2)).loss(output, target)
    expected, tokens, size = 0.0, 0, STATE["size"]
    for row in (0, 2):
        for step, label in enumerate(target["values"][row].tolist()):
            if label == IGNORED:
                continue
            log = output[row, step].log_softmax(0)
            wanted = [0.2 / size + (0.8 if k == label else 0.0) for k in range(size)]
            expected -= sum(w * float(p) for w, p in zip(wanted, log, strict=True))
            tokens += 1
    assert float(total) == pytest.approx(expected)
    assert weight.tolist() == [tokens]


def test_signatures_are_those_of_sacrebleu():
    told = Text().signatures()
    assert told["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert told["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


WORDS = {"one": "eins", "two": "zwei", "three": "drei", "red": "rot", "cat": "Katze", "dog": "Hund", "big": "groß"}


def test_a_text_encoder_and_a_text_head_learn_to_translate_backwards():
    """In a bare loop: every word translated, in reverse order."""
    torch.manual_seed(0)
    rng = random.Random(0)
    sentences = [rng.choices(list(WORDS), k=rng.randint(2, 4)) for _ in range(1000)]
    rows = [(" ".join(words), " ".join(WORDS[w] for w in reversed(words))) for words in sentences]
    train, test = rows[:900], rows[900:]
    source, task = TextInput(layers=1, dropout=0.0), Text(8, vocabulary=320, layers=1, dropout=0.0)
    source_state, state = source.fit([s for s, _ in train]), task.fit([t for _, t in train])
    encoder, head = source.build(source_state, 64), task.build([state], 64)

    def batch(rows):
        values = source.collate([source.prepare(s, source_state, None)[0] for s, _ in rows])
        return values, task.collate([[task.prepare(t, state, None)] for _, t in rows])

    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-3)
    for _ in range(600):
        values, target = batch(rng.sample(train, 32))
        total, weight = head.loss(head.train_output(encoder(values), target), target)
        optimiser.zero_grad()
        (total / weight).sum().backward()
        optimiser.step()

    encoder.eval()
    head.eval()
    values, target = batch(test)
    metric = task.metric([state])
    metric.update(head.predict_output(encoder(values)), target)
    (result,) = metric.compute()
    assert result["exact"] > 0.8
    assert result["chrf"] > 90
