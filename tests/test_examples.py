"""The examples run, and learn."""

import runpy
from pathlib import Path

import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_textbook_learns_every_task(capsys):
    torch.set_num_threads(1)
    scores = runpy.run_path(str(EXAMPLES / "textbook.py"))["main"](epochs=15)
    for task, score in scores.items():
        assert score["accuracy"] > 0.85 > score["majority"] + 0.2, task
    assert capsys.readouterr().out.count("accuracy") == 3
