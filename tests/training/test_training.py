"""What training promises: the same seed gives the same bits, the best weights are kept, test rows are never touched."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from safetensors.torch import load_file
from torch import Tensor

import trunkline
from training.small_runs import STEPS, config, fit, log, read_rows, traces, write_small_world
from trunkline import DataError, MultiTaskModel, RunError, fusion, load, modalities, trunks
from trunkline import tasks as task_types
from trunkline.balancers import NashMTL, Uncertainty
from trunkline.config import load_config
from trunkline.data import Draw, EpochSampler, read_table, write_rows
from trunkline.engine import Engine
from trunkline.plan import Plan, make_plan
from trunkline.run.wiring import rows_of, settings_of, validation_of
from trunkline.schema import Preprocessing, RowBatches
from trunkline.sources import columns_of, read_splits
from trunkline.training import LAST, Fitted, Settings, judge, loop, train
from trunkline.training.loaders import even_draws, training_batches
from trunkline.training.optimiser import decayed, make_optimiser
from trunkline.training.schedule import warmup_cosine
from trunkline.training.stepper import Stepper
from worlds import inputs, schema, tasks
from worlds import world as world_of_everything

TESTS = Path(__file__).parents[1]
UPGRAD = {"balancer": {"type": "upgrad", "level": "last"}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def first(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to compare with."""
    torch.set_num_threads(1)
    return fit(world, tmp_path_factory.mktemp("runs") / "first").folder


def plan_of(world: Path, sections: dict[str, Any] | None = None, **training: Any) -> Plan:
    read = load_config({**config(world, **training), **(sections or {})}, columns=columns_of)
    return make_plan(read, read_splits(read))


def train_plan(plan: Plan, folder: Path, *, validate: bool = True, **changed: Any) -> Fitted:
    validation = validation_of(plan) if validate else None
    settings = Settings(**{**vars(settings_of(plan.config.training)), **changed})
    return train(plan.network, plan.engine, rows_of(plan, plan.splits.train), validation, settings, folder)


def weights_of(plan: Plan) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in plan.network.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- seeds


def test_the_same_seed_gives_the_same_bits(world: Path, first: Path, tmp_path: Path) -> None:
    assert traces(fit(world, tmp_path / "again").folder) == traces(first)


def test_another_seed_gives_others(world: Path, first: Path, tmp_path: Path) -> None:
    weights, lines = traces(fit(world, tmp_path / "other", seed=1).folder)
    assert weights != traces(first)[0]
    assert lines != traces(first)[1]


def test_a_fresh_process_gives_the_same_bits(world: Path, first: Path, tmp_path: Path) -> None:
    """Another hash seed, too: no order may depend on it."""
    command = [sys.executable, "-m", "training.small_runs", str(world), str(tmp_path / "fresh")]
    subprocess.run(command, cwd=TESTS, env={**os.environ, "PYTHONHASHSEED": "7"}, timeout=120, check=True)
    assert traces(tmp_path / "fresh") == traces(first)


def test_looking_at_validation_rows_changes_nothing(world: Path, tmp_path: Path) -> None:
    """Not the weights after the last step, however often one looks."""
    plans = [plan_of(world) for _ in range(3)]
    train_plan(plans[0], tmp_path / "never", validate=False)
    for plan, often in zip(plans[1:], (1, STEPS)):
        fitted = train_plan(plan, tmp_path / str(often), validations=often)
        assert [step for step, *_ in fitted.history] == list(range(STEPS // often, STEPS + 1, STEPS // often))
        if fitted.best_step == STEPS:
            assert same(weights_of(plan), weights_of(plans[0]))
    losses = [[line["losses"] for line in log(tmp_path / name) if "losses" in line] for name in ("never", "1", "6")]
    assert len(losses[0]) == STEPS
    assert losses[0] == losses[1] == losses[2]


# --- which weights are kept


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.1, 0.8, 0.9, 0.0, 0.3, 0.2], 3),
        ([0.1, 0.2, 0.9, 0.3, 0.9, 0.8], 5),  # by the mean of three
        ([math.nan, -1.0, -0.5, None, -0.5, -0.7], 5),
        ([None] * 6, 6),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 6),
    ],
)
def test_the_best_weights_by_validation_are_kept(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float | None], best: int
) -> None:
    plan, seen = plan_of(world), []

    def score(*_: Any) -> float | None:
        seen.append(weights_of(plan))
        return scores[len(seen) - 1]

    monkeypatch.setattr(judge, "aggregate", score)
    fitted = train_plan(plan, tmp_path, validations=STEPS)
    assert fitted.best_step == best
    assert fitted.scores == fitted.history[best - 1][2]
    assert not same(seen[0], seen[-1])
    assert same(weights_of(plan), seen[best - 1])
    stored = load_file(tmp_path / "checkpoints" / "best.safetensors")
    assert all(torch.equal(stored[name], seen[best - 1][name]) for name in stored)
    validations = [json.loads(json.dumps(line)) for line in log(tmp_path) if "validation" in line]
    assert [line["aggregate"] for line in validations] == [None if s is None or math.isnan(s) else s for s in scores]


