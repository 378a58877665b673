"""What the speech benchmark counts: who is left out, and what of what is said is understood."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from benchmarks.number_words import ENGLISH

from benchmarks import speech
from trunkline.config import load_config
from trunkline.data import read_table, write_rows
from trunkline.modalities import Category, Text
from trunkline.schema import InputColumn, Schema
from trunkline.sounds import Sound
from trunkline.sources import columns_of
from trunkline.tasks import Binary


def test_a_speaker_who_is_left_out_is_in_no_other_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"sound": f"{speaker}{take}.wav", "digit": take % 3, "speaker": speaker, "take": take}
        for speaker in ("ann", "bob")
        for take in range(14)
    ]
    write_rows(tmp_path / "fsdd.csv", rows)
    asked = []

    def fit(recipe: Path, *, overrides: list[str], out: Path) -> None:
        asked.append(overrides)
        out.mkdir(parents=True)
        (out / "metrics.json").write_text('{"test": {"digit": {"accuracy": 0.5}}}')

    monkeypatch.setattr(speech, "fit", fit)
    for _ in range(2):  # the second time nothing is run
        speech.speakers(tmp_path / "fsdd.csv", tmp_path / "runs", [0, 1], ["inputs.sound.voices=0.2"])
    assert len(asked) == 4
    config = load_config(speech.RECIPES / "fsdd.yaml", columns=columns_of, overrides=asked[0])
    assert list(config.tasks) == ["digit"], "nothing asks who speaks"
    speech.speakers(tmp_path / "fsdd.csv", tmp_path / "runs", [0, 1], ["inputs.sound.voices=0.1"])
    assert len(asked) == 8, "other overrides are other runs"
    table = read_table(next((tmp_path / "runs").glob("*/ann.csv")))
    found = {(str(row["speaker"]), str(row["split"]), int(row["take"]) < 10) for row in map(table.row, range(28))}
    assert found == {("ann", "test", True), ("ann", "test", False), ("bob", "val", True), ("bob", "train", False)}
    assert Path(str(table.row(0)["sound"])).is_absolute()


class Speaks:
    """Says the place of a word among all as the first sample, and of the voice as the second."""

    preprocessing = SimpleNamespace(
        schema=Schema({"word": Text(), "voice": InputColumn(Category(), "speaker")}, {"kind": Binary()})
    )

    def predict(self, rows: list[dict[str, str]]) -> list[dict[str, Sound]]:
        return [
            {"said": Sound(np.array([ENGLISH.index(row["word"]), "ab".index(row["speaker"])]), 8000, 2)} for row in rows
        ]


class Hears:
    """Hears every nine as a five, and the second voice as the first."""

    preprocessing = SimpleNamespace(states={"tasks": {"speaker": {"classes": ["a", "b"]}}})

    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, dict[str, str]]]:
        digits = [int(row["sound"][0][0]) for row in rows]
        return [{"digit": {"value": str(5 if digit == 9 else digit)}, "speaker": {"value": "a"}} for digit in digits]


def test_what_is_understood_is_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(speech, "load", lambda run: Speaks() if run == Path("s") else Hears())
    scores = {"digit": {"accuracy": 0.99}, "speaker": {"accuracy": 0.98}}
    monkeypatch.setattr(speech, "evaluate", lambda run: {"scores": scores})
    speech.round_trip(Path("s"), Path("r"))
    said = capsys.readouterr().out
    assert "understood 0.90, voice 1.00  nine as 5" in said
    assert "understood 0.90, voice 0.00  nine as 5" in said
    assert "said by the network: digit 0.900, speaker 0.500" in said
    assert "recordings of its own test rows: digit 0.990, speaker 0.980" in said
