"""Two gloo processes under DistributedDataParallel train the whole network as one process with all rows does.

The two see different things: one has no photo in any row and no label for two of the tasks, texts and sounds are padded
to different lengths, and one task is labelled nowhere. In float64, dropout off.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trunkline.balancers import Equal, UPGrad
from trunkline.data import Draw, read_table, write_rows
from trunkline.engine import Engine, Whole
from trunkline.model import Evaluation, MultiTaskModel
from trunkline.schema import Preprocessing, RowBatches
from trunkline.training.processes import gather_ranks
from trunkline.trunks import PLE, DSelectK, FiLM, Hard, MMoE, Trunk
from trunkline.types import Batch, Part
from worlds import inputs, schema, tasks, write_world

SPLIT, ROWS = 9, 24  # the first rank has fewer rows than the second
NOWHERE = "marks"
ONLY_FIRST = ("kind", "german")
WAYS: dict[str, tuple[type, Any]] = {
    "equal": (Equal, "losses"),
    "features": (UPGrad, "features"),
    "last": (UPGrad, "last"),
}
TRUNKS: dict[str, Trunk] = {
    "hard": Hard(),
    "ensemble": Hard(members=3),
    "mmoe": MMoE(),
    "ple": PLE(levels=3),
    "dselect_k": DSelectK(gating="static", entropy=0.5),
    "film": FiLM(),
}
CASES = [(trunk, way) for trunk in TRUNKS for way in WAYS]
TOLERANCE = 1e-11


# --- the same in every process


def write_torn_world(folder: Path) -> None:
    """Rows for both ranks, from a world whose states are fitted on all of it."""
    write_world(folder, 48, holes=0.2)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    firsts = [row for row in rows if all(row.get(name) is not None for name in ("photo", "note", "sound"))][:SPLIT]
    rest = [row for row in rows if row not in firsts and any(row.get(n) is not None for n in ("note", "size", "sound"))]
    firsts[0] |= {"note": "a a a a small red", "slots": [*"OOOO", "B-size", "B-colour"], "german": "klein rot"}
    seconds = [{**row, "photo": None, **dict.fromkeys(ONLY_FIRST)} for row in rest[: ROWS - SPLIT]]
    write_rows(folder / "torn.jsonl", [{**row, NOWHERE: None} for row in (*firsts, *seconds)])


@cache
def torn(folder: Path) -> RowBatches:
    whole = read_table(folder / "rows.jsonl")
    return RowBatches(Preprocessing.fit(schema(), whole, range(len(whole))), read_table(folder / "torn.jsonl"))


def batch_of(folder: Path, rows: range) -> Batch:
    """In float64."""
    batch = torn(folder)[Draw(tuple(rows), None)]
    return replace(batch, inputs=in_double(batch.inputs), targets=in_double(batch.targets, but=torch.uint8))


def in_double(parts: dict[str, Part], but: torch.dtype | None = None) -> dict[str, Part]:
    def convert(value: Tensor) -> Tensor:
        if value.dtype == torch.uint8 and but is None:  # pixels
            return value.double() / 255
        return value.double() if value.is_floating_point() else value

    return {name: replace(part, values={k: convert(v) for k, v in part.values.items()}) for name, part in parts.items()}


class Learner(nn.Module):
    """Forward gives the total, as a training step under DistributedDataParallel does."""

    def __init__(self, folder: Path, trunk: str, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        balancer, level = WAYS[way]
        model = MultiTaskModel(inputs(), tasks(), trunk=TRUNKS[trunk], width=16)
        self.network = model.build(torn(folder).preprocessing).double()
        self.engine = Engine(
            balancer(), self.network.preprocessing.tasks, level=level, last_shared=self.network.trunk.last_shared()
        )
        self.eval()

    def forward(self, batch: Batch, whole: Whole | None = None) -> Tensor:
        return self.network.training_loss(batch, self.engine, whole)


def whole_of(learner: Learner, parts: list[Batch]) -> Whole:
    with torch.no_grad():
        found = [learner.network.losses(part, learner.network.share(part)) for part in parts]
    sums, weights = (torch.stack(each).sum(0) for each in zip(*found))
    counts = [sum(each) for each in zip(*(part.counts for part in parts))]
    return Whole(counts, sum(part.size for part in parts), len(parts), sums, weights)


class Step(NamedTuple):
    gradients: dict[str, Tensor | None]
    total: float
    report: dict[str, Any]


def step(learner: nn.Module, batch: Batch) -> Step:
    learner.zero_grad(set_to_none=True)
    total = learner(batch)
    total.backward()
    gradients = {n.removeprefix("module."): None if p.grad is None else p.grad.clone()
                 for n, p in learner.named_parameters()}  # fmt: skip
    return Step(gradients, total.item(), getattr(learner, "module", learner).engine.report())


# --- two processes


EVALUATIONS = {  # rows of each rank
    "uneven": (range(4), range(4, ROWS)),
    "without two tasks": (range(SPLIT), range(SPLIT, ROWS)),
    "without a row": (range(ROWS), range(0)),
}


def rank_main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        torch.save({case: rank_steps(rank, folder, *case) for case in CASES}, folder / f"steps{rank}.pt")
        torch.save(tuple(rank_step_in_parts(rank, folder)), folder / f"parts{rank}.pt")
        torch.save({case: rank_scores(rank, folder, case) for case in EVALUATIONS}, folder / f"scores{rank}.pt")
        torch.save(rank_gathers(rank), folder / f"gathers{rank}.pt")
    finally:
        dist.destroy_process_group()


def rank_steps(rank: int, folder: Path, trunk: str, way: str) -> list[tuple]:
    """Two steps: in the second the ranks have changed places, so what is unused on each has changed too."""
    learner = DistributedDataParallel(Learner(folder, trunk, way), find_unused_parameters=True)
    shares = [batch_of(folder, range(SPLIT)), batch_of(folder, range(SPLIT, ROWS))]
    return [tuple(step(learner, shares[(rank + turn) % 2])) for turn in range(2)]


def rank_step_in_parts(rank: int, folder: Path) -> Step:
    """Uneven ones; what the first part uses the second need not."""
    learner = DistributedDataParallel(Learner(folder, "hard", "equal"), find_unused_parameters=True)
    edges = ((0, 2, SPLIT), (SPLIT, ROWS - 1, ROWS))[rank]
    parts = [batch_of(folder, range(a, b)) for a, b in itertools.pairwise(edges)]
    whole = whole_of(learner.module, parts)
    with learner.no_sync():
        learner(parts[0], whole).backward()
    learner(parts[1], whole).backward()
    gradients = {n.removeprefix("module."): p.grad for n, p in learner.named_parameters()}
    return Step(gradients, 0.0, learner.module.engine.report())


def rank_scores(rank: int, folder: Path, case: str) -> dict[str, Any]:
    rows = EVALUATIONS[case][rank]
    batches = [torn(folder)[Draw((row,), None)] for row in rows[:2]] + [torn(folder)[Draw(tuple(rows[2:]), None)]] * (
        len(rows) > 2
    )
    return {"together": scores(folder, batches, gather_ranks), "alone": scores(folder, batches, None)}


def rank_gathers(rank: int) -> list[list[Tensor]]:
    nothing = torch.tensor([])
    mine = [
        (torch.arange(6).reshape(2, 3), torch.arange(3).reshape(1, 3)),
        (torch.tensor([[True, False]]), nothing),
        (nothing, torch.tensor([1, 255], dtype=torch.uint8)),
        (nothing, torch.zeros(0, 2, dtype=torch.long)),
        (nothing, nothing),
        (torch.tensor(1.5), torch.tensor(2.5)),
    ]
    return [gather_ranks(pair[rank]) for pair in mine]


def scores(folder: Path, batches: list[Batch], gather: Any) -> Any:
    torch.manual_seed(0)
    network = MultiTaskModel(inputs(), tasks(), width=16).build(torn(folder).preprocessing).eval()
    evaluation = Evaluation(network.preprocessing, gather)
    with torch.inference_mode():
        for batch in batches:
            evaluation.update(network, network.share(batch), batch)
    return evaluation.compute()


# --- theorems


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both processes run every case once; a hang ends after some minutes."""
    folder = tmp_path_factory.mktemp("ranks")
    write_torn_world(folder)
    ranks = mp.spawn(rank_main, (folder,), nprocs=2, join=False)
    deadline = time.monotonic() + 400
    while not ranks.join(timeout=1):
        if time.monotonic() > deadline:
            for process in ranks.processes:
                process.kill()
            pytest.fail("the processes wait for each other")
    return folder


