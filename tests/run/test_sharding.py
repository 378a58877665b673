"""A network divided among two processes: the run is that of one process with the same rows in each step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

import trunkline
from trunkline import ConfigError, load
from trunkline.config import load_config
from trunkline.data import read_table, write_rows
from worlds import write_world

TOGETHER = 8  # rows a step
TRAINING = {
    "steps": 6, "lr": 0.01, "weight_decay": 0.05, "clip": 1.0, "input_dropout": 0.0, "threads": 1, "accelerator": "cpu",
    "validations": 3, "ema": "off", "patience": "off", "shard": True, "devices": 2, "batch_size": TOGETHER // 2,
}  # fmt: skip
NOTE = {"type": "text", "encoder": "scratch", "dropout": 0.0, "word_dropout": 0.0}
RUNS: dict[str, dict[str, Any]] = {  # nothing is left to chance but which rows come together
    "plain": {"trunk": {"type": "hard", "dropout": 0.0}, "training": {"ema": 0.9, "accumulate": 2}},
    "layers": {  # of a pretrained network, and of the trunk
        "inputs": {"note": {"type": "text", "encoder": "transformers:BERT"}, "size": "number", "shop": "category"},
        "trunk": {"type": "transformer", "dropout": 0.0},
        "balancer": {"type": "upgrad", "level": "features"},
    },
    "gates": {"trunk": {"type": "mmoe", "dropout": 0.0}, "balancer": {"type": "famo", "lr": 0.5}},
    "late": {
        "trunk": {"type": "hard", "dropout": 0.0, "members": 1},
        "fusion": {"type": "late", "blending": True},
        "tasks": {"kind": "category", "price": "number", "loud": "binary"},
        "balancer": "uncertainty",
    },
    "half": {"trunk": {"type": "hard", "dropout": 0.0}, "training": {"precision": "bf16-mixed"}},
}

SCRIPT = """
import json, os, sys
import torch, trunkline
from trunkline.training import sharding, stepper

torch.nn.functional.dropout = torch.dropout = lambda x, *_, **__: x  # of the pretrained network
before = sharding.Sharding.__init__

def count(self, fabric, network, engine, **options):  # numbers of weights, and of what this process keeps of them
    whole = sum(p.numel() for p in network.parameters())
    before(self, fabric, network, engine, **options)
    own = sum(self.own(p).numel() for p in self.network.parameters())
    said = {"whole": whole, "own": own, "aside": sum(p.numel() for p in network.parameters())}
    with open(f"numbers-{os.environ['LOCAL_RANK']}.jsonl", "a") as file:
        file.write(json.dumps(said) + "\\n")

sharding.Sharding.__init__ = count
step = stepper.Stepper.step
stop = {"at": None}

def die(self, *given):
    if stop["at"] == 0:
        os._exit(3)  # in all processes
    if stop["at"] is not None:
        stop["at"] -= 1
    step(self, *given)
    for own, state in self.optimiser.state.items():
        assert all(value.shape == own.shape for value in state.values() if value.dim())

