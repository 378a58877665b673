"""Two gloo processes under DistributedDataParallel give the gradients of one process with all rows, in float64."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tests.engine.engine_oracles import Net, data
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trunkline.balancers import (
    DWA,
    FAMO,
    GLS,
    RLW,
    Balancer,
    Equal,
    GradNorm,
    GramianBalancer,
    NashMTL,
    Uncertainty,
    UPGrad,
)
from trunkline.engine import LEVELS, Engine, Sketch
from trunkline.errors import ConfigError

TASKS = ("a", "b", "c")
ROWS = 12
SPLIT = 5  # rows of the first process; the second has the others


class Damped(GramianBalancer):
    """Weights that follow every entry of the Gramian and its scale."""

    def weigh(self, gramian, tasks):
        return 1 / (1 + gramian.diagonal()) + 0.1 * gramian.sum(1)


class Way(NamedTuple):
    balancer: Callable[[], Balancer]
    level: str
    rates: Mapping[str, float] = {}
    every: int = 1
    factor: float = 1.0  # on the total, as a loss scaler has it


WAYS = {
    "equal": Way(Equal, "losses"),
    "uncertainty": Way(Uncertainty, "losses"),
    "expected": Way(Uncertainty, "losses", {"a": 0.2, "c": 0.4}),
    "geometric mean": Way(GLS, "losses", {"b": 0.3}),
    "random": Way(RLW, "losses"),
    "averages": Way(DWA, "losses"),
    "famo": Way(FAMO, "losses"),
    "features": Way(UPGrad, "features"),
    "last": Way(UPGrad, "last"),
    "sketch and scale": Way(Damped, "sketch"),
    "trunk": Way(UPGrad, "trunk"),
    "trunk-lean and scale": Way(Damped, "trunk-lean"),
    "trunk in every second step": Way(UPGrad, "trunk", every=2),
    "features and scale": Way(Damped, "features"),
    "last and scale": Way(Damped, "last"),
}


def flags(a: str, b: str, c: str) -> torch.Tensor:
    """By row and task: `x` labelled, `o` labelled with what weighs nothing, `.` not labelled."""
    return torch.tensor([[".xo".index(cell) for cell in row.replace(" ", "")] for row in (a, b, c)]).T


LABELS = {
    "different counts": flags("x.xx. xxxxx.x", "xxx.. x.....x", "xxxxx x......"),
    "a task missing on one rank": flags("x.xx. xxxxx.x", "..... xx.x..x", "xx..x x......"),
    "tasks on different ranks": flags("xxxxx .......", "..... xxxxxxx", "..... ......."),
    "one rank without any label": flags("..... x.xxx.x", "..... xx.x..x", "..... .xxx..."),
    "a task absent everywhere": flags("x.xx. xxxxx.x", "..... .......", "xx..x x......"),
    "a task that weighs nothing": flags("x.xx. xxxxx.x", "xx..x x......", "o.... ..oo..."),
    "a task that weighs nothing on one rank": flags("x.xx. xxxxx.x", "oo..o x....xx", "..... .oo...."),
    "no task": flags("..... .......", "..... .......", "..... ......."),
}  # fmt: skip


class Learner(nn.Module):
    """Forward gives the total, as a training step under DistributedDataParallel does."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        self.net = Net(TASKS)
        self.engine = Engine(
            way.balancer(),
            TASKS,
            level=way.level,
            rates=way.rates,
            last_shared=[self.net.trunk[0], self.net.trunk[2]],
            shared=self.net.parameters(),
            sketch=Sketch(share=0.5, least=2),  # of layers 5 and 7 wide
            every=way.every,
        ).double()

    def forward(self, x, y, marks):
        labelled, weighs = marks > 0, marks == 1
        present = self.engine.begin(labelled.sum(0).tolist(), len(x))
        columns = [TASKS.index(t) for t in present]
        views = self.engine.split(self.net.features(x), present, labelled[:, columns])
        parts = [self.part(t, views[t], y[:, TASKS.index(t)], weighs[:, TASKS.index(t)]) for t in present]
        sums = torch.stack(parts) if parts else torch.zeros(0, dtype=torch.float64)
        return self.engine.combine(sums, weighs[:, columns].sum(0), present)

    def look(self, x, y, marks):
        """Each task's summed loss on these rows, and how much is labelled, `[T]`."""
        weighs = marks == 1
        with torch.no_grad():
            view = self.net.features(x)
            return torch.stack([self.part(t, view, y[:, k], weighs[:, k]) for k, t in enumerate(TASKS)]), weighs.sum(0)

    def part(self, task, view, target, rows):
        if not rows.any():
            return torch.zeros((), dtype=torch.float64)
        return (self.net.heads[task](view[rows])[:, 0] - target[rows]).square().sum()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    x, targets = data(TASKS, ROWS)
    targets["b"] = -targets["a"]  # opposed
    return x, torch.cat([targets[t] for t in TASKS], 1)


