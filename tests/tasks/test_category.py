"""Category: scores against scikit-learn with holes and several states, decoding, the baseline."""

import pytest
import torch
from sklearn import metrics

from trunkline.errors import ConfigError, DataError
from trunkline.tasks import Category

torch.set_num_threads(1)

STATES = [
    {"classes": ["1", "2", "10", "x"], "prior": [0.1, 0.2, 0.6, 0.1]},
    {"classes": ["a", "b", "c", "d"], "prior": [0.7, 0.1, 0.1, 0.1]},
]


def test_scores_are_those_of_scikit_learn():
    """Two stacked tasks, each on its own rows; the second never meets its last class."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 2, 4, generator=generator)
    logits[:, 1, 3] = -100.0
    values = torch.randint(0, 3, (60, 2), generator=generator)
    flags = torch.rand(60, 2, generator=generator) < 0.6
    metric = Category().metric(STATES)
    for part in (slice(0, 20), slice(20, None)):
        spoiled = values[part].masked_fill(~flags[part], 10**6)
        metric.update(logits[part], {"values": spoiled, "flags": flags[part]})
    for g, scores in enumerate(metric.compute()):
        truth, says = values[flags[:, g], g].numpy(), logits[flags[:, g], g].argmax(-1).numpy()
        assert scores == pytest.approx({
            "accuracy": metrics.accuracy_score(truth, says),
            "macro_f1": metrics.f1_score(truth, says, average="macro"),
        }, abs=1e-6)  # fmt: skip


def test_a_task_without_labels_has_no_scores():
    metric = Category().metric(STATES)
    target = {"values": torch.zeros(3, 2, dtype=torch.long), "flags": torch.tensor([[True, False]] * 3)}
    metric.update(torch.zeros(3, 2, 4), target)
    first, second = metric.compute()
    assert first["accuracy"] == 1.0
    assert second is None


def test_each_task_of_a_stack_decodes_to_its_own_classes():
    output = torch.tensor([[[0.0, 0, 9, 0], [0, 9, 0, 0]], [[9, 0, 0, 0], [0, 0, 0, 9]]])
    decoded = Category().decode(output, STATES, [None, None])
    assert [[cell["value"] for cell in column] for column in decoded] == [["10", "1"], ["b", "d"]]
    assert list(decoded[0][0]["probabilities"]) == STATES[0]["classes"]
    assert sum(decoded[0][0]["probabilities"].values()) == pytest.approx(1.0)


def test_the_baseline_is_the_majority():
    task = Category()
    target = task.collate([[2, 0], [2, None], [0, 1]])
    output = task.baseline(STATES, target)
    torch.testing.assert_close(output.softmax(-1)[0], torch.tensor([s["prior"] for s in STATES]))
    assert [[c["value"] for c in column] for column in task.decode(output, STATES, [None] * 3)] == [
        ["10"] * 3, ["a"] * 3,
    ]  # fmt: skip
    metric = task.metric(STATES)
    metric.update(output, target)
    assert [scores["accuracy"] for scores in metric.compute()] == [pytest.approx(2 / 3), 0.5]


def test_classes_are_in_numeric_order_and_one_however_written():
    task = Category()
    state = task.fit([task.read(cell) for cell in (10, "2.0", 2, "x", 10.0, "10")])
    assert state == {"classes": ["2", "10", "x"], "prior": [2 / 6, 3 / 6, 1 / 6]}
    assert [task.prepare(task.read(cell), state, None) for cell in ("2", 10.0, "x")] == [0, 1, 2]


def test_what_cannot_be_learned():
    with pytest.raises(DataError, match="at least 2 classes"):
        Category().fit(["a", "a"])


def test_a_class_that_training_never_saw_is_missed():
    """Accuracy and macro F1 are scikit-learn's over all names; two unseen classes are two; the loss leaves them out."""
    task, state = Category(), STATES[1]
    truth, says = ["a", "e", "b", "f", "e", "a", "c"], [0, 0, 1, 1, 1, 2, 2]
    target = task.collate([[task.prepare(name, state, None)] for name in truth])
    logits = torch.nn.functional.one_hot(torch.tensor(says), 4).float().unsqueeze(1)
    metric = task.metric([state])
    for part in (slice(0, 3), slice(3, 7)):
        metric.update(logits[part], {key: value[part] for key, value in target.items()})
    said = [state["classes"][i] for i in says]
    assert metric.compute() == [pytest.approx({
        "accuracy": metrics.accuracy_score(truth, said),
        "macro_f1": metrics.f1_score(truth, said, average="macro"),
    })]  # fmt: skip
    head = task.build([state], 8)
    known = torch.tensor([0, 2, 5, 6])
    total, weight = head.loss(logits, target)
    torch.testing.assert_close(total, head.loss(logits[known], {k: v[known] for k, v in target.items()})[0])
    assert weight.tolist() == [4.0]


