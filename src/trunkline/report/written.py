"""A text that was written beside the one it should be: which words differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

WIDE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # of scripts that set no space between words
PIECE = re.compile(rf"[{WIDE}]|[^\W{WIDE}]+|[^\w\s]|\s+")
Runs = list[tuple[str, bool]]  # parts of a text, in order, and whether the other text lacks them


def differing(said: str, true: str) -> tuple[Runs, Runs]:
    """Both texts in runs of words and marks that they have in common, in one order, and of those that they have not.

    Example:
        >>> differing("a red dog", "a big red dog")
        ([('a red dog', False)], [('a ', False), ('big', True), (' red dog', False)])
    """
    ours, theirs = PIECE.findall(said), PIECE.findall(true)
    first, second = ([piece for piece in pieces if not piece.isspace()] for pieces in (ours, theirs))
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    ours_too = {block.a + i for block in blocks for i in range(block.size)}
    theirs_too = {block.b + i for block in blocks for i in range(block.size)}
    return _runs(ours, ours_too), _runs(theirs, theirs_too)


def _runs(pieces: Sequence[str], common: set[int]) -> Runs:
    """Neighbours of one sort together, white space within them."""
    runs: Runs = []
    number, space = 0, ""
    for piece in pieces:
        if piece.isspace():
            space = piece
            continue
        is_other = number not in common
        number += 1
        if runs and runs[-1][1] == is_other:
            runs[-1] = (runs[-1][0] + space + piece, is_other)
        elif is_other and runs:
            runs[-1] = (runs[-1][0] + space, False)
            runs.append((piece, True))
        else:
            runs.append((space + piece, is_other))
        space = ""
    return runs
