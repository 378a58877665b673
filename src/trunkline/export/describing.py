"""What must be known beside an exported graph, as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trunkline.arrays.contract import told
from trunkline.schema import HeadUnit, Preprocessing


def described(
    states: Preprocessing,
    heads: Sequence[HeadUnit],
    inputs: Mapping[str, Tensor],
    acts: Mapping[str, dict[str, Any]],
    ears: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """The order of flags, the graph's inputs and outputs, how cells become arrays, and outputs answers.

    Args:
        states: of all inputs and tasks.
        heads: that are in the graph.
        inputs: of the graph.
        acts: by head, what is to be done with its output: `{"writes": …}`, `{"says": …}`, `{"chooses": …}`.
        ears: by encoder that hears by a graph of its own, `{"hears": …}`.
    """
    schema = states.schema
    kept = [task for unit in heads for task in unit.tasks]
    cells = {name: schema.inputs[name].modality.cells for name in states.inputs}
    answers = {name: schema.tasks[name].task.answers for name in kept}
    return {
        "present": list(states.inputs),
        "inputs": {name: {"dtype": str(v.dtype).removeprefix("torch."), "rank": v.ndim} for name, v in inputs.items()},
        "outputs": {unit.name: {**_output(states, unit), **acts.get(unit.name, {})} for unit in heads},
        "encoders": {
            unit.name: {
                "inputs": list(unit.inputs),
                "is_block": unit.is_block,
                "type": type(schema.inputs[unit.name].modality).__name__,
                **ears.get(unit.name, {}),
            }
            for unit in states.encoders
        },
        "columns": {
            "inputs": {
                name: {"column": schema.inputs[name].column, "cells": None if kind is None else told(kind)}
                for name, kind in cells.items()
            },
            "tasks": {
                name: {
                    "of": schema.tasks[name].of,
                    "copies": schema.tasks[name].task.copies,
                    "answers": None if kind is None else told(kind),
                }
                for name, kind in answers.items()
            },
        },
        "preprocessing": states.states,
    }


def _output(states: Preprocessing, unit: HeadUnit) -> dict[str, Any]:
    """Whose output it is, and its form where it must be said; before they become probabilities, logits are divided by
    the temperatures that are there."""
    fitted = {name: states.states["tasks"][name].get("temperature") for name in unit.tasks}
    heat = {name: temperature for name, temperature in fitted.items() if temperature is not None}
    form = states.schema.tasks[unit.name].task.output_form
    known = {"temperatures": heat or None, "form": form}
    return {"tasks": list(unit.tasks), **{name: value for name, value in known.items() if value is not None}}
