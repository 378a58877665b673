"""Training on two devices from end to end: one run folder, written by the first process, with scores of all rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trunkline import load
from trunkline.data import read_table, write_rows
from trunkline.run import evaluate
from worlds import write_world

CONFIG = """
data: {train: train.jsonl, validation: validation.jsonl, test: test.jsonl}
inputs: {note: text, size: number}
tasks: {kind: category, price: number, weight: number, marks: labels, german: {type: text, of: note, max_length: 8}}
width: 16
training: {steps: 4, batch_size: 4, lr: 0.01, threads: 1, devices: 2, accelerator: cpu}
"""
TASKS = ("kind", "price", "weight", "marks", "german")

# At the top level and without a guard: the other process is this script, started again.
SCRIPT = """
import json, os
import trunkline
from trunkline import MultiTaskModel, TaskColumn, modalities, tasks

model = MultiTaskModel(
    inputs={"note": modalities.Text(), "size": modalities.Number()},
    tasks={"price": tasks.Number(), "german": TaskColumn(tasks.Text(layers=1, max_length=8), "german", of="note")},
    width=16,
)
for devices in (2, 2, 1):
    run = trunkline.fit(model, "train.jsonl", validation="validation.jsonl", balancer=trunkline.UPGrad(), level="last",
                        steps=2, batch_size=4, threads=1, devices=devices, accelerator="cpu")
    said = {"folder": str(run.folder), "is whole": (run.folder / "metrics.json").exists(), "metrics": run.metrics}
    with open(f"said-{os.environ['LOCAL_RANK']}.jsonl", "a") as file:
        file.write(json.dumps(said) + "\\n")
"""


def write_tables(folder: Path) -> None:
    """Five rows validate: of two processes, one gets three of them, and the only ones that have a kind or a text."""
    rows = [json.loads(line) for line in write_world(folder, 60, holes=0.1).read_text().splitlines()]
    rows = [row for row in rows if row.get("note") is not None and row.get("size") is not None]
    full = [row for row in rows if all(row.get(task) is not None for task in TASKS)]
    held, rest = full[:5], [row for row in rows if row not in full[:5]]
    for row in held:
        row["marks"] = None
    for row in held[3:]:
        row |= {"kind": None, "german": None}
    write_rows(folder / "validation.jsonl", held)
    write_rows(folder / "test.jsonl", rest[:7])
    write_rows(folder / "train.jsonl", rest[7:])


def call(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    launched = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    env = {k: v for k, v in os.environ.items() if k not in launched}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_tables(folder)
    return folder


@pytest.fixture(scope="module")
def said(folder: Path) -> subprocess.CompletedProcess[str]:
    """By the command as it is installed."""
    (folder / "two.yaml").write_text(CONFIG)
    return call(str(Path(sys.executable).parent / "trunkline"), "fit", "two.yaml", cwd=folder)


def test_one_run_folder_and_one_voice(folder: Path, said: subprocess.CompletedProcess[str]) -> None:
    assert said.stdout.count("Run folder: runs/two") == 1
    assert said.stdout.count("test rows") == 1
    assert "Traceback" not in said.stderr
    assert [path.name for path in (folder / "runs").iterdir() if path.name.startswith("two")] == ["two"]
    files = {str(p.relative_to(folder / "runs/two")) for p in (folder / "runs/two").rglob("*") if p.is_file()}
    assert {file for file in files if not file.startswith("report")} == {
        "MODEL_CARD.md", "checkpoints/best.safetensors", "config.yaml", "files.json", "log.csv", "log.jsonl",
        "metrics.json", "model.safetensors", "predictions/test.jsonl", "predictions/validation.jsonl",
        "preprocessing.json",
    }  # fmt: skip


def test_metrics_are_those_of_one_process(folder: Path, said: subprocess.CompletedProcess[str]) -> None:
    metrics = json.loads((folder / "runs/two/metrics.json").read_text())
    assert tuple(metrics["test"]) == TASKS
    assert all(metrics["test"].values())
    found = evaluate(folder / "runs/two")
    assert_close(metrics["test"], found["scores"])
    assert_close(metrics["majority"], found["majority"])


def test_validations_on_the_way_are_those_of_one_process(folder: Path, said: subprocess.CompletedProcess[str]) -> None:
    lines = [json.loads(line) for line in (folder / "runs/two/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "losses" in line] == [1, 2, 3, 4]
    validations = {line["step"]: line for line in lines if "validation" in line}
    assert list(validations) == [1, 2, 3, 4]
    metrics = json.loads((folder / "runs/two/metrics.json").read_text())
    logged = validations[metrics["best_step"]]["validation"]
    alone, _ = load(folder / "runs/two").evaluate(read_table(folder / "validation.jsonl"))
    assert logged["marks"] is None
    assert_close(logged, alone)
    assert_close(metrics["validation"], alone)


def test_started_by_torchrun(folder: Path, said: subprocess.CompletedProcess[str]) -> None:
    """Processes that are there already: their number need not be said, and the run is that of as many devices."""
    (folder / "elastic.yaml").write_text(CONFIG.replace(", devices: 2", ""))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    told = call(*launcher, "-m", "trunkline", "fit", "elastic.yaml", cwd=folder)
    assert told.stdout.count("Run folder: runs/elastic") == 1
    resolved = (folder / "runs/elastic/config.yaml").read_text()
    assert "  devices: 2\n" in resolved and "# training.devices: as many as the launcher has started" in resolved
    for name in ("model.safetensors", "log.jsonl"):
        assert (folder / "runs/elastic" / name).read_bytes() == (folder / "runs/two" / name).read_bytes()


def test_a_script_of_ones_own(folder: Path) -> None:
    """Twice on two devices, then on one: each process leaves the meeting before the next."""
    (folder / "own.py").write_text(SCRIPT)
    call(sys.executable, "own.py", cwd=folder)
    first, second = ([json.loads(line) for line in (folder / f"said-{r}.jsonl").read_text().splitlines()] for r in "01")
    assert [run["folder"] for run in first] == ["runs/model", "runs/model-2", "runs/model-3"]
    assert len(second) == 3
    for ours, theirs in zip(first[:2], second[:2], strict=True):
        assert (ours["folder"], ours["is whole"]) == (theirs["folder"], theirs["is whole"])
        assert ours["is whole"]
        assert ours["metrics"]["validation"] == theirs["metrics"]["validation"]
    assert first[0]["metrics"]["validation"] == first[1]["metrics"]["validation"]
    weights = [(folder / f"runs/{name}/model.safetensors").read_bytes() for name in ("model", "model-2")]
    assert weights[0] == weights[1]
    assert {path.name for path in (folder / "runs").iterdir() if "model" in path.name} == {
        "model", "model-2", "model-3"
    }  # fmt: skip


# One process alone listens, as where it alone has a terminal, and ends the run at its second look.
LISTENER = """
import os
import trunkline

