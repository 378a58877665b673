"""ONNX: the whole network in one file, with what a caller must know beside it, and a file for each writer of texts.

The graph takes `present [rows, inputs]` (bool) and the prepared values of every encoder; a row that lacks an input
holds anything there. Number of rows, and lengths of texts and sounds, are free. Of a task that writes texts the graph
says what a step of writing reads (`steps.reading`); the step is a graph of its own, and `writer` the loop around it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from trunkline.arrays.boxes import picture_parts
from trunkline.data import Table
from trunkline.errors import ConfigError
from trunkline.export import steps
from trunkline.export.dense import DenseNetwork, dense_values, flatten
from trunkline.export.describing import described
from trunkline.export.ears import hearing, listeners, write_ears
from trunkline.export.example import SHORTEST, example_batch, lengthened
from trunkline.export.parity import FoundBoxes, Sounds, compare
from trunkline.export.tracing import trace
from trunkline.files import write_json
from trunkline.predictor import Predictor
from trunkline.schema import HeadUnit, Preprocessing, RowBatches
from trunkline.tasks.speech_head import SpeechHead
from trunkline.tasks.text_head import TextHead


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: of the ONNX file; a `.json` of the same name describes its inputs and outputs.
        megabytes: of the file, and of those of the steps.
        differences: by head, the largest absolute difference between ONNX Runtime on the dense path and PyTorch on
            the gathered one, over the rows of the check; of heads that write texts it is in `texts`.
        texts: by head, how many texts have the same tokens as those of PyTorch, and of how many.
        sounds: by head, how far what is said is from what PyTorch says.
        boxes: by head, how far those that the graph has chosen are from PyTorch's.
        prepared: by input of the graph, the largest difference between cells prepared by `Model`, without PyTorch,
            and by trunkline; empty where an input is of a user's own kind.
        tasks: by head, whose it is: equal tasks may have one together, that is named after the first.
    """

    path: Path
    megabytes: float
    differences: dict[str, float]
    texts: dict[str, tuple[int, int]]
    sounds: dict[str, Sounds] = field(default_factory=dict)
    prepared: dict[str, float] = field(default_factory=dict)
    tasks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    boxes: dict[str, FoundBoxes] = field(default_factory=dict)


def export_onnx(
    predictor: Predictor,
    table: Table,
    path: str | Path,
    *,
    numbers: Sequence[int] | None = None,
    tasks: Sequence[str] | None = None,
    rows: int = 16,
) -> Exported:
    """Write the network as ONNX and compare the two.

    Args:
        predictor: trained.
        table: rows to trace and to check with; each input must be present in some of them.
        path: of the file to write.
        numbers: which of the rows may be used, the first ones first; all by default.
        tasks: only these; all by default.
        rows: how many rows to check with.

    Raises:
        ConfigError: the extra is missing, a task is unknown or cannot be exported, or a name does not do.
        DataError: an input is present in none of the rows.
    """
    if Path(path).suffix == ".json":
        raise ConfigError(f"{path}: the description of the graph goes there; call the graph .onnx")
    _check_installed()
    _check_encoders(predictor.preprocessing)
    path = Path(path)
    heads = _chosen_heads(predictor.preprocessing, tasks)
    numbers = range(len(table)) if numbers is None else numbers
    batches = RowBatches(predictor.preprocessing, table, with_targets=False, rows=numbers)
    hear = {name: encoder.heard for name, encoder in listeners(predictor.network).items()}
    with torch.no_grad():
        batch = lengthened(hearing(example_batch(batches, numbers, rows), hear), batches)
    dense = DenseNetwork(predictor.network, heads).eval()
    values = dense_values(batch)
    copied = {unit.name: dict(batch.sources[unit.name]) for unit in heads if unit.name in batch.sources}
    parted = {name: one.of for name, one in dense.choices.items() if one.inside is None}
    insides = {name: torch.from_numpy(picture_parts(batch.context[of])) for name, of in parted.items()}
    given = {"present": batch.present.values, "values": values, "sources": copied, "insides": insides}
    with torch.no_grad():
        said = dense(**given)
    parts = [("present", batch.present.values), *flatten(values).items(), *flatten(copied, "copied.").items()]
    parts += [(f"inside.{name}", value) for name, value in insides.items()]
    inputs = dict(parts)
    outputs = [_named(name, its) for name, its in said.items()]
    names = [name for told in outputs for name in told.values()]
    _check_names([name for name, _ in parts] + names)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
        unfinished = Path(folder) / path.name
        sizes = _free_sizes(predictor.preprocessing, values, copied, insides)
        trace(dense, given, sizes, [*inputs], names, unfinished)
        named = dict(zip(said, outputs))
        acts = _write_steps(predictor, heads, said, named, unfinished)
        acts |= _write_voices(predictor, heads, named, unfinished)
        acts |= {name: {"chooses": {key: own for key, own in named[name].items() if key}} for name in dense.choices}
        ears = write_ears(predictor.network, unfinished)
        write_json(unfinished.with_suffix(".json"), described(predictor.preprocessing, heads, inputs, acts, ears))
        found = compare(predictor, table, batch, heads, unfinished, inputs)
        for stale in _stale(path):
            stale.unlink()
        files = [Path(file).replace(path.parent / file.name) for file in sorted(Path(folder).iterdir())]
    megabytes = sum(file.stat().st_size for file in files if file.suffix == path.suffix) / 1e6
    whose = {unit.name: tuple(unit.tasks) for unit in heads}
    return Exported(path, megabytes, found.differences, found.texts, found.sounds, found.prepared, whose, found.boxes)


