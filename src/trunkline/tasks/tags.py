"""Tags: one label for each word of a text (named entities, parts of speech).

Shape legend: `n` rows, `L` tokens, `D` width, `C` tags, `E` words that were cut off.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.cells import as_list
from trunkline.contexts import Context, WordsContext
from trunkline.errors import DataError
from trunkline.showing import Answer, Shown
from trunkline.tasks.contract import Head, Scores, Target, Task
from trunkline.tasks.unseen import fingerprint
from trunkline.types import State, Tokens

IGNORED = -100
OUTSIDE = "O"
BIO = re.compile(r"O|[BI](-.*)?")


class Tags(Task):
    """One tag a word. The tag of a word is read and learned at the word's first token.

    Words that the encoder cut off can be neither read nor learned: they are predicted as `O` (the most frequent tag
    where there is no `O`), and they count in the metrics.
    """

    reads = "words"
    primary = "span_f1"

    def read(self, cell: Any) -> list[str]:
        """Tags in order, from a list (or its JSON), or from a string with white space between them.

        Raises:
            DataError: the cell is none of these, or an entry of the list is no string.
        """
        if isinstance(cell, str) and not cell.lstrip().startswith("["):
            return cell.split()
        if not isinstance(cell, (str, list, tuple)):
            raise DataError(f"tags are a list, or a string with spaces between them, not {cell!r:.60}")
        tags = as_list(cell)
        for tag in tags:
            if not isinstance(tag, str):
                raise DataError(f"a tag is a string, not {tag!r}")
        return tags

    def names(self, value: list[str]) -> Iterable[str]:
        """Each tag."""
        return value

    def known_names(self, state: State) -> Collection[str]:
        """The tags."""
        return state["tags"]

    def fit(self, values: Iterable[Sequence[str]]) -> State:
        """`{"tags": [names in alphabetical order], "counts": [words of each]}`.

        Raises:
            DataError: there is no tag at all.
        """
        counts = Counter(tag for tags in values for tag in tags)
        if not counts:
            raise DataError("no word of the training split has a tag")
        names = sorted(counts)
        return {"tags": names, "counts": [counts[name] for name in names]}

    def prepare(self, value: Sequence[str], state: State, context: Context | None) -> tuple[list[int], list[int]]:
        """Labels of the tokens (`IGNORED` but for the first of a word), and labels of the words that were cut off.

        Raises:
            DataError: not one tag a word.
        """
        if not isinstance(context, WordsContext):
            raise DataError("there are tags, but no text whose words they name")
        if len(value) != len(context.words):
            raise DataError(f"{len(value)} tags for {len(context.words)} words; there must be one tag a word")
        numbers = {tag: number for number, tag in enumerate(state["tags"])}
        labels = [IGNORED] * max((stop for _, stop in context.spans), default=0)
        cut: list[int] = []
        for tag, (start, stop) in zip(value, context.spans, strict=True):
            number = numbers[tag] if tag in numbers else unseen_number(tag, len(numbers))
            if start < stop:
                labels[start] = number
            else:
                cut.append(number)
        return labels, cut

    def collate(self, items: Sequence[Sequence[Any]]) -> Target:
        """`{"values": [n, L], "cut": [n, E], "flags": [n, 1]}`, `IGNORED` where there is nothing."""
        rows: list[tuple[list[int], list[int]]] = [row[0] or ([], []) for row in items]
        return {
            "values": pad([labels for labels, _ in rows]),
            "cut": pad([cut for _, cut in rows]),
            "flags": torch.tensor([[row[0] is not None] for row in items]),
        }

    def build(self, states: Sequence[State], width: int) -> TagsHead:
        """A linear layer on every token."""
        (state,) = states
        return TagsHead(width, len(state["tags"]))

    def metric(self, states: Sequence[State]) -> TagsMetric:
        """`span_f1` and `accuracy`."""
        (state,) = states
        return TagsMetric(state["tags"], fallback(state))

    def decode(
        self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> list[list[list[str] | None]]:
        """The tags of each row's words; `None` for a row that has no text."""
        (state,) = states
        best = output.argmax(2).tolist()
        return [[self._decode_row(row, state, context) for row, context in zip(best, contexts, strict=True)]]

    def show(self, said: list[str], true: list[str] | None, state: State, of: str) -> Answer:
        """The words, each under its tag; `O` is no tag."""
        words = of.split()
        seen = _tagged(words, said)
        if true is None:
            return Answer(seen)
        return Answer(seen, _tagged(words, true), None, sum(s != t for s, t in zip(said, true)) / max(len(true), 1))

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The most frequent tag everywhere, as logits `[n, L, C]`."""
        (state,) = states
        share = torch.tensor(state["counts"], device=target["values"].device) / sum(state["counts"])
        return share.log().expand(*target["values"].shape, -1)

    def _decode_row(self, row: Sequence[int], state: State, context: Context | None) -> list[str] | None:
        if not isinstance(context, WordsContext):
            return None
        rest = state["tags"][fallback(state)]
        return [state["tags"][row[start]] if start < stop else rest for start, stop in context.spans]


def _tagged(words: Sequence[str], tags: Sequence[str]) -> Shown:
    return Shown("tags", tags=tuple((w, "" if t == OUTSIDE else t) for w, t in zip(words, tags)))


def fallback(state: State) -> int:
    """Number of the tag that words get which nobody read: `O`, or the most frequent one."""
    tags, counts = state["tags"], state["counts"]
    return tags.index(OUTSIDE) if OUTSIDE in tags else counts.index(max(counts))


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Lists of numbers → `[n, longest]`."""
    longest = max(len(row) for row in rows)
    filled = [[*row, *[IGNORED] * (longest - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.long).reshape(len(rows), longest)


def fit_length(labels: Tensor, length: int) -> Tensor:
    """Labels `[n, L]` at another length: the part was padded to its own longest row, the batch to another."""
    return F.pad(labels, (0, length - labels.shape[1]), value=IGNORED)


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


class TagsMetric(torchmetrics.Metric):
    """Micro-averaged F1 of spans, and the share of words with the right tag; sums, so exact over ranks.

    A span is right when its ends and its kind are. Where neither target nor prediction has a span, F1 is not defined.
    A tag that training never saw is never predicted: its word is wrong, its span missed.

    Args:
        tags: names.
        rest: number of the tag that is predicted for words which were cut off.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, tags: Sequence[str], rest: int) -> None:
        super().__init__()
        self.tags = tuple(tags)
        self.rest = rest
        self.find = bio_spans if is_bio(tags) else single_spans
        # right, predicted and true spans; right words, words
        self.add_state("counts", torch.zeros(5, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Target) -> None:
        """Logits `[n, L, C]` and what `Tags.collate` gives."""
        best = output.argmax(2)
        labels = torch.cat([fit_length(target["values"], best.shape[1]), target["cut"]], 1)
        guesses = torch.cat([best, torch.full_like(target["cut"], self.rest)], 1)
        for label, guess in zip(labels[target["flags"][:, 0]].cpu(), guesses[target["flags"][:, 0]].cpu(), strict=True):
            words = label != IGNORED
            self.counts += torch.tensor(self._count(label[words].tolist(), guess[words].tolist())).to(self.counts)

    def compute(self) -> list[Scores | None]:
        """The scores; `None` where no word was seen."""
        right, predicted, true, right_words, words = self.counts.tolist()
        if words == 0:
            return [None]
        f1 = 2 * right / (predicted + true) if predicted + true else None
        return [{"span_f1": f1, "accuracy": right_words / words}]

    def _count(self, labels: list[int], guesses: list[int]) -> list[int]:
        true = self.find([tag_name(i, self.tags) for i in labels])
        predicted = self.find([self.tags[i] for i in guesses])
        right_words = sum(a == b for a, b in zip(labels, guesses, strict=True))
        return [len(true & predicted), len(predicted), len(true), right_words, len(labels)]


def unseen_number(tag: str, known: int) -> int:
    """The number of a tag that training never saw, behind those of the `known` ones: its kind, and how it begins.

    The kind keeps its own number, so that the words of a span still belong together.
    """
    prefix, kind = (tag[0], tag[2:]) if BIO.fullmatch(tag) else ("B", tag)
    return known + 3 * fingerprint(kind) + "BIO".index(prefix)


def tag_name(number: int, tags: Sequence[str]) -> str:
    """The tag of a number; one that training never saw is named by its kind's number, unless the kind is known."""
    if number < len(tags):
        return tags[number]
    kind, prefix = divmod(number - len(tags), 3)
    kinds = {fingerprint(known): known for tag in tags if (known := tag[2:])}
    return OUTSIDE if "BIO"[prefix] == OUTSIDE else f"{'BIO'[prefix]}-{kinds.get(kind, kind)}"


def is_bio(tags: Iterable[str]) -> bool:
    """Whether the tags are `O`, `B-kind`, `I-kind` (or plain `B`, `I`) and nothing else."""
    return all(BIO.fullmatch(tag) for tag in tags)


def single_spans(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Every word that is not `O` is a span of its own: `(start, stop, tag)`."""
    return {(i, i + 1, tag) for i, tag in enumerate(tags) if tag != OUTSIDE}


def bio_spans(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Spans `(start, stop, kind)` as conlleval of CoNLL-2000 defines them.

    A span begins at every `B`, and at an `I` that does not go on with the kind before it (after `O`, at the start, or
    after another kind). So any sequence of tags has a reading.

    Example:
        >>> sorted(bio_spans(["I-PER", "I-PER", "B-PER", "I-LOC", "O"]))
        [(0, 2, 'PER'), (2, 3, 'PER'), (3, 4, 'LOC')]
    """
    spans = set()
    start, kind = 0, None
    for i, tag in enumerate([*tags, OUTSIDE]):
        prefix, _, name = tag.partition("-")
        if kind is not None and (prefix != "I" or name != kind):
            spans.add((start, i, kind))
            kind = None
        if prefix != OUTSIDE and kind is None:
            start, kind = i, name
    return spans