config = {
    "data": {"train": "train.jsonl", "validation": "validation.jsonl"},
    "inputs": {"size": "number"}, "tasks": {"price": "number"}, "width": 8,
    "training": {"steps": 12, "batch_size": 4, "threads": 1, "devices": 2, "accelerator": "cpu", "validations": 6},
}
seen = []

def listen(look):
    seen.append(look.step)
    return len(seen) == 2

own = listen if os.environ.get("LOCAL_RANK", "0") == "0" else None
run = trunkline.fit(config, out="runs/listened", report=False, on_validation=own)
with open(f"heard-{os.environ['LOCAL_RANK']}.json", "w") as file:
    file.write(str([run.metrics["steps"], seen]))
"""


def test_one_process_alone_listens_to_validations(folder: Path) -> None:
    (folder / "listen.py").write_text(LISTENER)
    call(sys.executable, "listen.py", cwd=folder)
    heard = [json.loads((folder / f"heard-{rank}.json").read_text()) for rank in (0, 1)]
    assert heard == [[4, [2, 4]], [4, []]]


# A few rows have an infinite loss of their price, so that now this process has one and now that.
LOSSES = """
import os, sys, warnings
import torch, trunkline
from trunkline.tasks.number import NumberHead

before, wrong = NumberHead.loss, torch.tensor([float(price) for price in sys.argv[1:]])

def loss(self, output, target):
    total, weight = before(self, output, target)
    bad = target["flags"] & torch.isclose(target["values"][..., None], wrong).any(-1)
    if bool(bad[:, 0].any()):
        with open(f"lost-in-{os.environ.get('LOCAL_RANK')}", "a") as file:
            file.write("once more")
        total = torch.cat([total[:1] * torch.inf, total[1:]])
    return total, weight

NumberHead.loss = loss
warnings.simplefilter("ignore")
for devices in (2, 1):
    config = {
        "data": {"train": "train.jsonl", "validation": "validation.jsonl"},
        "inputs": {"size": "number"}, "tasks": {"price": "number", "kind": "category"}, "width": 8,
        "trunk": {"type": "hard", "members": 1, "dropout": 0.0},
        "training": {"steps": 30, "batch_size": 8 // devices, "lr": 0.01, "threads": 1, "devices": devices,
                     "accelerator": "cpu", "ema": "off", "patience": "off", "input_dropout": 0.0, "validations": 5},
    }
    run = trunkline.fit(config, out=f"runs/lost-{devices}")
"""


def test_what_one_process_loses_all_have_lost(folder: Path, said: subprocess.CompletedProcess[str]) -> None:
    """Counted as by one process with the same steps, the same ones until then; the other's prices still count."""
    state = json.loads((folder / "runs/two/preprocessing.json").read_text())["tasks"]["price"]
    prices = [row["price"] for row in map(json.loads, (folder / "train.jsonl").open()) if row.get("price") is not None]
    (folder / "lost.py").write_text(LOSSES)
    call(sys.executable, "lost.py", *(str((price - state["mean"]) / state["std"]) for price in prices[::9]), cwd=folder)
    assert (folder / "lost-in-0").exists() and (folder / "lost-in-1").exists()
    logs = [[json.loads(line) for line in (folder / f"runs/lost-{devices}/log.jsonl").open()] for devices in (1, 2)]
    dropped = [[line.get("dropped", {}).get("price", 0) for line in log if "losses" in line] for log in logs]
    assert dropped[0] == dropped[1] and dropped[0][-1] > 2
    losses = [[line["losses"] for line in log if "losses" in line] for log in logs]
    first = next(step for step, count in enumerate(dropped[0]) if count)
    assert [one["kind"] for one in losses[0][: first + 1]] == pytest.approx(
        [one["kind"] for one in losses[1][: first + 1]], rel=1e-4
    )
    assert losses[0][first]["price"] is None and losses[1][first]["price"] is not None


def assert_close(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for task, scores in theirs.items():
        assert ours[task] == (scores if scores is None else pytest.approx(scores, rel=1e-5, abs=1e-6)), task
