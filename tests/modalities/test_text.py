"""Text: what a vocabulary knows, which tokens a word becomes, and that padding and neighbours change nothing."""

import json
import unicodedata

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline import testing
from trunkline.arrays.texts import EMPTY, PADDING, bucket_id
from trunkline.contexts import WordsContext
from trunkline.errors import ConfigError, DataError
from trunkline.modalities.text import Text, TextEncoder

torch.set_num_threads(1)

TEXTS = ["The cat isn't here.", "the dog is here", "A cat, a dog: the end"]
texts = st.text(st.characters(codec="utf-8"), max_size=40)


def build(text: Text, rows: list[str] = TEXTS, width: int = 16) -> tuple[dict, TextEncoder]:
    torch.manual_seed(0)
    state = text.fit(rows)
    return state, text.build(state, width).double().eval()


def encode(text: Text, state: dict, encoder: TextEncoder, rows: list[str]):
    return encoder(text.collate([text.prepare(row, state, None)[0] for row in rows]))


class TestRead:
    def test_text_is_kept_and_numbers_are_written_out(self):
        assert [Text().read(cell) for cell in ("Hi there ", "", 3, 2.5)] == ["Hi there ", "", "3", "2.5"]

    def test_words_in_a_list_are_a_text(self):
        cells = (["EU", "rejects", "."], ("a",), [], np.array(["so", "it"], object))
        assert [Text().read(cell) for cell in cells] == ["EU rejects .", "a", "", "so it"]

    @pytest.mark.parametrize("word", ["New York", "", " "])
    def test_an_entry_that_is_not_one_word_is_refused(self, word):
        """Else tags would stand at other words than they are said of."""
        with pytest.raises(DataError, match=f"one word an entry, without white space, and '{word}' is not"):
            Text().read(["in", word, "is"])

    @pytest.mark.parametrize("cell", [["a", 1], {"a": 1}, b"bytes", None])
    def test_anything_else_is_refused(self, cell):
        with pytest.raises(DataError, match=f"a text is a string, not {type(cell).__name__}"):
            Text().read(cell)

    def test_half_a_surrogate_pair_is_refused(self):
        with pytest.raises(DataError, match=r"not valid Unicode: \\ud800, letter 2, is half of a pair"):
            Text().read("a\ud800 b")
        assert Text().read("\U0001f600") == "\U0001f600"


class TestPieces:
    @pytest.mark.parametrize(
        ("word", "pieces"),
        [
            ("这是中文。", ["这", "是", "中", "文", "。"]),
            ("iPhoneを買う", ["iphone", "を", "買", "う"]),
            ("العربيّة،", ["العربيّة", "،"]),
            ("हिन्दी।", ["हिन्दी", "।"]),
            ("cafe\u0301s", ["cafés"]),
            ("❤️!", ["❤️", "!"]),
            ("snake_case-2", ["snake_case", "-", "2"]),
            ("\x00a\u200bb", ["\x00", "a", "\u200b", "b"]),
        ],
    )
    def test_in_any_script(self, word, pieces):
        assert Text().cells.pieces(word) == pieces

    @given(st.text(st.characters(codec="utf-8"), max_size=30))
    def test_nothing_is_lost(self, row):
        pieces = "".join(piece for word in row.split() for piece in Text(lower=False).cells.pieces(word))
        assert pieces == "".join(unicodedata.normalize("NFC", word) for word in row.split())

    def test_what_is_cut_is_told_with_the_longest(self):
        with pytest.warns(UserWarning, match=r"2 of 3 texts have more than max_length=4 tokens \(the longest 100000\)"):
            Text(max_length=4).fit(["a b c d e", "a", "a " * 100_000])

    @given(st.lists(st.sampled_from(["ab", "it's", ".", "中文"]), max_size=12), st.integers(1, 9))
    def test_cut_or_whole_the_beginning_is_the_same(self, row, limit):
        text, state = " ".join(row), {"ids": {}}
        (ids, short), (every, whole) = (Text(max_length=n).prepare(text, state, None) for n in (limit, 1000))
        assert ids.tolist() == every[:limit].tolist()
        assert short.words == whole.words
        assert short.spans == tuple((min(start, limit), min(stop, limit)) for start, stop in whole.spans)


