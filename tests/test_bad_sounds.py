"""Sounds that are odd or broken, as inputs and as what is to be said, on the way that a table takes into a run."""

from __future__ import annotations

import json
import math
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from trunkline.arrays import sounds
from trunkline.data import write_rows
from trunkline.errors import DataError
from trunkline.modalities import Audio
from trunkline.run import fit, predict
from trunkline.sounds import read_sound
from trunkline.tasks import Speech

RATE = 8000
CONFIG = """\
data: {table: rows.csv, split: split, on_bad_row: MODE}
inputs: {heard: {type: audio, channels: 8, depth: 1}, line: {type: text, letters: true, layers: 0, min_count: 1}}
tasks:
  who: category
  read: {type: speech, of: line, mels: 8, channels: 8, depth: 1, vocoder_steps: 1}
training: {steps: 2, batch_size: 8, validations: 1, threads: 1}
width: 8
"""


def noise(samples: int = 1600, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(0).standard_normal(samples)


def header(path: Path, place: int, value: int) -> None:
    """Another number in a wav's header."""
    content = bytearray(path.read_bytes())
    content[place : place + 4] = struct.pack("<I", value)
    path.write_bytes(content)


def cut_flac(path: Path) -> None:
    soundfile.write(path.with_suffix(".flac"), noise(16000), RATE)
    content = path.with_suffix(".flac").read_bytes()
    path.write_bytes(content[: len(content) // 2])


def wav(path: Path) -> None:
    soundfile.write(path, noise(), RATE)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty file": (lambda path: path.write_bytes(b""), "cannot be read as a sound"),
    "no samples": (lambda path: soundfile.write(path, np.zeros(0), RATE), "the sound is empty: it has no samples"),
    "text": (lambda path: path.write_text("no sound"), "cannot be read as a sound"),
    "no rate": (lambda path: (wav(path), header(path, 24, 0)), "cannot be read as a sound"),
    "a rate of one": (lambda path: soundfile.write(path, noise(), 1), "1 is not a sample rate; sounds have 10 to"),
    "an endless rate": (lambda path: soundfile.write(path, noise(), 2**31 - 1), "2147483647 is not a sample rate"),
    "a sample too few": (
        lambda path: soundfile.write(path, noise(9), 10_000_000),
        "of 9 samples.*none is left",
    ),
    "another format": (lambda path: (wav(path), header(path, 0, 7)), "cannot be read as a sound"),
    "truncated FLAC": (cut_flac, "cannot be read as a sound"),
    "NaN": (
        lambda path: soundfile.write(path, np.where(np.arange(1600) == 5, np.nan, noise()), RATE, subtype="FLOAT"),
        "NaN or infinite",
    ),
}
ODD: dict[str, tuple[Callable[[Path], object], float]] = {  # and how long they are, in seconds
    "silent": (lambda path: soundfile.write(path, np.zeros(1600), RATE), 0.2),
    "one sample": (lambda path: soundfile.write(path, np.array([0.5]), RATE), 1 / RATE),
    "clipped": (lambda path: soundfile.write(path, np.sign(noise()), RATE), 0.2),
    "louder than full scale": (lambda path: soundfile.write(path, noise(level=30), RATE, subtype="FLOAT"), 0.2),
    "8 bit": (lambda path: soundfile.write(path, noise(), RATE, subtype="PCM_U8"), 0.2),
    "5.1": (lambda path: soundfile.write(path, np.stack([noise(9600)] * 6, 1), 48000, subtype="PCM_24"), 0.2),
    "three hours": (lambda path: soundfile.write(path, np.zeros(3 * 3600 * 200), 200, subtype="PCM_U8"), 3 * 3600.0),
    "truncated": (lambda path: (wav(path), path.write_bytes(path.read_bytes()[:1644])), 0.1),
    "a header that promises more": (lambda path: (wav(path), header(path, 40, 2**31)), 0.2),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_ones_say_why(kind: str, tmp_path: Path) -> None:
    make, message = BROKEN[kind]
    make(tmp_path / "a.wav")
    for reader in (Audio(), Speech(RATE)):
        with pytest.raises(DataError, match=message):
            reader.read(str(tmp_path / "a.wav"))
    if kind in ("empty file", "no samples", "text", "no rate", "a rate of one", "an endless rate", "another format"):
        with pytest.raises(DataError, match=message):
            Audio().check(str(tmp_path / "a.wav"))


def test_one_that_would_grow_beyond_all_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is how long it is at the rate that is wanted."""
    soundfile.write(tmp_path / "a.wav", noise(4000), 10, subtype="PCM_U8")
    monkeypatch.setattr(sounds, "LONGEST", 100_000)
    assert len(read_sound(tmp_path / "a.wav", 200, math.inf).wave) == 80_000
    assert len(read_sound(tmp_path / "a.wav", 2000, 30.0).wave) == 60_000
    with pytest.raises(DataError, match="400 seconds of sound are too many for 2000 samples a second"):
        read_sound(tmp_path / "a.wav", 2000, math.inf)


@pytest.mark.parametrize("kind", ODD)
def test_odd_ones_are_sounds(kind: str, tmp_path: Path) -> None:
    make, seconds = ODD[kind]
    make(tmp_path / "a.wav")
    audio, speech = Audio(RATE, max_seconds=2.0), Speech(RATE, mels=20)
    audio.check(str(tmp_path / "a.wav"))
    sound = audio.read(str(tmp_path / "a.wav"))
    assert sound.samples / sound.rate == pytest.approx(seconds)
    assert len(sound.wave) == pytest.approx(RATE * min(seconds, 2.0), abs=2)
    frames, _ = audio.prepare(sound, audio.fit([sound]), None)
    assert len(frames) > 0 and bool(frames.isfinite().all())
    if kind == "three hours":
        with pytest.raises(DataError, match=r"takes 10800\.0 s, 20 at most"):
            speech.check(str(tmp_path / "a.wav"))
        return
    said = speech.prepare(speech.read(str(tmp_path / "a.wav")), speech.fit([sound]), None)
    assert len(said) > 0 and bool(said.isfinite().all())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Good rows, and in training two that are broken: what is heard, and what is to be said."""
    rows = []
    for i in range(24):
        soundfile.write(tmp_path / f"{i}.wav", noise() * (1 + i % 2), RATE)
        rows.append({"heard": f"{i}.wav", "line": "ab"[: 1 + i % 2], "who": f"w{i % 2}", "read": f"{i}.wav"})
    (tmp_path / "bad.wav").write_text("no sound")
    rows[9]["heard"] = rows[13]["read"] = "bad.wav"
    rows[11]["read"] = None
    for i, row in enumerate(rows):
        row["split"] = "val" if i < 6 else "train"
    write_rows(tmp_path / "rows.csv", rows)
    for mode in ("error", "skip"):
        (tmp_path / f"{mode}.yaml").write_text(CONFIG.replace("MODE", mode))
    return tmp_path


def test_all_are_told_before_training(table: Path) -> None:
    with pytest.raises(DataError) as told:
        fit(table / "error.yaml", out=table / "run")
    message = str(told.value)
    assert "row 10" in message and "'heard'" in message
    assert "row 14" in message and "'read'" in message
    assert not (table / "run" / "metrics.json").exists()


def test_left_out_they_harm_nobody(table: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = fit(table / "skip.yaml", out=table / "run")
    skipped = [json.loads(line) for line in (run.folder / "skipped.jsonl").read_text().splitlines()]
    assert sorted(one["row"] for one in skipped) == [10, 14]
    rows = [{"heard": str(table / "bad.wav")}, {"line": ""}, {"line": "b", "heard": str(table / "0.wav")}]
    first, second, third = predict(run.folder, rows)
    assert first["who"] is None and first["read"] is None, "what cannot be read is absent"
    assert second["read"].rate == third["read"].rate == RATE
    assert np.isfinite(third["read"].wave).all() and third["who"] is not None