def test_what_fits_no_class_is_unknown():
    """Below a height that 5 % of the known held-out rows are under; a label that training never saw is right so."""
    task, state = Category(unknown="none of these"), {**STATES[1], "unknown": "none of these"}
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(200, 1, 4, generator=generator)
    names = [*(state["classes"][i] for i in logits[:150, 0].argmax(-1).tolist()), *["e", "f"] * 25]
    names[:30] = ["a"] * 30  # some are wrong, so that there is a temperature
    logits[150:] -= 6.0
    target = task.collate([[task.prepare(name, state, None)] for name in names])
    (settled,) = task.after_training(logits, target, [state])
    height = logits[:, 0].amax(-1)
    assert float((height[:150] < settled.state["least_logit"]).float().mean()) == pytest.approx(0.05, abs=0.01)
    assert abs(settled.state["temperature"] - 1) > 0.2, "it changes no answer"
    state |= settled.state
    (said,) = task.decode(logits, [state], [None] * 200)
    values = [answer["value"] for answer in said]
    assert values == [
        state["classes"][int(row.argmax())] if float(row.max()) >= state["least_logit"] else "none of these"
        for row in logits[:, 0]
    ]
    metric = task.metric([state])
    metric.update(logits, target)
    (scores,) = metric.compute()
    known = [*names[:150], *["none of these"] * 50]
    assert scores == pytest.approx({
        "accuracy": metrics.accuracy_score(known, values),
        "macro_f1": metrics.f1_score(known, values, average="macro"),
        "unknown_auc": metrics.roc_auc_score([name in "ef" for name in names], -height.numpy()),
    })  # fmt: skip
    right = [task.is_right(answer, name) for answer, name in zip(said, names)]
    assert right == [value == name for value, name in zip(values, known)]
    assert sum(right) / 200 == pytest.approx(scores["accuracy"]), "rows are right as scores have it"
    shown = [task.show(answer, name, state, None) for answer, name in zip(said, names)]
    for answer, one, is_right in zip(said, shown, right):
        if answer["value"] == "none of these":
            assert one.confidence is None and one.error == (0.0 if is_right else 1.0)
        else:
            assert one.confidence == max(answer["probabilities"].values()) and (is_right or one.error > 0.4)
    assert task.before_settling(state) == {**STATES[1], "unknown": "none of these"}
    assert "least_logit" in (task.output_form or "")


def test_unknown_may_be_a_class_that_training_saw():
    """Its own logit says nothing of how well the others fit, and its rows set no threshold."""
    task, state = Category(unknown="d", calibrate=False), {**STATES[1], "unknown": "d", "least_logit": 1.0}
    logits = torch.tensor([[[2.0, 0, 0, 0]], [[0.5, 0, 0, 0]], [[0, 0, 0, 3.0]], [[0.5, 0, 0, 0]]])
    assert [answer["value"] for answer in task.decode(logits, [state], [None] * 4)[0]] == ["a", "d", "d", "d"]
    metric = task.metric([state])
    metric.update(logits, task.collate([[task.prepare(name, state, None)] for name in ("a", "d", "e", "a")]))
    (scores,) = metric.compute()
    assert scores["accuracy"] == 0.75 and scores["unknown_auc"] == 1.0, "a new row that is surely `d` fits no class"
    metric.reset()
    many = torch.tensor([[[5.0, 0, 0, 0]], [[-9.0, -9, -9, 9]], [[-5.0, -5, -5, 0]], [[95.0, 95, 95, 100]]])
    metric.update(many, task.collate([[task.prepare(name, state, None)] for name in ("a", "d", "e", "e")]))
    assert metric.compute()[0]["unknown_auc"] == 1.0, "neither its own rows nor those that lack an input count"
    metric.reset()
    metric.update(logits[:2], task.collate([[0], [3]]))
    assert metric.compute()[0]["unknown_auc"] is None, "nothing is new"
    many = torch.randn(200, 1, 4, generator=torch.Generator().manual_seed(0))
    many[100:, 0, :3] -= 50.0
    (settled,) = task.after_training(many, task.collate([[0]] * 100 + [[3]] * 100), [STATES[1] | {"unknown": "d"}])
    height = many[:100, 0, :3].amax(-1)
    assert float((height < settled.state["least_logit"]).float().mean()) == pytest.approx(0.05, abs=0.02)


def test_a_row_that_lacks_an_input_is_never_unknown():
    task, state = Category(unknown="?"), {**STATES[1], "unknown": "?"}
    head = task.build([state], 8)
    logits = torch.randn(80, 1, 4, generator=torch.Generator().manual_seed(0))
    whole = torch.arange(80) < 50
    heeded = head.heed_absence(logits, whole)
    torch.testing.assert_close(heeded.softmax(-1), logits.softmax(-1), atol=1e-4, rtol=0)
    (settled,) = task.after_training(heeded, task.collate([[0]] * 80), [state])
    (alone,) = task.after_training(logits[:50], task.collate([[0]] * 50), [state])
    assert settled.state["least_logit"] == pytest.approx(alone.state["least_logit"])
    heeded = head.heed_absence(logits - 9, whole)
    values = [answer["value"] for answer in task.decode(heeded, [state | settled.state], [None] * 80)[0]]
    assert values == ["?"] * 50 + [state["classes"][i] for i in logits[50:, 0].argmax(-1).tolist()]
    plain = Category().build([STATES[1]], 8)
    assert plain.heed_absence(logits, whole) is logits


def test_without_rows_enough_nothing_is_unknown():
    task, state = Category(unknown="?", calibrate=False), {**STATES[1], "unknown": "?"}
    (settled,) = task.after_training(torch.randn(20, 1, 4), task.collate([[0]] * 20), [state])
    assert settled.state == {} and "too few" in settled.skipped["least_logit"]
    assert {a["value"] for a in task.decode(torch.randn(9, 1, 4) - 50, [state], [None] * 9)[0]} <= set("abcd")
    with pytest.raises(ConfigError, match="refuse=1: more than 0 and less than 1"):
        Category(unknown="?", refuse=1.0).fit(["a", "b"])
