"""Texts: those that were written token by token, and those that are heard in a sound.

Shape legend: `n` rows, `S` slots, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from trunkline.arrays.contract import Answers, State
from trunkline.arrays.ctc_search import BLANK, SPACE, lexicon_of, search
from trunkline.arrays.subwords import tokenizer_of
from trunkline.contexts import Context


@dataclass(frozen=True)
class TextAnswers(Answers):
    """Ids of each row, up to the end or with it → its text."""

    def decode(self, output: Any, states: Sequence[State], contexts: Sequence[Context | None]) -> list[list[str]]:
        """See the class."""
        return [decode(output, states[0])]


@dataclass(frozen=True)
class TranscriptAnswers(Answers):
    """Log-probabilities `[n, S, C]` → texts.

    Attributes:
        beams: prefixes that the search keeps; 1: the likeliest path.
        ngram: words of a run in the model of how words follow each other; 0: none.
        ngram_weight: of that model.
    """

    beams: int
    ngram: int
    ngram_weight: float

    def decode(
        self, output: np.ndarray, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[str]]:
        """See the class."""
        return [self.say(output.astype(np.float32), states[0])]

    def say(self, output: np.ndarray, state: State) -> list[str]:
        """The text of each row."""
        if "letters" not in state:
            return decode_units(greedy(output), state)
        if self.beams == 1:
            return [SPACE.join("".join(state["letters"][k - 1] for k in row).split()) for row in greedy(output)]
        texts = tuple(state["texts"].items()) if self.ngram else ()
        lexicon = lexicon_of(tuple(state.get("words", ())), texts, self.ngram, self.ngram_weight)
        return [search(row, state["letters"], lexicon, self.beams) for row in output]


def greedy(output: np.ndarray) -> list[list[int]]:
    """Of each row what its likeliest path says: units, without blanks."""
    return [[c for c, _ in groupby(row) if c != BLANK] for row in output.argmax(2).tolist()]


def decode(ids: Any, state: State) -> list[str]:
    """Ids of each row up to the end → texts."""
    end = state["end"]
    rows = ids if isinstance(ids, list) else ids.tolist()
    return decode_units([row[: row.index(end)] if end in row else row for row in rows], state)


def decode_units(rows: Sequence[Sequence[int]], state: State) -> list[str]:
    """Ids of each row → texts."""
    return [text.strip() for text in tokenizer_of(state["tokenizer"]).decode_batch(rows)]
