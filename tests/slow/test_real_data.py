"""Quality on real data: `make test-slow` with TRUNKLINE_DATA, or `pytest -m slow --data DIR`."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.data import read_table, write_rows
from trunkline.run import Run, fit

pytestmark = pytest.mark.slow


@pytest.fixture
def data(request: pytest.FixtureRequest) -> Path:
    folder = request.config.getoption("--data")
    if folder is None:
        pytest.skip("no real data: give --data DIR or TRUNKLINE_DATA")
    return Path(folder).absolute()


def train(folder: Path, config: str) -> Run:
    (folder / "config.yaml").write_text(config)
    run = fit(folder / "config.yaml", out=folder / "run")
    for task, scores in run.metrics["test"].items():
        print(f"{task}: {scores}, majority {run.metrics['majority'][task]}")
    print(f"{run.metrics['steps']} steps, {run.metrics['seconds']:.0f} s, {run.metrics['parameters']} parameters")
    return run


def test_spoken_digits(data: Path, tmp_path: Path) -> None:
    """Free Spoken Digit Dataset, its own split: digit and speaker from one network, nothing set but the steps."""
    index = read_table(data / "fsdd" / "index.csv")
    rows = [
        {**index.row(i), "sound": str(data / "fsdd" / "recordings" / index.cell(i, "file"))} for i in range(len(index))
    ]
    write_rows(tmp_path / "rows.csv", rows)
    run = train(
        tmp_path,
        "data: {table: rows.csv, split: split}\n"
        "inputs: {sound: {type: audio, rate: 8000}}\n"
        "tasks: {digit: category, speaker: category}\n"
        "training: {steps: 1500, threads: 1}\n",
    )
    assert run.metrics["test"]["digit"]["accuracy"] > 0.95
    assert run.metrics["test"]["speaker"]["accuracy"] > 0.97


def test_intent_and_slots(data: Path, tmp_path: Path) -> None:
    """ATIS, the usual splits: the intent of a sentence and a tag for each word, from scratch.

    Every test sentence counts, also those with an intent or a tag that training never saw.
    """
    rows = []
    for split in ("train", "dev", "test"):
        folder = data / "atis_snips" / "data" / "atis" / split
        columns = [(folder / name).read_text().splitlines() for name in ("seq.in", "seq.out", "label")]
        for words, tags, intent in zip(*columns):
            rows.append({"split": {"dev": "val"}.get(split, split), "words": words, "slots": tags, "intent": intent})
    write_rows(tmp_path / "rows.csv", rows)
    with pytest.warns(UserWarning, match=r"test: \d+ of 893 labels of 'intent' name .* training never saw"):
        run = train(
            tmp_path,
            "data: {table: rows.csv, split: split}\n"
            "inputs: {words: text}\n"
            "tasks: {intent: category, slots: {type: tags, of: words}}\n"
            "training: {steps: 1500, threads: 1}\n",
        )
    assert run.metrics["test"]["intent"]["accuracy"] > 0.9
    assert run.metrics["test"]["slots"]["span_f1"] > 0.88
