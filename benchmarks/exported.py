"""What answers of an exported network cost: `python -m benchmarks.exported CONFIG --out FOLDER [--set key=value …]`.

One network of all tasks, and one for each task alone with the same trunk and width, are trained for some steps and
exported; printed are how near each is to PyTorch, sizes, and the time of an answer, of ONNX Runtime and PyTorch, on one
thread. What is in FOLDER already is not trained again.

A network alone has the inputs of all, or those that `--only TASK=INPUT,INPUT` says. Rows have every input: where no row
has, they are put together of several. *Network* is from prepared arrays to the outputs of all heads, texts written to
their end; *rows to answers* the whole of `predict`: files are opened, cells prepared, outputs decoded. Times are those
of the process on its core, which others take from it.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.timing import Act, Comparison, by_turns
from benchmarks.vision import in_turn
from trunkline.cells import as_file
from trunkline.config import Config, load_config
from trunkline.data import Draw, Table, read_table
from trunkline.export import Exported, Model, tell
from trunkline.loading import load
from trunkline.plan import make_plan
from trunkline.predictor import Predictor
from trunkline.run import export
from trunkline.run.fitting import train_plan
from trunkline.run.many import alone
from trunkline.schema import RowBatches
from trunkline.sources import columns_of, read_splits

TOGETHER, SINGLE = "together", "one network after the other"
Row = dict[str, Any]


@dataclass(frozen=True)
class Deployed:
    """A trained network, twice.

    Attributes:
        predictor: in PyTorch.
        model: in ONNX Runtime.
        written: what the export says of itself.
    """

    predictor: Predictor
    model: Model
    written: Exported

    @property
    def millions(self) -> float:
        """Of parameters."""
        return sum(parameter.numel() for parameter in self.predictor.network.parameters()) / 1e6


@dataclass(frozen=True)
class Sizes:
    """How near each network is to PyTorch, and how large it is."""

    networks: Mapping[str, Deployed]

    def table(self) -> str:
        """What each export says; parameters and files, and in all."""
        lines = []
        for name, one in self.networks.items():
            lines += [f"{name}, {one.millions:.2f} million parameters", *(f"  {line}" for line in tell(one.written))]
        whole = self.networks[TOGETHER]
        parts = [one for name, one in self.networks.items() if name != TOGETHER]
        count, size = sum(one.millions for one in parts), sum(one.written.megabytes for one in parts)
        lines.append(
            f"alone in all: {count:.2f} million parameters ({count / whole.millions:.2f} times), {size:.1f} MB "
            f"({size / whole.written.megabytes:.2f} times)"
        )
        return "\n".join(lines)


# --- networks ---


def settled(source: Path, overrides: Sequence[str], steps: int) -> Config:
    """The config with all that it leaves open chosen."""
    config = load_config(source, columns=columns_of, overrides=[*overrides, f"training.steps={steps}"])
    config = replace(config, training=replace(config.training, threads=1))
    return make_plan(config, read_splits(config)).config


def configs_of(config: Config, only: Mapping[str, Sequence[str]]) -> dict[str, Config]:
    """Of the one network, and of each task's alone."""
    found = {TOGETHER: config}
    for task in config.tasks:
        one = alone(config, task, config.inputs)
        if task in only and one.data is not None:  # rows without these inputs are none of its
            kept = {name: one.inputs[name] for name in only[task]}
            one = replace(one, inputs=kept, data=replace(one.data, on_bad_row="skip"))
        found[task] = one
    return found


def deployed(config: Config, folder: Path) -> Deployed:
    """Trained, or read again, and exported."""
    if not (folder / "metrics.json").is_file():
        train_plan(make_plan(config, read_splits(config)), folder, show_progress=False, report=False)
    written, _ = export(folder)
    return Deployed(load(folder), Model(written.path, threads=1), written)


# --- rows ---


def full_rows(predictor: Predictor, table: Table, count: int) -> list[Row]:
    """Rows that have every input, each taken from the next row that has it; files by their whole paths."""
    columns = {column.column: column.modality.reads_files for column in predictor.preprocessing.schema.inputs.values()}
    cells = {}
    for name, is_file in columns.items():
        there = (cell for row in range(len(table)) if (cell := table.cell(row, name)) is not None)
        found = list(itertools.islice(there, count))
        cells[name] = [as_file(cell, table.base) if is_file else cell for cell in found]
    return [{name: own[row % len(own)] for name, own in cells.items()} for row in range(count)]


