"""Texts from an exported network, with NumPy and ONNX Runtime alone: the loop around its step, greedy, with
beams, or drawing.

Nothing here needs PyTorch, nor anything else of trunkline; the file may be copied to where it is to run.

Shape legend: `n` rows, `b` beams, `R = n · b` texts at once, `T` tokens written so far, `K` vocabulary.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

NEVER = np.float32(-1e9)  # a score that no text can have
Session = Callable[[dict[str, np.ndarray]], list[np.ndarray]]


class Writer:
    """One text task of an exported network.

    Args:
        model: the ONNX file; its JSON and the files of the steps lie beside it.
        task: name of a task that writes texts.
        providers: of ONNX Runtime, on which the step runs.
        threads: on which ONNX Runtime works; by default as many as it thinks good.
        session: of the step, where it is open already: tasks that share a decoder share the step.

    Raises:
        ValueError: it is none.

    Rows that lack the input which the task is bound to get a text, too, which means nothing.

    Example:
        session = onnxruntime.InferenceSession("model.onnx")
        names = [node.name for node in session.get_outputs()]
        said = dict(zip(names, session.run(None, inputs)))
        Writer("model.onnx", "german")(said)  # ids of each row, without the end
    """

    def __init__(
        self,
        model: str | Path,
        task: str,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        *,
        threads: int | None = None,
        session: Any = None,
    ) -> None:
        model = Path(model)
        outputs = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))["outputs"]
        if "writes" not in outputs.get(task, {}):
            raise ValueError(f"{task!r} is no task that writes texts; there are "
                             f"{[name for name, told in outputs.items() if 'writes' in told]}")  # fmt: skip
        self.task, self.how = task, outputs[task]["writes"]
        session = session or opened(model.parent / self.how["step"], providers, threads)
        wanted = {node.name for node in session.get_inputs()}
        self._run: Session = lambda given: session.run(None, {k: v for k, v in given.items() if k in wanted})

    def __call__(self, said: Mapping[str, np.ndarray]) -> list[list[int]]:
        """What the network says of `n` rows, by the names of its outputs → the ids of each row's text."""
        read = {name: said[output] for name, output in self.how["read"].items()}
        texts = (beams if self.how["beams"] > 1 else greedy)(self._run, read, self.how)
        return [until(row, self.how["end"]) for row in texts.tolist()]