def gradients(module: nn.Module) -> dict[str, torch.Tensor | None]:
    return {name.removeprefix("module."): p.grad for name, p in module.named_parameters()}


def rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        torch.save({key: rank_gradients(rank, *key) for key in cases()}, f"{folder}/{rank}.pt")
        torch.save(rank_plain(rank), f"{folder}/plain{rank}.pt")
        torch.save([rank_opposed(rank, level) for level in LEVELS[1:]], f"{folder}/opposed{rank}.pt")
        torch.save({key: steps_of(*key, rank) for key in step_cases()}, f"{folder}/steps{rank}.pt")
        torch.save([kinds_gramian(level, rank) for level in DEEP], f"{folder}/kinds{rank}.pt")
        torch.save([rank_missing_names(level, named) for level in DEEP for named in (0, 1)], f"{folder}/names{rank}.pt")
    finally:
        dist.destroy_process_group()


def rank_gradients(rank: int, way: str, labels: str):
    rows = slice(0, SPLIT) if rank == 0 else slice(SPLIT, ROWS)
    model = DistributedDataParallel(Learner(WAYS[way]), find_unused_parameters=True)
    x, y = batch()
    model(x[rows], y[rows], LABELS[labels][rows]).backward()
    return gradients(model), model.module.engine.report()


def rank_plain(rank: int) -> list[float]:
    """The plain loop: each rank has another task's loss."""
    x = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    engine = Engine(UPGrad(), ["a", "b"])
    views = engine.split(x)
    losses = {"a": views["a"].mean()} if rank == 0 else {"b": 3 * views["b"].mean()}
    engine.total(losses).backward()
    return [*x.grad.flatten().tolist(), *engine.report()["losses"].values()]


def rank_opposed(rank: int, level: str) -> tuple[float | None, list[float]]:
    """Each rank has one task, and the two want the opposite of one layer."""
    torch.manual_seed(0)
    layer = nn.Linear(2, 2).double()
    engine = Engine(UPGrad(), ["a", "b"], level=level, last_shared=[layer], shared=layer.parameters())
    views = engine.split(layer(torch.ones(3, 2, dtype=torch.float64)))
    engine.total({"a": views["a"].mean()} if rank == 0 else {"b": -views["b"].mean()}).backward()
    dist.all_reduce(layer.weight.grad)
    return engine.report()["cosines"]["a"]["b"], layer.weight.grad.flatten().tolist()


LEARNING = {
    "famo": Way(partial(FAMO, lr=0.5), "losses"),
    "gradnorm, scaled": Way(partial(GradNorm, rate=0.2), "last", factor=65536.0),
    "nash-mtl, scaled, in every second step": Way(NashMTL, "trunk", every=2, factor=65536.0),
}


def steps_of(way: str, labels: str, rank: int | None = None) -> dict[str, torch.Tensor]:
    """Parameters and what is kept after four steps, with second looks where wanted; of all rows, or of one rank's.

    The first and the last have the labels named, the others those of both ranks.
    """
    torch.set_num_threads(1)
    rows = {None: slice(None), 0: slice(0, SPLIT), 1: slice(SPLIT, ROWS)}[rank]
    learner = Learner(LEARNING[way])
    model = learner if rank is None else DistributedDataParallel(learner, find_unused_parameters=True)
    optimiser = torch.optim.SGD(learner.net.parameters(), lr=0.02)
    for step_labels in (labels, "different counts", "different counts", labels):
        own = [each[rows] for each in (*batch(), LABELS[step_labels])]
        optimiser.zero_grad()
        (LEARNING[way].factor * model(*own)).backward()
        for parameter in learner.net.parameters():
            if parameter.grad is not None:
                parameter.grad /= LEARNING[way].factor
        optimiser.step()
        if learner.engine.waits_for_losses:
            learner.engine.combine_after_step(*learner.look(*own))
    return learner.state_dict()


DEEP = ("sketch", "trunk", "trunk-lean")


