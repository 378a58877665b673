"""What a balanced step costs: every level, TorchJD and plain backwards, each beside its own floor.

`python -m benchmarks.step --network mlp --tasks 2 10` measures a part. A step is the forward pass, the losses and what
fills `.grad`; no optimiser. Floors follow from the forward pass and from the two halves of a backward pass (dX, the
gradients of activations, and dW, those of weights) of the shared part, measured by turns with the steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torchjd.aggregation import UPGrad as TheirUPGrad
from torchjd.autojac import jac_to_grad, mtl_backward

from benchmarks.memory import peak_memory
from benchmarks.networks import NETWORKS, Workload
from benchmarks.timing import Act, by_turns, quartiles
from trunkline.balancers import Equal, UPGrad
from trunkline.engine import LEVELS, Engine
from trunkline.engine.graph import Graph

ROUNDS = 9
BASE = "equal weights"
FORWARD, INNER, BACKWARD, HEADS = "forward", "backward, dX", "backward, dX + dW", "backward, heads"


def balanced(work: Workload, tasks: int, level: str) -> Act:
    """Steps of one engine; `losses` stands for equal weights."""
    work = replace(work, trunk=deepcopy(work.trunk), heads=deepcopy(work.heads))  # an engine may hook on to layers
    names = [str(k) for k in range(tasks)]
    last = [m for m in work.trunk.modules() if isinstance(m, torch.nn.Linear)][-1:]
    engine = Engine(Equal() if level == "losses" else UPGrad(), names, level=level, last_shared=last)
    return partial(balanced_step, engine, work)


def balanced_step(engine: Engine, work: Workload) -> None:
    """One of them."""
    views = engine.split(work.trunk(work.inputs))
    engine.total({name: work.loss(k, views[name]) for k, name in enumerate(engine.tasks)}).backward()
    forget(work)


def torchjd(work: Workload, tasks: int, chunk: int | None) -> None:
    """One step of TorchJD, all tasks at once or one at a time."""
    features = work.trunk(work.inputs)
    shared = list(work.trunk.parameters())
    mtl_backward(
        [work.loss(k, features) for k in range(tasks)],
        features=features,
        tasks_params=[list(work.heads[k].parameters()) for k in range(tasks)],  # type: ignore[index]
        shared_params=shared,
        parallel_chunk_size=chunk,
    )
    jac_to_grad(shared, TheirUPGrad())
    forget(work)


def backwards(work: Workload, tasks: int) -> None:
    """A plain backward a task, gradients kept, summed: what nobody can do without who has only `backward`."""
    features = work.trunk(work.inputs)
    shared = list(work.trunk.parameters())
    rows = [torch.autograd.grad(work.loss(k, features), shared, retain_graph=True) for k in range(tasks)]
    for parameter, column in zip(shared, zip(*rows)):
        parameter.grad = torch.stack(column).sum(0)
    forget(work)


def forget(work: Workload) -> None:
    """No gradients are left for the next step."""
    for parameter in [*work.trunk.parameters(), *work.heads.parameters()]:
        parameter.grad = None


def parts(work: Workload, tasks: int) -> dict[str, Act]:
    """The shared part's forward pass, the two halves of its backward pass, and the backward pass of what is private."""
    features = work.trunk(work.inputs)
    graph, ones = Graph([get_gradient_edge(features)]), torch.ones_like(features)
    nodes = {use.node: None for leaf in graph.leaves for use in graph.uses(leaf)}
    edges = [GradientEdge(node, 0) for node in nodes]
    grad = partial(torch.autograd.grad, features, grad_outputs=ones, retain_graph=True)
    tap = features.detach().requires_grad_()
    private = torch.stack([work.loss(k, tap) for k in range(tasks)]).sum()
    return {
        FORWARD: lambda: work.trunk(work.inputs),
        INNER: lambda: grad(inputs=edges),
        BACKWARD: lambda: grad(inputs=graph.leaves),
        HEADS: lambda: torch.autograd.grad(private, [tap, *work.heads.parameters()], retain_graph=True),
    }


