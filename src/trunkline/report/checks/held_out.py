"""Checks of the rows that judge, and of how many there are to learn from."""

from __future__ import annotations

from trunkline.report import words
from trunkline.report.checks.finding import Finding
from trunkline.report.files import RunFiles
from trunkline.report.verdicts import FEW, MANY, verdicts

FITTED = "fitted_on_these_rows"  # of a task, in `calibration.json`


def no_test_rows(run: RunFiles) -> Finding | None:
    """TL001: the validation rows chose the weights, and judge them."""
    if run.judged == "test":
        return None
    if run.judged is None:
        return Finding("No rows were held out: nothing is known of how good the network is.", "`data.validation: 0.15`")
    return Finding(
        "There are no test rows. The scores are those of the validation rows, which also chose the weights: they "
        "flatter a little.",
        "Hold rows out that nothing else sees: `data.test: 0.15`.",
    )


def few_rows(run: RunFiles) -> Finding | None:
    """TL002: so few labelled rows that scores are mostly chance."""
    thin = [v.task for v in verdicts(run) if v.is_thin and v.rows]
    if not thin:
        return None
    return Finding(
        f"Fewer than {FEW} held-out rows are labelled for {words.listed(thin)}: read with care.",
        "Hold out a larger share, or believe the interval rather than the score; `trunkline compare` judges by several "
        "seeds.",
    )


def few_training_rows(run: RunFiles) -> Finding | None:
    """TL008: so few that a network from scratch learns little."""
    trained = {task["name"]: task["labelled"].get("train", 0) for task in run.facts["data"].get("tasks", [])}
    few = [task for task, rows in trained.items() if rows < FEW]
    if not few:
        return None
    return Finding(
        f"Fewer than {FEW} training rows are labelled for {words.listed(few)}.",
        "Label more; or read the inputs by what others have trained (`encoder:`), frozen or nearly.",
    )


def unseen(run: RunFiles) -> Finding | None:
    """TL009: what cannot be right."""
    by_consequence: dict[str, list[str]] = {}
    for task, one in run.tasks.items():
        if "unseen" in one and "unknown" not in one:
            by_consequence.setdefault(one["unseen"]["consequence"], []).append(task)
    if not by_consequence:
        return None
    told = [f"for {words.listed(tasks)}: {consequence}" for consequence, tasks in by_consequence.items()]
    return Finding(
        f"Held-out rows hold labels that training never saw, {'; '.join(told)}.",
        "Rows of these labels belong among the training rows. Where they cannot be known, a category with "
        "`unknown: NAME` says that it is none of its classes.",
    )


def fitted_on_judges(run: RunFiles) -> Finding | None:
    """TL010: temperatures and thresholds that have seen the answers."""
    fitted = [t for t, one in (run.facts["calibration"].get("tasks") or {}).items() if one.get(FITTED)]
    if not fitted:
        return None
    return Finding(
        f"Temperatures and thresholds of {words.listed(fitted)} were fitted on the rows that judge them: "
        "probabilities, and scores that follow a threshold, look better here than they will on new rows.",
        "Give `data.validation` and `data.test` rows of their own.",
    )


def luck(run: RunFiles) -> Finding | None:
    """TL011: many intervals, of which some miss."""
    if len(run.tasks) <= MANY:
        return None
    return Finding(
        f"Of {words.count(len(run.tasks))} tasks some come out best or worst by luck: one in twenty intervals misses "
        "the truth.",
        "Judge the tasks as a whole, or single ones by several seeds: `trunkline compare`.",
    )