class Kinds(nn.Module):
    """An embedding, a convolution and a linear layer; a part that pictures alone go through."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(9, 6, padding_idx=2)
        self.unread = nn.Linear(6, 6)
        self.convolution = nn.Conv2d(6, 4, 3, padding=1)
        self.picture = nn.Linear(4, 6, bias=False)
        self.last = nn.Linear(6, 5)
        self.double()

    def forward(self, words, pictures):
        hidden = self.embedding(words).sum(1)
        if pictures is not None:
            hidden = hidden + self.picture(self.convolution(pictures).tanh().mean((2, 3)))
        return self.last(hidden.tanh())


def kinds_gramian(level: str, rank: int | None = None) -> torch.Tensor:
    """Of all rows, or with those of one rank; the second rank has no pictures."""
    torch.manual_seed(1)
    words, pictures = torch.randint(9, (ROWS, 4)), torch.randn(SPLIT, 6, 5, 5, dtype=torch.float64)
    trunk, balancer = Kinds(), Seeing()
    sketch = Sketch(share=0.5, least=2)
    engine = Engine(balancer, ["a", "b"], level=level, shared=trunk.parameters(), sketch=sketch)
    parts = [trunk(words[:SPLIT], pictures), trunk(words[SPLIT:], None)]
    features = torch.cat(parts) if rank is None else parts[rank]
    present = engine.begin([len(features)] * 2, len(features))
    views = engine.split(features, present)
    sums = torch.stack([views["a"].sin().sum(), views["b"].square().sum()])
    engine.combine(sums, torch.full((2,), float(len(features))), present).backward()
    return balancer.seen


def rank_missing_names(level: str, named: int) -> str:
    layer = nn.Linear(2, 2)
    engine = Engine(UPGrad(), ["a"], level=level, shared=[layer.weight][:named])
    with pytest.raises(ConfigError) as error:
        engine.total({"a": engine.split(layer(torch.ones(1, 2)))["a"].sum()}).backward()
    return str(error.value)


class Seeing(GramianBalancer):
    """Equal weights; keeps what it saw."""

    def weigh(self, gramian, tasks):
        self.seen = gramian
        return torch.ones(len(tasks), dtype=torch.float64)


def step_cases() -> list[tuple[str, str]]:
    return [(way, labels) for way in LEARNING for labels in LABELS]


def cases() -> list[tuple[str, str]]:
    return [(way, labels) for way in WAYS for labels in LABELS]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """Both processes run every case once; a hang ends after some minutes."""
    folder = tmp_path_factory.mktemp("ranks")
    ranks = mp.spawn(rank_main, (str(folder),), nprocs=2, join=False)
    deadline = time.monotonic() + 400
    while not ranks.join(timeout=1):
        if time.monotonic() > deadline:
            for process in ranks.processes:
                process.terminate()
            pytest.fail("the processes wait for each other")
    return folder


@pytest.mark.parametrize(("way", "labels"), cases())
def test_two_processes_equal_one(two_ranks, way, labels):
    torch.set_num_threads(1)
    alone = Learner(WAYS[way])
    alone(*batch(), LABELS[labels]).backward()
    report = alone.engine.report()
    for rank in range(2):
        measured, said = torch.load(two_ranks / f"{rank}.pt")[way, labels]
        for name, expected in gradients(alone).items():
            if expected is None:
                assert measured[name] is None or measured[name].eq(0).all(), name
            else:
                torch.testing.assert_close(measured[name], expected, rtol=0, atol=1e-10, msg=name)
        assert_same(said, report)


@pytest.mark.parametrize(("way", "labels"), step_cases())
def test_steps_in_two_processes_are_those_of_one(two_ranks, way, labels):
    expected = steps_of(way, labels)
    if way == "famo":
        assert max(expected[f"engine.balancer.logits.values.{task}"].abs().item() for task in TASKS) > 0.1
    for rank in range(2):
        found = torch.load(two_ranks / f"steps{rank}.pt")[way, labels]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-8, equal_nan=True)


def assert_same(said, expected):
    """Both ranks report on the whole batch."""
    if isinstance(expected, dict):
        assert said.keys() == expected.keys()
        for key in expected:
            assert_same(said[key], expected[key])
    else:
        assert said == (pytest.approx(expected, abs=1e-9) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("rank", [0, 1])
def test_opposed_tasks_on_different_ranks(two_ranks, rank):
    """Unknown to `features`; seen by all others, where nothing is left of two opposite gradients."""
    features, *others = torch.load(two_ranks / f"opposed{rank}.pt")
    assert features[0] is None
    for cosine, left in others:
        assert cosine == pytest.approx(-1.0)
        assert left == pytest.approx([0.0] * 4, abs=1e-9)


@pytest.mark.parametrize("level", DEEP)
def test_kinds_of_layers_of_which_a_rank_has_only_some(two_ranks, level):
    """Sketched, too: the directions are those that one process draws."""
    for rank in range(2):
        seen = torch.load(two_ranks / f"kinds{rank}.pt")[DEEP.index(level)]
        torch.testing.assert_close(seen, kinds_gramian(level), rtol=1e-9, atol=1e-9)


def test_parameters_that_were_not_named_are_told(two_ranks):
    """One of them, or all."""
    told = torch.load(two_ranks / "names0.pt")
    for none, one in zip(told[::2], told[1::2], strict=True):
        assert "2 of 2 parameters that the tasks share are not among the 0 given" in none
        assert "1 of 2 parameters that the tasks share are not among the 1 given" in one


def test_plain_losses_are_averaged_over_the_ranks_that_have_them(two_ranks):
    """Weights are 1/2 each (no conflict); a loss that one of two ranks has counts twice there."""
    assert torch.load(two_ranks / "plain0.pt") == pytest.approx([0.5, 0.5, 1.0, 3.0])
    assert torch.load(two_ranks / "plain1.pt") == pytest.approx([1.5, 1.5, 1.0, 3.0])
