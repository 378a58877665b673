"""Encoders and heads of fitted states, those that are shared once."""

from __future__ import annotations

from torch import nn

from trunkline.schema import EncoderUnit, Preprocessing
from trunkline.tasks import Head


def build_encoders(preprocessing: Preprocessing, width: int) -> list[nn.Module]:
    """One a unit; units that share an encoder have the same module."""
    leaders = [preprocessing.schema.inputs[unit.name].share or unit.name for unit in preprocessing.encoders]
    built = {u.name: _build_encoder(preprocessing, u, width) for u in preprocessing.encoders if u.name in leaders}
    return [built[name] for name in leaders]


def build_heads(preprocessing: Preprocessing, width: int) -> list[Head]:
    """One a unit; units that share a head have its layers."""
    tasks = preprocessing.schema.tasks
    built = {
        unit.name: tasks[unit.name].task.build(preprocessing.task_states(unit), width)
        for unit in preprocessing.heads
        if tasks[unit.name].share is None
    }
    for unit in preprocessing.heads:
        if (leader := tasks[unit.name].share) is not None:
            built[unit.name] = tasks[unit.name].task.build_shared(built[leader], preprocessing.task_states(unit))
    return [built[unit.name] for unit in preprocessing.heads]


def _build_encoder(preprocessing: Preprocessing, unit: EncoderUnit, width: int) -> nn.Module:
    bound = {n: (preprocessing.schema.inputs[n].modality, preprocessing.input_state(n)) for n in unit.inputs}
    modality, state = bound[unit.name]
    if modality.block is not None:
        return modality.block(bound, width)
    is_pyramid = unit.name in preprocessing.schema.pyramids
    return modality.build_pyramid(state, width) if is_pyramid else modality.build(state, width)
