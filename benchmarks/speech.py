"""Speech, judged by recordings: `python -m benchmarks.speech speakers | round_trip | speed …`.

speakers [overrides …] --table fsdd.csv --out RUNS [--seeds 0 1 2]
    Digits of a speaker who is in neither training nor validation, one run a speaker and seed; takes 0 to 9 of the
    others validate. What RUNS has already, with the same overrides, is not run again.
round_trip SPEAKER RECOGNISER
    Two run folders: of `recipes/say.yaml`, and of `recipes/fsdd.yaml`, which has heard recordings alone. Each word is
    said in each voice and given to the recogniser; beside it the recordings of its own test rows.
speed RUN TABLE
    Seconds a run takes for a second of a table's sounds, from the file to the answer.
loader RUN TABLE
    Sounds a second that become training batches, in the first epoch and in later ones, beside what it takes at least:
    the same files decoded, resampled and made into frames one after the other, and nothing else done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.number_words import ENGLISH
from trunkline.data import Draw, read_table, write_rows
from trunkline.loading import load
from trunkline.run import evaluate, fit
from trunkline.schema import RowBatches

RECIPES = Path(__file__).parent.parent / "recipes"
VALIDATES = range(10)  # takes


def speakers(table: Path, out: Path, seeds: Sequence[int], overrides: Sequence[str]) -> None:
    """Leave one speaker out."""
    rows = read_table(table)
    everyone = sorted({str(speaker) for speaker in rows.column("speaker")})
    found: dict[str, list[float]] = {}
    out = out / hashlib.sha256("\0".join(overrides).encode()).hexdigest()[:8] if overrides else out
    for left_out in everyone:
        own = out / f"{left_out}.csv"
        write_rows(own, [_split(rows.row(i), left_out, table.parent) for i in range(len(rows))])
        for seed in seeds:
            folder = out / f"{left_out}-{seed}"
            if not (folder / "metrics.json").is_file():
                changes = [f"data.table={own}", "tasks.speaker=off", f"training.seed={seed}", *overrides]
                fit(RECIPES / "fsdd.yaml", overrides=changes, out=folder)
            metrics = json.loads((folder / "metrics.json").read_text())
            found.setdefault(left_out, []).append(metrics["test"]["digit"]["accuracy"])
        print(f"{left_out:10} {_spread(found[left_out])}", flush=True)
    by_seed = [statistics.fmean(scores) for scores in zip(*found.values(), strict=True)]
    print(f"{'mean':10} {_spread(by_seed)}")


def _split(row: dict[str, Any], left_out: str, base: Path) -> dict[str, Any]:
    split = "test" if row["speaker"] == left_out else "val" if int(row["take"]) in VALIDATES else "train"
    return {**row, "sound": str((base / row["sound"]).absolute()), "split": split}


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}   {' '.join(f'{value:.3f}' for value in values)}"


def round_trip(speaker: Path, recogniser: Path) -> None:
    """Is it understood, and in whose voice?"""
    speaks, hears = load(speaker), load(recogniser)
    voices = list(hears.preprocessing.states["tasks"]["speaker"]["classes"])
    asked = [{"word": word, "voice": voice} for voice in voices for word in ENGLISH]
    columns = {name: column.column for name, column in speaks.preprocessing.schema.inputs.items()}
    said = [
        row["said"] for row in speaks.predict([{columns[name]: cell for name, cell in row.items()} for row in asked])
    ]
    heard = hears.predict([{"sound": (sound.wave, sound.rate)} for sound in said])
    right = [row["digit"]["value"] == str(ENGLISH.index(one["word"])) for one, row in zip(asked, heard, strict=True)]
    own = [row["speaker"]["value"] == one["voice"] for one, row in zip(asked, heard, strict=True)]
    for voice in voices:
        places = [i for i, one in enumerate(asked) if one["voice"] == voice]
        wrong = [f"{asked[i]['word']} as {heard[i]['digit']['value']}" for i in places if not right[i]]
        understood, known = (statistics.fmean(found[i] for i in places) for found in (right, own))
        print(f"{voice:10} understood {understood:.2f}, voice {known:.2f}  {'; '.join(wrong)}")
    print(f"said by the network: digit {statistics.fmean(right):.3f}, speaker {statistics.fmean(own):.3f}")
    scores = evaluate(recogniser)["scores"]
    digit, speaker_score = (scores[task]["accuracy"] for task in ("digit", "speaker"))
    print(f"recordings of its own test rows: digit {digit:.3f}, speaker {speaker_score:.3f}")


def speed(run: Path, table: Path) -> None:
    """The real-time factor: seconds of work a second of sound, median of five passes."""
    predictor, rows = load(run), read_table(table)
    inputs = predictor.preprocessing.schema.inputs
    ((modality, column),) = [(one.modality, one.column) for one in inputs.values() if one.modality.axis == "time"]
    sounds = [modality.read(str(rows.base / cell)) for cell in map(str, rows.column(column))]
    seconds = sum(sound.samples / sound.rate for sound in sounds)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        predictor.predict(rows)
        times.append((time.perf_counter() - start) / seconds)
    print(f"{len(rows)} sounds of {seconds:.0f} s: {statistics.median(times):.4f} s of work a second of sound")


def loader(run: Path, table: Path, size: int = 64, rounds: int = 5) -> None:
    """Batches against bare decoding, by turns; medians. What sounds become is kept, so a run is ten epochs, say."""
    preprocessing, rows = load(run).preprocessing, read_table(table)
    inputs = preprocessing.schema.inputs
    ((name, column),) = [(name, one) for name, one in inputs.items() if one.modality.axis == "time"]
    files = [str(rows.base / cell) for cell in map(str, rows.column(column.column))]
    state, modality = preprocessing.input_state(name), column.modality
    numbers = np.arange(len(rows) // size * size)
    times: dict[str, list[float]] = {"decoded": [], "first epoch": [], "later epochs": []}
    for turn in range(rounds):
        start = time.perf_counter()
        for row in numbers.tolist():
            modality.shrink(modality.read(files[row]), state)
        times["decoded"].append(time.perf_counter() - start)
        source = RowBatches(preprocessing, rows, rows=numbers)
        for epoch in ("first epoch", "later epochs"):
            order = np.random.default_rng(turn).permutation(numbers).reshape(-1, size)
            start = time.perf_counter()
            for i, draw in enumerate(order.tolist()):
                source[Draw(tuple(draw), i)]
            times[epoch].append(time.perf_counter() - start)
    times["ten epochs"] = [(a + 9 * b) / 10 for a, b in zip(times["first epoch"], times["later epochs"])]
    for what, seconds in times.items():
        ratios = [base / own for base, own in zip(times["decoded"], seconds, strict=True)]
        speed = len(numbers) / statistics.median(seconds)
        print(f"{what:14} {speed:7.0f} sounds/s   {statistics.median(ratios):.2f} of decoding")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speech", description=__doc__)
    acts = parser.add_subparsers(dest="act", required=True)
    one = acts.add_parser("speakers")
    one.add_argument("--table", type=Path, required=True)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    one.add_argument("overrides", nargs="*", default=[])
    two = acts.add_parser("round_trip")
    two.add_argument("speaker", type=Path)
    two.add_argument("recogniser", type=Path)
    three = acts.add_parser("speed")
    three.add_argument("run", type=Path)
    three.add_argument("table", type=Path)
    four = acts.add_parser("loader")
    four.add_argument("run", type=Path)
    four.add_argument("table", type=Path)
    args = vars(parser.parse_args())
    {"speakers": speakers, "round_trip": round_trip, "speed": speed, "loader": loader}[args.pop("act")](**args)


if __name__ == "__main__":
    main()
