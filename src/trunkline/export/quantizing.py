"""An exported network with smaller weights, of 8 bits or as bfloat16 (`storing`), and what that costs each task.

8 bits are ONNX Runtime's dynamic quantization: matrices are stored as whole numbers from -128 to 127, times a factor
for each of their columns, and multiplied as whole numbers by activations that are scaled on the way. Tables of
embeddings have one factor for the whole table. Convolutions, recurrent layers and what is no matrix by a constant stay
as they are.
"""

from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trunkline.data import Draw, Table
from trunkline.errors import ConfigError
from trunkline.export.dense import dense_values, flatten
from trunkline.export.ears import hearing
from trunkline.export.example import lengthened
from trunkline.export.model import Model
from trunkline.export.storing import store_bf16
from trunkline.files import write_json
from trunkline.model.evaluation import Evaluation, TaskScores
from trunkline.predictor import Predictor
from trunkline.schema import RowBatches
from trunkline.types import Batch

OPERATORS = ("MatMul", "Gemm", "Gather")  # matrix products, and tables of embeddings
PRECISIONS = ("int8", "bf16")
REFUSED = {"fp16": "ONNX Runtime has few kernels of half precision for CPUs, and casts to 32 bits around the others"}
TOGETHER = 32  # rows


@dataclass(frozen=True)
class Quantized:
    """What smaller weights cost.

    Attributes:
        path: of the graph.
        megabytes: of it and its steps, and of its voices where they are written once more: before, and now.
        milliseconds: a row of those that were judged: before, and now.
        scores: of each task by metric, before, and now.
        rows: that both were judged by.
        precision: of the weights.
    """

    path: Path
    megabytes: tuple[float, float]
    milliseconds: tuple[float, float]
    scores: tuple[TaskScores, TaskScores]
    rows: int
    precision: str


def check_precision(precision: str | None) -> None:
    """Raises:
    ConfigError: it does not work in ONNX Runtime on a CPU, and why.
    """
    if precision is not None and precision not in PRECISIONS:
        why = REFUSED.get(precision, "it is not known")
        raise ConfigError(f"precision: {precision!r}: {why}; give {', '.join(PRECISIONS)}, or leave it out")


def quantize(predictor: Predictor, path: Path, table: Table, rows: Sequence[int], precision: str = "int8") -> Quantized:
    """Write `NAME.int8.onnx`, or `NAME.bf16.onnx`, beside an exported graph, and judge both.

    Args:
        predictor: the original.
        path: of the graph.
        table: with target columns.
        rows: held out, to judge by.
        precision: of the weights, one of `PRECISIONS`.
    """
    target = path.with_suffix(f".{precision}{path.suffix}")
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    write = _quantize_file if precision == "int8" else store_bf16
    files = [path.name, *_others(about, with_voices=precision != "int8")]
    renamed = {file: target.stem + file.removeprefix(path.stem) for file in files}
    for file, new in renamed.items():
        write(path.parent / file, path.parent / new)
    write_json(target.with_suffix(".json"), _with_names(about, renamed))
    numbers = np.asarray(rows, dtype=np.int64)
    batches = RowBatches(predictor.preprocessing, table, rows=numbers)
    before, after = (_judged(predictor, Model(file), batches, numbers.tolist()) for file in (path, target))
    size = [sum((path.parent / file).stat().st_size for file in its) / 1e6 for its in (files, renamed.values())]
    times, scores = (before[1], after[1]), (before[0], after[0])
    return Quantized(target, (size[0], size[1]), times, scores, len(numbers), precision)