def test_the_ranks_see_different_things(folder: Path) -> None:
    first, second = batch_of(folder, range(SPLIT)), batch_of(folder, range(SPLIT, ROWS))
    counts = [dict(zip(batch.labelled.names, batch.counts)) for batch in (first, second)]
    assert counts[0][NOWHERE] == counts[1][NOWHERE] == 0
    assert all(counts[0][task] > 0 and counts[1][task] == 0 for task in (*ONLY_FIRST, "area"))
    assert all(counts[1][task] > 0 for task in ("loud", "price", "weight", "slots"))
    assert "photo" in first.inputs and "photo" not in second.inputs
    for name in ("sound", "note"):
        longest = [{v.shape[1] for v in b.inputs[name].values.values() if v.dim() > 1} for b in (first, second)]
        assert longest[0] != longest[1]


@pytest.mark.parametrize(("trunk", "way"), CASES)
def test_two_processes_step_as_one(folder: Path, trunk: str, way: str) -> None:
    alone = step(Learner(folder, trunk, way), batch_of(folder, range(ROWS)))
    ranks = [torch.load(folder / f"steps{rank}.pt")[trunk, way] for rank in range(2)]
    for turn in range(2):
        assert_one_step([Step(*steps[turn]) for steps in ranks], alone)


def test_two_processes_step_in_parts_as_one(folder: Path) -> None:
    alone = step(Learner(folder, "hard", "equal"), batch_of(folder, range(ROWS)))
    assert_one_step([Step(*torch.load(folder / f"parts{rank}.pt")) for rank in range(2)], alone)


