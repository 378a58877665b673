"""What a task is: everything trunkline must know about one kind of target.

Tasks of one kind with equal options are *stacked*: one head, one metric, one matrix product for all of them, each
keeping its own name, loss and weight. Everything built here therefore serves `G >= 1` tasks; a kind that cannot be
stacked always sees `G = 1`. `trunkline.testing.check_task` holds any implementation to this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa
import torch
import torchmetrics
from torch import Tensor

from trunkline.arrays.contract import Answers
from trunkline.contexts import Context
from trunkline.showing import Answer, Attended, Shown, plain_answer
from trunkline.tasks.calibration import Judgement, Settled
from trunkline.tasks.head import Head, Output, Target
from trunkline.types import Choices, State, Tokens

__all__ = ["ERRORS", "SETTLED", "Head", "Output", "Scores", "Target", "Task"]  # a kind of target, and its head

# Metrics that count errors, by the names that kinds of task share.
ERRORS = ("mae", "rmse", "abs_err", "angle_mean", "wer", "cer", "mel_distance", "ece", "log_loss", "brier")

Scores = dict[str, float | None]  # None where a metric is not defined (one class only)


SETTLED = ("temperature", "thresholds", "least_logit")  # what `after_training` may add to a state, whatever the options


class Task(ABC):
    """A kind of thing to learn, bound to no column yet. The constructor only stores; its signature is the schema.

    A method that raises `NotImplementedError` here belongs to kinds that say they have it, by the attribute that its
    text names or, of `is_right`, by having it; of other kinds nobody calls it.

    Attributes:
        reads: `row` for one vector a row; an axis for the tokens of the input named in `of:`, of a grid one span;
            `pyramid` for all its grids, finest first; `tokens` for all tokens, of a pyramid the coarsest grid.
        primary: the metric that counts when one number is wanted; where it depends on options, a property.
        best: the value of `primary` for perfect predictions.
        lower_is_better: the metrics, of those its `metric` may report, of which less is better.
        reads_files: cells are paths; they reach `read` absolute.
        is_one_pass: `predict_output` is one pass of tensor operations.
        can_combine: its heads can `combine` what several inputs say, each for itself (late fusion).
        choose_sample: how many labels `choose` looks at, evenly spread over the rows; `None`: all.
        can_share: several tasks of it may have one head (`share: OTHER`): it has `fit_shared` and `build_shared`.
        needs_of: it reads the tokens of one input in their order, and so must be bound to it; other kinds that read
            `tokens` may read those of all inputs.
        is_sequence: its answers are sequences, so that each label has many steps to learn from.
        joins: it can say what is true of pictures that were put together (`join`).
        heeds_context: how a label is prepared depends on what was done to the input that the task is bound to; else it
            is prepared once.
        is_written: its labels are texts to be written, the longer the more they cost.
        attends: it can say what it read of its view for each word of a text that it wrote (`attend`).
    """

    reads: ClassVar[Literal["row", "grid", "pyramid", "time", "words", "nodes", "tokens"]] = "row"
    best: ClassVar[float] = 1.0
    lower_is_better: ClassVar[frozenset[str]] = frozenset(ERRORS)
    reads_files: ClassVar[bool] = False
    is_one_pass: ClassVar[bool] = True
    can_combine: ClassVar[bool] = False
    choose_sample: ClassVar[int | None] = None
    can_share: ClassVar[bool] = False
    needs_of: ClassVar[bool] = False
    is_sequence: ClassVar[bool] = False
    joins: ClassVar[bool] = False
    heeds_context: ClassVar[bool] = True
    is_written: ClassVar[bool] = False
    attends: ClassVar[bool] = False

    @property
    @abstractmethod
    def primary(self) -> str:
        """A kind with one answer for all options says `primary = "…"`."""

    @classmethod
    def reads_with(cls, options: Mapping[str, Any]) -> str:
        """What a task with these options must be bound to, as `reads` says it."""
        return cls.reads

    @property
    def copies(self) -> bool:
        """Whether what it says may be copied from the input it is bound to, whose words its head then reads, too."""
        return False

    @property
    def unseen_names(self) -> str:
        """What becomes of names in held-out labels that training never saw; ends a sentence about them."""
        return "they count as wrong"

    @property
    def answers(self) -> Answers | None:
        """How outputs become answers without PyTorch, for an exported network; `None` where only this class knows.

        `decode` does the same.
        """
        return None

    @property
    def refuses_export(self) -> str | None:
        """Why what it says cannot come from an exported network, or `None` where it can: in one pass, as most do."""
        return None if self.is_one_pass else "how long an answer is comes out on the way, which no one graph holds"

    @property
    def output_form(self) -> str | None:
        """What a caller of the exported network must know of this output's shape; `None` where it speaks for itself."""
        return None

    @abstractmethod
    def read(self, cell: Any) -> Any:
        """One target cell, decoded.

        Raises:
            DataError: the cell cannot be used; the message says why.
        """

    def check(self, cell: Any) -> None:
        """Can the cell be read, as far as a quick look tells? By default it is read.

        Raises:
            DataError: it cannot.
        """
        self.read(cell)

    def check_place(self, cell: Any, size: tuple[int, int]) -> Iterable[str]:
        """Does a label fit the picture that the task is bound to?

        Args:
            cell: one that can be read.
            size: `(height, width)` of the upright picture, in pixels.

        Returns:
            What is odd about it, but can be used; each in few words, the same for the same oddity.

        Raises:
            DataError: it does not fit.
        """
        return ()

    def check_words(self, value: Any, words: int) -> None:
        """Does a label, as `read` gives it, fit a text of so many words that the task is bound to?

        Raises:
            DataError: it does not.
        """
        return

    def read_many(self, cells: pa.Array) -> Sequence[Any] | None:
        """Present cells of a whole column, decoded at once as `read` decodes each; `None` where it must."""
        return None

    def inspect(self, cells: Sequence[Any]) -> None:
        """Look at the training cells of the column before any is read, for faults of the whole column.

        Raises:
            DataError: this kind cannot read the column; the message says what to write.
        """
        return

    def choose(self, values: Sequence[Any]) -> Choices:
        """Values for the options that were left open (`None`), each with its reason; they go into the resolved config.

        Args:
            values: labels of the training split, as many as `choose_sample` says.
        """
        return {}

    def names(self, value: Any) -> Iterable[str]:
        """The classes that a value names: those that training should see. None by default."""
        return ()

    def known_names(self, state: State) -> Collection[str]:
        """The classes that training saw; a kind that has `names` has this."""
        return ()

    @abstractmethod
    def fit(self, values: Iterable[Any]) -> State:
        """Class names, scales and priors from the labels of the training split, as plain JSON.

        Raises:
            DataError: nothing can be learned from these values.
        """

    def fit_shared(self, columns: Sequence[Iterable[Any]]) -> list[State]:
        """States of tasks that share one head, from the labels of each. Where `can_share` is true."""
        raise NotImplementedError(f"{type(self).__name__} tasks cannot share")

    @abstractmethod
    def prepare(self, value: Any, state: State, context: Context | None) -> Any:
        """One value → what `collate` takes; follows what was done to the input (`context`) where it is bound to one.

        A class that training never saw is no fault: it occurs in held-out rows only, where the metric counts it as
        missed and the loss leaves it out.

        Raises:
            DataError: the label does not fit the state or the input.
        """

    def join(self, items: Sequence[Any], places: Sequence[tuple[int, int]], size: tuple[int, int]) -> Any:
        """Prepared items of pictures that were put into one → the item of the whole. Where `joins` is true.

        Args:
            items: one a picture, prepared as its tile was.
            places: `(top, left)` of each tile in the whole, in pixels as the encoder sees it.
            size: `(height, width)` of the whole, which the tiles fill.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot join what is said of several pictures")

    @abstractmethod
    def collate(self, items: Sequence[Sequence[Any]]) -> Target:
        """`items[row][task]`, `None` where a task has no label → `{name: [n, …]}`.

        A stacked kind puts `flags [n, G]` beside its values.
        """

    def source(self, contexts: Sequence[Context | None], state: State) -> dict[str, Tensor]:
        """What a head copies from, `{name: [n, …]}`, of each row by the context of its input. Where `copies` is true.

        The head finds it in its view (`Tokens.source`).
        """
        raise NotImplementedError(f"{type(self).__name__} does not copy")

    def stack_key(self, state: State) -> Hashable | None:
        """Tasks with equal keys (and class) share one head; `None` for never."""
        return None

    @abstractmethod
    def build(self, states: Sequence[State], width: int) -> Head:
        """The layers for these tasks (one state each); any module with the methods of a `Head` does."""

    def build_shared(self, head: Head, states: Sequence[State]) -> Head:
        """A head for these tasks that has the layers of another one. Where `can_share` is true.

        Args:
            head: of the task that is shared.
            states: of the tasks that share it.
        """
        raise NotImplementedError(f"{type(self).__name__} tasks cannot share")

    @abstractmethod
    def metric(self, states: Sequence[State]) -> torchmetrics.Metric:
        """A metric with `update(output, target)` (labelled rows only) and `compute() -> [scores or None] * G`.

        `None` says "no data"; it is never 0.
        """

    def signatures(self) -> dict[str, str]:
        """By metric, what others must know to compute the very same one. None by default."""
        return {}

    @abstractmethod
    def decode(self, output: Output, states: Sequence[State], contexts: Sequence[Context | None]) -> list[list[Any]]:
        """Plain values a person reads: one list per task, one entry per row."""

    def show(self, said: Any, true: Any, state: State, of: Any) -> Answer:
        """A decoded prediction beside the truth, for people to see.

        Args:
            said: one entry of what `decode` gives.
            true: the label as `read` gives it; `None` where there is none.
            state: of the task.
            of: the decoded value of the input that the task is bound to; `None` without one.
        """
        return plain_answer(said, true, state)

    def attend(self, head: Head, view: Tokens, said: Sequence[str], states: Sequence[State]) -> Sequence[Attended]:
        """Which tokens of the view each word of a text was written from, one entry a row. Where `attends` is true.

        Words of a transcript are in their tokens (`Attended.is_alignment`); a decoder looks at those that it writes of.

        Args:
            head: that wrote the texts.
            view: what it read, of as many rows as there are texts.
            said: the texts.
            states: of the head's tasks.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what it reads")

    def show_target(self, target: Target, state: State, of: Any) -> Shown | None:
        """What training learns from a row, drawn on what it sees; `None` for kinds whose label shows as it is.

        Args:
            target: of one row.
            state: of the task.
            of: of the input that the task is bound to, what `Modality.seen` gives.
        """
        return None

    def legend(self, state: State) -> Sequence[tuple[str, tuple[int, int, int]]]:
        """Classes and their colours (red, green, blue), for kinds that `show` classes by colours."""
        return ()

    def is_right(self, said: Any, true: Any) -> bool:
        """Whether an answer is exactly right, for kinds of which that can be said.

        Args:
            said: one entry of what `decode` gives.
            true: the label as `read` gives it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what is exactly right")

    @abstractmethod
    def baseline(self, states: Sequence[State], target: Target) -> Output:
        """The output of a predictor that knows the training labels' distribution and no input."""

    def after_training(self, output: Output, target: Target, states: Sequence[State]) -> Sequence[Settled]:
        """What is set from the outputs on held-out rows: temperatures, thresholds. Nothing by default.

        Args:
            output: of all labelled held-out rows; `decode` and the metric read what is added to the states.
            target: of the same rows.
            states: one a task.
        """
        return [Settled() for _ in states]

    def before_settling(self, state: State) -> State:
        """The state without what `after_training` added: what guessing is scored with."""
        return {key: value for key, value in state.items() if key not in SETTLED}

    def judge(self, output: Output, target: Target, states: Sequence[State]) -> Sequence[Judgement | None]:
        """How sure the outputs were and whether they were right, for kinds with probabilities; else `None`."""
        return [None for _ in states]


def on_host(output: Output) -> Any:
    """An output as arrays; of half precision as float32, which NumPy can do with."""
    if not isinstance(output, Tensor):
        return {name: on_host(value) for name, value in output.items()}
    half = output.dtype in (torch.float16, torch.bfloat16)
    return (output.float() if half else output).detach().cpu().numpy()