def own_of(one: Deployed, rows: Sequence[Row]) -> list[Row]:
    """What of the rows a network reads."""
    columns = {column.column for column in one.predictor.preprocessing.schema.inputs.values()}
    return [{name: cell for name, cell in row.items() if name in columns} for row in rows]


# --- acts ---


def graph(one: Deployed, rows: Sequence[Row]) -> Act:
    """The exported graph alone: of texts, what the loop around their step reads."""
    arrays = one.model.prepare(own_of(one, rows)).arrays
    return lambda: one.model.run(arrays)


def network(one: Deployed, rows: Sequence[Row]) -> Act:
    """The exported graph, and the loops that write texts."""
    arrays, here = one.model.prepare(own_of(one, rows)).arrays, np.arange(len(rows))

    def act() -> None:
        said = one.model.run(arrays)
        for head in one.model.about["outputs"]:
            one.model.output(head, said, here)

    return act


def in_pytorch(one: Deployed, rows: Sequence[Row]) -> Act:
    """The same in PyTorch."""
    batches = RowBatches(one.predictor.preprocessing, read_table(own_of(one, rows)), with_targets=False)
    batch = batches[Draw(tuple(range(len(rows))), None)]

    def act() -> None:
        with torch.inference_mode():
            one.predictor.network.predict(batch)

    return act


def answering(asked: Model | Predictor, rows: Sequence[Row]) -> Act:
    """Rows to answers."""
    return lambda: asked.predict(rows)


def compared(networks: Mapping[str, Deployed], rows: Sequence[Row], rounds: int) -> Iterator[Comparison]:
    """The network of all tasks against the others, one after the other."""

    def timed(title: str, acts: Mapping[str, Act]) -> Comparison:
        title = f"{title}, {len(rows)} {'row' if len(rows) == 1 else 'rows'}"
        return by_turns(title, acts, base=TOGETHER, rounds=rounds, warm_up=2, clock=time.process_time)

    whole, parts = networks[TOGETHER], {name: one for name, one in networks.items() if name != TOGETHER}
    each = {name: network(one, rows) for name, one in parts.items()}
    acts = {TOGETHER: network(whole, rows), SINGLE: in_turn(each), **{f"  {name}": act for name, act in each.items()}}
    if any("writes" in told for told in whole.model.about["outputs"].values()):
        acts["together, without writing texts"] = graph(whole, rows)
    acts["PyTorch, together"] = in_pytorch(whole, rows)
    acts["PyTorch, one network after the other"] = in_turn({n: in_pytorch(one, rows) for n, one in parts.items()})
    yield timed("network", acts)
    acts = {
        TOGETHER: answering(whole.model, own_of(whole, rows)),
        SINGLE: in_turn({n: answering(one.model, own_of(one, rows)) for n, one in parts.items()}),
        "PyTorch, together": answering(whole.predictor, own_of(whole, rows)),
        "PyTorch, one network after the other": in_turn(
            {n: answering(one.predictor, own_of(one, rows)) for n, one in parts.items()}
        ),
    }
    yield timed("rows to answers", acts)


def run(
    config: Config, folder: Path, *, only: Mapping[str, Sequence[str]], rows: Sequence[int], rounds: int
) -> Iterator[Sizes | Comparison]:
    """All that stands above."""
    configs = configs_of(config, only)
    networks = {name: deployed(one, folder / f"{place}") for place, (name, one) in enumerate(configs.items())}
    yield Sizes(networks)
    splits = read_splits(config)
    split = splits.test or splits.validation or splits.train
    asked = full_rows(networks[TOGETHER].predictor, split.table, max(rows))
    for count in rows:
        yield from compared(networks, asked[:count], rounds)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exported", description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="overrides of the config")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], metavar="TASK=INPUT,INPUT", help="inputs of a task alone")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    only = {task: inputs.split(",") for task, _, inputs in (text.partition("=") for text in options.only)}
    config = settled(options.config, options.set, options.steps)
    for told in run(config, options.out, only=only, rows=options.rows, rounds=options.rounds):
        print(told.table() + "\n", flush=True)


if __name__ == "__main__":
    main()
