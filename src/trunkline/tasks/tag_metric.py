"""How good tags are: by spans, by words, by rows.

Shape legend: `n` rows, `L` tokens, `W` words, `T` of them that are reached (see `tag_words.py`), `C` tags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torchmetrics
from torch import Tensor
from torch.nn import functional as F

from trunkline.tasks.bio import BIO, OUTSIDE, bio_spans, is_bio, single_spans
from trunkline.tasks.contract import Scores, Target
from trunkline.tasks.tag_words import IGNORED, is_whole, likeliest
from trunkline.tasks.unseen import fingerprint

Say = Callable[[Tensor, Tensor, Tensor], Tensor]  # output, places [n, T], whole rows [n] → tags [n, T] or IGNORED


class TagsMetric(torchmetrics.Metric):
    """Micro-averaged F1 of spans, and the shares of words and of whole rows that are right; sums, so exact over ranks.

    A span is right when its ends and its kind are. Where neither target nor prediction has a span, F1 is not defined.
    A row is right when each of its words is; one without words is not counted. A tag that training never saw is never
    predicted: its word is wrong, its span missed.

    Args:
        tags: names.
        rest: number of the tag that is predicted where `say` says none.
        say: the tags of an output.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, tags: Sequence[str], rest: int, say: Say = likeliest) -> None:
        super().__init__()
        self.tags = tuple(tags)
        self.rest = rest
        self.say = say
        self.find = bio_spans if is_bio(tags) else single_spans
        # right, predicted and true spans; right words, words; right rows, rows
        self.add_state("counts", torch.zeros(7, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Target) -> None:
        """What the head says and what `Tags.collate` gives."""
        labels, best = target["labels"], self.say(output, target["places"], is_whole(target))
        guesses = F.pad(best, (0, labels.shape[1] - best.shape[1]), value=IGNORED)  # [n, W]
        guesses = guesses.masked_fill(guesses == IGNORED, self.rest).cpu()
        flags, labels = target["flags"][:, 0].cpu(), labels.cpu()
        rows = ((a[a != IGNORED], b[a != IGNORED]) for a, b in zip(labels[flags], guesses[flags], strict=True))
        found = [self._count(label.tolist(), guess.tolist()) for label, guess in rows]
        self.counts += torch.tensor(found, dtype=torch.long).reshape(-1, len(self.counts)).sum(0).to(self.counts)

    def compute(self) -> list[Scores | None]:
        """The scores; `None` where no word was seen."""
        right, predicted, true, right_words, words, right_rows, rows = self.counts.tolist()
        if words == 0:
            return [None]
        f1 = 2 * right / (predicted + true) if predicted + true else None
        return [{"span_f1": f1, "accuracy": right_words / words, "exact": right_rows / rows}]

    def _count(self, labels: list[int], guesses: list[int]) -> list[int]:
        true = self.find([tag_name(i, self.tags) for i in labels])
        predicted = self.find([self.tags[i] for i in guesses])
        right_words = sum(a == b for a, b in zip(labels, guesses, strict=True))
        is_there = bool(labels)
        is_right = is_there and right_words == len(labels)
        return [len(true & predicted), len(predicted), len(true), right_words, len(labels), is_right, is_there]


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
    kinds = {fingerprint(tag[2:]): tag[2:] for tag in tags if tag != OUTSIDE}  # a plain `B` has the empty kind
    return OUTSIDE if "BIO"[prefix] == OUTSIDE else f"{'BIO'[prefix]}-{kinds.get(kind, kind)}"
