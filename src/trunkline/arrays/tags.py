"""Tags of words: the likeliest one of each, or with a CRF the likeliest path.

Shape legend: `n` rows, `L` tokens, `T` words that are reached, `C` tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.arrays.contract import Answers, State, padded
from trunkline.contexts import Context, WordsContext

OUTSIDE = "O"
IGNORED = -100  # there is no word
UNREAD = -1  # the place of a word without tokens


@dataclass(frozen=True)
class TagAnswers(Answers):
    """Logits `[n, L, C]`, with `crf` `[n, L + C + 2, C]` → the tags of each row's words, `None` where is no text."""

    crf: bool

    def decode(
        self, output: np.ndarray, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[list[str] | None]]:
        """See the class."""
        (state,) = states
        places, whole = places_of(contexts)
        best = (likeliest_path if self.crf else likeliest)(output.astype(np.float32), places, whole)
        return [[_named(row, state, context) for row, context in zip(best.tolist(), contexts, strict=True)]]


def first_tokens(context: WordsContext) -> list[int]:
    """Of each word, or `UNREAD`."""
    return [start if start < stop else UNREAD for start, stop in context.spans]


def reached(places: list[int]) -> list[int]:
    """The places up to the last word that was read."""
    return places[: max((i + 1 for i, place in enumerate(places) if place != UNREAD), default=0)]


def places_of(contexts: Sequence[Context | None]) -> tuple[np.ndarray, np.ndarray]:
    """First tokens of the words that are reached, `[n, T]`, and in which rows these are all, `[n]`."""
    rows = [first_tokens(context) if isinstance(context, WordsContext) else [] for context in contexts]
    there = [reached(row) for row in rows]
    is_whole = np.array([len(a) == len(b) for a, b in zip(rows, there, strict=True)])
    return padded([np.array(row, np.int64) for row in there], IGNORED), is_whole


def fallback(state: State) -> int:
    """Number of the tag that words get of which nothing is said: `O`, or the most frequent one."""
    tags, counts = state["tags"], state["counts"]
    return tags.index(OUTSIDE) if OUTSIDE in tags else counts.index(max(counts))


def likeliest(output: np.ndarray, places: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Logits `[n, L, C]` → of each word the likeliest tag by itself, `[n, T]`; `IGNORED` of one that was not read."""
    said = np.take_along_axis(output.argmax(2), np.maximum(places, 0), 1)
    return np.where(places < 0, IGNORED, said)


def likeliest_path(output: np.ndarray, places: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The likeliest tags of each row's words together, by Viterbi's algorithm, `[n, T]`; `IGNORED` where is no word.

    Args:
        output: logits, behind them what follows what, what begins and what ends (`crf.packed`), `[n, L + C + 2, C]`.
        places: of the words' first tokens, `[n, T]`.
        whole: rows all of whose words are reached, `[n]`.
    """
    rows, length = places.shape
    if length == 0:
        return places
    count, mask = output.shape[2], places != IGNORED
    logits, table = output[:, : -(count + 2)], output[0, -(count + 2) :]
    between, start, end = table[:-2], table[-2], np.where(whole[:, None], table[-1], np.float32(0))
    said = np.take_along_axis(logits, np.maximum(places, 0)[:, :, None], 1)
    said = np.where((places < 0)[:, :, None], np.float32(0), said)
    score, steps = start + said[:, 0], []
    for t in range(1, length):
        paths = score[:, :, None] + between
        here = mask[:, t, None]
        score = np.where(here, paths.max(1) + said[:, t], score)
        steps.append(np.where(here, paths.argmax(1), np.arange(count)))
    path = [(score + end).argmax(1)]
    for before in reversed(steps):
        path.append(before[np.arange(rows), path[-1]])
    return np.where(mask, np.stack(path[::-1], 1), IGNORED)


def _named(row: Sequence[int], state: State, context: Context | None) -> list[str] | None:
    if not isinstance(context, WordsContext):
        return None
    words, rest = len(context.words), fallback(state)
    said = [rest if tag == IGNORED else tag for tag in [*row, *[IGNORED] * words][:words]]
    return [state["tags"][tag] for tag in said]
