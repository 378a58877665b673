"""Bags of words and pairs, spelling, and what is chosen from the texts."""

from __future__ import annotations

import pytest
import torch

from trunkline import testing
from trunkline.arrays import texts
from trunkline.arrays.texts import NGRAMS, PADDING, ngram_ids
from trunkline.modalities.text import Text
from trunkline.modalities.text_encoder import TextEncoder

NOTES = ["one", "one two", "two one three", "three three two one"]


@pytest.mark.parametrize(
    "options",
    [
        {"layers": 0},
        {"layers": 0, "bigrams": 64},
        {"ngrams": 64},
        {"bigrams": 8},
        {"bag": True, "layers": 0, "bigrams": 8},
        {"bag": True},
    ],
)
def test_every_kind_keeps_the_contract(options):
    """A row's tokens depend neither on the rows beside it nor on padding, among other things."""
    testing.check_modality(Text(min_count=1, **options), NOTES)


def tokens_of(text: Text, note: str, seed: int = 0) -> torch.Tensor:
    state = text.fit(NOTES)
    torch.manual_seed(seed)
    encoder = text.build(state, 8).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    return encoder(text.collate([text.prepare(note, state, None)[0]])).values[0]


def test_pairs_know_the_order_that_a_bag_of_words_does_not():
    bag, pairs = Text(min_count=1, layers=0), Text(min_count=1, layers=0, bigrams=1009)
    for text, same in ((bag, True), (pairs, False)):
        there, back = tokens_of(text, "one two"), tokens_of(text, "two one")
        assert torch.allclose(there, back.flip(0)) == same


def test_an_unseen_word_is_like_the_words_it_shares_parts_with():
    fire, fly, zebra = (set(ngram_ids(word, 2**20)) - {PADDING} for word in ("firefighter", "firefly", "zebra"))
    assert len(fire & fly) >= 3
    assert not fire & zebra


def test_a_piece_is_spelt_by_the_sum_of_its_ngrams_over_the_root_of_their_number():
    """Padding is no n-gram, and learns nothing."""
    encoder = TextEncoder(torch.arange(9), 4, layers=0, heads=1, ngrams=30, dropout=0.0, word_dropout=0.0)
    assert encoder.ngrams is not None
    ids = torch.randint(0, 31, (3, 5, 16))
    ids[:, :, 9:], ids[0, 0] = 0, 0
    weight = encoder.ngrams.weight
    expected = torch.stack(
        [weight[own[own > 0]].sum(0) / max(1, int((own > 0).sum())) ** 0.5 for own in ids.flatten(0, 1)]
    )
    found = encoder._spelt(ids)
    torch.testing.assert_close(found.flatten(0, 1), expected)
    (gradient,) = torch.autograd.grad(found.square().sum(), weight)
    (other,) = torch.autograd.grad(expected.square().sum(), weight)
    torch.testing.assert_close(gradient, other)
    assert gradient[0].eq(0).all() and gradient.any()


def test_ngrams_are_three_to_five_letters_with_the_ends_marked():
    assert ngram_ids("cat", 97) == ngram_ids("cat", 97)
    assert sum(i != PADDING for i in ngram_ids("cat", 97)) == 3 + 2 + 1  # <ca cat at> <cat cat> <cat>
    assert len(ngram_ids("incomprehensibilities", 97)) == NGRAMS
    assert all(1 <= i <= 97 for i in ngram_ids("incomprehensibilities", 97))


def test_numbers_of_one_shape_share_a_run() -> None:
    year, other, code, short = (set(ngram_ids(word, 2**20)) - {PADDING} for word in ("1994", "2038", "dh8", "75"))
    assert len(year & other) == 1
    assert not year & (code | short)
    assert len(code & set(ngram_ids("dh7", 2**20))) == 2  # the shape, and `<dh`


def test_what_is_chosen_follows_length_and_number():
    few_short = Text().choose(["a red fox"] * 10, 500)
    many_long = Text().choose(["word " * 80] * 10, 20_000)
    assert (few_short["layers"][0], few_short["bigrams"][0], few_short["ngrams"][0] > 0) == (2, 0, True)
    assert (many_long["layers"][0], many_long["ngrams"][0]) == (0, 0)
    assert many_long["bigrams"][0] > 1000
    assert Text().choose(["word " * 80] * 10, 20_000, is_read=True)["layers"][0] == 2
    assert many_long["max_length"][0] == 80


def test_options_that_are_given_stand(tmp_path):
    from trunkline.config import load_config
    from trunkline.data import read_table
    from trunkline.plan import make_plan
    from trunkline.sources import split_rows

    rows = read_table([{"note": f"a note {i}", "kind": "ab"[i % 2]} for i in range(40)])
    raw = {"inputs": {"note": {"type": "text", "layers": 1}}, "tasks": {"kind": "category"}, "training": {"steps": 1}}
    config = load_config(raw, columns=rows.columns)
    plan = make_plan(config, split_rows(config, rows, None, None))
    options = plan.config.inputs["note"].options
    assert options["layers"] == 1
    assert options["ngrams"] > 0
    assert plan.reasons["inputs.note.ngrams"]
    assert "inputs.note.layers" not in plan.reasons


def test_long_pieces_are_not_remembered() -> None:
    """Else a caller's letters stay in memory for ever; what is said of them is the same."""
    before = texts._kept_ids.cache_info().currsize
    long = "".join(chr(97 + i * i % 26) for i in range(2000))
    found = ngram_ids(long, 97)
    assert texts._kept_ids.cache_info().currsize == before
    assert len(found) == NGRAMS and found == texts._kept_ids(long, 97)
