"""What was read for each word that was written: the decoder's own weights, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tasks.test_text import STATE, WIDTH, build, make_view
from trunkline.tasks.text import Text
from trunkline.tasks.text_attention import by_words, word_tokens
from trunkline.tasks.vocabulary import encode

IDS = torch.tensor([encode("the cat sleeps", STATE, 6), [*encode("a dog barks", STATE, 6)[:3], 0]])


def test_weights_are_those_of_every_layer_and_head() -> None:
    """softmax(q·k) by hand, from what each layer is given while it reads."""
    head, view = build(Text(max_length=6, layers=2, heads=4)), make_view(2)
    found = []

    def read(layer: torch.nn.Module, args: tuple, options: dict) -> None:
        hidden = args[0] if args else options["hidden_states"]
        query, key = (
            x.unflatten(-1, (4, -1)).transpose(1, 2)
            for x in (layer.q_proj(hidden), layer.k_proj(options["key_value_states"]))
        )
        scores = query @ key.transpose(2, 3) / (WIDTH // 4) ** 0.5
        found.append(scores.masked_fill(~view.mask[:, None, None], -torch.inf).softmax(-1))

    for layer in head.decoder.model.decoder.layers:
        layer.encoder_attn.register_forward_pre_hook(read, with_kwargs=True)
    weights = head.attention(view, IDS)
    assert len(found) == 2 and found[0].shape == (2, 4, IDS.shape[1], 4)
    torch.testing.assert_close(weights, torch.stack(found).mean((0, 2)))


def test_a_row_sums_to_one_and_padding_gets_nothing() -> None:
    view = make_view(2)
    weights = build().attention(view, IDS)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, IDS.shape[1], dtype=weights.dtype))
    assert (weights[~view.mask[:, None].expand_as(weights)] == 0).all() and (weights[0, :, 0] == 1).all()
    other = replace(view, values=view.values.masked_fill(~view.mask[..., None], 99.0))
    assert torch.equal(build().attention(other, IDS), weights)


def test_a_token_is_read_before_it_is_known() -> None:
    """Weights of a token are those it was written with: they follow from what stands before it."""
    view, other = make_view(2), IDS.clone()
    other[:, 2] = 77
    first, second = build().attention(view, IDS), build().attention(view, other)
    assert torch.equal(first[1, :3], second[1, :3])
    assert not torch.equal(first[1, 3], second[1, 3])


def test_reading_changes_nothing_of_the_decoder() -> None:
    head, view = build(), make_view(2)
    before, way = head.predict_output(view), head.decoder.config._attn_implementation
    head.attention(view, IDS)
    assert head.decoder.config._attn_implementation == way != "eager"
    assert torch.equal(head.predict_output(view), before)


def test_a_words_tokens_are_averaged() -> None:
    ids, words, tokens = word_tokens("the zebra  sleeps", STATE)
    assert words == ["the", "zebra", "sleeps"] and len(tokens[1]) > 1
    assert sorted(i for own in tokens for i in own) == list(range(len(ids)))
    weights = torch.rand(len(ids), 5)
    told = by_words(words, tokens, weights)
    torch.testing.assert_close(torch.from_numpy(told.weights[1]), weights[tokens[1]].mean(0))
    cut = by_words(words, tokens, weights[: tokens[1][0]])
    assert cut.words == ("the",) and cut.weights.shape == (1, 5)


@pytest.mark.parametrize("texts", [["the cat sleeps", "", "a dog"], ["", "", ""]])
def test_each_text_has_its_own_words(texts: list[str]) -> None:
    told = Text(max_length=6).attend(build(), make_view(3), texts, [STATE])
    assert [list(one.words) for one in told] == [text.split() for text in texts]
    assert all(one.weights.shape == (len(one.words), 4) for one in told)
    alone = Text(max_length=6).attend(build(), make_view(3).take(torch.tensor([2])), texts[2:], [STATE])
    torch.testing.assert_close(torch.from_numpy(alone[0].weights), torch.from_numpy(told[2].weights))


def test_a_row_is_as_wrong_as_its_chrf_is_low() -> None:
    task = Text()
    right, wrong, empty = (task.show(s, t, STATE, None) for s, t in (("a dog", "a dog"), ("a cat", "a dog"), ("", "")))
    assert (right.error, right.scores) == (0.0, {"chrf": 100.0}) and empty.error == 0.0
    assert 0 < wrong.scores["chrf"] < 60 and wrong.error == pytest.approx(1 - wrong.scores["chrf"] / 100)
    assert task.show("a cat", None, STATE, None).error is None
