"""What is said in a sound, letter by letter, as it is said: no decoder, and no word of when.

Shape legend: `n` rows, `S` slots, `C` classes, `U` units, `B` UTF-8 bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.arrays.ctc_search import SPACE
from trunkline.arrays.written import TranscriptAnswers
from trunkline.cells import as_text
from trunkline.contexts import Context
from trunkline.errors import ConfigError, DataError
from trunkline.showing import Answer, Attended, plain_answer
from trunkline.tasks.contract import Head, Scores, Target, Task, on_host
from trunkline.tasks.ctc import BLANK, NEVER, CtcHead, align
from trunkline.tasks.text_attention import word_tokens
from trunkline.tasks.text_metric import TextMetric, as_bytes
from trunkline.tasks.vocabulary import SMALLEST, encode, learned_vocabulary
from trunkline.types import State, Tokens


class Transcript(Task):
    """The words of a sound, learned by connectionist temporal classification (see `ctc.py`).

    The head says a letter, or nothing, `slots` times a token; which of them belong to which letter is not told to it.
    Runs of white space in a text are one space. A text needs a slot for each of its letters, and one more between two
    that are equal.

    Args:
        vocabulary: number of subwords (byte-level BPE learned from the training texts), at least 259; `None`: the
            letters of the training texts.
        slots: of each token of the sound.
        beams: prefixes that the search keeps; 1 takes the likeliest class of each slot.
        words: words that may be said: `training` for those of the training texts, or a file with one a line; `None`:
            any. Needs beams and letters.
        ngram: words of a run in a model of how likely they follow each other, learned from the training texts; 0 for
            none. Needs beams and letters.
        ngram_weight: what the model counts beside the sound.
    """

    reads = "time"
    is_sequence = True
    heeds_context = False
    attends = True
    primary = "wer"
    best = 0.0

    def __init__(
        self,
        *,
        vocabulary: int | None = None,
        slots: int = 2,
        beams: int = 1,
        words: str | None = None,
        ngram: int = 0,
        ngram_weight: float = 0.5,
    ) -> None:
        self.vocabulary = vocabulary
        self.slots = slots
        self.beams = beams
        self.words = words
        self.ngram = ngram
        self.ngram_weight = ngram_weight

    @property
    def output_form(self) -> str:
        """Log-probabilities, with what each class is."""
        return "[rows, slots, C] log-probabilities; class 0 says nothing, and a class again and again is said once"

    def read(self, cell: Any) -> str:
        """The text, with single spaces between its words; a number is read as it is written.

        Raises:
            DataError: neither text nor number, or half a surrogate pair in it.
        """
        return SPACE.join(as_text(cell).split())

    def names(self, value: str) -> Iterable[str]:
        """Its letters, where letters are learned."""
        return value if self.vocabulary is None else ()

    def known_names(self, state: State) -> Collection[str]:
        """The letters of the training texts."""
        return state.get("letters", ())

    def is_right(self, said: str | None, true: str) -> bool:
        """Letter by letter."""
        return said == true

    def fit(self, values: Iterable[str]) -> State:
        """`{"letters"}` in alphabetical order, or subwords (see `learned_vocabulary`); `"frequent"`, a text.

        Where they are asked for also the `"words"` that may be said, and the `"texts"` that an n-gram model learns
        from, each with its number.

        Raises:
            ConfigError: options that cannot work together, or there is no such file of words.
            DataError: there is no text.
        """
        self._check()
        texts = Counter(values)
        if not texts:
            raise DataError("no row of the training split has a text")
        state: State = {"frequent": texts.most_common(1)[0][0]}
        if self.vocabulary is not None:
            return {**state, **learned_vocabulary(list(texts.elements()), self.vocabulary)}
        known = self._known(texts)
        state["letters"] = sorted({letter for text in texts for letter in text} | {c for word in known for c in word})
        if self.words is not None:
            state["words"] = known
            state["letters"] = sorted({*state["letters"], SPACE})
        return {**state, "texts": dict(texts)} if self.ngram else state

    def prepare(self, value: str, state: State, context: Context | None) -> tuple[list[int], bytes]:
        """Classes, and the text itself. A letter that training never saw is left out of what is learned."""
        if "letters" in state:
            places = {letter: place + 1 for place, letter in enumerate(state["letters"])}
            return [places[letter] for letter in value if letter in places], value.encode()
        return encode(value, state, len(value.encode()) + 1)[:-1], value.encode()

    def collate(self, items: Sequence[Sequence[Any]]) -> Target:
        """`{"values": [n, U], "sizes": [n], "reference": [n, B] uint8, "flags": [n, 1]}`, padded with blanks."""
        rows: list[tuple[list[int], bytes]] = [row[0] or ([], b"") for row in items]
        units = [torch.tensor(own or [BLANK], dtype=torch.long) for own, _ in rows]
        return {
            "values": nn.utils.rnn.pad_sequence(units, batch_first=True, padding_value=BLANK),
            "sizes": torch.tensor([len(own) for own, _ in rows]),
            "reference": as_bytes([reference for _, reference in rows]),
            "flags": torch.tensor([[row[0] is not None] for row in items]),
        }

    def build(self, states: Sequence[State], width: int) -> CtcHead:
        """A linear layer on every token."""
        (state,) = states
        return CtcHead(width, _classes(state), self.slots)

    def metric(self, states: Sequence[State]) -> TextMetric:
        """`wer` and `cer`, edits over words and letters of all references, and `exact`, the share of equal texts."""
        (state,) = states
        return TextMetric(partial(_heard, answers=self.answers, state=state), score_transcripts)

    @property
    def answers(self) -> TranscriptAnswers:
        """What outputs say."""
        return TranscriptAnswers(self.beams, self.ngram, self.ngram_weight)

    def decode(self, output: Tensor, states: Sequence[State], contexts: Sequence[Context | None]) -> list[list[str]]:
        """The texts."""
        return self.answers.decode(on_host(output), states, contexts)

    def show(self, said: str, true: str | None, state: State, of: Any) -> Answer:
        """The texts, and how many edits a word and a letter there are between them."""
        answer = plain_answer(said, true, state)
        if true is None:
            return answer
        found = score_transcripts([said], [true])
        scores = {name: score for name in ("wer", "cer") if (score := found[name]) is not None}
        return Answer(answer.said, answer.true, None, found["wer"], scores)

    def attend(self, head: Head, view: Tokens, said: Sequence[str], states: Sequence[State]) -> list[Attended]:
        """When each word was said: the tokens from its first letter's to its last one's on the likeliest path."""
        assert isinstance(head, CtcHead)
        (state,) = states
        output = head.predict_output(view).float().cpu().numpy()
        return [self._when(text, row, head.slots, state) for text, row in zip(said, output, strict=True)]

    def _when(self, text: str, log_p: np.ndarray, slots: int, state: State) -> Attended:
        if "letters" in state:
            units = [state["letters"].index(letter) + 1 for letter in text]
            words, stops = text.split(SPACE), np.cumsum([len(word) + 1 for word in text.split(SPACE)])
            own = [list(range(stop - len(word) - 1, stop - 1)) for word, stop in zip(words, stops.tolist())]
        else:
            units, words, own = word_tokens(text, state)
        times = align(log_p, units)
        if not times:
            return Attended((), np.zeros((0, len(log_p) // slots)), is_alignment=True)
        weights = np.zeros((len(words), len(log_p)))
        for row, units_of in zip(weights, own, strict=True):
            row[times[units_of[0]][0] : times[units_of[-1]][1]] = 1
        by_token = weights.reshape(len(words), -1, slots).sum(2)
        return Attended(tuple(words), by_token / by_token.sum(1, keepdims=True), is_alignment=True)

    def baseline(self, states: Sequence[State], target: Target) -> Tensor:
        """The most frequent text of the training split for every row, as sure slots, `[n, S, C]`."""
        (state,) = states
        units, _ = self.prepare(state["frequent"], state, None)
        path = torch.tensor([one for unit in units for one in (unit, BLANK)] or [BLANK], device=target["flags"].device)
        sure = torch.full((len(path), _classes(state)), NEVER, device=path.device).scatter(1, path.unsqueeze(1), 0.0)
        return sure.expand(len(target["flags"]), -1, -1)

    def _known(self, texts: Iterable[str]) -> list[str]:
        """The words that may be said."""
        if self.words is None:
            return []
        if self.words == "training":
            return sorted({word for text in texts for word in text.split()})
        path = Path(self.words).expanduser()
        if not path.is_file():
            raise ConfigError(f"words: there is no file {path}; give `training`, or a file with a word a line")
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ConfigError(f"words: {path} is not UTF-8: {error}") from error
        return sorted({line.strip() for line in lines if line.strip()})

    def _check(self) -> None:
        """Raises:
        ConfigError: all that is wrong.
        """
        needs = self.words is not None or self.ngram > 0
        faults = {
            f"vocabulary={self.vocabulary}: at least {SMALLEST}, or none for letters": (
                self.vocabulary is not None and self.vocabulary < SMALLEST
            ),
            f"slots={self.slots}: at least 1": self.slots < 1,
            f"beams={self.beams}: at least 1": self.beams < 1,
            f"ngram={self.ngram}: words of a run, or 0": self.ngram < 0,
            f"ngram_weight={self.ngram_weight}: 0 or more": not 0 <= self.ngram_weight < float("inf"),
            "words and ngram are for the search; give `beams` of 2 or more": needs and self.beams == 1,
            "beams, words and ngram look at letters; leave `vocabulary` out": (
                self.vocabulary is not None and (needs or self.beams > 1)
            ),
        }
        if said := [fault for fault, is_so in faults.items() if is_so]:
            raise ConfigError("\n".join(f"transcript task: {fault}" for fault in said))


def _heard(output: Tensor, answers: TranscriptAnswers, state: State) -> list[str]:
    return answers.say(on_host(output), state)


def _classes(state: State) -> int:
    return len(state["letters"]) + 1 if "letters" in state else state["size"]


def score_transcripts(said: Sequence[str], true: Sequence[str]) -> Scores:
    """Word and character error rates, 0 for no error, over 1 where more is said than there was; `exact`, 0–1."""
    from torchmetrics.functional.text import char_error_rate, word_error_rate

    pairs = list(said), list(true)
    return {
        "wer": float(word_error_rate(*pairs)) if any(text.split() for text in true) else None,
        "cer": float(char_error_rate(*pairs)) if any(true) else None,
        "exact": sum(s == t for s, t in zip(said, true, strict=True)) / len(true),
    }
