"""Strings of spoken digits: `python -m benchmarks.digit_strings RECORDINGS OUT`.

Recordings of single digits of one speaker are joined to numbers of two to five digits, with short silences between
them; no recording is in strings of two splits. RECORDINGS is a table with the columns `sound`, `digit`, `speaker` and
`split`, as `recipes/prepare.py fsdd` makes it. OUT becomes a folder of sounds and `strings.csv`: `sound`, `english`
(the digits, one after the other), `german` (the number's word, with ones before tens), `speaker`, `split`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.number_words import german, spelt
from trunkline.data import read_table, write_rows
from trunkline.sounds import read_sound

RATE = 8000
SILENCE = (0.02, 0.15)  # seconds between digits
STRINGS = {"train": 4000, "val": 300, "test": 600}
Recordings = dict[tuple[str, str, int], list[np.ndarray]]  # by split, speaker and digit


def read_recordings(table: Path) -> Recordings:
    """All recordings, each as samples at `RATE`."""
    rows = read_table(table)
    columns = [rows.column(name) for name in ("sound", "digit", "speaker", "split")]
    found: Recordings = defaultdict(list)
    for sound, digit, speaker, split in zip(*columns, strict=True):
        found[str(split), str(speaker), int(digit)].append(read_sound(table.parent / sound, RATE, 60.0).wave)
    return found


def numbers(count: int, rng: np.random.Generator) -> list[int]:
    """As many of two, three, four and five digits; of each any, evenly."""
    return [int(rng.integers(10 ** (digits - 1), 10**digits)) for digits in rng.permutation(np.arange(count) % 4 + 2)]


def joined(number: int, by_digit: Sequence[Sequence[np.ndarray]], rng: np.random.Generator) -> np.ndarray:
    """One recording of each of its digits, with silences between."""
    parts: list[np.ndarray] = []
    for digit in str(number):
        takes = by_digit[int(digit)]
        parts += [np.zeros(int(RATE * rng.uniform(*SILENCE)), np.float32), takes[int(rng.integers(len(takes)))]]
    return np.concatenate(parts[1:])


def make_rows(recordings: Recordings, out: Path, counts: dict[str, int], seed: int) -> Iterator[dict[str, Any]]:
    """Writes the sounds; gives their rows."""
    rng = np.random.default_rng(seed)
    speakers = sorted({speaker for _, speaker, _ in recordings})
    for split, count in counts.items():
        for place, number in enumerate(numbers(count, rng)):
            speaker = speakers[place % len(speakers)]
            takes = [recordings[split, speaker, digit] for digit in range(10)]
            name = f"{split}-{place:05d}.wav"
            soundfile.write(out / name, joined(number, takes, rng), RATE)
            yield {
                "sound": name,
                "english": spelt(number),
                "german": german(number),
                "speaker": speaker,
                "split": split,
            }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digit_strings", description=__doc__)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    for split, count in STRINGS.items():
        parser.add_argument(f"--{split}", type=int, default=count, help=f"strings of this split, by default {count}")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    counts = {split: getattr(args, split) for split in STRINGS}
    rows = list(make_rows(read_recordings(args.recordings), args.out, counts, args.seed))
    write_rows(args.out / "strings.csv", rows)
    print(f"{len(rows)} strings written to {args.out}")


if __name__ == "__main__":
    main()