class TestVocabulary:
    def test_most_frequent_first_then_alphabetical(self):
        state = Text(min_count=2, buckets=4).fit(TEXTS)
        assert state == {"ids": {"the": 6, "a": 7, "cat": 8, "dog": 9, "here": 10}}

    def test_size_and_count_limit_it(self):
        assert len(Text(2).fit(TEXTS)["ids"]) == 2
        assert "end" not in Text(min_count=2).fit(TEXTS)["ids"]
        assert "end" in Text(min_count=1).fit(TEXTS)["ids"]

    def test_case(self):
        assert "The" not in Text().fit(TEXTS)["ids"]
        assert {"The", "the"} <= set(Text(lower=False, min_count=1).fit(TEXTS)["ids"])

    def test_state_survives_json(self):
        text = Text(min_count=1)
        state = text.fit([*TEXTS, "naïve 東京 🙂"])
        again = json.loads(json.dumps(state))
        for row in [*TEXTS, "naïve 東京 🙂", "never seen"]:
            assert torch.equal(text.prepare(row, state, None)[0], text.prepare(row, again, None)[0])

    def test_unknown_pieces_share_a_bucket_by_their_ending(self):
        assert bucket_id("walking", 64) == bucket_id("singing", 64)
        assert bucket_id("1987", 64) == bucket_id("2024", 64)
        text = Text(buckets=8)
        ids, _ = text.prepare("zork", {"ids": {}}, None)
        assert EMPTY < int(ids) < EMPTY + 1 + 8

    def test_buckets_are_the_same_in_every_process(self):
        assert bucket_id("walking", 64) == 47

    def test_long_training_texts_are_counted_in_one_warning(self):
        with pytest.warns(UserWarning, match=r"2 of 3 texts have more than max_length=5 tokens") as caught:
            Text(max_length=5).fit(TEXTS)
        assert len(caught) == 1


class TestWords:
    def test_punctuation_is_split_off(self):
        text = Text(min_count=1)
        state = text.fit(["isn ' t ( end ) ."])
        ids, context = text.prepare("Isn't (end).", state, None)
        assert context == WordsContext(("Isn't", "(end)."), ((0, 3), (3, 7)))
        names = {number: piece for piece, number in state["ids"].items()}
        assert [names[i] for i in ids.tolist()] == ["isn", "'", "t", "(", "end", ")", "."]

    @given(texts)
    @settings(max_examples=200, deadline=None)
    def test_spans_tile_the_tokens_word_by_word(self, row):
        ids, context = Text(max_length=1000).prepare(row, {"ids": {}}, None)
        assert list(context.words) == row.split()
        stops = [0, *(stop for _, stop in context.spans)]
        assert [start for start, _ in context.spans] == stops[:-1]
        assert all(start < stop for start, stop in context.spans)
        assert len(ids) == max(stops[-1], 1)
        for word, (start, stop) in zip(context.words, context.spans, strict=True):
            alone, _ = Text().prepare(word, {"ids": {}}, None)
            assert torch.equal(ids[start:stop], alone)

    @given(texts, st.integers(1, 6))
    @settings(max_examples=200, deadline=None)
    def test_cutting_keeps_the_beginning(self, row, limit):
        whole, all_words = Text(max_length=1000).prepare(row, {"ids": {}}, None)
        ids, context = Text(max_length=limit).prepare(row, {"ids": {}}, None)
        assert torch.equal(ids, whole[:limit])
        assert context.words == all_words.words and not all_words.is_cut
        assert context.is_cut == (len(whole) > limit)
        assert context.spans == tuple((min(a, limit), min(b, limit)) for a, b in all_words.spans)

    def test_words_behind_the_cut_have_empty_spans(self):
        _, context = Text(max_length=2).prepare("a b c d", {"ids": {}}, None)
        assert [start == stop for start, stop in context.spans] == [False, False, True, True]

    @pytest.mark.parametrize("row", ["", "   ", "\n"])
    def test_empty_text_is_one_token_and_no_word(self, row):
        ids, context = Text().prepare(row, {"ids": {}}, None)
        assert ids.tolist() == [EMPTY]
        assert context == WordsContext((), ())