def test_the_run_folder_holds_the_best_weights(world: Path, tmp_path: Path) -> None:
    """With a rate that rises until it throws the weights about, so that the last are not the best."""
    run = fit(world, tmp_path / "run", {"fusion": "concat"}, lr=0.3, steps=10, warmup=0.9, validations=10)
    steps = {line["step"]: line for line in log(run.folder) if "validation" in line}
    assert list(steps) == list(range(1, 11))
    aggregates = [line["aggregate"] for line in steps.values()]
    best = max(steps, key=lambda step: (judge.recent_mean(aggregates[:step]), -step))
    assert run.metrics["best_step"] == best < 10
    stored = load_file(run.folder / "model.safetensors")
    kept = load_file(run.folder / "checkpoints" / "best.safetensors")
    assert same(stored, kept)
    for task, found in steps[best]["validation"].items():
        assert run.metrics["validation"][task] == pytest.approx(found, rel=1e-5), task


def test_a_further_process_that_trains_alone_touches_no_file(
    world: Path, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process may be anywhere in a run of its own, in the same folder."""
    plan, last = plan_of(world), tmp_path / LAST
    last.parent.mkdir()
    last.write_bytes(b"of another process")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    train_plan(plan, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [last]
    kept = load_file(first / "model.safetensors")
    assert all(torch.equal(value, kept[name]) for name, value in plan.network.state_dict().items() if name in kept)


def test_without_validation_the_last_weights_are_kept(world: Path, tmp_path: Path) -> None:
    plan = plan_of(world)
    fitted = train_plan(plan, tmp_path / "long", validate=False)
    assert (fitted.best_step, fitted.history, fitted.scores) == (STEPS, [], None)
    assert not (tmp_path / "long" / "checkpoints" / "best.safetensors").exists()
    other = plan_of(world)
    bare_loop(other, STEPS)
    assert same(weights_of(plan), weights_of(other))


# --- rows


def test_test_rows_are_never_touched(world: Path, first: Path, tmp_path: Path) -> None:
    """Quite other test rows: the same weights, the same log."""
    table = read_rows(world)
    test = [row for row in table if row["split"] == "test"]
    labels = [{name: row[name] for name in ("kind", "loud", "price")} for row in test]
    for row, label in zip(test, labels[1:] + labels[:1]):
        row |= {**label, "note": "a a a", "size": 1e6, "weight": -1e6}
    write_rows(world / "other.jsonl", table)
    data = {"data": {"table": str(world / "other.jsonl"), "split": "split"}}
    run = fit(world, tmp_path / "other", data)
    assert traces(run.folder) == traces(first)
    assert run.metrics["test"] != json.loads((first / "metrics.json").read_text())["test"]


def test_rows_without_labels_are_never_drawn(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = read_rows(world)
    for row in table[::3]:
        row |= dict.fromkeys(("kind", "loud", "price", "weight"))
    write_rows(world / "rare.jsonl", table)
    plan = plan_of(world, {"data": {"table": str(world / "rare.jsonl"), "split": "split"}})
    drawn: list[int] = []
    make = RowBatches.__getitem__

    def spy(self: RowBatches, draw: Draw) -> Any:
        drawn.extend(draw.rows if draw.seed is not None else ())
        return make(self, draw)

    monkeypatch.setattr(RowBatches, "__getitem__", spy)
    train_plan(plan, tmp_path, steps=12)
    labelled = plan.source(plan.splits.train).labelled.any(1)
    train_rows = set(plan.splits.train.rows.tolist())
    assert set(drawn) == {row for row in train_rows if labelled[row]} < train_rows


def test_every_epoch_has_its_own_order(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draws: list[Draw] = []
    make = RowBatches.__getitem__
    monkeypatch.setattr(RowBatches, "__getitem__", lambda self, draw: (draws.append(draw), make(self, draw))[1])
    plan = plan_of(world)
    train_plan(plan, tmp_path, validate=False, steps=12)
    sampler, expected = useful_draws(plan), []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        expected += list(sampler)
    assert [dataclasses.replace(draw, is_late=False) for draw in draws[:12]] == expected[:12]
    assert [draw.is_late for draw in draws[:12]] == [False] * 10 + [True] * 2
    assert len({draw.rows for draw in draws}) == 12


def useful_draws(plan: Plan) -> EpochSampler:
    rows = plan.splits.train.rows
    training = plan.config.training
    assert training.batch_size is not None
    useful = rows[plan.source(plan.splits.train).labelled[rows].any(1)]
    return EpochSampler(useful, training.batch_size, seed=training.seed)


@pytest.mark.parametrize(("rows", "ranks"), [(1, 2), (5, 2), (9, 4), (12, 3), (0, 2)])
def test_ranks_share_validation_rows_evenly(rows: int, ranks: int) -> None:
    """Each row once; as many batches on every rank."""
    shares = [even_draws(torch.arange(rows).numpy(), 2, rank, ranks) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(row for share in shares for draw in share for row in draw.rows) == list(range(rows))


def test_workers_make_the_same_batches(world: Path, first: Path, tmp_path: Path) -> None:
    plan = plan_of(world)
    settings = settings_of(plan.config.training)
    ours, theirs = (
        training_batches(rows_of(plan, plan.splits.train), dataclasses.replace(settings, workers=workers), done=3)
        for workers in (0, 2)
    )
    for (a,), (b,) in itertools.islice(zip(ours, theirs), 10):  # into the second epoch
        assert (a.rows, a.counts, a.context) == (b.rows, b.counts, b.context)
        assert a.inputs.keys() == b.inputs.keys()
        for parts, others in ((a.inputs, b.inputs), (a.targets, b.targets)):
            for name, part in parts.items():
                assert same(part.values, others[name].values)
    assert traces(fit(world, tmp_path / "workers", workers=2).folder) == traces(first)


# --- steps


def test_warmup_and_cosine() -> None:
    rates = [warmup_cosine(step, 100, 0.1) for step in range(101)]
    assert rates[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[10 + 30] == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))
    assert rates[100] == pytest.approx(0.0)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert warmup_cosine(0, 1, 0.0) == 1.0


def test_the_log_says_the_rate_of_each_step(first: Path) -> None:
    rates = {line["step"]: line["lr"] for line in log(first) if "lr" in line}
    assert rates == pytest.approx({step + 1: 1e-3 * warmup_cosine(step, STEPS, 0.1) for step in range(STEPS)})


def bare_loop(plan: Plan, steps: int, *, clip: float | None = 1.0) -> None:
    """What training is, without the rest."""
    settings = settings_of(plan.config.training)
    torch.manual_seed(settings.seed)
    optimiser = make_optimiser(plan.network, plan.engine, settings)
    groups = optimiser.param_groups
    source, sampler = plan.source(plan.splits.train), useful_draws(plan)
    draws = []
    while len(draws) < steps:
        draws += list(sampler)
        sampler.set_epoch(sampler.epoch + 1)
    for step, draw in enumerate(draws[:steps]):
        for group in groups:
            group["lr"] = settings.lr * warmup_cosine(step, settings.steps, settings.warmup)
        optimiser.zero_grad()
        plan.network.training_loss(source[draw], plan.engine).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], clip, foreach=True)
        optimiser.step()


@pytest.mark.parametrize("level", ["features", "last"])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_gramian_balancer_steps_as_in_a_bare_loop(world: Path, tmp_path: Path, level: str, steps: int) -> None:
    """Clipped, to the bit: Lightning's one ordinary backward pass is enough."""
    sections = {"balancer": {"type": "upgrad", "level": level}}
    ours, theirs, unclipped = (plan_of(world, sections, steps=steps, clip=0.1) for _ in range(3))
    before = weights_of(ours)
    train_plan(ours, tmp_path, validate=False)
    bare_loop(theirs, steps, clip=0.1)
    bare_loop(unclipped, steps, clip=None)
    assert same(weights_of(ours), weights_of(theirs))
    assert not same(weights_of(ours), before)
    assert not same(weights_of(ours), weights_of(unclipped))
    assert ours.engine.report() == theirs.engine.report()


@pytest.mark.parametrize("clip", [0.05, None])
def test_the_gradient_is_clipped(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: float | None
) -> None:
    """As the optimiser sees it: it is still there after the step."""
    norms: list[float] = []
    step = Stepper.step

    def spy(self: Stepper, *given: Any) -> None:
        step(self, *given)
        norms.append(torch.stack([p.grad.norm() for p in self.parameters if p.grad is not None]).norm().item())

    monkeypatch.setattr(Stepper, "step", spy)
    train_plan(plan_of(world, UPGRAD), tmp_path, validate=False, clip=clip)
    assert len(norms) == STEPS
    assert all(norm == pytest.approx(clip, rel=1e-3) if clip else norm > 0.1 for norm in norms)


def test_clipping_can_be_switched_off(world: Path, tmp_path: Path) -> None:
    """`off` is a choice and survives the resolved config; left open, it is chosen."""
    assert settings_of(plan_of(world, clip="off").config.training).clip is None
    assert settings_of(plan_of(world, clip=None).config.training).clip == 1.0
    out = fit(world, tmp_path / "off", clip="off", steps=1).folder
    assert load_config(out / "config.yaml", columns=None).training.clip == "off"


def test_settings_have_no_defaults_of_their_own() -> None:
    assert all(f.default is dataclasses.MISSING for f in dataclasses.fields(Settings))


def test_every_weight_is_decayed_and_nothing_else(tmp_path: Path) -> None:
    table = world_of_everything(tmp_path, 40)
    preprocessing = Preprocessing.fit(schema(), table, range(40))
    model = MultiTaskModel(inputs(), tasks(), fusion=fusion.Attention(), trunk=trunks.MMoE(), width=32)
    network = model.build(preprocessing)
    names, matrices = decayed(network), {n for n, p in network.named_parameters() if p.ndim > 1}
    assert names < matrices
    assert matrices - names == {
        "missing",
        "encoders.0.stages.0.0.gain",
        *(f"encoders.0.stages.{i}.0.body.{j}.gain" for i in (1, 2) for j in (0, 3)),
        *(f"encoders.0.levels.{places}.{i}" for places in ("rows", "columns") for i in range(2)),
        "encoders.2.embedding.weight",
        "encoders.3.bias",
        "encoders.3.missing",
        "fusion.kinds",
        "fusion.query",
        "heads.0.linear.bias",
        "heads.1.linear.bias",
        "heads.2.linear.bias",
        "heads.3.linear.bias",
        "heads.7.decoder.model.shared.weight",
        "heads.7.decoder.model.decoder.embed_positions.weight",
    }
    table = {"curves.line_weight", "curves.piece_weight", "curves.value_weight", "name_weight"}
    assert {f"encoders.3.{name}" for name in table} <= names
    assert {"heads.2.linear.weight", "heads.4.cells.weight", "trunk.gates.0.weight"} <= names
    engine = Engine(Uncertainty(), preprocessing.tasks)
    (tmp_path / "small").mkdir()
    settings = settings_of(plan_of(write_small_world(tmp_path / "small"), weight_decay=0.5).config.training)
    with_decay, without = make_optimiser(network, engine, settings).param_groups
    assert (with_decay["weight_decay"], without["weight_decay"]) == (0.5, 0.0)
    assert {id(p) for p in with_decay["params"]} == {id(p) for n, p in network.named_parameters() if n in names}
    learned = [*network.parameters(), *engine.parameters()]
    assert len(with_decay["params"]) + len(without["params"]) == len(learned)


@pytest.mark.parametrize("sections", [{}, UPGRAD, {"balancer": "uncertainty"}])
def test_a_batch_without_any_label_moves_nothing(tmp_path: Path, sections: dict[str, Any]) -> None:
    """Neither the network nor what the balancer learns."""
    folder = write_small_world(tmp_path)
    rows = read_rows(folder)
    for row in rows[:8]:
        row |= {"kind": None, "loud": None, "price": None, "weight": None, "split": "train"}
    write_rows(folder / "rows.jsonl", rows)
    plan = plan_of(folder, sections)
    batch = plan.source(plan.splits.train)[Draw(tuple(range(8)), 0)]
    assert not any(batch.counts)
    total = plan.network.training_loss(batch, plan.engine)
    assert total == 0
    total.backward()
    for module in (plan.network, plan.engine):
        assert all(p.grad is None or p.grad.eq(0).all() for p in module.parameters())


def test_a_run_that_diverges_is_no_success(world: Path, tmp_path: Path) -> None:
    """With a rate as high as this, the second step is lost; nothing looks finished."""
    with pytest.raises(
        RunError, match=r"diverged: at step \d+ the loss or gradient of 'kind'.* A lower training\.lr helps"
    ):
        fit(world, tmp_path / "run", {"balancer": "equal"}, lr=1e30, warmup=0.0, clip="off", steps=20)
    assert_unfinished(tmp_path / "run")


def test_a_divergence_between_the_lines_of_the_log_is_seen_at_its_end(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop._Loop, "_write_losses", lambda *_: None)
    with pytest.raises(RunError, match=r"diverged: at step [3-5] "):
        train_plan(plan_of(world, lr=1e30, warmup=0.0, clip="off", steps=5), tmp_path, validate=False)


def test_a_column_too_large_to_be_scaled_is_refused_before_training(world: Path, tmp_path: Path) -> None:
    rows = read_rows(world)
    for number, row in enumerate(rows):
        row["size"] = 1e200 if number % 2 else -1e200
    table = read_table([{k: v for k, v in row.items() if k in ("size", "kind", "split")} for row in rows])
    model = MultiTaskModel({"size": modalities.Number()}, {"kind": task_types.Category()}, width=8)
    with pytest.raises(DataError, match=r"inputs\.size: the numbers are too large"):
        trunkline.fit(model, table, validation=0.2, out=tmp_path / "run", steps=1)
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_model_of_objects_says_level_and_how_often(tmp_path: Path) -> None:
    rows = [{"size": float(n % 7), "kind": "ab"[n % 2], "loud": n % 3 == 0} for n in range(60)]
    given = {"size": modalities.Number()}, {"kind": task_types.Category(), "loud": task_types.Binary()}
    model, out = MultiTaskModel(*given, width=8), tmp_path / "run"
    trunkline.fit(model, rows, validation=0.2, balancer=NashMTL(), level="trunk", every=3, steps=6, out=out)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "weights" in line]
    weights = [line["weights"] for line in steps]
    assert {line["level"] for line in steps} == {"trunk"}
    assert weights[0] == weights[1] == weights[2] != weights[3] == weights[4]