stepper.Stepper.step = die
line = json.loads(sys.argv[1])
stop["at"] = line.pop("stop", None)
trunkline.fit(**line, report=False, show_progress=False)
"""


def call(folder: Path, given: dict[str, Any], expected: int = 0) -> None:
    launched = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    env = {k: v for k, v in os.environ.items() if k not in launched}
    (folder / "runs.py").write_text(SCRIPT)
    command = [sys.executable, "runs.py", json.dumps(given)]  # the other process is started by the first
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode == 0) == (expected == 0), done.stderr[-6000:]


def config_of(folder: Path, name: str, **training: Any) -> dict[str, Any]:
    sections = json.loads(json.dumps(RUNS[name]).replace("BERT", str(folder / "bert")))
    own = sections.pop("training", {})
    return {
        "data": {"train": str(folder / "train.jsonl"), "validation": str(folder / "validation.jsonl")},
        "inputs": {"note": NOTE, "size": "number", "shop": "category"},
        "tasks": {
            "kind": "category", "price": "number", "weight": "number", "loud": "binary",
            "german": {"type": "text", "of": "note", "max_length": 6, "layers": 1, "dropout": 0.0},
        },
        "width": 16,
        **sections,
        "training": {**TRAINING, **own, **training},
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A note, and labels of three tasks, in one row of three or four: in most steps some process has none of them."""
    folder = tmp_path_factory.mktemp("world")
    rows = [json.loads(line) for line in write_world(folder, 90, holes=0.2).read_text().splitlines()]
    rows = [row for row in rows if row.get("size") is not None]
    for number, row in enumerate(rows):
        row["note"] = row["note"] if number % 4 == 0 else None
        row["german"] = row["german"] if row["note"] is not None else None
        row["loud"] = row["loud"] if number % 7 == 0 else None
        row["price"] = row["price"] if number % 3 == 0 else None
    write_rows(folder / "validation.jsonl", rows[:13])  # of two processes, one has six rows, and few labels
    write_rows(folder / "train.jsonl", rows[13:])
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "big", "small", "red", "green", "blue"]
    (folder / "bert").mkdir()
    (folder / "bert/vocab.txt").write_text("\n".join(pieces))
    transformers.BertTokenizerFast(vocab=str(folder / "bert/vocab.txt")).save_pretrained(folder / "bert")
    torch.manual_seed(3)
    bert = transformers.BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    transformers.BertModel(bert).save_pretrained(folder / "bert")
    return folder


def divided(folder: Path, name: str) -> Path:
    """The run in two processes, once."""
    if not (folder / "runs" / name).exists():
        call(folder, {"out": f"runs/{name}", "source": config_of(folder, name)})
    return folder / "runs" / name


SLOW = [pytest.param(name, marks=[] if name in ("plain", "layers") else pytest.mark.slow) for name in RUNS]


@pytest.mark.parametrize("name", SLOW)
def test_it_is_the_run_of_one_process(folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = divided(folder, name)
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, *_, **__: x)
    monkeypatch.setattr(torch, "dropout", lambda x, *_, **__: x)
    config = config_of(folder, name, shard=False, devices=1, batch_size=TOGETHER)
    alone = trunkline.fit(config, out=tmp_path / "alone", report=False)
    close = 0.05 if name == "half" else 2e-4
    ours, theirs = ([json.loads(line) for line in (f / "log.jsonl").open()] for f in (there, alone.folder))
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for one, other in zip(ours, theirs, strict=True):
        for key in ("losses", "weights", "norms", "aggregate", "blend"):
            assert one.get(key) == approx(other.get(key), close), (one["step"], key)
    ours_after, theirs_after = (load_file(f / "model.safetensors") for f in (there, alone.folder))
    assert ours_after.keys() == theirs_after.keys()
    # As one vector: what has no gradient but rounding (a bias of attention's keys) AdamW moves at random.
    ours_whole, theirs_whole = (
        torch.cat([w[key].double().flatten() for key in theirs_after]) for w in (ours_after, theirs_after)
    )
    known = ~theirs_whole.isnan()  # blending has weights of tasks that nobody has labels of
    assert torch.equal(known, ~ours_whole.isnan())
    ours_whole, theirs_whole = ours_whole[known], theirs_whole[known]
    assert float((ours_whole - theirs_whole).norm() / theirs_whole.norm()) < close
    if name != "half":
        metrics = json.loads((there / "metrics.json").read_text())
        assert metrics["validation"] == approx(alone.metrics["validation"], 1e-3)


def test_the_run_folder_is_whole(folder: Path) -> None:
    """Loaded by one process, which answers as the run did."""
    there = divided(folder, "plain")
    said, _ = load(there).evaluate(read_table(folder / "validation.jsonl"))
    metrics = json.loads((there / "metrics.json").read_text())
    assert metrics["validation"] == approx(said, 1e-5)
    assert (there / "files.json").exists()
    assert "shard: true" in (there / "config.yaml").read_text()


