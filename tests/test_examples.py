"""The examples run, and learn."""

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_textbook_learns_every_task(capsys):
    torch.set_num_threads(1)
    scores = runpy.run_path(str(EXAMPLES / "textbook.py"))["main"](epochs=15)
    for task, score in scores.items():
        assert score["accuracy"] > 0.85 > score["majority"] + 0.2, task
    assert capsys.readouterr().out.count("accuracy") == 3


def test_bare_loop_learns_both_tasks():
    """Better than the variances of the targets: 1, and ten times 2."""
    torch.set_num_threads(1)
    losses = runpy.run_path(str(EXAMPLES / "bare_loop.py"))["main"](steps=250)
    assert losses["copy"] < 0.5
    assert losses["square"] < 10


def test_hugging_face_trainer_learns_both_tasks():
    pytest.importorskip("accelerate", reason="the Trainer wants it")
    torch.set_num_threads(1)
    accuracy = runpy.run_path(str(EXAMPLES / "hugging_face.py"))["main"](steps=100)
    assert min(accuracy.values()) > 0.9


def test_a_search_prunes_and_finds(capsys):
    optuna = pytest.importorskip("optuna", reason="the extra `tune`")
    torch.set_num_threads(1)
    study = runpy.run_path(str(EXAMPLES / "search.py"))["main"](trials=6, steps=60)
    states = [trial.state for trial in study.trials]
    assert optuna.trial.TrialState.PRUNED in states
    assert study.best_value > 0.2
    assert "best: " in capsys.readouterr().out


def test_ray_tune_finds(monkeypatch):
    pytest.importorskip("ray.tune", reason="`pip install 'ray[tune]'`; it is in no extra")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = runpy.run_path(str(EXAMPLES / "ray_tune.py"))["main"](trials=3, steps=30)
    assert not found.errors
    assert len({result.metrics["step"] for result in found}) >= 1
    assert max(result.metrics["score"] for result in found) > 0