def _quantize_file(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it recommends a step that graphs of free lengths do not need
    try:
        quantize_dynamic(
            source, target, op_types_to_quantize=list(OPERATORS), per_channel=True, weight_type=QuantType.QInt8
        )
    finally:
        logging.disable(logging.NOTSET)


def _others(about: dict[str, Any], *, with_voices: bool) -> list[str]:
    """Files of steps, and of vocoders, which are convolutions, where these become smaller, too."""
    acts = (("writes", "step"), ("says", "voice")) if with_voices else (("writes", "step"),)
    found = {told[act][key] for told in about["outputs"].values() for act, key in acts if act in told}
    found |= {how["file"] for how in _ears(about).values()}
    return sorted(file for file in found if file is not None)


def _ears(about: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By encoder that hears by a graph of its own, how."""
    return {name: told["hears"] for name, told in about["encoders"].items() if "hears" in told}


def _heard(model: Model, name: str, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What an ear says of these samples."""
    waves = [wave[:size] for wave, size in zip(values["wave"].numpy(), values["length"].tolist())]
    return {key: torch.from_numpy(value) for key, value in model.hear(name, waves).items()}


def _with_names(about: dict[str, Any], renamed: dict[str, str]) -> dict[str, Any]:
    outputs = {head: dict(told) for head, told in about["outputs"].items()}
    for told in outputs.values():
        for act, key in (("writes", "step"), ("says", "voice")):
            if act in told:
                told[act] = {**told[act], key: renamed.get(told[act][key], told[act][key])}
    encoders = {name: dict(told) for name, told in about["encoders"].items()}
    for name, how in _ears(about).items():
        encoders[name]["hears"] = {**how, "file": renamed[how["file"]]}
    return {**about, "outputs": outputs, "encoders": encoders}


def _judged(predictor: Predictor, model: Model, batches: RowBatches, rows: Sequence[int]) -> tuple[TaskScores, float]:
    """Scores on these rows, and milliseconds a row without reading it."""
    evaluation, seconds = Evaluation(predictor.preprocessing), 0.0
    for start in range(0, len(rows), TOGETHER):
        drawn = batches[Draw(tuple(rows[start : start + TOGETHER]), None)]
        begun = time.perf_counter()
        heard = hearing(drawn, {name: functools.partial(_heard, model, name) for name in _ears(model.about)})
        seconds += time.perf_counter() - begun
        batch = lengthened(heard, batches)
        inputs = _arrays(model, batch)
        if start == 0:
            _said(predictor, model, inputs, batch)  # the first run also allocates: it is not timed
        begun = time.perf_counter()
        outputs = _said(predictor, model, inputs, batch)
        seconds += time.perf_counter() - begun
        evaluation.count(outputs, batch)
    return evaluation.compute(), 1000 * seconds / max(1, len(rows))


def _said(predictor: Predictor, model: Model, inputs: dict[str, np.ndarray], batch: Batch) -> dict[str, Any]:
    """What heads say of the rows that have targets."""
    said = model.run(inputs)
    return {
        unit.name: _of(model, unit.name, said, part.rows, batch.size)
        for unit in predictor.preprocessing.heads
        if unit.name in model.about["outputs"] and (part := batch.targets.get(unit.name)) is not None
    }


def _arrays(model: Model, batch: Batch) -> dict[str, np.ndarray]:
    """What the graph takes of a batch; of an encoder that has nothing in it, zeros."""
    given = {"present": batch.present.values, **flatten(dense_values(batch)), **flatten(batch.sources, "copied.")}
    arrays = {name: model.typed(name, value.numpy()) for name, value in given.items()}
    arrays |= model.insides(batch.context)
    for name in (name for name in model.about["encoders"] if name not in batch.inputs):
        arrays |= {f"{name}.{key}": value for key, value in model.nothing(name, batch.size).items()}
    return arrays


def _of(model: Model, head: str, said: dict[str, np.ndarray], rows: torch.Tensor | None, size: int) -> Any:
    """A head's output as metrics take it."""
    numbers = np.arange(size) if rows is None else rows.numpy()
    if "chooses" in model.about["outputs"][head]:  # metrics choose for themselves
        return torch.from_numpy(said[head][numbers])
    output = model.output(head, said, numbers)
    if isinstance(output, dict):
        return {name: torch.from_numpy(value) for name, value in output.items() if name != "wave"}
    if isinstance(output, list):  # ids of texts, without the end
        how = model.about["outputs"][head]["writes"]
        longest = 1 + max(map(len, output), default=0)
        return torch.tensor([[*row, *[how["end"]] * (longest - len(row))] for row in output])
    return torch.from_numpy(output)
