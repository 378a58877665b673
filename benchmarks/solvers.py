"""What the weights of a step cost: balancers from the Gramian against TorchJD's weightings, on the same Gramians."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import torch
import torchjd.aggregation as theirs
from torch import Tensor

from benchmarks.timing import Act, Comparison, by_turns, quartiles, stopwatch
from trunkline.balancers import CATALOG, GramianBalancer

TASKS = (2, 10, 40, 100)
SECONDS = 3.0  # of one comparison
ROUNDS = (7, 150)  # at least, at most
STEPS = 16  # different Gramians, of which each call takes the next

# What reads a Gramian, and what reads the gradients themselves: `of_gramian(tasks)`, `of_gradients(tasks)`.
Weighting = Callable[[Tensor], Tensor]
OF_GRAMIAN: dict[str, Callable[[int], Weighting]] = {
    "aligned_mtl": lambda tasks: theirs.AlignedMTLWeighting(),
    "cagrad": lambda tasks: theirs.CAGradWeighting(c=0.5),
    "dualproj": lambda tasks: theirs.DualProjWeighting(),
    "fairgrad": lambda tasks: theirs.FairGradWeighting(alpha=1.0),
    "gradvac": lambda tasks: theirs.GradVacWeighting(beta=0.01),
    "imtl_g": lambda tasks: theirs.IMTLGWeighting(),
    "mgda": lambda tasks: theirs.MGDAWeighting(),
    "pcgrad": lambda tasks: theirs.PCGradWeighting(),
    "upgrad": lambda tasks: theirs.UPGradWeighting(),
}
OF_GRADIENTS: dict[str, Callable[[int], Weighting]] = {
    "config": lambda tasks: theirs.ConFIG(),
    "nash_mtl": lambda tasks: theirs.NashMTL(n_tasks=tasks, max_norm=0.0).weighting,
}


@dataclass(frozen=True)
class Table:
    """One line a balancer, one column a number of tasks.

    Attributes:
        comparisons: by balancer and number of tasks.
        missing: balancers that could not be compared, and why.
    """

    comparisons: Mapping[tuple[str, int], Comparison]
    missing: Mapping[str, str]

    def table(self) -> str:
        """Median milliseconds of both, and the median of how many times longer TorchJD takes."""
        names = list(dict.fromkeys(name for name, _ in self.comparisons))
        width = max(map(len, names))
        head = "".join(f"{f'T = {tasks}':^30}" for tasks in TASKS)
        parts = "".join(f"{'trunkline':>10}{'TorchJD':>10}{'ratio':>8}  " for _ in TASKS)
        lines = ["milliseconds a call", f"  {'':{width}}{head}", f"  {'':{width}}{parts}"]
        lines += [f"  {name:{width}}{''.join(self._cell(name, tasks) for tasks in TASKS)}" for name in names]
        lines += [f"  TorchJD's {name} is missing: {reason}" for name, reason in self.missing.items()]
        return "\n".join(line.rstrip() for line in lines)

    def _cell(self, name: str, tasks: int) -> str:
        comparison = self.comparisons[name, tasks]
        ours = quartiles(comparison.seconds["trunkline"])[1]
        if name in self.missing:
            return f"{1e3 * ours:10.3f}{'–':>10}{'–':>8}  "
        other, ratio = quartiles(comparison.seconds["TorchJD"])[1], quartiles(comparison.ratios("TorchJD"))[1]
        return f"{1e3 * ours:10.3f}{1e3 * other:10.3f}{ratio:8.3g}  "


def gradients(tasks: int, seed: int = 0) -> list[Tensor]:
    """`STEPS` steps' gradients `[T, 3 T]` in float64: half of each stays, half changes, norms within 1 : 100."""
    rng = np.random.default_rng(seed)
    norms = 10 ** rng.uniform(-1, 1, (tasks, 1))
    kept = rng.standard_normal((tasks, 3 * tasks))
    changing = rng.standard_normal((STEPS, tasks, 3 * tasks))
    return list(torch.from_numpy(norms * (kept + changing)))


def compare(name: str, tasks: int) -> Comparison:
    """Weights of one balancer by ours and by theirs.

    Raises:
        ImportError: theirs needs a package that is not there.
    """
    rows = gradients(tasks)
    gramians = [jacobian @ jacobian.T for jacobian in rows]
    if name in OF_GRAMIAN:
        other, seen = OF_GRAMIAN[name](tasks), gramians
    else:
        other, seen = OF_GRADIENTS[name](tasks), rows
    acts = {"trunkline": our_act(name, gramians), "TorchJD": act(other, seen)}
    slowest = max(stopwatch(one) for one in acts.values())
    rounds = int(min(max(SECONDS / slowest, ROUNDS[0]), ROUNDS[1]))
    return by_turns(f"{name}, {tasks} tasks", acts, base="trunkline", rounds=rounds, warm_up=3)


def our_act(name: str, gramians: Sequence[Tensor]) -> Act:
    """One call of the balancer as the engine calls it."""
    balancer = CATALOG[name]()
    assert isinstance(balancer, GramianBalancer)
    tasks = [f"task {i}" for i in range(len(gramians[0]))]
    balancer.start(tasks)

    def weigh(gramian: Tensor) -> Tensor:
        balancer.begin_step()
        return balancer.weigh(gramian, tasks)

    return act(weigh, gramians)


def act(weigh: Weighting, seen: Sequence[Tensor]) -> Act:
    """One call with the next of what it sees."""
    following = cycle(seen)
    return lambda: weigh(next(following))


def run() -> Iterator[Table]:
    """All of them in one table."""
    comparisons, missing = {}, {}
    for name in sorted([*OF_GRAMIAN, *OF_GRADIENTS]):
        for tasks in TASKS:
            try:
                comparisons[name, tasks] = compare(name, tasks)
            except ImportError as error:
                missing[name] = str(error)
                gramians = [jacobian @ jacobian.T for jacobian in gradients(tasks)]
                acts = {"trunkline": our_act(name, gramians)}
                comparisons[name, tasks] = by_turns(f"{name}, {tasks} tasks", acts, base="trunkline")
    yield Table(comparisons, missing)
