"""New tasks on a trained network: its weights are taken over and stay, and what is the new tasks' own learns alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError, RunError
from trunkline.model.network import Network
from trunkline.schema import Schema
from trunkline.tasks import Head

TRAINING_ONLY = "alignment."  # layers that a network may be without


def join(network: Network, weights: Mapping[str, Tensor]) -> None:
    """Put a trained network's weights into a new one that has further tasks, and freeze them.

    What learns is what reads the frozen part for the tasks that were added last: their heads, and their own part of the
    trunk. The rest is in evaluation mode from now on, in training too: no statistic of it moves, and what the new heads
    learn from is what they will read at prediction, without dropout.

    Args:
        network: fresh; its tasks are those of the trained one, in their order, and then the new ones.
        weights: of the trained network, by name.

    Raises:
        ConfigError: the trunk cannot have another task, or the new ones would change what the trained ones read.
        RunError: the weights are those of another network.
    """
    new = network.preprocessing.schema.newest
    _check_same_tokens(network, new)
    if network.trunk.closed:
        raise ConfigError(f"start: no task can be added to the run: its trunk {network.trunk.closed}; train all "
                          "tasks together, or the run anew with another trunk")  # fmt: skip
    learning = _own(network, new)
    for module in learning:
        if isinstance(module, Head):
            module.load_pretrained()
    _take_over(network, weights, learning)
    still = {id(p) for module in learning for p in module.parameters() if not p.requires_grad}
    network.requires_grad_(False)
    for parameter in (p for module in learning for p in module.parameters() if id(p) not in still):
        parameter.requires_grad_(True)
    network.learning = tuple(learning)


def _own(network: Network, tasks: tuple[str, ...]) -> list[nn.Module]:
    """Heads of these tasks, and what the trunk has for them alone."""
    heads = [head for unit, head in network.units() if unit.tasks[0] in tasks]
    return [*heads, *(layers for task in tasks for layers in network.trunk.private(task))]


def _check_same_tokens(network: Network, new: tuple[str, ...]) -> None:
    """Would the trained tasks read what they read before?"""
    schema = network.preprocessing.schema
    before = Schema(schema.inputs, {name: task for name, task in schema.tasks.items() if name not in new})
    faults = []
    for task in (name for name in new if schema.tasks[name].of is not None):
        of = schema.tasks[task].of
        if of in schema.pyramids - before.pyramids:
            faults.append(f"tasks.{task}: reads {of!r} at several scales, which its encoder in the run does not give")
        elif not network.keeps_all and of not in before.kept_inputs:
            faults.append(f"tasks.{task}: reads the tokens of {of!r}, and the run's network keeps only its row")
    if not network.keeps_all and before.kept_inputs != schema.kept_inputs and not faults:
        faults.append(f"tasks.{new[0]}: reads tokens of inputs of which the run's network keeps only the row")
    if faults:
        cure = "Train all tasks together, or start from a run that has a task which reads them, or `trunk: transformer`"
        raise ConfigError("\n".join([*faults, cure]))


@torch.no_grad()
def _take_over(network: Network, weights: Mapping[str, Tensor], learning: list[nn.Module]) -> None:
    """Copy all that is not new. Of tied weights the file has one name."""
    own = {id(t) for module in learning for t in (*module.parameters(), *module.buffers())}
    there = network.state_dict(keep_vars=True)
    by_task = {} if network.blending is None else {f"blending.{n}": t for n, t in network.blending.named_buffers()}
    copied: set[int] = set(own)
    unfit = [name for name in weights if name not in there and not name.startswith(TRAINING_ONLY)]
    for name, value in ((name, value) for name, value in weights.items() if name in there):
        target = there[name]
        if name in by_task:  # of each task; `[…, T, E + 1]`
            target = target[..., : value.shape[-2], :]
        if target.shape != value.shape or id(there[name]) in own:
            unfit.append(name)
            continue
        target.copy_(value)
        copied.add(id(there[name]))
    unfit += [name for name, value in there.items() if id(value) not in copied]
    if unfit:
        raise RunError(f"start: the run's weights do not fit its network with another task ({', '.join(unfit[:5])}): "
                       "a part that has something for each task does not say what (`TrunkModule.private`), or a file "
                       "was exchanged")  # fmt: skip
