"""Tags: one label for each word of a text (named entities, parts of speech), or for each node of a graph.

Shape legend: `n` rows, `L` tokens, `D` width, `C` tags, `W` words, `T` of them that are reached (see `tag_words.py`).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.arrays.tags import IGNORED, OUTSIDE, TagAnswers, fallback, first_tokens, reached
from trunkline.cells import as_list, whole_text
from trunkline.contexts import Context, WordsContext
from trunkline.errors import DataError
from trunkline.showing import Answer, Shown, colour_of
from trunkline.tasks.bio import (
    barred,
    bio_spans,
    irregular,
    irregular_starts,
    is_bio,
    outsiders,
    possible,
)
from trunkline.tasks.contract import Head, Target, Task, on_host
from trunkline.tasks.crf import Chain, CrfHead, likeliest_path, packed
from trunkline.tasks.tag_metric import Say, TagsMetric, unseen_number
from trunkline.tasks.tag_words import (
    TaggedWords,
    at_tokens,
    fit_length,
    likeliest,
    pad,
)
from trunkline.types import State, Tokens

SHOWN = 5  # tags in a warning


class Tags(Task):
    """One tag a word. The tag of a word is read and learned at the word's first token.

    Words of which the encoder made no tokens, since it cut them off or has no signs for them, cannot be read: they are
    predicted as `O` (the most frequent tag where there is no `O`), and they count in the metrics. With `crf`, those
    before the last word that was read get the tags that are likeliest among their neighbours'.

    Args:
        crf: learn which tags follow which, and say the tags of a row that are likeliest together (see `crf.py`), where
            otherwise each word's tag stands for itself. What BIO forbids is not said then, but for what the training
            labels hold (`I-kind` at the start, after `O` or after another kind).

    State: `{"tags": [names in alphabetical order], "counts": [words of each]}`, and with `crf`, of tags that are BIO,
    what follows what against its rules: `{"irregular": [[tag, or None for the start, the next tag]]}`.
    """

    reads = "words"
    primary = "span_f1"

    def __init__(self, *, crf: bool = False) -> None:
        self.crf = crf

    @property
    def output_form(self) -> str | None:
        """Of a CRF, where its chain stands."""
        if not self.crf:
            return None
        return (
            "[rows, tokens + C + 2, C] of C tags: logits of the tokens, then what it adds that the tag of the column "
            "follows that of the row (C rows), that it is the first word's, that it is the last word's"
        )

    def read(self, cell: Any) -> list[str]:
        """Tags in order, from a list (or its JSON), or from a string with white space between them.

        Raises:
            DataError: the cell is none of these, or an entry of the list is no string or has half a surrogate pair.
        """
        if isinstance(cell, str) and not cell.lstrip().startswith("["):
            return whole_text(cell).split()
        if not isinstance(cell, (str, list, tuple, np.ndarray)):
            raise DataError(f"tags are a list, or a string with spaces between them, not {cell!r:.60}")
        tags = as_list(cell)
        for tag in tags:
            if not isinstance(tag, str):
                raise DataError(f"a tag is a string, not {tag!r}")
            whole_text(tag)
        return tags

    def names(self, value: list[str]) -> Iterable[str]:
        """Each tag."""
        return value

    def known_names(self, state: State) -> Collection[str]:
        """The tags."""
        return state["tags"]

    def is_right(self, said: list[str] | None, true: list[str]) -> bool:
        """Every word has its tag."""
        return said == true

    def check_words(self, value: Sequence[str], words: int) -> None:
        """One tag a word?

        Raises:
            DataError: not as many.
        """
        if len(value) != words:
            raise DataError(f"{len(value)} tags for {words} words; there must be one tag a word")

    def fit(self, values: Iterable[Sequence[str]]) -> State:
        """The tags; a warning tells of some that are not BIO beside others that are, or that go on with nothing.

        Raises:
            DataError: there is no tag at all.
        """
        rows = [tuple(tags) for tags in values]
        counts = Counter(tag for tags in rows for tag in tags)
        if not counts:
            raise DataError("no word of the training split has a tag")
        names = sorted(counts)
        if odd := outsiders(names):
            warnings.warn(_tell_odd(odd, counts), stacklevel=2)
        elif is_bio(names) and (starts := irregular_starts(rows)):
            warnings.warn(_tell_starts(starts, counts.total()), stacklevel=2)
        state = {"tags": names, "counts": [counts[name] for name in names]}
        return {**state, "irregular": irregular(set(rows))} if self.crf and is_bio(names) else state

    def prepare(self, value: Sequence[str], state: State, context: Context | None) -> TaggedWords:
        """The words' labels, where they stand, and with `crf`, which of them the chain can learn.

        Raises:
            DataError: not one tag a word.
        """
        if not isinstance(context, WordsContext):
            raise DataError("there are tags, but no text whose words they name")
        self.check_words(value, len(context.words))
        numbers = {tag: number for number, tag in enumerate(state["tags"])}
        labels = [numbers[tag] if tag in numbers else unseen_number(tag, len(numbers)) for tag in value]
        can = possible(value, state["tags"], state.get("irregular", ())) if self.crf else [True] * len(labels)
        return TaggedWords(labels, first_tokens(context), can)

    def collate(self, items: Sequence[Sequence[Any]]) -> Target:
        """`{"values": [n, L], "labels": [n, W], "places": [n, T], "flags": [n, 1]}`, `IGNORED` where there is nothing.

        `values` are the labels of words at their first tokens, and `places` are these tokens. Where some label cannot
        be learned, `possible [n, T]` says which can; so the host knows, and no training step waits for a device.
        """
        rows: list[TaggedWords] = [TaggedWords([], [], []) if row[0] is None else row[0] for row in items]
        places = [reached(words.places) for words in rows]
        can = [words.possible[: len(there)] for words, there in zip(rows, places, strict=True)]
        target = {
            "values": pad([at_tokens(words) for words in rows]),
            "labels": pad([words.labels for words in rows]),
            "places": pad(places),
            "flags": torch.tensor([[row[0] is not None] for row in items]),
        }
        return target if all(map(all, can)) else {**target, "possible": pad(can) == 1}

    def build(self, states: Sequence[State], width: int) -> TagsHead | CrfHead:
        """A linear layer on every token."""
        (state,) = states
        if self.crf:
            return CrfHead(width, barred(state["tags"], state.get("irregular", ())))
        return TagsHead(width, len(state["tags"]))

    def metric(self, states: Sequence[State]) -> TagsMetric:
        """`span_f1`, `accuracy` (of words) and `exact` (rows whose every word is right)."""
        (state,) = states
        return TagsMetric(state["tags"], fallback(state), self._say)

    @property
    def answers(self) -> TagAnswers:
        """What outputs say."""
        return TagAnswers(self.crf)

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[list[str] | None]]:
        """The tags of each row's words; `None` for a row that has no text."""
        return self.answers.decode(on_host(output), states, contexts)

    def show(self, said: list[str], true: list[str] | None, state: State, of: Any) -> Answer:
        """The words, each under its tag, and the spans where tags are BIO; `O` is no tag."""
        words, has_spans = of.split() if isinstance(of, str) else of.words, is_bio(state["tags"])
        seen = _tagged(words, said, has_spans)
        if true is None:
            return Answer(seen)
        wrong = sum(s != t for s, t in zip(said, true)) / max(len(true), 1)
        return Answer(seen, _tagged(words, true, has_spans), None, wrong)

    def legend(self, state: State) -> Sequence[tuple[str, tuple[int, int, int]]]:
        """Kinds of spans, or the tags where they are not BIO; the most frequent ones differ most."""
        counts: Counter[str] = Counter()
        for tag, count in zip(state["tags"], state["counts"]):
            if tag != OUTSIDE:
                counts[tag[2:] if is_bio(state["tags"]) else tag] += count
        return [(name, colour_of(number)) for number, (name, _) in enumerate(counts.most_common())]

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The most frequent tag everywhere, as logits `[n, L, C]`, behind which a CRF has a chain that says the same,
        also of words that were not read.
        """
        (state,) = states
        often = (torch.tensor(state["counts"], device=target["values"].device) / sum(state["counts"])).log()
        logits = often.expand(*target["values"].shape, -1)
        return (
            packed(logits, Chain(often, often.expand(len(often), -1), torch.zeros_like(often))) if self.crf else logits
        )

    @property
    def _say(self) -> Say:
        return likeliest_path if self.crf else likeliest


def _tell_odd(odd: Sequence[str], counts: Counter[str]) -> str:
    words, shown = sum(counts[tag] for tag in odd), ", ".join(f"{tag!r} ({counts[tag]})" for tag in odd[:SHOWN])
    shown += f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
    return (
        f"{words} of {counts.total()} words have tags that are not BIO (`O`, `B-kind`, `I-kind`) beside others that "
        f"are: {shown}; so spans are single words, in scores and in what is learned"
    )


def _tagged(words: Sequence[str], tags: Sequence[str], has_spans: bool) -> Shown:
    spans = tuple(sorted(bio_spans(tags))) if has_spans else None
    return Shown("tags", tags=tuple((w, "" if t == OUTSIDE else t) for w, t in zip(words, tags)), spans=spans)


def _tell_starts(starts: Counter[tuple[str | None, str]], words: int) -> str:
    shown = ", ".join(
        f"{tag!r} {'at the start' if before is None else f'after {before!r}'} ({count})"
        for (before, tag), count in starts.most_common(SHOWN)
    )
    shown += f" and {len(starts) - SHOWN} more" if len(starts) > SHOWN else ""
    return (
        f"{starts.total()} of {words} words have a tag `I-kind` that goes on with nothing: {shown}; each begins a "
        "span, as conlleval reads it"
    )


class TagsHead(Head):
    """Tokens → logits `[n, L, C]`."""

    def __init__(self, width: int, tags: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, tags)

    def predict_output(self, view: Tokens) -> Tensor:
        """Logits for every token; those of a word's first token count."""
        return self.linear(self.norm(view.values))

    def loss(self, output: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Cross entropy over words: `(sum [1], words [1])`. A tag that training never saw is left out."""
        labels = fit_length(target["values"], output.shape[1]).masked_fill(~target["flags"], IGNORED)
        labels = labels.masked_fill(labels >= output.shape[2], IGNORED)
        total = F.cross_entropy(output.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        return total.reshape(1), (labels != IGNORED).sum().to(total.dtype).reshape(1)
