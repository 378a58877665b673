"""Text as a target: teacher forcing, the search, the vocabulary, and scores of the texts as they were given."""

import json
import os
import random
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import sacrebleu
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.errors import ConfigError, DataError
from trunkline.modalities.text import Text as TextInput
from trunkline.tasks.text import BEGIN, END, IGNORED, PAD, Text, TextHead, decode, encode, load_tokenizer
from trunkline.types import Span, Tokens

torch.set_num_threads(1)

TEXTS = ["the cat sleeps", "the dog sleeps", "a dog barks at the cat", "the cat sleeps"]
WIDTH = 16
STATE = Text(vocabulary=300).fit(TEXTS)


def build(task: Text | None = None) -> TextHead:
    torch.manual_seed(0)
    head = (task or Text(max_length=6)).build([STATE], WIDTH).double().eval()
    torch.nn.init.normal_(head.decoder.lm_head.weight)  # far from uniform, so that no two tokens tie
    return head


def make_view(rows: int = 3, length: int = 4, seed: int = 1) -> Tokens:
    """Rows with 1, 2, … tokens."""
    values = torch.randn(rows, length, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    mask = torch.arange(length) <= torch.arange(rows).unsqueeze(1)
    return Tokens(values, mask, (Span("x", 0, length, "set", (length,)),))


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


class TestCells:
    def test_white_space_around_is_left_out_and_numbers_are_written_out(self):
        assert [Text().read(cell) for cell in (" a  b\n", "", 7)] == ["a  b", "", "7"]

    @pytest.mark.parametrize(
        ("cell", "says"),
        [(["a"], "a text is a string, not list"), ("a\ud800", "not valid Unicode"), (None, "not NoneType")],
    )
    def test_bad_cells(self, cell, says):
        with pytest.raises(DataError, match=says):
            Text().read(cell)

    def test_nothing_to_learn(self):
        with pytest.raises(DataError, match="no row of the training split has a text"):
            Text().fit([])

    def test_too_small_a_vocabulary(self):
        with pytest.raises(ConfigError, match="vocabulary=100 of a text task is too small: at least 259"):
            Text(vocabulary=100).fit(TEXTS)

    def test_heads_must_divide_the_width(self):
        with pytest.raises(ConfigError, match="heads=4 of a text task does not divide the decoder's width 18"):
            Text(decoder_width=18).build([STATE], WIDTH)

    @pytest.mark.parametrize("module", ["transformers", "tokenizers"])
    def test_a_missing_extra_is_named(self, module, monkeypatch):
        monkeypatch.setitem(sys.modules, module, None)
        load_tokenizer.cache_clear()
        with pytest.raises(ConfigError, match=rf'need {module}: pip install "trunkline\[text\]"'):
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


class TestTeacherForcing:
    def test_logits_equal_those_of_one_step_after_the_other(self):
        head, view, target = build(), make_view(), make_target(["the cat", "a dog", "cat"], Text(6))
        forced = head.train_output(view, target)
        known = torch.full((3, 1), BEGIN)
        for step in range(target["values"].shape[1]):
            logits = head.decoder(
                input_ids=known, encoder_hidden_states=head.memory(view.values), encoder_attention_mask=view.mask
            ).logits[:, -1]
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
            short = Tokens(view.values[row : row + 1, :length], view.mask[row : row + 1, :length], view.spans)
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
            logits = head.decoder(
                input_ids=torch.tensor([ids]),
                encoder_hidden_states=head.memory(view.values[row : row + 1]),
                encoder_attention_mask=view.mask[row : row + 1],
            ).logits
            ids.append(int(logits[0, -1].argmax()))
        found.append(ids[1:])
    return found


def end_at(head: TextHead, token: int) -> None:
    """Makes `<end>` what `token` was."""
    with torch.no_grad():
        for layer in (head.decoder.lm_head, head.decoder.get_input_embeddings()):
            layer.weight[[END, token]] = layer.weight[[token, END]]


class TestSearch:
    def test_greedy_equals_a_loop_by_hand(self):
        head, view = build(), make_view(rows=4)
        assert head.predict_output(view).tolist() == greedy(head, view, 7)

    def test_rows_end_at_end_and_are_padded(self):
        head, view = build(), make_view(rows=4)
        end_at(head, greedy(head, view, 7)[0][2])
        by_hand = greedy(head, view, 7)
        longest = max(map(len, by_hand))
        assert by_hand[0][-1] == END
        assert len({len(ids) for ids in by_hand}) > 1
        assert head.predict_output(view).tolist() == [ids + [PAD] * (longest - len(ids)) for ids in by_hand]

    def test_search_stops_when_all_rows_have_ended(self):
        head, view = build(), make_view(rows=1)
        end_at(head, greedy(head, view, 7)[0][0])
        assert head.predict_output(view).tolist() == [[END]]

    @pytest.mark.parametrize("beams", [1, 3])
    def test_rows_are_searched_one_by_one(self, beams):
        head, view = build(Text(6, beams=beams)), make_view(rows=4)
        end_at(head, greedy(head, view, 7)[0][2])
        together = head.predict_output(view)
        for row in range(4):
            length = row + 1
            short = Tokens(view.values[row : row + 1, :length], view.mask[row : row + 1, :length], view.spans)
            (alone,) = head.predict_output(short).tolist()
            assert together[row].tolist() == alone + [PAD] * (together.shape[1] - len(alone))

    def test_beams_find_a_text_at_least_as_likely(self):
        view = make_view(rows=1)

        def likelihood(beams: int) -> float:
            head = build(Text(3, beams=beams))
            with torch.no_grad():
                head.decoder.lm_head.weight.mul_(0.2)  # so flat that the best first token need not lead to the best
                head.decoder.lm_head.weight[END] = 0.0
            ids = head.predict_output(view)
            target = {"values": ids, "flags": torch.ones(1, 1, dtype=torch.bool)}
            return -float(head.loss(head.train_output(view, target), target)[0].detach())

        assert likelihood(50) > likelihood(1)

    def test_texts_can_be_as_long_as_max_length_and_an_end(self):
        assert build(Text(6)).predict_output(make_view()).shape[1] <= 7


class TestScores:
    def test_equal_texts_are_perfect(self):
        texts = ["the cat sleeps at the dog", "a b c d e"]
        perfect = {"bleu": 100.0, "chrf": 100.0, "rouge1": 1.0, "rougeL": 1.0, "exact": 1.0}
        assert scores(texts, texts) == pytest.approx(perfect)

    def test_bleu_and_chrf_are_those_of_sacrebleu(self):
        written, true = ["the cat sat on a mat", "dogs bark"], ["the cat sat on the mat", "a dog barks"]
        result = scores(written, true)
        assert result["bleu"] == sacrebleu.corpus_bleu(written, [true]).score
        assert result["chrf"] == sacrebleu.corpus_chrf(written, [true]).score

    def test_rouge_by_hand(self):
        result = scores(["a c b d"], ["a b c"])
        assert result["rouge1"] == pytest.approx(2 * 3 / (4 + 3))
        assert result["rougeL"] == pytest.approx(2 * 2 / (4 + 3))

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
