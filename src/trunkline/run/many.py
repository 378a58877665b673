"""Several runs at once, each in a process of its own with one thread."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trunkline.config import Config, InputConfig, to_yaml
from trunkline.data import Splits
from trunkline.errors import TrunklineError
from trunkline.files import replacing
from trunkline.loading import ROWS
from trunkline.machine import cores
from trunkline.plan import make_plan
from trunkline.run.fitting import Metrics, train_plan
from trunkline.run.holding import held_folder
from trunkline.run.resuming import go_on
from trunkline.schema import learned_from
from trunkline.sources import as_schema, read_part, read_splits, with_inputs


@dataclass(frozen=True)
class Job:
    """One run to come.

    Attributes:
        config: with `data`; what it leaves open is chosen as for any run.
        folder: of the run; new or empty, or of the same run, interrupted.
        report: write its report, too.
        whole: the config whose rows it takes, split by split; its own by default. A split by share depends on all
            tasks, so a twin, which has one of them, would draw others.
    """

    config: Config
    folder: Path
    report: bool = False
    whole: Config | None = None


@contextmanager
def running(jobs: Mapping[str, Job]) -> Iterator[dict[str, Future[Metrics]]]:
    """Train them all, as many at a time as there are cores; one after the other where they share a GPU.

    What has not begun when the block is left by an error never does. What a run warns of is warned of here when it
    ends, once, however many runs say the same.

    Args:
        jobs: by name; the first begin first.

    Yields:
        By name, the metrics to come. An error names its run.
    """
    at_once = max(1, min(len(jobs), 1 if any(map(_wants_gpu, jobs.values())) else cores()))
    pool = ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn"), _end_with_parent)
    try:
        yield {name: _heard(pool.submit(_train, name, job)) for name, job in jobs.items()}
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Where this process was begun by one that is killed, it ends as well: it would wait for work for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: Any) -> None:
    parent.join()
    os._exit(1)  # at once: the main thread is in the middle of something


def alone(config: Config, task: str, inputs: Collection[str]) -> Config:
    """The config of a single-task twin: the same rows, network, seed and steps; the other tasks are gone, and so is the
    head that it shared with one of them: it has one of its own, of the same options. So are inputs that nobody who
    trains this task alone would have.

    Args:
        config: of the whole.
        task: the twin's.
        inputs: the twin's; see `inputs_of_twins`.
    """
    own = replace(config.tasks[task], share=None)
    kept = _without_lost_encoders({name: one for name, one in config.inputs.items() if name in inputs})
    training = replace(config.training, affinity=None)  # one task: nothing to balance or help
    if len({one.component.block or name for name, one in kept.items() if one.share is None}) < 2:
        training = replace(training, align=0.0)  # one encoder: nothing to bring together
    return replace(config, inputs=kept, tasks={task: own}, balancer=None, training=training)


def _without_lost_encoders(inputs: Mapping[str, InputConfig]) -> dict[str, InputConfig]:
    """Of inputs whose common encoder went with an input that is gone, the first has it now."""
    heirs: dict[str, str] = {}
    kept = {}
    for name, config in inputs.items():
        if config.share is not None and config.share not in inputs:
            heir = heirs.setdefault(config.share, name)
            config = replace(config, share=None if heir == name else heir)
        kept[name] = config
    return kept


def inputs_of_twins(config: Config, splits: Splits) -> dict[str, list[str]]:
    """By task, the inputs that any training row with its label has.

    All of them where some split has no row with one of these: nothing could be said of its rows.
    """
    schema, train = as_schema(config), splits.train
    found = learned_from(schema, train.table, train.rows, list(config.tasks))
    parts = [part for part in (splits.train, splits.validation, splits.test) if part is not None]
    return {
        task: own
        if (own := found.get(task)) and all(len(with_inputs(schema, part, own)) for part in parts)
        else list(config.inputs)
        for task in config.tasks
    }


def rows_of(job: Job) -> Splits:
    """The rows that a run learns from, chooses by and is judged by."""
    return read_splits(job.config) if job.whole is None else read_part(job.config, job.whole)


def _wants_gpu(job: Job) -> bool:
    return job.config.training.accelerator != "cpu" and torch.cuda.is_available()


@dataclass(frozen=True)
class _Warned:
    """A warning of another process, and where in the code it came from."""

    text: str
    category: type[Warning]
    file: str
    line: int


_Ended = tuple[Metrics | TrunklineError, Sequence[_Warned]]
_HEARD: dict[str, dict[Any, Any]] = {}  # of files that have not warned in this process: what others have heard


def _heard(inner: Future[_Ended]) -> Future[Metrics]:
    """The metrics to come; what the process has warned of by then is warned of here."""
    outer: Future[Metrics] = Future()

    def settle(done: Future[_Ended]) -> None:
        if done.cancelled():
            outer.cancel()
        elif error := done.exception():
            outer.set_exception(error)
        else:
            ended, told = done.result()
            try:
                for warned in told:
                    _warn_again(warned)
            except BaseException as refused:  # filters make errors of warnings; nobody must wait for ever
                outer.set_exception(refused)
            else:
                outer.set_exception(ended) if isinstance(ended, TrunklineError) else outer.set_result(ended)

    inner.add_done_callback(settle)
    return outer


def _warn_again(warned: _Warned) -> None:
    """As if the line that warned had been reached in this process: once for each text, unless filters say otherwise."""
    where = next((m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == warned.file), None)
    names = {} if where is None else vars(where)  # Python keeps among a module's names what it has warned of
    heard = next((kept for name, kept in names.items() if name.startswith("__warning")), None)
    heard = _HEARD.setdefault(warned.file, {}) if heard is None else heard
    module = warned.file if where is None else where.__name__  # `None` would say nothing at all
    warnings.warn_explicit(warned.text, warned.category, warned.file, warned.line, module, heard)


def _train(name: str, job: Job) -> _Ended:
    """What came of it, an error too, and what was warned of."""
    ended: Metrics | TrunklineError
    with warnings.catch_warnings(record=True) as told:
        try:
            ended = _trained(name, job)
        except TrunklineError as error:
            ended = error
    return ended, [_Warned(str(w.message), w.category, w.filename, w.lineno) for w in told]


def _trained(name: str, job: Job) -> Metrics:
    torch.set_num_threads(1)
    config = replace(job.config, training=replace(job.config.training, threads=1, devices=1, nodes=1))
    try:
        with held_folder(job.folder, name, is_resumed=True) as folder:
            config = go_on(folder, config, trust_code=True)  # what it names was imported to make the job
            if job.whole is not None:
                with replacing(folder / ROWS) as unfinished:
                    unfinished.write_text(to_yaml(job.whole), encoding="utf-8")
            return train_plan(make_plan(config, rows_of(job)), folder, show_progress=False, report=job.report).metrics
    except TrunklineError as error:
        raise type(error)(f"{name}: {error}") from None