def test_half_precision_trains(world: Path, tmp_path: Path) -> None:
    run = fit(world, tmp_path / "half", UPGRAD, precision="bf16-mixed", steps=40, lr=3e-3)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in run.predictor.network.parameters())
    totals = [sum(line["losses"].values()) for line in log(run.folder) if "losses" in line]
    assert sum(totals[-5:]) < 0.8 * sum(totals[:5])
    assert run.metrics["aggregate"] > 0


# --- the end


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int, error: type[BaseException] | None = None) -> None:
    """In the step that leads to `step`: Ctrl-C, or an error."""
    write = loop._Loop._write_losses

    def interrupt(self: Any, parts: Any) -> None:
        write(self, parts)
        if self.done == step and error is not None:
            raise error
        if self.done == step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop._Loop, "_write_losses", interrupt)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_an_interrupted_run_does_not_look_finished(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | None
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    interrupt_at(monkeypatch, 3, error)
    with pytest.raises(KeyboardInterrupt, match=None if error else r"stopped after step 3 of 6.*--out .*run --resume"):
        fit(world, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) == handler
    assert_unfinished(tmp_path / "run")
    with pytest.raises(RunError, match=r"is not empty.* or --resume to go on"):
        fit(world, tmp_path / "run")
    monkeypatch.undo()
    assert fit(world, tmp_path / "next").metrics["steps"] == STEPS


def assert_unfinished(folder: Path) -> None:
    assert (folder / "log.jsonl").exists()
    assert not (folder / "metrics.json").exists()
    assert not list(folder.rglob("*.unfinished"))
    with pytest.raises(RunError, match="no finished run"):
        load(folder)


def test_ctrl_c_ends_all_processes(world: Path, tmp_path: Path) -> None:
    """As a terminal does it: the signal goes to the whole group."""
    (tmp_path / "run.yaml").write_text(json.dumps(config(world, steps=100_000, devices=2)))
    command = [sys.executable, "-m", "trunkline", "fit", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 300
        while not (tmp_path / "run" / "log.jsonl").exists() or not log(tmp_path / "run"):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=120)  # until nobody holds the pipe any more: all have ended
        assert process.returncode != 0
        assert b"Traceback" not in said
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert_unfinished(tmp_path / "run")
