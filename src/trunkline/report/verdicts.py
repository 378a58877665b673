"""Each task in one line, in honest words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trunkline.report.files import RunFiles

Tone = Literal["good", "unsure", "bad", "none"]
MANY = 24  # tasks, of which some come out best or worst by luck; of more, the best and the worst are listed
FEW = 100  # labelled rows under which a score is to be read with care


def gain_of(score: float | None, majority: float | None, best: float) -> float | None:
    """Share of the way from guessing to perfect."""
    return None if score is None or majority is None or best == majority else (score - majority) / (best - majority)


@dataclass(frozen=True)
class Verdict:
    """A task's primary metric on held-out rows.

    Attributes:
        task: its name.
        kind: its type.
        metric: the primary one.
        best: its value for perfect answers.
        lower_is_better: less of it is better.
        rows: labelled held-out rows; `None` where nobody knows.
        score: of the model; `None` where it is not defined.
        majority: of guessing.
        twin: of the same network trained for this task alone.
        low: end of the 95 % interval.
        high: other end.
        tone: in one word.
        words: in a few.
    """

    task: str
    kind: str
    metric: str
    best: float
    lower_is_better: bool
    rows: int | None
    score: float | None
    majority: float | None
    twin: float | None
    low: float | None
    high: float | None
    tone: Tone
    words: str

    @property
    def gain(self) -> float | None:
        """Share of the way from guessing to perfect; `None` where it is not defined."""
        return gain_of(self.score, self.majority, self.best)

    @property
    def is_thin(self) -> bool:
        """Whether so few rows are labelled that little can be said."""
        return self.rows is not None and self.rows < FEW

    @property
    def has_spread(self) -> bool:
        """Whether there is an interval to show: of all-right answers every resample is all right."""
        return self.low is not None and self.high is not None and self.high > self.low

    @property
    def is_ahead(self) -> bool:
        """Whether the score itself is better than guessing, however surely."""
        return self.gain is not None and self.gain > 0

    @property
    def over_twin(self) -> float | None:
        """By how much together is better than alone; below 0 where it is worse."""
        if self.score is None or self.twin is None:
            return None
        return self.twin - self.score if self.lower_is_better else self.score - self.twin


def verdicts(run: RunFiles) -> list[Verdict]:
    """Of all tasks, in order."""
    return [_verdict(run, task, told) for task, told in run.tasks.items()]


def _verdict(run: RunFiles, task: str, told: Mapping[str, Any]) -> Verdict:
    metric = told["metric"]
    score, majority, twin = ((scores.get(task) or {}).get(metric) for scores in (run.scores, run.majority, run.twins))
    interval = told.get("interval") or {}
    tone, words = _in_words(score, majority, told["best"], interval, told["rows"])
    return Verdict(
        task,
        told["type"],
        metric or "",
        told["best"],
        told["lower_is_better"],
        told["rows"],
        score,
        majority,
        twin,
        interval.get("low"),
        interval.get("high"),
        tone,
        words,
    )


def _in_words(
    score: float | None, majority: float | None, best: float, interval: Mapping[str, Any], rows: int | None
) -> tuple[Tone, str]:
    if rows == 0:
        return "none", "no labelled row to judge by"
    if score is None:
        return "none", "cannot be scored on these rows"
    if majority is None:
        return "none", "nothing to compare with"
    ahead = score > majority if best >= majority else score < majority
    if not interval:
        return ("good", "above guessing") if ahead else ("bad", "no better than guessing")
    if interval["better"] >= 0.975 and ahead:
        return "good", "better than guessing"
    if interval["better"] <= 0.025 and not ahead:
        return "bad", "worse than guessing" if score != majority else "no better than guessing"
    return "unsure", "not surely better than guessing" if ahead else "no better than guessing"