def test_each_process_keeps_about_half(folder: Path) -> None:
    """Of weights, and so of gradients and moments, which are held to their shapes in each step."""
    divided(folder, "layers")
    numbers = [[json.loads(line) for line in (folder / f"numbers-{r}.jsonl").open()] for r in range(2)]
    for first, second in zip(*numbers, strict=True):
        small = 0.1 * first["whole"]  # learned tokens are whole in each; odd rows fall to the first
        assert first["own"] + second["own"] < first["whole"] + small
        assert max(first["own"], second["own"]) < first["whole"] / 2 + small
        assert first["aside"] == second["aside"] == 0


@pytest.mark.parametrize("name", ["plain", pytest.param("gates", marks=pytest.mark.slow)])
def test_a_killed_run_goes_on(folder: Path, name: str) -> None:
    there = divided(folder, name)
    config = config_of(folder, name)
    call(folder, {"out": f"cut/{name}", "source": config, "stop": 5}, expected=3)
    assert not (folder / "cut" / name / "metrics.json").exists()
    call(folder, {"out": f"cut/{name}", "source": config, "resume": True})
    for file in ("model.safetensors", "log.jsonl"):
        assert (folder / "cut" / name / file).read_bytes() == (there / file).read_bytes()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"training": {"devices": 1}},
            "training.shard: divides the network among processes, and training.devices is 1",
        ),
        ({"training": {"precision": "16-mixed"}}, "training.precision: 16-mixed scales.*bf16-mixed needs no scaling"),
        ({"training": {"minutes": 3}}, "training.minutes: are measured on one device.*Give steps or epochs"),
        ({"training": {"affinity": 3}}, "training.affinity: one process measures it"),
        ({"balancer": {"type": "upgrad", "level": "last"}}, "balancer.level: 'last' needs whole gradients.*'features'"),
        ({"balancer": {"type": "upgrad", "level": "trunk"}}, "balancer.level: 'trunk' needs whole gradients"),
    ],
)
def test_what_does_not_go_with_it_is_refused(folder: Path, sections: dict[str, Any], message: str) -> None:
    config = config_of(folder, "plain")
    config |= {key: {**config["training"], **own} if key == "training" else own for key, own in sections.items()}
    with pytest.raises(ConfigError, match=message):
        load_config(config, columns=read_table(folder / "train.jsonl"))


def test_one_process_has_nobody_to_share_with(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, "plain")
    config["training"]["devices"] = "auto"
    with pytest.raises(ConfigError, match=r"training\.shard: .* there is one; give training\.devices"):
        trunkline.fit(config, out=tmp_path / "run")


def test_auto_compares_at_the_features(folder: Path) -> None:
    """Where it would take the last layers otherwise."""
    from trunkline.plan import make_plan
    from trunkline.sources import columns_of, read_splits

    for shard, level in ((True, "features"), (False, "last")):
        config = {**config_of(folder, "plain", shard=shard), "balancer": "upgrad"}
        with pytest.warns(UserWarning, match="compares tasks only on rows") if shard else no_warning():
            plan = make_plan(loaded := load_config(config, columns=columns_of), read_splits(loaded))
        assert plan.config.balancer is not None and plan.config.balancer.level == level
    config = {**config_of(folder, "plain"), "balancer": "upgrad", "trunk": "film"}
    with pytest.raises(ConfigError, match=r"training\.shard: in trunk 'film' tasks meet in the layers"):
        make_plan(loaded := load_config(config, columns=columns_of), read_splits(loaded))


def no_warning() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def approx(value: Any, close: float) -> Any:
    """The same in nested dicts; what is absent must be absent."""
    if isinstance(value, dict):
        return {key: approx(one, close) for key, one in value.items()}
    if isinstance(value, list):
        return [approx(one, close) for one in value]
    return pytest.approx(value, rel=close, abs=close) if isinstance(value, float) else value
