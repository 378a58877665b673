"""What a task that writes read of a row, word by word.

Shape legend: `W` words that were written, `S` tokens of the view, `C` sources: words, and whatever else has tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.contexts import Context, TimeContext, WordsContext
from trunkline.predictor import Reading
from trunkline.run.facts.subject import Subject, table_name
from trunkline.types import Span

WRITTEN, READ = 40, 48  # words that are told, of a text and of what was read for it
SIDE = 16  # cells of a picture's map, at most
PARTS = 32  # of a sound, at most


@dataclass(frozen=True)
class Source:
    """A column of what was read.

    Attributes:
        input: whose; `None` for what stands for the whole row, and for words of several.
        kind: `word`, `marks` (tokens of a text that stand for no word), `absent` (the learned token in the place of an
            input that the row lacks), `row`, `others` (words that are told together), else what its tokens run over.
        tokens: of the view.
        word: of a text; of a part of a sound the second at which it begins.
    """

    input: str | None
    kind: str
    tokens: tuple[int, ...]
    word: str = ""


def attention_facts(subject: Subject, task: str, places: Sequence[int]) -> dict[int, dict[str, Any]]:
    """By place in the split, of rows that have an answer with words in it.

    Schema: `words` that were written, `more`, how many are left out behind them; `sources [{input, kind, word}]` (see
    `Source`) and `weights [[share]]`, one row a word, which sums to 1; `unread`, words of texts that the encoder cut
    off; `is_alignment`, the weights say where in a sound each word is; `maps {input: [[share]]}`, of pictures the mean
    over what was written, laid out as the network saw them.
    """
    assert subject.judged is not None
    said = subject.said[subject.judged]
    wanted = [place for place in places if said[place][task]]
    rows = subject.split.rows[wanted].tolist() if wanted else []
    readings = subject.predictor.attend(subject.batches, rows, task, [said[place][task] for place in wanted])
    units = {unit.name: unit.inputs for unit in subject.preprocessing.encoders}
    return {place: told(one, units) for place, one in zip(wanted, readings, strict=True) if one.attended.words}


def told(one: Reading, units: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """As the files have it.

    Args:
        one: row.
        units: inputs of each encoder.
    """
    mask, named = one.mask.tolist(), {span.input for span in one.spans}
    pooled = {name: inputs for name, inputs in units.items() if not named & {*inputs[1:]}}
    sources = rows_as_one([s for span in one.spans for s in sources_of(span, mask, one.contexts, pooled)])
    weights = one.attended.weights
    shown = most_read(sources, weights)
    shares = np.stack([weights[:, list(source.tokens)].sum(1) for source in shown], 1)  # [W, C]
    texts = [context for context in one.contexts.values() if isinstance(context, WordsContext)]
    return {
        "words": list(one.attended.words[:WRITTEN]),
        "more": max(0, len(one.attended.words) - WRITTEN),
        "sources": [{"input": s.input, "kind": s.kind, "word": s.word} for s in shown],
        "weights": shares[:WRITTEN].round(4).tolist(),
        "is_alignment": one.attended.is_alignment,
        "unread": sum(start >= stop for context in texts for start, stop in context.spans),
        "maps": {
            span.input: map_of(span, weights).round(5).tolist()
            for span in one.spans
            if span.axis == "grid" and span.input in one.contexts
        },
    }


def sources_of(
    span: Span, mask: Sequence[bool], contexts: Mapping[str, Context | None], pooled: Mapping[str, Sequence[str]]
) -> list[Source]:
    """Columns of one span: the words of a text each by itself, of anything else all its tokens together.

    Args:
        span: of the view.
        mask: `[S]`, which tokens the row has.
        contexts: of the inputs that the row has.
        pooled: inputs of those encoders that make one token of several.
    """
    there = tuple(i for i in range(span.start, span.stop) if mask[i])
    if not there:
        return []
    if span.input is None:
        return [Source(None, "row", there)]
    inputs = pooled.get(span.input, (span.input,))
    if not contexts.keys() & {*inputs}:
        return [Source(table_name(inputs), "absent", there)]
    context = contexts.get(span.input)
    if isinstance(context, TimeContext):
        return _seconds(span, there, context)
    if not isinstance(context, WordsContext):
        return [Source(table_name(inputs), span.axis, there)]
    words = [
        Source(span.input, "word", tuple(range(span.start + start, span.start + stop)), word)
        for word, (start, stop) in zip(context.words, context.spans, strict=True)
        if start < stop
    ]
    taken = {token for word in words for token in word.tokens}
    rest = tuple(i for i in there if i not in taken)
    return [*words, Source(span.input, "marks", rest)] if rest else words


def _seconds(span: Span, there: Sequence[int], context: TimeContext) -> list[Source]:
    """Parts of a sound that are equally long, `PARTS` at most."""
    long = -(-len(there) // PARTS)  # tokens
    seconds = context.hop_seconds * span.stride[0]
    return [
        Source(span.input, "time", tuple(there[i : i + long]), f"{seconds * i:.2f} s")
        for i in range(0, len(there), long)
    ]


def rows_as_one(sources: Sequence[Source]) -> list[Source]:
    """The row has one token, or one for each member of an ensemble: they are told together."""
    tokens = tuple(token for source in sources if source.kind == "row" for token in source.tokens)
    others = [source for source in sources if source.kind != "row"]
    return [Source(None, "row", tokens), *others] if tokens else others


def most_read(sources: Sequence[Source], weights: np.ndarray) -> list[Source]:
    """The sources, with no more than `READ` words: those that most was read of, and the others as one."""
    words = [place for place, source in enumerate(sources) if source.kind == "word"]
    if len(words) <= READ:
        return list(sources)
    mean = weights.mean(0)
    ranked = sorted(words, key=lambda place: (-mean[list(sources[place].tokens)].sum(), place))
    others = set(ranked[READ:])
    tokens = tuple(token for place in sorted(others) for token in sources[place].tokens)
    kept = [source for place, source in enumerate(sources) if place not in others]
    return [*kept, Source(None, "others", tokens, f"{len(others)} other words")]


def map_of(span: Span, weights: np.ndarray) -> np.ndarray:
    """Weights `[W, S]` of a picture's grid → `[h, w]`, the mean over words; neighbours of fine ones together."""
    height, width = span.shape
    grid = weights[:, span.start : span.stop].mean(0).reshape(height, width)
    rows, columns = (np.arange(0, side, -(-side // SIDE)) for side in (height, width))
    return np.add.reduceat(np.add.reduceat(grid, rows, 0), columns, 1)
