"""What the report tells a reader to look at: each check finds what it names, and not what is like it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from report.test_sections import log_of, run_of
from trunkline import ConfigError
from trunkline.config import as_plain, load_config
from trunkline.report import CHECKS, findings
from trunkline.report.alone import best_alone
from trunkline.report.files import RunFiles
from trunkline.report.sections.checks import checks

DOCS = Path(__file__).parents[2] / "docs" / "report.md"
Found = dict[str, str]


def found(run: RunFiles) -> Found:
    """What is said, by code."""
    return {check.code: finding.says for check, finding in findings(run)}


def plain(**changes: Any) -> RunFiles:
    """A run with nothing to find: two tasks far above guessing, judged by enough test rows."""
    told = {task: {"interval": {"low": 0.68, "high": 0.72, "better": 1.0}} for task in "ab"}
    return replace(run_of(told, scores={"a": 0.7, "b": 0.7}), **changes)


def with_facts(name: str, facts: dict[str, Any]) -> RunFiles:
    run = plain()
    return replace(run, facts={**run.facts, name: facts})


def with_task(**facts: Any) -> RunFiles:
    """Task `a` with these facts."""
    run = plain()
    tasks = {name: {**one, **(facts if name == "a" else {})} for name, one in run.tasks.items()}
    return with_facts("quality", {"tasks": tasks})


def lines(**values: Any) -> list[dict[str, Any]]:
    return [{"step": step, **values} for step in (1, 2, 3)]


def subsets_of(
    both: float,
    first: float,
    second: float,
    rows: tuple[int, int] = (400, 400),
    *,
    split: str = "test",
    labelled: int = 400,
    error: bool = False,
) -> RunFiles:
    """Task `a` with the inputs x and y, with x, and with y."""
    run = with_task(rows=labelled, lower_is_better=error, best=0.0 if error else 1.0)
    told = [(["x", "y"], 400, both), (["x"], rows[0], first), (["y"], rows[1], second)]
    facts = {
            "split": split, "rows": 400, "groups": [{"name": "x"}, {"name": "y"}], "metric": {"a": "m"},
            "subsets": [
                {"kept": kept, "rows": n, "scores": {"a": score}, "majority": {"a": 0.5}} for kept, n, score in told
            ],
        }  # fmt: skip
    return replace(run, facts={**run.facts, "absence": facts})


def singles(together: float, low: float, high: float, *, split: str = "test", error: bool = False) -> RunFiles:
    """Task `a` by x alone, .7 (of an error .3), and by all inputs, with the interval of what they add."""
    run = with_task(lower_is_better=error, best=0.0 if error else 1.0)
    one = {"rows": 300, "together": together, "alone": 0.3 if error else 0.7, "low": low, "high": high}
    worse = {"rows": 300, "together": together, "alone": 0.45 if error else 0.55, "low": None, "high": None}
    alone = [{"input": "x", "tasks": {"a": one}}, {"input": "y", "tasks": {"a": worse}}]
    facts = {"split": split, "rows": 400, "groups": [], "alone": alone}
    return replace(run, facts={**run.facts, "absence": facts})


def calibrated(**one: Any) -> RunFiles:
    return with_facts("calibration", {"tasks": {"a": {"ece_after": 0.02, "bins": [{"count": 500}], **one}}})


def of_class(name: str, rows: int, precision: float | None) -> dict[str, Any]:
    return {"name": name, "rows": rows, "precision": precision, "recall": 0.0}


def of_validation(run: RunFiles) -> RunFiles:
    return replace(run, metrics={**run.metrics, "validation": run.metrics["test"], "test": None})


def validated(aggregates: list[float | None], best: int) -> RunFiles:
    run = run_of({}, scores={"a": 0.7, "b": 0.7}, log=log_of(aggregates), best_step=best)
    return replace(run, log=[line | {"validation": {}} for line in run.log])


def wide(number: int) -> RunFiles:
    names = [str(i) for i in range(number)]
    return run_of({}, scores=dict.fromkeys(names, 0.7))


FALLING = [0.5, 0.6, 0.5, 0.4, 0.3, 0.2]
CASES: dict[str, tuple[RunFiles, str, RunFiles]] = {  # a run that has it, what is said, and one that nearly has
    "TL001": (of_validation(plain()), "they flatter a little", plain()),
    "TL002": (with_task(rows=99), "Fewer than 100 held-out rows are labelled for a", with_task(rows=100)),
    "TL003": (
        plain(log=lines(norms={"a": 9.0, "b": 0.5}, weights={"a": 1.0, "b": 2.0})),
        "a sends 90\u00a0% of the gradient",
        plain(log=lines(norms={"a": 9.0, "b": 0.5}, weights={"a": 0.1, "b": 2.0})),
    ),
    "TL004": (plain(log=lines(conflicts=0.6)), "60\u00a0% of the pairs", plain(log=lines(conflicts=0.5))),
    "TL005": (validated(FALLING, 2), "The weights of step 2 of 6 are best", validated(FALLING, 3)),
    "TL006": (validated([0.1, 0.2, 0.3], 3), "it came 10\u00a0% of the way", validated([0.1, 0.29, 0.3], 3)),
    "TL007": (run_of({}, scores={"a": 0.4, "b": 0.7}), "No better than guessing: a.", plain()),
    "TL008": (
        with_facts("data", {"tasks": [{"name": "a", "labelled": {"train": 99}}]}),
        "Fewer than 100 training rows are labelled for a",
        with_facts("data", {"tasks": [{"name": "a", "labelled": {"train": 100}}]}),
    ),
    "TL009": (with_task(unseen={"consequence": "they count as wrong"}), "for a: they count as wrong.", plain()),
    "TL010": (calibrated(fitted_on_these_rows=True), "thresholds of a were fitted", calibrated()),
    "TL011": (wide(25), "Of 25 tasks some", wide(24)),
    "TL012": (plain(twins={"a": {"m": 0.73}}), "nothing else: a (one seed)", plain(twins={"a": {"m": 0.71}})),
    "TL013": (subsets_of(0.7, 0.7, 0.5), "No task is worse without y.", subsets_of(0.7, 0.69, 0.5)),
    "TL014": (singles(0.6, -0.15, -0.05), "a by x", singles(0.68, -0.06, 0.01)),
    "TL015": (calibrated(ece_after=0.2), "off by more than 10\u00a0%", calibrated(ece_after=0.2, bins=[{"count": 99}])),
    "TL016": (plain(log=lines(padding={"x": 0.6})), "60\u00a0% of x", plain(log=lines(padding={"x": 0.5}))),
    "TL017": (plain(skipped=[{"row": 3}]), "could not be used: 1 row.", plain()),
    "TL018": (
        with_task(type="category", classes=[of_class("rare", 10, None), of_class("usual", 90, 0.5)]),
        "a: rare",
        with_task(type="category", classes=[of_class("rare", 9, None), of_class("usual", 90, 0.5)]),
    ),
    "TL019": (
        plain(log=lines(experts={"a": {"e1": 0.98, "e2": 0.02}, "b": {"e1": 0.97, "e2": 0.03}})),
        "Every task takes next to nothing of e2, of 2 experts.",
        plain(log=lines(experts={"a": {"e1": 0.98, "e2": 0.02}, "b": {"e1": 0.5, "e2": 0.5}})),
    ),
    "TL020": (
        plain(log=lines(dropped={"a": 3}, skipped=1)),
        "undefined: a took no part in 3 steps and 1 step was not taken at all.",
        plain(log=lines()),
    ),
}


def test_every_check_has_a_case_and_a_place_in_the_docs() -> None:
    codes = [check.code for check in CHECKS]
    assert codes == sorted(set(codes)) == sorted(CASES)
    told = dict(re.findall(r"^\| `(TL\d{3})` \| ([^|]+) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert told == {check.code: check.title for check in CHECKS}


@pytest.mark.parametrize("code", CASES)
def test_it_is_found_where_it_is(code: str) -> None:
    ill, says, well = CASES[code]
    assert says in found(ill)[code]
    assert code not in found(well)


def test_a_run_without_fault_is_left_alone() -> None:
    assert found(plain()) == {}


def test_an_input_that_some_rows_have_alone_is_needed() -> None:
    """Without it these rows have nothing, so scores without it are of other rows."""
    assert "TL013" not in found(subsets_of(0.7, 0.7, 0.5, rows=(380, 400)))


def test_weights_that_no_score_chose_are_neither_early_nor_late() -> None:
    for best in (1, 6):
        assert not {"TL005", "TL006"} & found(validated([None] * 6, best)).keys()


def test_muted_codes_are_not_told() -> None:
    run = with_task(rows=99)
    assert "TL002" in found(replace(run, config="mute: []\n"))
    muted = replace(run, config="mute: [TL002, TL002]\n")
    assert "TL002" not in found(muted)
    assert checks(muted)["looked"] == len(CHECKS) - 1


def test_nothing_is_said_of_inputs_where_too_little_is_known() -> None:
    """By training rows, by few labels, by a task that has learned nothing."""
    for run in (
        subsets_of(0.7, 0.7, 0.5, split="train"),
        singles(0.6, -0.15, -0.05, split="train"),
        subsets_of(0.7, 0.7, 0.5, labelled=199),
        subsets_of(0.49, 0.49, 0.5),
    ):
        assert not {"TL013", "TL014"} & found(run).keys()
    assert "any one of x and y" in found(subsets_of(0.7, 0.7, 0.7))["TL013"]


def test_less_is_better_where_it_is() -> None:
    assert "without y." in found(subsets_of(0.3, 0.3, 0.5, error=True))["TL013"]
    assert "TL013" not in found(subsets_of(0.3, 0.31, 0.5, error=True))
    assert "a by x" in found(singles(0.4, 0.05, 0.15, error=True))["TL014"]
    assert "TL014" not in found(singles(0.2, -0.15, -0.05, error=True))


def test_what_all_inputs_add_is_told_beside_the_best_one() -> None:
    (told,) = best_alone(singles(0.8, 0.05, 0.15))
    assert (told["input"], told["alone"], told["together"], told["sign"]) == ("x", 0.7, 0.8, 1)
    assert told["difference"] == pytest.approx(0.1)
    assert best_alone(singles(0.72, -0.02, 0.06))[0]["sign"] == 0
    assert best_alone(singles(0.2, -0.15, -0.05, error=True))[0]["sign"] == 1
    assert best_alone(plain()) == []


def test_a_plateau_is_not_learned_by_heart() -> None:
    assert "TL005" not in found(validated([0.9] * 6, 1))


def test_tasks_that_are_never_compared_together_are_weighed_by_their_own_steps() -> None:
    apart = [{"step": i, "norms": {t: 1.0}, "weights": {t: 1.0}} for i, t in enumerate("ababab")]
    assert "TL003" not in found(plain(log=apart))
    apart[0]["norms"] = apart[2]["norms"] = apart[4]["norms"] = {"a": 9.0}
    assert "a sends 90" in found(plain(log=apart))["TL003"]
    assert "TL003" not in found(plain(log=lines(norms={"a": 1.0, "b": 1.0}, weights={"a": 1.0, "b": None})))


def test_names_that_training_never_saw_are_not_called_silent_classes() -> None:
    classes = [of_class("new", 20, None), of_class("usual", 90, 0.5)]
    unseen = {"names": [["new", 20]], "consequence": "they count as wrong"}
    assert "TL018" not in found(with_task(type="category", classes=classes, unseen=unseen))
    other = {"names": [["x", 20]], "consequence": "'new' is the right answer for them"}
    told = found(with_task(type="category", classes=classes, unseen=other, unknown="new"))
    assert not {"TL009", "TL018"} & told.keys()


def test_a_run_without_facts_is_judged_by_what_its_metric_means() -> None:
    """An error below that of guessing is better than guessing."""
    run = plain()
    metrics = {**run.metrics, "test": {"a": {"mae": 0.3}}, "majority": {"a": {"mae": 0.8}}}
    assert found(replace(run, metrics=metrics, facts={**run.facts, "quality": {}})) == {}


def test_nothing_held_out_is_no_test_row_either() -> None:
    run = plain()
    bare = replace(run, metrics={**run.metrics, "test": None, "majority": None})
    assert "No rows were held out" in found(bare)["TL001"]


def test_a_config_names_what_it_mutes() -> None:
    source = {"inputs": {"x": "number"}, "tasks": {"y": "number"}, "mute": ["TL002", "TL006"]}
    config = load_config(source, columns=["x", "y"])
    assert config.mute == ("TL002", "TL006")
    assert load_config(as_plain(config), columns=None).mute == config.mute
    with pytest.raises(ConfigError, match=r"mute: 'TL0O2' is no check. Did you mean 'TL0[012][02]'"):
        load_config({**source, "mute": ["TL0O2"]}, columns=["x", "y"])
    with pytest.raises(ConfigError, match="mute"):
        load_config({**source, "mute": 2}, columns=["x", "y"])


@pytest.mark.parametrize(
    ("config", "is_told"),
    [
        ("training: {by_length: false}", True),
        ("training: {by_length: true}", False),
        ("data: {tables: {}, sampling: equal}\ntraining: {by_length: false}", False),
        ("data: {tables: {}, sampling: 2.0}", False),
        ("data: {tables: {}, sampling: proportional, batches: one_table}", False),
        ("data: {tables: {}, sampling: proportional, batches: mixed}", True),
    ],
)
def test_what_is_proposed_against_padding_can_be_done(config: str, is_told: bool) -> None:
    """Rows come by length only where each comes once an epoch, and not more so where they do already."""
    run = plain(log=lines(padding={"x": 0.6}), config=config)
    (cure,) = (finding.cure for check, finding in findings(run) if check.code == "TL016")
    assert ("by_length" in cure) == is_told and "max_length" in cure
