"""Random orders: every order as likely as any other, and a task's own whatever happens around it."""

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch

from trunkline.balancers.orders import RandomOrders, scramble

TASKS = ["a", "b.c", "d e", "a.b", "z"]


def orders_by_name(orders: RandomOrders, tasks: list[str]) -> dict[str, list[str]]:
    return {task: [tasks[j] for j in row] for task, row in zip(tasks, orders.draw(tasks))}


def drawn_of(orders: RandomOrders, tasks: list[str]) -> np.ndarray:
    """Those of the next step."""
    orders.begin_step()
    return orders.draw(tasks)


@pytest.mark.parametrize("tasks", [1, 2, 3, 20])
def test_each_row_holds_the_others(tasks):
    rows = RandomOrders(0).draw([f"t{i}" for i in range(tasks)])
    assert rows.shape == (tasks, tasks - 1)
    for i, row in enumerate(rows):
        assert sorted(row) == [j for j in range(tasks) if j != i]


def test_every_order_is_as_likely():
    orders, steps = RandomOrders(0), 6000
    drawn = [drawn_of(orders, TASKS[:4]) for _ in range(steps)]
    for i in range(4):
        counts = Counter(tuple(rows[i]) for rows in drawn)
        kinds = list(permutations([j for j in range(4) if j != i]))
        chi2 = sum((counts[kind] - steps / len(kinds)) ** 2 / (steps / len(kinds)) for kind in kinds)
        assert chi2 < 20.5  # 5 degrees of freedom: one in a thousand


def test_orders_of_two_tasks_are_independent():
    orders, steps = RandomOrders(1), 4000
    drawn = [drawn_of(orders, TASKS[:3]) for _ in range(steps)]
    same = np.mean([(rows[0][0] == 2) == (rows[1][0] == 2) for rows in drawn])
    assert abs(same - 0.5) < 4 * 0.5 / math.sqrt(steps)


def test_consecutive_steps_differ():
    orders = RandomOrders(0)
    tasks = [f"t{i}" for i in range(20)]
    first, second = drawn_of(orders, tasks), drawn_of(orders, tasks)
    assert (first == second).mean() < 0.2
    np.testing.assert_array_equal(orders.draw(tasks), second)  # of another part of the step


def test_an_order_follows_from_names():
    whole = orders_by_name(RandomOrders(3), TASKS)
    assert orders_by_name(RandomOrders(3), TASKS[::-1]) == whole
    assert orders_by_name(RandomOrders(4), TASKS) != whole
    fewer = orders_by_name(RandomOrders(3), TASKS[:4])
    assert fewer == {task: [other for other in whole[task] if other != "z"] for task in TASKS[:4]}


def test_a_checkpoint_goes_on_where_it_was():
    orders = RandomOrders(5)
    for _ in range(7):
        orders.begin_step()
    restored = RandomOrders(5)
    restored.load_state_dict(orders.state_dict())
    np.testing.assert_array_equal(drawn_of(restored, TASKS), drawn_of(orders, TASKS))
    assert not np.array_equal(orders.draw(TASKS), drawn_of(RandomOrders(5), TASKS))
    with pytest.raises(RuntimeError, match="step"):
        restored.load_state_dict({})


def test_scramble_is_splitmix64():
    """The first numbers of the generator with seed 1234567, as its authors print them."""
    steps = np.arange(5, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1234567)
    assert scramble(steps).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_state_is_a_tensor():
    assert all(isinstance(value, torch.Tensor) for value in RandomOrders(0).state_dict().values())
