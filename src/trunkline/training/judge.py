"""The validation rows: how good the network is on them, and the weights that were best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric import Fabric
from safetensors.torch import load_model, save_model
from torch import Tensor

from trunkline.data import Draw, EveryRowSampler
from trunkline.errors import RunError
from trunkline.files import digest, replacing
from trunkline.model import Evaluation, Network, TaskScores, aggregate, outputs_of
from trunkline.training.loaders import validation_batches
from trunkline.training.processes import from_first_process, gather_ranks, is_alone, is_first_process
from trunkline.training.settings import Rows, Settings
from trunkline.types import Batch

if TYPE_CHECKING:
    from trunkline.training.sharding import Sharding

BEST, BEST_BEFORE = (Path("checkpoints") / f"{name}.safetensors" for name in ("best", "best_before"))
RECENT = 3  # looks that are judged together
Look = tuple[int, float | None, TaskScores]


class Judge:
    """Scores of a network on the validation rows, and their aggregate.

    Args:
        fabric: launched.
        network: as it learns.
        validation: rows to look at.
        settings: how.
    """

    def __init__(self, fabric: Fabric, network: Network, validation: Rows, settings: Settings) -> None:
        self.fabric, self.network = fabric, network
        rank, world = fabric.global_rank, fabric.world_size
        self.batches = validation_batches(validation, settings, rank=rank, world=world)
        self.evaluation = Evaluation(network.preprocessing, gather_ranks).to(fabric.device)
        self.majority = _majority(validation)
        self.spare = validation.batches[Draw((int(validation.rows[0]),), None)] if len(validation.rows) else None

    def look(self) -> tuple[float | None, TaskScores]:
        """The aggregate, `None` where there is none, and what it is made of. The network goes on training after."""
        self.network.eval()
        with torch.no_grad(), self.fabric.autocast():
            for (batch,) in self.batches:
                there = some_rows(batch, self.spare).to(self.fabric.device)
                outputs = outputs_of(self.network, self.network.share(there), there)
                if batch.size > 0:
                    self.evaluation.count(outputs, there)
        scores = self.evaluation.compute()
        self.evaluation.reset()
        self.network.train()
        score = aggregate(scores, self.majority, self.network.preprocessing)
        return None if score is None or math.isnan(score) else score, scores


class Keeper:
    """Keeps the weights that were best on the validation rows, in a file, or in memory in a process that has none.

    A look is judged by the mean of its aggregate and those of the looks just before: on few validation rows the best
    of many looks is mostly luck. While no look has an aggregate (one class only, nothing labelled) the newest weights
    are kept.

    A checkpoint names the file by its digest. The file before stays beside: a run that is killed between a better look
    and its checkpoint goes on from one that names that.

    Args:
        network: whose.
        folder: of the run.
        sharding: who has the weights, where they are divided among processes.
    """

    def __init__(self, network: Network, folder: Path, sharding: Sharding | None = None) -> None:
        self.network, self.sharding = network, sharding
        self.path, self.before = folder / BEST, folder / BEST_BEFORE
        self.digest: str | None = None  # of the file, in the first process
        self.best: Look | None = None
        self.best_mean: float | None = None
        self.history: list[Look] = []
        self.weights: dict[str, Tensor] = {}

    def see(self, step: int, score: float | None, scores: TaskScores) -> None:
        """Note one validation, and keep the weights if none was better."""
        self.history.append((step, score, scores))
        mean = recent_mean([look[1] for look in self.history])
        if self.best_mean is None or (mean is not None and mean > self.best_mean):
            self.best, self.best_mean = self.history[-1], mean
            if self.sharding is not None:
                self.sharding.give_back(everywhere=False)
            if is_first_process():
                with replacing(self.path, keep=self.before) as unfinished:
                    save_model(self.network, str(unfinished))
                    self.digest = digest(unfinished)
            elif is_alone():
                self.weights = {name: value.clone() for name, value in self.network.state_dict().items()}
            if self.sharding is not None:
                self.sharding.set_aside()

    @property
    def waiting(self) -> int:
        """Validations since the best one that could have been better."""
        return 0 if self.best is None else sum(s > self.best[0] and score is not None for s, score, _ in self.history)

    def put_back(self) -> None:
        """The best weights, where there was a validation.

        Raises:
            RunError: the file is not what was written.
        """
        if self.weights:
            self.network.load_state_dict(self.weights)
        elif self.best is not None:
            self._check(self.path)
            load_model(self.network, str(self.path), device=str(self.network.missing.device))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self.best, "best_mean": self.best_mean, "history": self.history, "digest": self.digest}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from there, with the weights that it names; to be called by all processes.

        Raises:
            RunError: they are gone, or not what was written.
        """
        self.history = [(step, score, scores) for step, score, scores in state["history"]]
        self.best_mean = state["best_mean"]
        self.best = next((look for look in self.history if state["best"] and look[0] == state["best"][0]), None)
        self.digest = state.get("digest")  # none in a checkpoint of an earlier version, whose file is believed
        if self.best is not None:
            self._check(self.path, self.before)

    def _check(self, *paths: Path) -> None:
        """The weights of the best look are in one of these files; from now on in that of the best."""
        if not from_first_process(is_first_process() and self._is_found(paths)):
            step = None if self.best is None else self.best[0]
            raise RunError(f"{self.path}: the weights of step {step}, the best so far, are gone or not what was "
                           "written. Put the file back as it was, or begin anew in another folder")  # fmt: skip

    def _is_found(self, paths: Sequence[Path]) -> bool:
        for path in paths:
            if path.is_file() and self.digest in (None, digest(path)):
                if path != self.path:
                    path.replace(self.path)
                return True
        return False


def some_rows(batch: Batch, spare: Batch | None) -> Batch:
    """A batch, or where it has no row another in its place: all processes go through the network as often."""
    return spare if batch.size == 0 and spare is not None else batch


def recent_mean(scores: Sequence[float | None]) -> float | None:
    """The mean of the last one and those before it, `RECENT` in all; of those there are. `None` if the last is.

    Example:
        >>> recent_mean([0.9, 0.5, None, 0.4, 0.6]), recent_mean([0.5, None])
        (0.5, None)
    """
    if not scores or scores[-1] is None:
        return None
    known = [score for score in scores[-RECENT:] if score is not None]
    return sum(known) / len(known)


def _majority(validation: Rows) -> TaskScores:
    evaluation = Evaluation(validation.batches.preprocessing)
    for draw in EveryRowSampler(validation.rows, 256):
        evaluation.update_baseline(validation.batches[draw])
    return evaluation.compute()
