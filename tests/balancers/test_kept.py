"""What balancers keep is saved and restored by the names of tasks."""

import numpy as np
import pytest
import torch

from trunkline.balancers.kept import Kept

TASKS = ["a", "b.c", 'd "e" ü']


def pairs(tasks: list[str], values: np.ndarray) -> Kept:
    made = Kept(tasks, 2, 0.0)
    made.values[:] = values
    return made


def test_of_and_keep_go_by_name():
    made = pairs(TASKS, np.arange(9.0).reshape(3, 3))
    assert made.of([TASKS[2], "a"]).tolist() == [[8, 6], [2, 0]]
    made.keep([TASKS[2], "a"], np.array([[-1.0, -2.0], [-3.0, -4.0]]))
    assert made.values.tolist() == [[-4, 1, -3], [3, 4, 5], [-2, 7, -1]]


def test_parts_of_a_step_begin_with_the_same_and_the_mean_of_them_is_kept():
    made = Kept(TASKS, 1, 1.0)
    for _ in range(2):
        made.begin_step()
        first = made.values[0]
        made.keep_mean(TASKS[:1], np.array([first + 3]))
        assert made.of(TASKS[:1]) == [first + 3] and made.began(TASKS[:1]) == [first]
        made.keep_mean(TASKS[1::-1], np.array([4.0, first + 5]))
        assert made.of(TASKS[:1]) == [first + 4]
    assert made.values.tolist() == [9.0, 3.25, 1.0]  # of the second, whose step began with 2.5, half of what is missing


def test_restored_in_any_order_with_any_tasks():
    saved = pairs(TASKS, np.arange(9.0).reshape(3, 3)).state_dict()
    other = pairs(["new", TASKS[2], "a"], np.full((3, 3), 9.0))
    other.load_state_dict(saved)
    assert other.values.tolist() == [[9, 9, 9], [9, 8, 6], [9, 2, 0]]


def test_state_is_tensors_and_does_not_follow_later_steps():
    made = pairs(TASKS, np.zeros((3, 3)))
    saved = made.state_dict()
    made.values += 1
    assert all(isinstance(value, torch.Tensor) for value in saved.values())
    assert saved["values"].abs().max() == 0


def test_a_checkpoint_without_them_is_missed():
    with pytest.raises(RuntimeError, match=r"Missing key.*values"):
        pairs(TASKS, np.zeros((3, 3))).load_state_dict({})


def test_a_checkpoint_that_knows_none_of_the_tasks_is_refused():
    with pytest.raises(RuntimeError, match=r"Missing key.*values of new"):
        pairs(["new"], np.zeros((1, 1))).load_state_dict(pairs(TASKS, np.zeros((3, 3))).state_dict())


def test_several_numbers_a_task():
    made = Kept(TASKS, 1, [1.0, 2.0])
    assert made.of(TASKS[1:]).tolist() == [[1, 2], [1, 2]]
    made.keep([TASKS[2]], np.array([[3.0, 4.0]]))
    other = Kept([TASKS[2], "new"], 1, [0.0, 0.0])
    other.load_state_dict(made.state_dict())
    assert other.values.tolist() == [[3, 4], [0, 0]]


def test_what_is_asked_for_is_a_copy():
    made = pairs(TASKS, np.zeros((3, 3)))
    made.of(TASKS)[:] = 1
    assert made.values.max() == 0