class TestEncoder:
    def test_collate_pads_and_masks(self):
        values = Text().collate([torch.tensor([5, 6, 7]), torch.tensor([8])])
        assert values["ids"].tolist() == [[5, 6, 7], [8, PADDING, PADDING]]
        assert values["mask"].tolist() == [[True, True, True], [True, False, False]]

    def test_what_is_kept_small_is_counted_in_full(self):
        """Ids are kept in 32 bits; pairs of them are hashed by products that need 64."""
        text = Text(ngrams=64)
        state, _ = build(text)
        items = [text.prepare(row, state, None)[0] for row in TEXTS]
        assert {part.dtype for item in items for part in item if part is not None} == {torch.int32}
        values = text.collate(items)
        assert {name: part.dtype for name, part in values.items() if part.dtype != torch.bool} == {
            name: torch.int64 for name in ("ids", "ngrams")
        }

    def test_layout(self):
        text = Text()
        state, encoder = build(text)
        tokens = encode(text, state, encoder, TEXTS)
        (span,) = tokens.spans
        length = tokens.values.shape[1]
        assert tokens.values.shape == (3, length, 16)
        assert (span.start, span.stop, span.axis, span.shape) == (0, length, "words", (length,))

    def test_neighbours_and_padding_change_nothing(self):
        text = Text(dropout=0.0)
        state, encoder = build(text)
        rows = ["cat", *TEXTS, ""]
        together = encode(text, state, encoder, rows)
        for i, row in enumerate(rows):
            alone = encode(text, state, encoder, [row])
            torch.testing.assert_close(together.values[i][together.mask[i]], alone.values[0], atol=1e-12, rtol=0)

    def test_order_of_words_matters(self):
        text = Text()
        state, encoder = build(text)
        one, other = encode(text, state, encoder, ["the cat dog", "the dog cat"]).row()
        assert (one - other).abs().max() > 1e-3

    def test_word_dropout_takes_known_pieces_for_unknown_in_training_only(self):
        text = Text(dropout=0.0, word_dropout=1.0)
        state, encoder = build(text)
        known, unknown = "the cat", "zzhe zzat"
        assert "cat" in state["ids"]
        kept, dropped = encode(text, state, encoder, [known, unknown]).values
        assert (kept - dropped).abs().max() > 1e-3
        kept, dropped = encode(text, state, encoder.train(), [known, unknown]).values
        torch.testing.assert_close(kept, dropped)

    def test_half_of_what_is_dropped_loses_its_spelling(self):
        """What is known by its spelling alone would teach nothing about the words beside it."""
        text = Text(dropout=0.0, word_dropout=0.6, ngrams=64, layers=0)
        state, encoder = build(text)
        encoder.train()
        item, _ = text.prepare("cat " * 4000, {**state}, None)
        values = text.collate([(item[0].repeat(20), item[1].repeat(20, 1))])
        said = encoder(values).values[0]  # [L, D]
        kinds, counts = said.round(decimals=6).unique(dim=0, return_counts=True)
        assert len(kinds) == 3  # known; unknown with its spelling; unknown without
        shares = sorted((counts / counts.sum()).tolist())
        assert shares == pytest.approx([0.3, 0.3, 0.4], abs=0.04)
        assert len(encoder.eval()(values).values[0].round(decimals=6).unique(dim=0)) == 1

    def test_layers_begin_quiet(self):
        """Nearly the embeddings, so that a text is the bag of its words until its layers have learned."""
        state, encoder = build(Text())
        values = Text().collate([Text().prepare(row, state, None)[0] for row in TEXTS])
        with_layers = encoder(values).values
        encoder.layers = torch.nn.ModuleList()
        bag = encoder(values).values
        assert 0 < (with_layers - bag)[values["mask"]].square().mean() < 0.05  # of tokens with variance 1

    def test_every_parameter_learns(self):
        text = Text()
        state, encoder = build(text)
        encode(text, state, encoder, TEXTS).values.square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters() if p.requires_grad)

    def test_heads_must_divide_the_width(self):
        with pytest.raises(ConfigError, match="heads=4 of a text encoder does not divide the model's width 18"):
            Text().build({"ids": {}}, 18)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_length": 0}, "max_length=0: at least 1"),
            ({"max_length": -2, "encoder": "transformers:some"}, "max_length=-2: at least 1"),
            ({"vocabulary": -1}, "vocabulary=-1: 0 or more"),
            ({"min_count": -1}, "min_count=-1: 0 or more"),
            ({"buckets": 0}, "buckets=0: at least 1"),
            ({"layers": -1}, "layers=-1: 0 or more"),
            ({"heads": 0}, "heads=0: at least 1"),
            ({"bigrams": -1}, "bigrams=-1: 0 or more"),
            ({"ngrams": -3}, "ngrams=-3: 0 or more"),
            ({"dropout": 2.0}, "dropout=2.0: from 0 to less than 1"),
            ({"word_dropout": 5}, "word_dropout=5: from 0 to 1"),
            ({"heads": 0, "buckets": -1}, "buckets=-1: at least 1\ntext input: heads=0: at least 1"),
        ],
    )
    def test_options_out_of_range_are_told_all_at_once(self, options, message):
        with pytest.raises(ConfigError, match=f"^text input: {message}$"):
            Text(**options).fit(TEXTS)
        with pytest.raises(ConfigError, match=f"^text input: {message}$"):
            Text(**options).build({"ids": {}}, 16)