def floor_of(act: str, seconds: Mapping[str, float], tasks: int) -> float | None:
    """The least that a way of balancing can cost, in seconds beyond heads and losses."""
    forward, inner, backward = seconds[FORWARD], seconds[INNER], seconds[BACKWARD]
    plain, private = seconds[BASE], private_part(seconds)
    return {
        "features": plain,
        "last": plain,
        "sketch": private + forward + tasks * inner + backward,
        "trunk": private + forward + tasks * backward,
        "trunk-lean": private + forward + (tasks + 1) * backward,
        "TorchJD, batched": private + forward + tasks * backward,
        "TorchJD, one at a time": private + forward + tasks * backward,
        "T backwards": private + forward + tasks * backward,
    }.get(act)


def private_part(seconds: Mapping[str, float]) -> float:
    """What a step with equal weights costs beyond the shared part."""
    return max(0.0, seconds[BASE] - seconds[FORWARD] - seconds[BACKWARD])


def target_of(act: str, seconds: Mapping[str, float], tasks: int) -> float | None:
    """What a level may cost. Where private parts are large, one more backward pass through them is allowed for."""
    if act in ("features", "last"):
        usual = seconds[BASE] * (1.05 if tasks <= 10 else 1.2)
        is_slight = private_part(seconds) < 0.1 * seconds[BASE]
        return usual if is_slight else max(usual, seconds[BASE] + seconds[HEADS])
    floor = floor_of(act, seconds, tasks)
    if floor is None:
        return None
    # Of `sketch` with the ordinary backward pass after it, which its floor does without.
    return {"sketch": 1.2 * (floor + seconds[INNER]), "trunk": 1.15 * floor, "trunk-lean": 1.15 * floor}.get(act)


def acts_of(work: Workload, tasks: int) -> dict[str, Act]:
    """Everything that is compared."""
    has_linear = any(isinstance(m, torch.nn.Linear) for m in work.trunk.modules())
    levels = [level for level in LEVELS[1:] if level != "last" or has_linear]
    return {
        BASE: balanced(work, tasks, "losses"),
        **{level: balanced(work, tasks, level) for level in levels},
        "TorchJD, batched": partial(torchjd, work, tasks, None),
        "TorchJD, one at a time": partial(torchjd, work, tasks, 1),
        "T backwards": partial(backwards, work, tasks),
    }


def measure(network: str, tasks: int, *, rounds: int = ROUNDS, only: Sequence[str] = ()) -> str:
    """A table of one network at one number of tasks."""
    torch.manual_seed(0)
    work = NETWORKS[network](tasks)
    acts = {name: act for name, act in acts_of(work, tasks).items() if not only or name in (BASE, *only)}
    found = by_turns(f"{network}, {tasks} tasks", {**acts, **parts(work, tasks)}, base=BASE, rounds=rounds, warm_up=1)
    seconds = {name: quartiles(times)[1] for name, times in found.seconds.items()}
    weights = sum(p.numel() * p.element_size() for p in work.trunk.parameters())
    memory = {name: weights + peak_memory(act) for name, act in acts.items()}
    share = private_part(seconds) / seconds[BASE]
    lines = [
        f"{found.title} ({rounds} rounds); private parts are {share:.0%} of the step with equal weights",
        f"  {'':24}{'ms':>9}  ratio (quartiles)     target    floor  of floor  memory",
    ]
    for name in found.seconds:
        low, mid, high = quartiles(found.ratios(name))
        floor, target = floor_of(name, seconds, tasks), target_of(name, seconds, tasks)
        wanted = "" if target is None else f"{target / seconds[BASE]:.2f}"
        beside = "" if floor is None else f"{floor / seconds[BASE]:9.2f}{seconds[name] / floor:10.2f}"
        stored = f"{memory[name] / memory[BASE]:8.2f}" if name in memory else ""
        spread = f"{mid:6.2f} ({low:.2f} … {high:.2f})"
        lines.append(f"  {name:24}{1e3 * seconds[name]:9.1f}  {spread:21}{wanted:>7}{beside:19}{stored}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None, show: Callable[[str], None] = print) -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--tasks", nargs="+", type=int, default=[2, 4, 10, 40])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", nargs="+", default=[], help="acts, as they are named in the tables")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    show(f"torch {torch.__version__}, {torch.get_num_threads()} thread\n")
    for network in options.network:
        for tasks in options.tasks:
            show(measure(network, tasks, rounds=options.rounds, only=options.only) + "\n")


if __name__ == "__main__":
    main()
