"""Texts by the tokenizer of a pretrained network, where there is little to read or little room."""

from __future__ import annotations

import pytest

from trunkline.arrays.subwords import SubwordCells, read_tokens

tokenizers = pytest.importorskip("tokenizers")


def tokenizer(*, marks: bool) -> str:
    from tokenizers.processors import TemplateProcessing

    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"[C]": 0, "[S]": 1, "a": 2, "b": 3, "?": 4}, unk_token="?")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    if marks:
        made.post_processor = TemplateProcessing(single="[C] $A [S]", special_tokens=[("[C]", 0), ("[S]", 1)])
    return made.to_str()


@pytest.mark.parametrize("text", ["", " "])
def test_a_text_without_tokens_has_one(text: str) -> None:
    """So that a batch of such texts is no empty one, alone as beside others."""
    about = {"tokenizer": tokenizer(marks=False), "padding": 7, "longest": None}
    ids, context = read_tokens(text, about, 5)
    assert ids.tolist() == [7] and context.words == () and not context.is_cut
    cells = SubwordCells(5)
    batch = cells.collate([cells.prepare(text, {"encoder": about})[0]] * 2)
    assert batch["ids"].shape == (2, 1) and batch["mask"].all()


@pytest.mark.parametrize(
    ("most", "expected"), [(1, [1]), (2, [0, 1]), (3, [0, 2, 1]), (4, [0, 2, 3, 1]), (9, [0, 2, 3, 1])]
)
def test_no_more_is_read_than_there_is_room_for(most: int, expected: list[int]) -> None:
    ids, context = read_tokens("a b", {"tokenizer": tokenizer(marks=True)}, most)
    assert context.is_cut == (most < 4)
    assert ids.tolist() == expected
