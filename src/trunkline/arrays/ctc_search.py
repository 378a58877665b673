"""The likeliest text of a CTC output: prefixes side by side, with words that may be said and how likely they follow.

Hannun et al., "First-pass large vocabulary continuous speech recognition using bi-directional recurrent DNNs" (2014),
algorithm 1: all paths that say the same prefix are added up; a prefix counts by
`log p(prefix) + weight · log p_words(prefix)`.

Shape legend: `S` slots, `C` classes; class `k + 1` is the letter `k`, class 0 the blank.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from trunkline.arrays.ngram import END, NGram

BLANK = 0  # the class that says nothing
SPACE = " "
LEAST = math.log(1e-4)  # a letter less likely than this in a slot is not looked at there
NOTHING = -math.inf


@dataclass(frozen=True)
class Beam:
    """All paths that say one prefix.

    Attributes:
        text: the prefix.
        blank: log-probability of the paths that end with a blank.
        letter: of those that end with the prefix's last letter.
        words: of its whole words one after the other, times their weight.
    """

    text: str
    blank: float
    letter: float
    words: float = 0.0

    @property
    def sound(self) -> float:
        """Of all its paths."""
        return float(np.logaddexp(self.blank, self.letter))

    @property
    def score(self) -> float:
        """What it counts."""
        return self.sound + self.words


@dataclass(frozen=True)
class Lexicon:
    """What may be said, and how likely.

    Attributes:
        known: words that there are; empty where any are.
        model: how likely they follow each other; `None`: all alike.
        weight: of the model.
    """

    known: frozenset[str] = frozenset()
    model: NGram | None = None
    weight: float = 0.0
    begun: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        begun = (word[:stop] for word in self.known for stop in range(len(word) + 1))
        object.__setattr__(self, "begun", frozenset(begun))

    def allows(self, text: str, letter: str) -> bool:
        """Whether a letter may follow a prefix: words may have single spaces between them."""
        word = text.rpartition(SPACE)[2]
        if letter == SPACE:
            return bool(word) and (not self.known or word in self.known)
        return not self.known or word + letter in self.begun

    def gain(self, words: Sequence[str], following: str) -> float:
        """What a whole word adds to the score."""
        return 0.0 if self.model is None else self.weight * math.log(2) * self.model.log2(words, following)

    def ends(self, text: str) -> bool:
        """Whether a text may end here."""
        return not self.known or text.rpartition(SPACE)[2] in self.known | {""}


@lru_cache(maxsize=8)
def lexicon_of(words: tuple[str, ...], texts: tuple[tuple[str, int], ...], order: int, weight: float) -> Lexicon:
    """Of words that may be said, and of a model of so many words a run from texts, each with its number; 0 for none."""
    model = NGram((text.split() for text, times in texts for _ in range(times)), order) if order else None
    return Lexicon(frozenset(words), model, weight)


def search(slots: np.ndarray, letters: Sequence[str], lexicon: Lexicon, width: int) -> str:
    """The text with the best score among those that were kept.

    Args:
        slots: log-probabilities `[S, C]`.
        letters: of the classes after the blank.
        lexicon: of words.
        width: prefixes that are kept after each slot.
    """
    beams = [Beam("", 0.0, NOTHING)]
    for slot in slots:
        beams = _kept(_grown(beams, slot, letters, lexicon), width)
    whole = [beam for beam in beams if lexicon.ends(beam.text)]
    if not whole:  # no word that was begun came to its end in time
        return max(beams, key=lambda beam: beam.score).text.rpartition(SPACE)[0]
    found: dict[str, float] = defaultdict(lambda: NOTHING)
    for beam in whole:  # with and without a space behind its last word a text is the same
        text = beam.text.rstrip(SPACE)
        found[text] = float(np.logaddexp(found[text], _ended(beam, lexicon)))
    return max(found, key=lambda text: found[text])


def _grown(beams: Sequence[Beam], slot: np.ndarray, letters: Sequence[str], lexicon: Lexicon) -> Iterable[Beam]:
    """Every prefix as it is, and with each letter that is likely enough."""
    blank: dict[str, float] = defaultdict(lambda: NOTHING)
    letter: dict[str, float] = defaultdict(lambda: NOTHING)
    words = {beam.text: beam.words for beam in beams}
    likely = [k for k in np.flatnonzero(slot > slot.max() + LEAST).tolist() if k != BLANK]
    for beam in beams:
        blank[beam.text] = np.logaddexp(blank[beam.text], beam.sound + slot[BLANK])
        for k in likely:
            new, is_again = letters[k - 1], beam.text.endswith(letters[k - 1])
            if is_again:  # only a blank between them tells two from one
                letter[beam.text] = np.logaddexp(letter[beam.text], beam.letter + slot[k])
            if lexicon.allows(beam.text, new):
                text = beam.text + new
                letter[text] = np.logaddexp(letter[text], (beam.blank if is_again else beam.sound) + slot[k])
                if text not in words:
                    words[text] = beam.words + (_word_gain(beam.text, lexicon) if new == SPACE else 0.0)
    return [Beam(text, float(blank[text]), float(letter[text]), words[text]) for text in {**blank, **letter}]


def _word_gain(text: str, lexicon: Lexicon) -> float:
    *before, last = text.split(SPACE)
    return lexicon.gain(before, last)


def _kept(beams: Iterable[Beam], width: int) -> list[Beam]:
    return sorted(beams, key=lambda beam: beam.score, reverse=True)[:width]


def _ended(beam: Beam, lexicon: Lexicon) -> float:
    """The score with the last word, and with the end."""
    words = beam.text.split(SPACE) if beam.text else []
    if words and words[-1] == "":
        words.pop()
        last = 0.0
    else:
        last = lexicon.gain(words[:-1], words[-1]) if words else 0.0
    return beam.score + last + lexicon.gain(words, END)
