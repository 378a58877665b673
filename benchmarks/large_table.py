"""Memory of a training run against the rows of its table: `python -m benchmarks.large_table [rows …]`, on Linux.

Tables of numbers, categories and short texts with holes everywhere are written to a folder that goes afterwards; each
is trained on by `trunkline fit` in a process of its own, whose memory is read every half second. *Anonymous* memory is
what the process holds; what is mapped from files the system drops where memory is short.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

PIECE = 50_000  # rows that are made at once
POINTS = 12  # of a curve
NUMBERS, CATEGORIES, WORDS = 20, 6, 20
CONFIG = "\n".join(
    [
        "data: {train: table.parquet, validation: 0.02}",
        "inputs:",
        *(f"  x{i}: number" for i in range(NUMBERS)),
        *(f"  c{i}: category" for i in range(CATEGORIES)),
        "  note: text",
        "tasks: {bought: binary, kind: category, spent: number}",
    ]
)


def main(rows: list[int], steps: int) -> None:
    """Measure and print."""
    print("| rows | Parquet, MB | anonymous, MB: peak | of it before the first step | mapped, MB: peak | s |")
    print("|---|---|---|---|---|---|")
    curves = []
    for count in rows:
        with tempfile.TemporaryDirectory() as folder:
            size = write(Path(folder) / "table.parquet", count)
            seen, first = train(Path(folder), steps)
        held = [anonymous for _, anonymous, _ in seen]
        before = max(anonymous for second, anonymous, _ in seen if second <= first)
        mapped = max(whole - anonymous for _, anonymous, whole in seen)
        print(
            f"| {count:,} | {size:.0f} | {max(held):.0f} | {before:.0f} | {mapped:.0f} | {seen[-1][0]:.0f} |",
            flush=True,
        )
        curves.append((count, first, seen))
    for count, first, seen in curves:
        print(f"\n{count:,} rows, anonymous MB from the first step (at {first:.0f} s) to the end:")
        of_training = [(second, anonymous) for second, anonymous, _ in seen if second > first]
        places = np.linspace(0, len(of_training) - 1, POINTS).astype(int)
        print(", ".join(f"{of_training[place][1]:.0f} at {of_training[place][0]:.0f} s" for place in places))


def write(path: Path, rows: int) -> float:
    """A table of so many rows. Returns its size, in MB."""
    writer = None
    for piece in pieces(rows):
        writer = writer or pyarrow.parquet.ParquetWriter(path, piece.schema)
        writer.write_table(piece)
    assert writer is not None
    writer.close()
    return path.stat().st_size / 1e6


def pieces(rows: int) -> Iterator[pa.Table]:
    """Some rows at a time: a fifth to two fifths of every column's cells are absent."""
    words = np.array([f"w{i}" for i in range(5_000)])
    for start in range(0, rows, PIECE):
        rng, count = np.random.default_rng([7, start]), min(PIECE, rows - start)
        x, c = rng.normal(size=(count, NUMBERS)), rng.integers(0, 30, (count, CATEGORIES))
        noise, score = rng.normal(size=(2, count)), x[:, :5].sum(1) + (c[:, 0] - 15) / 5
        columns = {f"x{i}": (x[:, i], 0.2) for i in range(NUMBERS)}
        columns |= {f"c{i}": (np.char.add("k", c[:, i].astype(str)), 0.2) for i in range(CATEGORIES)}
        columns["note"] = (np.array([" ".join(row) for row in words[rng.integers(0, len(words), (count, WORDS))]]), 0.3)
        columns["bought"] = (np.where(score + noise[0] > 0, "yes", "no"), 0.4)
        columns["kind"] = (np.char.add("t", np.digitize(score, [-3, -1, 1, 3]).astype(str)), 0.4)
        columns["spent"] = (score * 3 + noise[1], 0.4)
        yield pa.table({name: pa.array(v, mask=rng.random(count) < holes) for name, (v, holes) in columns.items()})


def train(folder: Path, steps: int) -> tuple[list[tuple[float, float, float]], float]:
    """Seconds, anonymous and whole memory (MB) of a run as it goes; and when its first line was in the log."""
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "trunkline", "fit", "config.yaml", f"training.steps={steps}", "--out", "run"]
    env = {**os.environ, "TRUNKLINE_CACHE": str(folder / "cache")}
    start, seen, first = time.perf_counter(), [], None
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=said, stderr=subprocess.STDOUT)
        while process.poll() is None:
            second = time.perf_counter() - start
            if (memory := memory_of(process.pid)) is not None:
                seen.append((second, *memory))
            log = folder / "run" / "log.jsonl"
            first = second if first is None and log.exists() and log.stat().st_size else first
            time.sleep(0.5)
    if process.returncode or first is None:
        sys.exit((folder / "said.txt").read_text())
    return seen, first


def memory_of(process: int) -> tuple[float, float] | None:
    """Anonymous and whole, in MB; `None` where the process is gone."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    told = {name: int(rest[0]) / 1e3 for name, *rest in map(str.split, lines[1:])}
    return told["Anonymous:"], told["Rss:"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", type=int, default=[100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=400)
    given = parser.parse_args()
    main(given.rows, given.steps)
