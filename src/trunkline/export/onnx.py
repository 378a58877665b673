"""ONNX: the whole network in one file, with what a caller must know beside it.

The graph takes `present [rows, inputs]` (bool) and the prepared values of every encoder; a row that lacks an input
holds anything there. Number of rows, and lengths of texts and sounds, are free.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from trunkline.data import Table
from trunkline.errors import ConfigError
from trunkline.export.dense import DenseNetwork, bound_rows, dense_values, flatten
from trunkline.export.example import example_batch, lengthened
from trunkline.files import replacing, write_json
from trunkline.predictor import Predictor
from trunkline.schema import HeadUnit, Preprocessing, RowBatches
from trunkline.types import Batch


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: of the ONNX file; a `.json` of the same name describes its inputs and outputs.
        megabytes: of the file.
        differences: by head, the largest absolute difference between ONNX Runtime on the dense path and PyTorch on
            the gathered one, over the rows of the check.
    """

    path: Path
    megabytes: float
    differences: dict[str, float]


def export_onnx(
    predictor: Predictor, table: Table, path: str | Path, *, tasks: Sequence[str] | None = None, rows: int = 16
) -> Exported:
    """Write the network as ONNX and compare the two.

    Args:
        predictor: trained.
        table: rows to trace and to check with; each input must be present in some of them.
        path: of the file to write.
        tasks: only these; all by default.
        rows: how many rows to check with.

    Raises:
        ConfigError: the extra is missing, a task is unknown, or is of a kind that cannot be exported.
        DataError: an input is present in none of the rows.
    """
    _check_installed()
    _check_encoders(predictor.preprocessing)
    path = Path(path)
    heads = _chosen_heads(predictor.preprocessing, tasks)
    batches = RowBatches(predictor.preprocessing, table, with_targets=False)
    batch = lengthened(example_batch(batches, range(len(table)), rows), batches)
    dense = DenseNetwork(predictor.network, heads).eval()
    values = dense_values(batch)
    inputs = {"present": batch.present.values, **flatten(values)}
    _write(dense, batch.present.values, values, path, predictor.preprocessing)
    write_json(path.with_suffix(".json"), _description(predictor.preprocessing, heads, inputs))
    differences = _compare(predictor, batch, heads, path, inputs)
    return Exported(path, path.stat().st_size / 1e6, differences)


def _write(
    dense: DenseNetwork, present: Tensor, values: dict[str, dict[str, Tensor]], path: Path, states: Preprocessing
) -> None:
    batch = Dim("rows", min=1, max=2**16)
    shapes = {
        name: {key: _free_sizes(states, name, key, value, batch) for key, value in its.items()}
        for name, its in values.items()
    }
    with replacing(path) as unfinished, warnings.catch_warnings(), _quietly(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            dense,
            (),
            str(unfinished),
            kwargs={"present": present, "values": values},  # positional, a last dict would be taken for these
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=["present", *flatten(values)],
            output_names=[unit.name for unit in dense.heads],
            dynamic_shapes={"present": {0: batch}, "values": shapes},
        )


def _free_sizes(states: Preprocessing, encoder: str, key: str, value: Tensor, batch: Any) -> dict[int, Any]:
    modality = states.schema.inputs[encoder].modality
    length = Dim(f"{modality.lengths.get(key, 'length')}_{states.inputs.index(encoder)}", min=2, max=2**16)
    return {0: batch, **dict.fromkeys(modality.varying.get(key, ()), length)}


def _compare(
    predictor: Predictor, batch: Batch, heads: Sequence[HeadUnit], path: Path, inputs: dict[str, Tensor]
) -> dict[str, float]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = {node.name for node in session.get_inputs()}
    said = session.run(None, {name: value.numpy() for name, value in inputs.items() if name in wanted})
    with torch.inference_mode():
        plain = predictor.network.predict(batch)
    differences = {}
    for unit, theirs in zip(heads, said):
        rows = bound_rows(batch, predictor.preprocessing.schema.tasks[unit.name].of)
        ours = plain[unit.name].output
        differences[unit.name] = float((torch.from_numpy(theirs)[rows] - ours).abs().max())
    return differences


def _check_encoders(states: Preprocessing) -> None:
    for name, column in states.schema.inputs.items():
        if (reason := column.modality.refuses_export) is not None:
            raise ConfigError(f"inputs.{name}: {reason}; this network cannot be exported")


def _chosen_heads(states: Preprocessing, tasks: Sequence[str] | None) -> list[HeadUnit]:
    wanted = list(states.tasks) if tasks is None else list(tasks)
    if unknown := [task for task in wanted if task not in states.tasks]:
        raise ConfigError(f"{unknown[0]!r} is not a task of this run. Known: {', '.join(states.tasks)}.")
    if generated := [t for t in wanted if not states.schema.tasks[t].task.is_exportable]:
        others = [t for t in wanted if t not in generated]
        raise ConfigError(
            f"{', '.join(map(repr, generated))}: how long an answer is comes out on the way, which no one graph holds; "
            f"export the other tasks with tasks={others}"
        )
    return [unit for unit in states.heads if any(task in wanted for task in unit.tasks)]


def _description(states: Preprocessing, heads: Sequence[HeadUnit], inputs: dict[str, Tensor]) -> dict[str, Any]:
    """What a caller must know: the order of flags, the graph's inputs and outputs, the preprocessing states."""
    return {
        "present": list(states.inputs),
        "inputs": {name: {"dtype": str(v.dtype).removeprefix("torch."), "rank": v.ndim} for name, v in inputs.items()},
        "outputs": {unit.name: _output(states, unit) for unit in heads},
        "encoders": {
            unit.name: {
                "inputs": list(unit.inputs),
                "type": type(states.schema.inputs[unit.name].modality).__name__,
                "options": {n: repr(v) for n, v in vars(states.schema.inputs[unit.name].modality).items()},
            }
            for unit in states.encoders
        },
        "preprocessing": states.states,
    }


def _output(states: Preprocessing, unit: HeadUnit) -> dict[str, Any]:
    """Whose output it is, and its form where it must be said; before they become probabilities, logits are divided by
    the temperatures that are there."""
    fitted = {name: states.states["tasks"][name].get("temperature") for name in unit.tasks}
    heat = {name: temperature for name, temperature in fitted.items() if temperature is not None}
    form = states.schema.tasks[unit.name].task.output_form
    told = {"temperatures": heat or None, "form": form}
    return {"tasks": list(unit.tasks), **{name: value for name, value in told.items() if value is not None}}


@contextlib.contextmanager
def _quietly() -> Any:
    """The exporter prints its progress and logs the operators it does not know."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f'{error.name} is missing; pip install "trunkline[onnx]"') from None
