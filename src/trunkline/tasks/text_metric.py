"""Scores of texts: BLEU and chrF of sacreBLEU, ROUGE, share of equal texts.

Shape legend: `n` rows, `L` tokens, `U` UTF-8 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torchmetrics
from torch import Tensor

from trunkline.tasks.contract import Scores, Target
from trunkline.tasks.text_overlap import ROUGE, rouge
from trunkline.tasks.vocabulary import needed

FILLER = 0xFF  # no byte of a text in UTF-8


def as_bytes(texts: Sequence[bytes]) -> Tensor:
    """Texts in UTF-8, side by side, `[n, U]` uint8, padded with `FILLER`."""
    rows = [torch.frombuffer(bytearray(text), dtype=torch.uint8) if text else torch.zeros(0).byte() for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=FILLER)


class TextMetric(torchmetrics.Metric):
    """Scores of whole corpora. Keeps all texts as bytes, so it is exact over ranks.

    Args:
        say: output → the text of each row.
        score: texts that were said and true ones → scores.
    """

    full_state_update = False
    written: list[Tensor]
    written_sizes: list[Tensor]
    true: list[Tensor]
    true_sizes: list[Tensor]

    def __init__(self, say: Callable[[Tensor], Sequence[str]], score: Callable[[list[str], list[str]], Scores]) -> None:
        super().__init__()
        self.say = say
        self.score = score
        for name in ("written", "written_sizes", "true", "true_sizes"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, output: Tensor, target: Target) -> None:
        """An output, and a target with `reference` and `flags`."""
        rows = target["flags"][:, 0]
        references = [row.tobytes().rstrip(bytes([FILLER])) for row in target["reference"][rows].cpu().numpy()]
        for name, texts in (("written", [t.encode() for t in self.say(output[rows])]), ("true", references)):
            stream = as_bytes([b"".join(texts)])[0].to(output.device)
            getattr(self, name).append(stream)
            getattr(self, f"{name}_sizes").append(torch.tensor([len(t) for t in texts], device=output.device).long())

    def compute(self) -> list[Scores | None]:
        """The scores; `None` where no text was seen."""
        written = list(split_texts(self.written, self.written_sizes))
        return [self.score(written, list(split_texts(self.true, self.true_sizes))) if written else None]


def split_texts(stream: list[Tensor] | Tensor, sizes: list[Tensor] | Tensor) -> Iterator[str]:
    """Texts out of one stream of UTF-8 bytes and the length of each (lists of them before ranks are gathered)."""
    parts = [stream] if isinstance(stream, Tensor) else stream
    content = b"".join(part.cpu().numpy().tobytes() for part in parts)
    start = 0
    for size in (s for part in ([sizes] if isinstance(sizes, Tensor) else sizes) for s in part.tolist()):
        yield content[start : start + size].decode()
        start += size


def score_texts(written: Sequence[str], true: Sequence[str]) -> Scores:
    """Corpus BLEU and chrF (0–100), mean F of ROUGE-1, ROUGE-2 and ROUGE-L, share of equal texts (0–1).

    ROUGE as its authors' tokenizer defines it: it sees the letters a–z and digits only.
    """
    sacrebleu = needed("sacrebleu")
    rouges = [rouge(t, w) for t, w in zip(true, written, strict=True)]
    return {
        "bleu": sacrebleu.BLEU(force=True).corpus_score(written, [true]).score,
        "chrf": sacrebleu.CHRF().corpus_score(written, [true]).score,
        **{name: sum(r[name] for r in rouges) / len(rouges) for name in ROUGE},
        "exact": sum(t == w for t, w in zip(true, written, strict=True)) / len(true),
    }


def row_score(written: str, true: str) -> float:
    """chrF of one text, 0–100; two empty ones are equal."""
    return 100.0 if written == true else needed("sacrebleu").CHRF().sentence_score(written, [true]).score


def signatures() -> dict[str, str]:
    """What sacreBLEU says about how its scores are made, so that others can make the same."""
    sacrebleu = needed("sacrebleu")
    found = {"bleu": sacrebleu.BLEU(force=True), "chrf": sacrebleu.CHRF()}
    for metric in found.values():
        metric.corpus_score(["a"], [["a"]])  # tells it that there is one reference a text
    return {name: metric.get_signature().format() for name, metric in found.items()}
