import inspect

import pytest
import torch

from trunkline.balancers import CATALOG, FAMO, Equal, GradVac, StepCount, TaskState, TaskVector, Uncertainty

LOSSES = torch.tensor([2.0, 0.5, 3.0], dtype=torch.float64)
TASKS = ["a", "b.c", "d e"]


def uncertainty(tasks=TASKS) -> Uncertainty:
    balancer = Uncertainty()
    balancer.start(tasks)
    return balancer.double()


def test_equal_is_the_sum_over_present_tasks():
    terms, weights = Equal().weigh(LOSSES[:2], TASKS[:2])
    assert terms.sum() == 2.5
    assert weights.tolist() == [1.0, 1.0]


def test_uncertainty_is_the_likelihood_of_the_paper():
    """Equation 5: with `L = ½ (y - f)²` the total is `-log N(y; f, σ²)` up to a constant."""
    balancer = uncertainty(["a"])
    residual, sigma = torch.tensor([1.7], dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    balancer.log_variances.values.data[:] = 2 * sigma.log()
    terms, weights = balancer.weigh(residual**2 / 2, ["a"])
    constant = torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64)) / 2
    likelihood = torch.distributions.Normal(0.0, sigma).log_prob(residual)
    torch.testing.assert_close(terms + constant, -likelihood)
    torch.testing.assert_close(weights, 1 / sigma**2 * torch.ones(1, dtype=torch.float64))


def test_uncertainty_is_stationary_where_the_weight_is_one_over_twice_the_loss():
    balancer = uncertainty()
    balancer.log_variances.values.data = (2 * LOSSES).log()
    terms, weights = balancer.weigh(LOSSES, TASKS)
    terms.sum().backward()
    assert balancer.log_variances.values.grad.abs().max() < 1e-12
    torch.testing.assert_close(weights, 1 / (2 * LOSSES))


def test_absent_task_learns_nothing():
    balancer = uncertainty()
    balancer.weigh(LOSSES[[2, 0]], ["d e", "a"])[0].sum().backward()
    assert balancer.log_variances.values.grad.tolist() == [-1.5, 0.0, -2.5]


@pytest.mark.parametrize("name", CATALOG)
def test_what_is_printed_is_the_call(name):
    made = CATALOG[name]()
    options = {option: getattr(made, option) for option in inspect.signature(CATALOG[name]).parameters}
    for value in (None, 0.25):
        other = CATALOG[name](**{option: default if value is None else value for option, default in options.items()})
        again = eval(repr(other), {CATALOG[name].__name__: CATALOG[name]})
        assert {option: getattr(again, option) for option in options} == {o: getattr(other, o) for o in options}
        assert repr(again) == repr(other)


def test_options_stand_in_the_print_out():
    assert repr(FAMO(minima={"a": 1.0})) == "FAMO(decay=0.001, lr=0.025, minima={'a': 1.0})"
    assert repr(Equal()) == "Equal()"
    assert repr(GradVac(seed=3)) == "GradVac(beta=0.01, seed=3)"


def vector(tasks, values) -> TaskVector:
    made = TaskVector(tasks, 0.0)
    made.values.data = torch.tensor(values)
    return made


def test_task_vector_is_saved_by_name_and_restored_in_any_order():
    saved = vector(TASKS, [1.0, 2.0, 3.0]).state_dict()
    assert {k: v.item() for k, v in saved.items()} == {"a": 1.0, "b.c": 2.0, "d e": 3.0}
    other = vector(["d e", "a", "b.c"], [0.0, 0.0, 0.0])
    other.load_state_dict(saved)
    assert other.values.tolist() == [3.0, 1.0, 2.0]


def test_task_vector_keeps_what_a_checkpoint_does_not_know_under_strict_loading():
    parent = torch.nn.Sequential(vector(["new", "a"], [9.0, 9.0]))
    saved = torch.nn.Sequential(vector(TASKS, [1.0, 2.0, 3.0])).state_dict()
    parent.load_state_dict(saved, strict=True)
    assert parent[0].values.tolist() == [9.0, 1.0]


def test_task_vector_misses_a_checkpoint_without_any_of_its_tasks():
    with pytest.raises(RuntimeError, match=r"Missing key.*\"a\""):
        vector(TASKS, [0.0, 0.0, 0.0]).load_state_dict({})


def test_task_vector_refuses_what_is_not_one_number():
    with pytest.raises(RuntimeError, match=r"a: one number is wanted, the checkpoint has \(2,\)"):
        vector(["a"], [0.0]).load_state_dict({"a": torch.zeros(2)})


def test_saved_numbers_do_not_follow_later_steps():
    live = vector(["a"], [1.0])
    saved = live.state_dict()
    live.values.data += 1
    assert saved["a"] == 1.0


def test_task_state_is_saved_by_name_learned_by_nobody_and_set_for_some():
    state = TaskState(TASKS, 0.5)
    before = state(TASKS)
    state.set(["d e", "a"], torch.tensor([3.0, 1.0], dtype=torch.float64))
    assert before.tolist() == [0.5, 0.5, 0.5]  # what was read stays as it was
    assert state(["a", "b.c", "d e"]).tolist() == [1.0, 0.5, 3.0]
    assert not list(state.parameters())
    other = TaskState(["new", "d e", "a"], 7.0)
    other.load_state_dict(state.state_dict())
    assert other.values.tolist() == [7.0, 3.0, 1.0]


def test_step_count_is_saved_and_missed():
    count, other = StepCount(), StepCount()
    count.steps = 12
    other.load_state_dict(count.state_dict())
    assert other.steps == 12
    with pytest.raises(RuntimeError, match="steps"):
        other.load_state_dict({})
