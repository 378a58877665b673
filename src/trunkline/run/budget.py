"""Minutes → steps: how many there is time for on this machine. Done once; the resolved config keeps the steps."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from trunkline.defaults import usual_ema
from trunkline.plan import Plan
from trunkline.run.wiring import rows_of, settings_of, validation_of
from trunkline.training import Pace, from_first_process, measure_pace

LOOK = 0.15  # of the time, at most, goes to validation
FEWEST_ROWS, FEWEST_LOOKS = 100, 4
FEW = 0.5  # of the steps that are wanted: fewer are told at once, not in the config alone
MARGIN = 0.95  # of the minutes; files must be written too


@dataclass(frozen=True)
class Affordable:
    """What there is time for.

    Attributes:
        steps: all of them.
        validations: on the way.
        rows: to look at in each, at most.
        allowed: steps that the minutes would allow.
    """

    steps: int
    validations: int
    rows: int
    allowed: int


def fix_steps(plan: Plan) -> tuple[Plan, Pace | None]:
    """The plan with as many steps as its minutes allow, and what was measured for it.

    Where the config says `steps` nothing is measured, and the plan stands as it is.
    """
    training = plan.config.training
    if training.minutes is None:
        return plan, None
    rows_to_learn, validation = rows_of(plan, plan.splits.train), validation_of(plan)
    settings = settings_of(training, plan.config.data)
    pace = from_first_process(measure_pace(plan.network, plan.engine, rows_to_learn, validation, settings))
    if plan.network.blending is not None:  # looks at these rows once more, and at as many to learn from
        pace = replace(pace, row=3 * pace.row)
    wanted, batch_size = training.steps, training.batch_size
    validations, rows = training.validations, training.validation_rows
    assert wanted is not None and batch_size is not None and validations is not None and rows is not None
    reasons = {path: why for path, why in plan.reasons.items() if path != "training.minutes"}
    if training.minutes != "off":
        per_epoch = -(-len(rows_to_learn.labelled().rows) // batch_size)
        there = 0 if validation is None else len(validation.labelled().rows)
        can = afford(pace, training.minutes * 60, wanted, per_epoch, validations, min(rows, there))
        reasons |= _told(plan, pace, can)
        if can.steps < FEW * wanted:
            warnings.warn(f"{training.minutes:g} minutes allow {can.steps} steps here, where {wanted} are wanted: "
                          "give `training.minutes`, `off` for all of them", stacklevel=2)  # fmt: skip
        rows = can.rows if can.rows < min(rows, there) else rows
        training = replace(training, steps=can.steps, validations=can.validations, validation_rows=rows)
        if "training.ema" in reasons:  # chosen for the steps that were wanted
            ema, reasons["training.ema"] = usual_ema(can.steps)
            training = replace(training, ema=ema)
    return replace(plan, config=replace(plan.config, training=replace(training, minutes=None)), reasons=reasons), pace


def afford(pace: Pace, seconds: float, wanted: int, per_epoch: int, validations: int, rows: int) -> Affordable:
    """Steps, and looks at validation rows that take a small share of their time.

    Args:
        pace: measured.
        seconds: that all may take.
        wanted: steps.
        per_epoch: steps after which every cell has been read.
        validations: wanted.
        rows: to look at in each, wanted.

    Example:
        >>> afford(Pace(step=0.01, reading=0.0, row=1e-4), 60, 3000, 100, 20, 50).steps
        3000
        >>> afford(Pace(step=0.1, reading=0.0, row=1e-4), 60, 3000, 100, 20, 50).steps
        569
    """
    first = min(wanted, per_epoch)  # steps that read their cells for the first time
    needed = wanted * pace.step + first * pace.reading
    for_looks = LOOK * min(seconds * MARGIN, needed / (1 - LOOK))
    if rows * pace.row * validations > for_looks:
        rows = min(rows, max(FEWEST_ROWS, int(for_looks / (pace.row * validations))))
        validations = min(validations, max(FEWEST_LOOKS, int(for_looks / (pace.row * rows))))
    left = seconds * MARGIN - rows * pace.row * validations
    all_first = left / (pace.step + pace.reading)
    allowed = max(1, int(all_first if all_first < first else (left - first * pace.reading) / pace.step))
    return Affordable(min(wanted, allowed), validations, rows, allowed)


def _told(plan: Plan, pace: Pace, can: Affordable) -> dict[str, str]:
    """Why, in words."""
    training = plan.config.training
    minutes, wanted = training.minutes, training.steps
    said = f"{pace.step * 1e3:.0f} ms a step here: {minutes:g} minutes allow {can.allowed:,}".replace(",", " ")
    why = plan.reasons.get("training.steps", "as wanted")
    is_enough = can.steps == wanted
    told = {"training.steps": f"{why}. {said}" if is_enough else f"{said}; {wanted} were wanted: {why}"}
    if can.validations != training.validations:
        told["training.validations"] = f"{pace.row * 1e3:.1f} ms a row looked at here: more would take too long"
    if can.rows != training.validation_rows and can.rows * can.validations > 0 and pace.row > 0:
        told["training.validation_rows"] = (
            f"at most: {pace.row * 1e3:.1f} ms a row looked at here, and validation is to take {LOOK:.0%} of the time"
        )
    return told