def _stale(path: Path) -> list[Path]:
    """What an export of this name, and its twins with smaller weights, have left: it is of another network now."""
    own = re.compile(re.escape(path.stem) + r"(\.(int8|bf16))?\.(step|voice|ear)[0-9]+\.onnx")
    twins = [f"{path.stem}.{kind}{end}" for kind in ("int8", "bf16") for end in (".json", path.suffix)]
    return [file for file in path.parent.iterdir() if own.fullmatch(file.name) or file.name in twins]


def _named(head: str, said: Any) -> dict[str, str]:
    """The outputs of a head, by what they are of it: one by its own name, or what its steps, or a vocoder, read; of
    boxes all by its name, and what is chosen of them."""
    if isinstance(said, Tensor):
        return {"": head}
    if "" in said:
        return {key: f"{head}.{key}" if key else head for key in said}
    return {key: f"read.{head}.{key}" for key in said}


def _check_names(names: Sequence[str]) -> None:
    """Raises:
    ConfigError: two inputs or outputs of the graph have one name.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError(f"the exported graph would have {', '.join(map(repr, twice))} twice; give the input or task "
                          "another name")  # fmt: skip


def _write_steps(
    predictor: Predictor, heads: Sequence[HeadUnit], said: dict[str, Any], outputs: dict[str, Any], path: Path
) -> dict[str, dict[str, Any]]:
    """By head that writes texts, what the loop around its step must know; heads that share a decoder share the file."""
    written: dict[int, str] = {}
    told = {}
    for unit, head in predictor.network.units():
        if unit not in heads or not isinstance(head, TextHead):
            continue
        reading = said[unit.name]
        layers = sum(name.startswith("key_") for name in reading)
        if (file := written.get(id(head.decoder))) is None:
            file = written[id(head.decoder)] = f"{path.stem}.step{len(written)}.onnx"
            names = steps.names(reading, layers)
            said_next = ["scores", *(f"next_{name}" for name in names if name.startswith("own_"))]
            given = steps.example(head, reading, layers)
            trace(steps.Step(head).eval(), given, steps.shapes(reading, layers), names, said_next, path.parent / file)
        told[unit.name] = {"writes": steps.writes(head, layers, file, outputs[unit.name])}
    return told


def _write_voices(
    predictor: Predictor, heads: Sequence[HeadUnit], outputs: dict[str, dict[str, str]], path: Path
) -> dict[str, dict[str, Any]]:
    """By head that speaks, which outputs have its frames, and the file of its vocoder, if that is a network."""
    told: dict[str, dict[str, Any]] = {}
    for unit, head in predictor.network.units():
        if unit not in heads or not isinstance(head, SpeechHead):
            continue
        file = None
        if head.vocoder is not None:
            file = f"{path.stem}.voice{len(told)}.onnx"
            voice, frames = Voice(head).eval(), torch.zeros(1, SHORTEST, len(head.mean))
            shapes = {"frames": {1: Dim("frames", min=2, max=2**16)}}
            trace(voice, {"frames": frames}, shapes, ["frames"], ["wave"], path.parent / file)
        told[unit.name] = {"says": {"read": outputs[unit.name], "voice": file}}
    return told


class Voice(nn.Module):
    """Standardised frames of one sound `[1, T, M]` → the sound `[1, S]`, by the network that is a head's vocoder."""

    def __init__(self, head: SpeechHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, frames: Tensor) -> Tensor:
        """See the class."""
        assert self.head.vocoder is not None, "only such heads have a voice"
        return self.head.vocoder(frames * self.head.std + self.head.mean)


def _free_sizes(
    states: Preprocessing,
    values: dict[str, dict[str, Tensor]],
    sources: dict[str, dict[str, Tensor]],
    insides: dict[str, Tensor],
) -> dict[str, Any]:
    batch = Dim("rows", min=1, max=2**16)
    lengths = {name: Dim(f"source_{place}", min=2, max=2**16) for place, name in enumerate(sources)}
    return {
        "present": {0: batch},
        "values": {name: {key: _free(states, name, key, batch) for key in its} for name, its in values.items()},
        "sources": {name: {key: {0: batch, 1: lengths[name]} for key in its} for name, its in sources.items()},
        "insides": {name: {0: batch} for name in insides},
    }


def _free(states: Preprocessing, encoder: str, key: str, batch: Any) -> dict[int, Any]:
    modality = states.schema.inputs[encoder].modality
    length = Dim(f"{modality.lengths.get(key, 'length')}_{states.inputs.index(encoder)}", min=2, max=2**16)
    return {0: batch, **dict.fromkeys(modality.varying.get(key, ()), length)}


def _check_encoders(states: Preprocessing) -> None:
    for name, column in states.schema.inputs.items():
        if (reason := column.modality.refuses_export) is not None:
            raise ConfigError(f"inputs.{name}: {reason}; this network cannot be exported")


def _chosen_heads(states: Preprocessing, tasks: Sequence[str] | None) -> list[HeadUnit]:
    wanted = list(states.tasks) if tasks is None else list(tasks)
    if unknown := [task for task in wanted if task not in states.tasks]:
        raise ConfigError(f"{unknown[0]!r} is not a task of this run. Known: {', '.join(states.tasks)}.")
    refused = {t: reason for t in wanted if (reason := states.schema.tasks[t].task.refuses_export) is not None}
    if refused:
        others = [t for t in wanted if t not in refused]
        said = "\n".join(f"{task!r}: {reason}" for task, reason in refused.items())
        raise ConfigError(f"{said}\nexport the other tasks with tasks={others}")
    return [unit for unit in states.heads if any(task in wanted for task in unit.tasks)]


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f'{error.name} is missing; pip install "trunkline[onnx]"') from None
