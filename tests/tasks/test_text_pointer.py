"""Copies: the mixture by hand, the source as the decoder reads it, beams, rows without a text, and words never seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import tokenizers
import torch
from torch import Tensor

from trunkline import testing
from trunkline.arrays.subwords import tokenizer_of
from trunkline.config import load_config
from trunkline.contexts import LETTERS, WordsContext
from trunkline.data import Draw, read_table
from trunkline.errors import ConfigError
from trunkline.modalities import Image, Number
from trunkline.modalities import Text as TextInput
from trunkline.schema import Preprocessing, RowBatches, Schema, TaskColumn
from trunkline.tasks import Text
from trunkline.tasks.text_pointer import NOWHERE, Pointer, first_places, pointing
from trunkline.types import Span, State, Tokens

TEXTS = ["the cat sleeps", "the dog sleeps", "a dog barks at the cat", "Cats bark"]
WIDTH = 16
OPTIONS: dict[str, Any] = {"max_length": 6, "vocabulary": 300, "layers": 1, "heads": 2, "dropout": 0.0, "copy": True}
STATE = Text(**OPTIONS).fit(TEXTS)
CONTEXTS = [
    WordsContext(("the", "Zyx", "cat"), ((0, 1), (1, 3), (3, 4))),
    WordsContext(("dog", "cut"), ((0, 4), (4, 4))),  # its second word is beyond what was read
    WordsContext((), ()),
]


def head_of(**options: Any) -> Any:
    torch.manual_seed(0)
    head: Any = Text(**{**OPTIONS, **options}).build([STATE], WIDTH).double().eval()
    for layer in (head.decoder.lm_head, head.memory[1], head.pointer.query, head.pointer.gate):
        torch.nn.init.normal_(layer.weight)  # far from uniform
    return head


def view_of(contexts: Sequence[WordsContext | None] = CONTEXTS, seed: int = 1) -> Tokens:
    values = torch.randn(len(contexts), 4, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    source = Text(**OPTIONS).source(contexts, STATE)
    mask = torch.ones(len(contexts), 4, dtype=torch.bool)
    return Tokens(values, mask, (Span("x", 0, 4, "words", (4,)),), source)


def target_of(texts: list[str], state: State = STATE) -> dict[str, Tensor]:
    task = Text(**OPTIONS)
    return task.collate([[task.prepare(text, state, None)] for text in texts])


class TestSource:
    def test_it_is_the_words_that_were_read_in_the_tokens_that_are_written(self) -> None:
        source = Text(**OPTIONS).source([*CONTEXTS, None], STATE)
        ids = [[i for i in row if i != NOWHERE] for row in source["ids"].tolist()]
        assert [tokenizer_of(STATE["tokenizer"]).decode(row) for row in ids] == [" the Zyx cat", " dog", "", ""]
        places = [row[: len(own)] for row, own in zip(source["places"].tolist(), ids)]
        assert [sorted(set(row)) for row in places] == [[0, 1, 2, 3], [2], [], []]
        assert all(row == sorted(row) for row in places)
        assert (source["places"] == NOWHERE).equal(source["ids"] == NOWHERE)

    def test_no_rows_have_no_source(self) -> None:
        assert {k: v.shape for k, v in Text(**OPTIONS).source([], STATE).items()} == {"ids": (0, 0), "places": (0, 0)}
        batches = batches_of([{"x": "a cat", "n": 1.0, "y": "cat"}])
        assert batches[Draw((), None)].sources["y"]["ids"].shape == (0, 0)

    @pytest.mark.parametrize("prefix", [True, False])
    def test_its_tokens_are_those_of_the_text_that_is_written(self, prefix: bool) -> None:
        """Some tokenizers have one token for a word that begins a text and another for one inside."""
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(TEXTS * 3, trainer)
        state = {"tokenizer": tokenizer.to_str()}
        words = ("the", "dog", "sleeps")
        source = Text(**OPTIONS).source([WordsContext(words, ((0, 1), (1, 2), (2, 3)))], state)
        assert source["ids"][0].tolist() == tokenizer.encode("the dog sleeps").ids
        assert sorted(set(source["places"][0].tolist())) == [0, 1, 2]

    def test_what_was_not_read_is_not_copied(self) -> None:
        """Scripts without spaces are one word; what a long one lacks of its tokens is not in its source."""
        text, encoder = "東京都庁の展望台", TextInput(max_length=5)
        _, context = encoder.prepare(text, {"ids": {}}, None)
        source = Text(**OPTIONS).source([context], STATE)
        said = tokenizer_of(STATE["tokenizer"]).decode(source["ids"][0].tolist())
        assert said.strip() == text[:5]
        places = source["places"][0].tolist()  # three bytes a sign
        assert [places.count(place) for place in range(5)] == [places.count(0), 3, 3, 3, 3]
        assert places == sorted(places)

    @pytest.mark.parametrize(
        ("text", "tokens", "read"),
        [
            ("Ame\u0301lie/Ele\u0301onore/x", 1, "Ame\u0301lie"),
            ("Ame\u0301lie/Ele\u0301onore/x", 3, "Ame\u0301lie/Ele\u0301onore"),
            ("İİİİ/secret/x", 1, "İİİİ"),
            ("a\u0301\u0323/x", 1, "a\u0301\u0323"),
        ],
    )
    def test_letters_are_counted_as_they_are_written(self, text: str, tokens: int, read: str) -> None:
        """Not as the encoder normalises them, nor in lower case: it is the word itself that is copied."""
        _, context = TextInput(max_length=tokens).prepare(text, {"ids": {}}, None)
        source = Text(**OPTIONS).source([context], STATE)
        assert tokenizer_of(STATE["tokenizer"]).decode(source["ids"][0].tolist()).strip() == read

    def test_half_of_a_letter_is_none(self) -> None:
        """Letter by letter, where marks come in another order than the encoder reads them."""
        encoder = TextInput(max_length=1, letters=True)
        for text, read in (("a\u0301\u0323", ""), ("a\u0323\u0301", "a\u0323"), ("e\u0301e", "e\u0301")):
            _, context = encoder.prepare(text, {"ids": {}}, None)
            assert context.read() == ([read], [(0, 1)]) and context.is_cut

    def test_a_token_stands_for_so_many_letters_at_most(self) -> None:
        """One token is enough for an encoder to read 100 000 letters, of which a source would have as many keys."""
        words = ("open", "a" * 100_000, "door")
        for context in (
            TextInput(max_length=16).prepare(" ".join(words), {"ids": {}}, None)[1],
            WordsContext(words, ((0, 1), (1, 2), (2, 3))),
        ):
            source = Text(**OPTIONS).source([context], STATE)
            said = tokenizer_of(STATE["tokenizer"]).decode(source["ids"][0].tolist())
            assert said.split() == ["open", "a" * LETTERS, "door"]
            assert context.is_cut
        assert not WordsContext(("a" * LETTERS, "b" * LETTERS * 9), ((0, 1), (1, 1))).is_cut

    def test_a_source_moves_with_its_batch_and_follows_the_rows(self) -> None:
        rows: list[dict[str, Any]] = [{"x": "a cat", "y": "cat"}, {"n": 1.0}, {"x": "the dog", "y": "dog"}]
        batches = batches_of(rows)
        batch = batches[Draw((1, 2), None)]
        assert batch.sources["y"]["ids"].shape[0] == 2
        assert (batch.sources["y"]["ids"][0] == NOWHERE).all()
        assert batch.to("meta").sources["y"]["ids"].device.type == "meta"

    @pytest.mark.parametrize(
        ("of", "says"),
        [
            (None, "of: names the input whose words this task copies"),
            ("n", "one cell of a table"),
            ("p", "'p' has no words to copy from"),
        ],
    )
    def test_it_has_an_input_with_words(self, of: str | None, says: str) -> None:
        inputs = {"x": TextInput(), "n": Number(), "p": Image()}
        with pytest.raises(ConfigError, match=says):
            Schema(inputs, {"y": TaskColumn(Text(copy=True), "y", of=of)})

    def test_the_only_text_is_copied_where_a_config_names_none(self) -> None:
        plain = {"inputs": {"x": "text", "n": "number"}, "tasks": {"y": {"type": "text", "copy": True}}}
        assert load_config(plain, columns=None).tasks["y"].of == "x"
        two = {**plain, "inputs": {"x": "text", "z": "text"}}
        with pytest.raises(ConfigError, match=r"names the input whose words this task reads\. Possible: x, z"):
            load_config(two, columns=None)
        none = {**plain, "inputs": {"p": "image"}, "tasks": {"y": {"type": "text", "copy": True, "of": "p"}}}
        with pytest.raises(ConfigError, match="this task reads words, and 'p' has grid"):
            load_config(none, columns=None)


class TestMixture:
    @pytest.mark.parametrize("tokens", [1, 5, 300_000])
    def test_the_first_places_are_those_of_all_pairs(self, tokens: int) -> None:
        for seed in range(20):
            ids = torch.randint(NOWHERE, tokens, (3, 1 + 3 * seed), generator=torch.Generator().manual_seed(seed))
            known = ids.clamp(min=0)
            expected = (known[:, :, None] == known[:, None]).to(torch.uint8).argmax(2)
            assert first_places(ids).equal(expected)

    def test_a_long_source_takes_no_room_for_pairs(self) -> None:
        """Pairs would be 40 GB."""
        ids = torch.arange(200_000)[None] // 2
        assert first_places(ids).equal(ids * 2)

    def test_it_is_the_paper_s(self) -> None:
        torch.manual_seed(0)
        pointer = Pointer(8).double()
        logits, states = torch.randn(2, 3, 11, dtype=torch.double), torch.randn(2, 3, 8, dtype=torch.double)
        ids, keys = torch.tensor([[4, 7, 4], [2, NOWHERE, NOWHERE]]), torch.randn(2, 3, 8, dtype=torch.double)
        said = pointer(logits, states, ids, first_places(ids), keys).exp()
        for n, length in ((0, 3), (1, 1)):
            for t in range(3):
                state = pointer.state_norm(states[n, t])
                attention = (pointer.query(state) @ keys[n, :length].T / math.sqrt(8)).softmax(0).tolist()
                gate = pointer.gate(state).sigmoid().item()
                generated = logits[n, t].softmax(0)
                for word in range(11):
                    copied = sum(a for a, i in zip(attention, ids[n].tolist()) if i == word)
                    assert said[n, t, word].item() == pytest.approx(gate * generated[word].item() + (1 - gate) * copied)

    def test_its_slopes_are_those_of_the_dense_mixture(self) -> None:
        """Tokens that come twice, and a row that has no source beside one that has."""
        torch.manual_seed(0)
        pointer = Pointer(8).double()
        logits = torch.randn(2, 3, 11, dtype=torch.double, requires_grad=True)
        states = torch.randn(2, 3, 8, dtype=torch.double, requires_grad=True)
        keys = torch.randn(2, 4, 8, dtype=torch.double, requires_grad=True)
        ids = torch.tensor([[4, 7, 4, 0], [NOWHERE] * 4])
        weights = torch.randn(2, 3, 11, dtype=torch.double)

        def dense() -> Tensor:
            state = pointer.state_norm(states)
            attention = (pointer.query(state) @ keys.mT / math.sqrt(8)).softmax(2)
            hits = torch.nn.functional.one_hot(ids[:1].clamp(min=0), 11).double()
            gate = pointer.gate(state).sigmoid()
            both = gate[:1] * logits[:1].softmax(2) + (1 - gate[:1]) * (attention[:1] @ hits)
            return torch.cat([both.log(), logits[1:].log_softmax(2)])

        wanted = [logits, states, keys, *pointer.parameters()]
        one, other = pointer(logits, states, ids, first_places(ids), keys), dense()
        torch.testing.assert_close(one, other)
        slopes = [
            torch.autograd.grad((said * weights).sum(), wanted, allow_unused=True, retain_graph=True)
            for said in (one, other)
        ]
        for ours, theirs in zip(*slopes, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                torch.testing.assert_close(ours, theirs)

    def test_half_precision_mixes_in_single(self) -> None:
        torch.manual_seed(0)
        pointer = Pointer(8).bfloat16()
        logits, states = torch.randn(1, 2, 11).bfloat16(), torch.randn(1, 2, 8).bfloat16()
        ids = torch.tensor([[3, 4]])
        said = pointer(logits, states, ids, first_places(ids), torch.randn(1, 2, 8).bfloat16())
        assert said.dtype == torch.float32
        assert torch.allclose(said.logsumexp(2), torch.zeros(1, 2), atol=1e-5)

    def test_a_copy_goes_on_by_the_token_before(self) -> None:
        """A key has its own token, the one before it and its word, each row's first token has nothing before it."""
        torch.manual_seed(0)
        pointer, embedding = Pointer(8).double(), torch.nn.Embedding(9, 8).double()
        memory = torch.randn(1, 2, 8, dtype=torch.double)
        source = {"ids": torch.tensor([[3, 5, 6]]), "places": torch.tensor([[0, 0, 1]])}
        keys = pointer.keys(memory, source, embedding)[0]
        three, five, six = (pointer.token_norm(embedding.weight[i]) for i in (3, 5, 6))
        place = pointer.of_place(memory[0])
        expected = [
            place[0] + pointer.of_token(three),
            place[0] + pointer.of_token(five) + pointer.of_previous(three),
            place[1] + pointer.of_token(six) + pointer.of_previous(five),
        ]
        assert torch.allclose(keys, torch.stack(expected))

    def test_a_row_without_a_source_generates(self) -> None:
        head, view = head_of(), view_of()
        target = target_of(["the cat", "a dog", "Cats"])
        said = head.train_output(view, target)
        head.pointer = None
        plain = head.train_output(view, target).log_softmax(2)
        assert torch.allclose(said[2], plain[2])
        assert not torch.allclose(said[0], plain[0])

    def test_every_layer_learns_and_nothing_is_nan(self) -> None:
        head, view = head_of(label_smoothing=0.1), view_of()
        target = target_of(["the Zyx", "barks", "Cats"])
        total, weight = head.loss(head.train_output(view, target), target)
        (total / weight).backward()
        grads = {name: p.grad for name, p in head.pointer.named_parameters()}
        assert all(grad is not None and grad.isfinite().all() and grad.abs().sum() > 0 for grad in grads.values())

    def test_the_contract(self) -> None:
        view = view_of([CONTEXTS[0], *CONTEXTS])
        testing.check_task(Text(**OPTIONS), TEXTS, view.with_values(view.values.float()))