def opened(file: Path, providers: Sequence[str], threads: int | None) -> Any:
    """A session of ONNX Runtime; `threads`: see `Writer`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(file), options, providers=list(providers))


def until(ids: list[int], end: int) -> list[int]:
    """What stands before the end."""
    return ids[: ids.index(end)] if end in ids else ids


class Decoder:
    """The step with all it must be told: what is read, and what was written.

    Args:
        run: the step.
        read: of each text, by name, `[R, …]`.
        how: see `greedy`.
    """

    def __init__(self, run: Session, read: Mapping[str, np.ndarray], how: Mapping[str, Any]) -> None:
        self._run, self._read = run, dict(read)
        self._own: dict[str, np.ndarray] = {}
        for place in range(how["layers"]):
            for name in ("key", "value"):
                self._own[f"own_{name}_{place}"] = read[f"{name}_{place}"][:, :, :0]

    def ask(self, tokens: np.ndarray) -> np.ndarray:
        """The tokens written last `[R]` → what comes next, `[R, K]`."""
        logits, *own = self._run({"token": tokens[:, None], **self._read, **self._own})
        self._own = dict(zip(self._own, own, strict=True))
        return logits

    def take(self, texts: np.ndarray) -> None:
        """Go on from these of the texts, `[R]`."""
        self._own = {name: value[texts] for name, value in self._own.items()}


def greedy(run: Session, read: Mapping[str, np.ndarray], how: Mapping[str, Any]) -> np.ndarray:
    """The likeliest token, one after the other, or one that is drawn.

    Args:
        run: the step, by the names of its inputs.
        read: what the network says of the rows, `[n, …]`.
        how: `writes` of the task in the network's JSON.

    Returns:
        Ids `[n, T]`; what stands behind an end does not count.
    """
    decoder = Decoder(run, read, how)
    texts = np.zeros((len(read["mask"]), 0), np.int64)
    scores = _prompted(decoder, len(texts), how)
    is_open = np.ones(len(texts), bool)
    while True:
        scores = allowed(scores, texts, how)
        if how["draws"] is not None:
            scores = drawn(scores, read["mask"].sum(1), texts, how)
        tokens = np.where(is_open, scores.argmax(1), how["pad"])
        texts = np.concatenate([texts, tokens[:, None]], 1)
        is_open &= tokens != how["end"]
        if not is_open.any() or texts.shape[1] == how["max_new"]:
            return texts
        scores = decoder.ask(tokens)


def beams(run: Session, read: Mapping[str, np.ndarray], how: Mapping[str, Any]) -> np.ndarray:
    """Beam search as `generate` of Hugging Face Transformers has it, without early stopping; see `greedy`.

    A text's score is the sum of its log-probabilities over its length to the power of `length_penalty`. Each step looks
    at the `2 b` best continuations: of the first `b`, those that end are finished; of all, the `b` best that do not end
    go on. It stops where no text that goes on could beat the worst of `b` finished ones if it ended now.
    """
    n, b = len(read["mask"]), how["beams"]
    decoder = Decoder(run, {name: np.repeat(value, b, 0) for name, value in read.items()}, how)
    said = _prompted(decoder, n * b, how)
    texts, scores = np.zeros((n, b, 0), np.int64), np.full((n, b), NEVER)
    scores[:, 0] = 0.0  # all begin alike
    done, done_scores = np.full((n, b, how["max_new"]), how["pad"], np.int64), np.full((n, b), NEVER)
    is_done, is_open = np.zeros((n, b), bool), np.ones((n, 1), bool)
    first = np.arange(2 * b) < b
    for length in range(1, how["max_new"] + 1):
        logs = allowed(log_softmax(said), texts.reshape(n * b, -1), how).reshape(n, b, -1)
        best, places = top((logs + scores[:, :, None]).reshape(n, -1), 2 * b)
        whose, tokens = places // logs.shape[2], places % logs.shape[2]
        longer = np.concatenate([_of(texts, whose), tokens[:, :, None]], 2)
        ends = (tokens == how["end"]) | (length == how["max_new"])
        scores, chosen = top(best + ends * NEVER, b)
        ended = best / np.float32(length ** how["length_penalty"]) + ~(ends & first & is_open) * NEVER
        padded = np.pad(longer, ((0, 0), (0, 0), (0, how["max_new"] - length)), constant_values=how["pad"])
        done_scores, kept = top(np.concatenate([done_scores, ended], 1), b)
        done = _of(np.concatenate([done, padded], 1), kept)
        is_done = _of(np.concatenate([is_done, ends & first], 1), kept)
        texts, whose = _of(longer, chosen), _of(whose, chosen)
        worst = np.where(is_done, done_scores.min(1, keepdims=True), NEVER)
        is_open &= (scores[:, :1] / np.float32(length ** how["length_penalty"]) > worst).any(1, keepdims=True)
        if not is_open.any() or ends.all():
            break
        decoder.take((whose + np.arange(n)[:, None] * b).reshape(-1))
        said = decoder.ask(texts[:, :, -1].reshape(-1))
    return done[:, 0]


def allowed(scores: np.ndarray, texts: np.ndarray, how: Mapping[str, Any]) -> np.ndarray:
    """Scores of each next token `[R, K]`, `-inf` for what must not follow the texts `[R, T]`."""
    scores, written = scores.copy(), texts.shape[1]
    scores[:, how["never"]] = -np.inf
    if written < how["min_new"]:
        scores[:, how["end"]] = -np.inf
    if (size := how["no_repeat"]) is not None and written >= size - 1:
        for row, text in enumerate(texts.tolist()):
            last = text[written - size + 1 :]
            scores[
                row, [text[i + size - 1] for i in range(written - size + 1) if text[i : i + size - 1] == last]
            ] = -np.inf
    return scores


def drawn(scores: np.ndarray, lengths: np.ndarray, texts: np.ndarray, how: Mapping[str, Any]) -> np.ndarray:
    """Scores of each next token `[n, K]` with Gumbel noise, of which the largest is a draw from their softmax.

    The noise is that of the network's own search, which follows from what a row wrote and how many tokens it reads.

    Args:
        scores: `[n, K]`.
        lengths: tokens that each row reads, `[n]`.
        texts: written so far, `[n, T]`.
        how: see `greedy`.
    """
    scores = scores / np.float32(how["draws"]["temperature"])
    if how["draws"]["top_p"] < 1:
        order = np.argsort(scores, 1, kind="stable")
        upwards = np.exp(log_softmax(np.take_along_axis(scores, order, 1))).cumsum(1)
        is_rare = upwards <= 1 - how["draws"]["top_p"]
        is_rare[:, -1] = False
        scores[np.arange(len(scores))[:, None], order] += np.where(is_rare, -np.inf, np.float32(0))
    for row, (length, text) in enumerate(zip(lengths.tolist(), texts.tolist(), strict=True)):
        seed = zlib.crc32(repr((length, how["prompt"] + text)).encode())
        bits = np.random.PCG64(seed).random_raw(scores.shape[1])
        scores[row] -= np.log(-np.log(((bits >> np.uint64(12)) + 0.5) * 2.0**-52))
    return scores


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last dimension."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def top(scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest of each row, from the largest on, and where they stand, `[n, count]` each."""
    places = np.argsort(-scores, 1, kind="stable")[:, :count]
    return np.take_along_axis(scores, places, 1), places


def _of(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """`[n, m, …]` at places `[n, k]` → `[n, k, …]`."""
    return values[np.arange(len(values))[:, None], places]


def _prompted(decoder: Decoder, texts: int, how: Mapping[str, Any]) -> np.ndarray:
    """What comes first, after what all texts begin with, `[R, K]`."""
    for token in how["prompt"]:
        scores = decoder.ask(np.full(texts, token, np.int64))
    return scores