class Exported(torch.nn.Module):
    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids, mask):
        return self.encoder({"ids": ids, "mask": mask}).values


def test_onnx_with_any_number_of_rows_and_tokens(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    text = Text(max_length=32)
    state, encoder = build(text)
    module = Exported(encoder.float()).eval()
    values = text.collate([text.prepare(row, state, None)[0] for row in TEXTS])
    rows, length = torch.export.Dim("rows", min=1, max=64), torch.export.Dim("length", min=1, max=32)
    shape = {0: rows, 1: length}
    file = tmp_path / "text.onnx"
    torch.onnx.export(
        module, (values["ids"], values["mask"]), file, dynamo=True, verbose=False, dynamic_shapes=(shape, shape)
    )
    session = runtime.InferenceSession(file)
    for batch in (TEXTS, ["cat"], ["the cat and the dog. and the end", ""]):
        values = text.collate([text.prepare(row, state, None)[0] for row in batch])
        feed = {i.name: v.numpy() for i, v in zip(session.get_inputs(), values.values(), strict=True)}
        ours = module(**values)[values["mask"]]
        theirs = torch.from_numpy(session.run(None, feed)[0])[values["mask"]]
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_letters_are_read_one_by_one() -> None:
    modality = Text(letters=True, min_count=1)
    testing.check_modality(modality, ["Isn't it", "", "a"])
    state = modality.fit(iter(["Isn't it"]))
    assert set(state["ids"]) == set("isn't ")
    ids, context = modality.prepare("Isn't it", state, None)
    assert [k for i in ids.tolist() for k, v in state["ids"].items() if v == i] == list("isn't it ")
    assert context.spans == ((0, 6), (6, 9))
    chosen = modality.choose(["a word and another word " * 3] * 50, 50)
    assert chosen["layers"][0] == 2 and chosen["ngrams"][0] == 0 and chosen["max_length"][0] == 72


def test_texts_whose_tokens_are_read_have_room_for_longer_ones() -> None:
    """What is cut of one cannot be said, written or tagged; of a whole text one word in a hundred is no loss."""
    texts = ["a b c"] * 300 + ["a " * 80]
    read = Text(encoder="scratch").choose(texts, 301, is_read=True)["max_length"][0]
    whole = Text(encoder="scratch").choose(texts, 301)["max_length"][0]
    assert whole < 80 < 100 <= read