class TestSearch:
    @pytest.mark.parametrize("beams", [1, 3])
    def test_a_row_says_the_same_whoever_is_beside_it(self, beams: int) -> None:
        task, head, view = Text(**OPTIONS, beams=beams), head_of(beams=beams), view_of()
        with torch.inference_mode():
            together = task.decode(head.predict_output(view), [STATE], CONTEXTS)[0]
            for row in range(3):
                alone = view.take(torch.tensor([row]))
                assert task.decode(head.predict_output(alone), [STATE], [CONTEXTS[row]])[0] == [together[row]]

    def test_what_it_writes_is_the_likeliest_under_teacher_forcing(self) -> None:
        head, view = head_of(), view_of()
        with torch.inference_mode():
            ids = head.predict_output(view)
            said = head.train_output(view, {"values": ids, "flags": torch.ones(3, 1, dtype=torch.bool)})
        end = STATE["end"]
        for row, own in zip(said, ids):
            length = own.tolist().index(end) + 1 if end in own else len(own)
            allowed = row.index_fill(1, torch.tensor(head.generation.suppress_tokens), -math.inf)
            assert allowed.argmax(1)[:length].equal(own[:length])

    def test_nothing_is_left_behind(self) -> None:
        head, view = head_of(), view_of()
        with pytest.raises(RuntimeError, match="stop"), pointing(head.decoder, head.pointer, view.values, view.source):
            raise RuntimeError("stop")
        assert not head.decoder._forward_hooks
        assert not head.decoder.get_output_embeddings()._forward_pre_hooks

    def test_threads_do_not_hear_each_other(self) -> None:
        head, views = head_of(), [view_of(seed=seed) for seed in range(8)]
        with torch.inference_mode():
            alone = [head.predict_output(view) for view in views]

        def say(view: Tokens) -> Tensor:
            with torch.inference_mode():
                return head.predict_output(view)

        with ThreadPoolExecutor(4) as pool:
            for _ in range(3):
                for one, other in zip(alone, pool.map(say, views), strict=True):
                    assert torch.equal(one, other)


def test_heads_that_share_have_one_pointer() -> None:
    task = Text(**OPTIONS)
    first, second = task.fit_shared([TEXTS, TEXTS])
    head = task.build([first], WIDTH)
    other = task.build_shared(head, [second])
    assert other.pointer is head.pointer is not None


def batches_of(rows: list[dict[str, Any]]) -> RowBatches:
    table = read_table(rows)
    schema = Schema({"x": TextInput(), "n": Number()}, {"y": TaskColumn(Text(**OPTIONS), "y", of="x")})
    return RowBatches(Preprocessing.fit(schema, table, range(len(rows))), table)
