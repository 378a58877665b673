"""Copies: the mixture by hand, the source as the decoder reads it, beams, rows without a text, and words never seen."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trunkline import fit, load, testing
from trunkline.contexts import WordsContext
from trunkline.data import Draw, read_table
from trunkline.errors import ConfigError
from trunkline.modalities import Number
from trunkline.modalities import Text as TextInput
from trunkline.model import MultiTaskModel
from trunkline.schema import Preprocessing, RowBatches, Schema, TaskColumn
from trunkline.tasks import Text
from trunkline.tasks.text_head import TextHead
from trunkline.tasks.text_pointer import NOWHERE, Pointer, pointing
from trunkline.tasks.vocabulary import load_tokenizer
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


def head_of(**options: Any) -> TextHead:
    torch.manual_seed(0)
    head = Text(**{**OPTIONS, **options}).build([STATE], WIDTH).double().eval()
    for layer in (head.decoder.lm_head, head.memory[1], head.pointer.query, head.pointer.gate):
        torch.nn.init.normal_(layer.weight)  # far from uniform
    return head


def view_of(contexts: list[WordsContext | None] = CONTEXTS, seed: int = 1) -> Tokens:
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
        assert [load_tokenizer(STATE["tokenizer"]).decode(row) for row in ids] == [" the Zyx cat", " dog", "", ""]
        places = [row[: len(own)] for row, own in zip(source["places"].tolist(), ids)]
        assert [sorted(set(row)) for row in places] == [[0, 1, 3], [0], [], []]
        assert all(row == sorted(row) for row in places)
        assert (source["places"] == NOWHERE).equal(source["ids"] == NOWHERE)

    def test_a_source_moves_with_its_batch_and_follows_the_rows(self) -> None:
        rows = [{"x": "a cat", "y": "cat"}, {"n": 1.0}, {"x": "the dog", "y": "dog"}]
        batches = batches_of(rows)
        batch = batches[Draw((1, 2), None)]
        assert batch.sources["y"]["ids"].shape[0] == 2
        assert (batch.sources["y"]["ids"][0] == NOWHERE).all()
        assert batch.to("meta").sources["y"]["ids"].device.type == "meta"

    @pytest.mark.parametrize(
        ("of", "says"),
        [(None, "of: names the input whose words this task copies"), ("n", "one cell of a table")],
    )
    def test_it_has_an_input_with_words(self, of: str | None, says: str) -> None:
        with pytest.raises(ConfigError, match=says):
            Schema({"x": TextInput(), "n": Number()}, {"y": TaskColumn(Text(copy=True), "y", of=of)})


class TestMixture:
    def test_it_is_the_paper_s(self) -> None:
        torch.manual_seed(0)
        pointer = Pointer(8).double()
        logits, states = torch.randn(2, 3, 11, dtype=torch.double), torch.randn(2, 3, 8, dtype=torch.double)
        ids, keys = torch.tensor([[4, 7, 4], [2, NOWHERE, NOWHERE]]), torch.randn(2, 3, 8, dtype=torch.double)
        said = pointer(logits, states, ids, keys).exp()
        for n, length in ((0, 3), (1, 1)):
            for t in range(3):
                scores = pointer.query(states[n, t]) @ keys[n, :length].T / math.sqrt(8)
                attention = scores.softmax(0).tolist()
                gate = pointer.gate(states[n, t]).sigmoid().item()
                generated = logits[n, t].softmax(0)
                for word in range(11):
                    copied = sum(a for a, i in zip(attention, ids[n].tolist()) if i == word)
                    assert said[n, t, word].item() == pytest.approx(gate * generated[word].item() + (1 - gate) * copied)

    def test_a_copy_goes_on_by_the_token_before(self) -> None:
        """A key has its own token, the one before it and its word, each row's first token has nothing before it."""
        torch.manual_seed(0)
        pointer, embedding = Pointer(8).double(), torch.nn.Embedding(9, 8).double()
        memory = torch.randn(1, 2, 8, dtype=torch.double)
        source = {"ids": torch.tensor([[3, 5, 6]]), "places": torch.tensor([[0, 0, 1]])}
        keys = pointer.keys(memory, source, embedding)[0]
        three, five, six = (pointer.norm(embedding.weight[i]) for i in (3, 5, 6))
        place = pointer.of_place(memory[0])
        expected = [
            place[0] + pointer.of_token(three),
            place[0] + pointer.of_token(five) + pointer.of_last(three),
            place[1] + pointer.of_token(six) + pointer.of_last(five),
        ]
        assert torch.allclose(keys, torch.stack(expected))

    def test_a_row_without_a_source_generates(self) -> None:
        head, view = head_of(), view_of()
        target = target_of(["the cat", "a dog", "Cats"])
        said = head.train_output(view, target)
        plain = Tokens(view.values, view.mask, view.spans)
        assert torch.allclose(said[2], head.train_output(plain, target)[2].log_softmax(1))
        assert not torch.allclose(said[0], head.train_output(plain, target)[0].log_softmax(1))

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
        assert not head.decoder.get_output_embeddings()._forward_hooks


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


def rows_of_names(number: int, seed: int) -> list[dict[str, str]]:
    """Sentences about a name of random letters; the task is to say the name."""
    rng = random.Random(seed)
    names = ["".join(rng.choices("bcdfghjklmnpqrstvw", k=6)) for _ in range(number)]
    return [{"x": f"{rng.choice(['please', 'now'])} open {name} at once", "y": f"open {name}"} for name in names]


def test_names_that_training_never_saw_are_said(tmp_path: Path) -> None:
    """Every test name is new. What a decoder that generates alone says of them is wrong."""
    shares = {}
    for copies in (True, False):
        torch.manual_seed(0)
        options = {**OPTIONS, "max_length": 12, "copy": copies}
        model = MultiTaskModel(
            inputs={"x": TextInput(layers=1, bigrams=0, ngrams=0)},
            tasks={"y": TaskColumn(Text(**options), "y", of="x")},
            width=32,
        )
        train, held = rows_of_names(400, 1), rows_of_names(60, 2)
        options_of_training = {"steps": 250, "lr": 5e-3, "batch_size": 64, "validations": 1}
        out = tmp_path / str(copies)
        found = fit(model, train, validation=held[:20], test=held[20:], out=out, **options_of_training)
        shares[copies] = found.metrics["test"]["y"]["exact"]
        again = load(tmp_path / str(copies)).predict(held[20:])
        assert again == found.predictor.predict(held[20:])
    assert shares[True] > 0.5
    assert shares[False] < 0.1
