"""Numbers in words, and strings of digits whose recordings are in one split alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from benchmarks.digit_strings import RATE, SILENCE, make_rows, numbers, read_recordings
from benchmarks.number_words import german, spelt

WORDS = {
    0: "null", 1: "eins", 7: "sieben", 10: "zehn", 11: "elf", 16: "sechzehn", 17: "siebzehn", 20: "zwanzig",
    21: "einundzwanzig", 30: "dreißig", 37: "siebenunddreißig", 66: "sechsundsechzig", 76: "sechsundsiebzig",
    100: "einhundert", 101: "einhunderteins", 110: "einhundertzehn", 999: "neunhundertneunundneunzig",
    1000: "eintausend", 1001: "eintausendeins", 2_017: "zweitausendsiebzehn",
    21_016: "einundzwanzigtausendsechzehn", 100_000: "einhunderttausend",
    101_101: "einhunderteintausendeinhunderteins",
}  # fmt: skip


@pytest.mark.parametrize(("number", "word"), WORDS.items())
def test_german(number: int, word: str) -> None:
    assert german(number) == word


def test_no_two_numbers_have_one_word() -> None:
    assert len({german(number) for number in range(100_000)}) == 100_000
    with pytest.raises(ValueError, match="1000000 is not from 0 to 999999"):
        german(1_000_000)


def test_english_is_digit_by_digit() -> None:
    assert spelt(3070) == "three zero seven zero"


def test_numbers_have_two_to_five_digits_evenly() -> None:
    found = numbers(400, np.random.default_rng(0))
    assert [sum(len(str(n)) == size for n in found) for size in range(1, 7)] == [0, 100, 100, 100, 100, 0]


def test_strings_are_joined_from_recordings_of_their_own_split_and_speaker(tmp_path: Path) -> None:
    """Each recording is a constant of its own, so that a string says which recordings it is made of."""
    lines, levels = ["sound,digit,speaker,split"], {}
    for split in ("train", "test"):
        for speaker in ("ann", "bob"):
            for digit in range(10):
                level = (len(levels) + 1) / 64
                levels[round(level, 4)] = (split, speaker, str(digit))
                soundfile.write(tmp_path / f"{len(levels)}.wav", np.full(400, level, np.float32), RATE, subtype="FLOAT")
                lines.append(f"{len(levels)}.wav,{digit},{speaker},{split}")
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    recordings = read_recordings(tmp_path / "rows.csv")
    rows = list(make_rows(recordings, tmp_path, {"train": 8, "test": 4}, seed=0))
    assert [row["split"] for row in rows] == ["train"] * 8 + ["test"] * 4
    for row in rows:
        wave, rate = soundfile.read(tmp_path / row["sound"], dtype="float32")
        assert rate == RATE
        heard = [
            levels[round(float(part[0]), 4)]
            for part in np.split(wave, np.flatnonzero(np.diff(wave)) + 1)
            if part[0] > 0.01
        ]
        digits = "".join(digit for _, _, digit in heard)
        assert row["english"] == spelt(int(digits)) and row["german"] == german(int(digits))
        assert {(split, speaker) for split, speaker, _ in heard} == {(row["split"], row["speaker"])}
        assert len(wave) >= len(digits) * 400 + (len(digits) - 1) * int(RATE * SILENCE[0])
    assert rows == list(make_rows(recordings, tmp_path, {"train": 8, "test": 4}, seed=0)), "a seed says all"
