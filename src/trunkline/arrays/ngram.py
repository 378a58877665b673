"""How likely words follow each other: an n-gram model with Witten–Bell smoothing.

`p(w | h) = (c(h, w) + t(h) · p(w | h′)) / (c(h) + t(h))`, where `c` counts in the training texts, `t(h)` is how many
different words followed `h`, and `h′` is `h` without its first word; below single words every word of the vocabulary,
and one that stands for all others, is as likely (Chen and Goodman, "An empirical study of smoothing techniques for
language modeling", 1998, section 2.6).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

START, END = "<s>", "</s>"


class NGram:
    """Conditional probabilities of words.

    Args:
        texts: words of each.
        order: words of a run, at least 1.

    Example:
        >>> model = NGram([["a", "b"], ["a", "c"]], order=2)
        >>> round(sum(2.0 ** model.log2(["a"], word) for word in [*model.words, "?"]), 6)
        1.0
    """

    def __init__(self, texts: Iterable[Sequence[str]], order: int) -> None:
        self.order = order
        self.words: set[str] = {END}
        self.follows: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for text in texts:
            self.words.update(text)
            run = [*[START] * (order - 1), *text, END]
            for stop in range(order - 1, len(run)):
                for length in range(order):
                    self.follows[tuple(run[stop - length : stop])][run[stop]] += 1

    def log2(self, before: Sequence[str], word: str) -> float:
        """`log₂ p(word | before)`; the text began where `before` does."""
        history = ([START] * (self.order - 1) + list(before))[-(self.order - 1) :] if self.order > 1 else []
        return math.log2(self._probability(tuple(history), word))

    def _probability(self, history: tuple[str, ...], word: str) -> float:
        below = self._probability(history[1:], word) if history else 1 / (len(self.words) + 1)
        found = self.follows.get(history)
        if found is None:
            return below
        return (found[word] + len(found) * below) / (found.total() + len(found))