def assert_one_step(ranks: list[Step], alone: Step) -> None:
    for name, expected in alone.gradients.items():
        ours, theirs = (rank.gradients[name] for rank in ranks)
        if expected is None:
            assert ours is None and theirs is None, name
        else:
            assert ours is not None and theirs is not None and torch.equal(ours, theirs), name
            torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")
    for rank in ranks:
        assert_same(rank.report, alone.report)


def test_a_task_labelled_nowhere_leaves_no_gradient(folder: Path) -> None:
    preprocessing = torn(folder).preprocessing
    head = f"heads.{[unit.name for unit in preprocessing.heads].index(NOWHERE)}."
    gate = f"trunk.gates.{preprocessing.tasks.index(NOWHERE)}."
    for rank in range(2):
        for gradients, _, report in torch.load(folder / f"steps{rank}.pt")["mmoe", "features"]:
            private = [n for n in gradients if n.startswith((f"network.{head}", f"network.{gate}"))]
            assert len(private) == 3
            assert all(gradients[name] is None for name in private)
            assert NOWHERE not in report["losses"]


@pytest.mark.parametrize("case", EVALUATIONS)
def test_scores_of_two_processes_are_those_of_one(folder: Path, case: str) -> None:
    rows = [*EVALUATIONS[case][0], *EVALUATIONS[case][1]]
    expected = scores(folder, [torn(folder)[Draw(tuple(rows), None)]], None)
    assert expected[NOWHERE] is None
    said = [torch.load(folder / f"scores{rank}.pt")[case] for rank in range(2)]
    assert_same(said[0]["together"], expected)
    assert said[0]["together"] == said[1]["together"]
    assert said[0]["alone"] != said[0]["together"] or case == "without a row"
    assert case != "without a row" or set(said[1]["alone"].values()) == {None}


def test_gathered_tensors(folder: Path) -> None:
    for rank in range(2):
        uneven, flags, texts, empty, nothing, scalars = torch.load(folder / f"gathers{rank}.pt")
        assert [t.tolist() for t in uneven] == [[[0, 1, 2], [3, 4, 5]], [[0, 1, 2]]]
        assert torch.cat(flags).tolist() == [[True, False]]
        assert torch.cat(flags).dtype == torch.bool
        assert torch.cat(texts).tolist() == [1, 255]
        assert [t.numel() for t in (*empty, *nothing)] == [0] * 4
        assert [t.item() for t in scalars] == [1.5, 2.5]


def assert_same(said: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert said.keys() == expected.keys()
        for key in expected:
            assert_same(said[key], expected[key])
    else:
        assert said == (pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else expected)
