"""One network for labels, boxes and mask of a picture against a network for each; and batches against steps.

Pictures are generated: discs and squares of three colours on noise, 320 × 240 pixels, in PNG files.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import PIL.Image
import torch

from benchmarks.timing import Act, Comparison, by_turns
from benchmarks.wide_table import our_step
from trunkline.config import Config, load_config
from trunkline.data import Draw, EpochSampler
from trunkline.plan import Plan, make_plan
from trunkline.run.many import alone
from trunkline.schema import RowBatches
from trunkline.sources import columns_of, read_splits

ROWS, BATCH = 48, 8
HEIGHT, WIDTH = 240, 320
COLOURS = {"red": (220, 40, 40), "green": (40, 200, 40), "blue": (40, 60, 220)}
TASKS = ("labels", "boxes", "mask")
CONFIG = {
    "data": {"train": "pictures.jsonl", "validation": 0.2},
    "inputs": {"picture": "image"},
    "tasks": {
        "labels": "labels",
        "boxes": {"type": "boxes", "of": "picture"},
        "mask": {"type": "mask", "of": "picture"},
    },
    "training": {"steps": 100, "batch_size": BATCH, "threads": 1},
}


# --- pictures ---


def draw_picture(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[dict[str, object]]]:
    """Pixels, class indices (0 is the ground) and boxes of one to six things."""
    pixels = rng.integers(60, 200, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    boxes: list[dict[str, object]] = []
    for _ in range(int(rng.integers(1, 7))):
        place = int(rng.integers(len(COLOURS)))
        size = int(rng.integers(12, 50))
        top, left = int(rng.integers(0, HEIGHT - size)), int(rng.integers(0, WIDTH - size))
        inside = (y >= top) & (y < top + size) & (x >= left) & (x < left + size)
        if rng.random() < 0.5:
            inside &= (y - top - size / 2) ** 2 + (x - left - size / 2) ** 2 <= size**2 / 4
        name = list(COLOURS)[place]
        pixels[inside], mask[inside] = COLOURS[name], place + 1
        boxes.append({"box": [left, top, left + size, top + size], "label": name})
    return pixels, mask, boxes


def write_pictures(folder: Path, *, rows: int, seed: int = 0) -> None:
    """`pictures.jsonl` and what it names."""
    rng = np.random.default_rng(seed)
    with (folder / "pictures.jsonl").open("w") as table:
        for number in range(rows):
            pixels, mask, boxes = draw_picture(rng)
            names = {"picture": f"{number}.png", "mask": f"{number}-mask.png"}
            PIL.Image.fromarray(pixels).save(folder / names["picture"])
            PIL.Image.fromarray(mask).save(folder / names["mask"])
            labels = sorted({str(box["label"]) for box in boxes})
            table.write(json.dumps({**names, "boxes": boxes, "labels": labels}) + "\n")


def configs_of(folder: Path) -> dict[str, Config]:
    """Of the one network, and of each task's alone: the same network with one head."""
    (folder / "vision.yaml").write_text(json.dumps(CONFIG))  # JSON is YAML, too
    one = load_config(folder / "vision.yaml", columns=columns_of)
    settled = make_plan(one, read_splits(one)).config
    return {"together": settled, **{task: alone(settled, task, settled.inputs) for task in TASKS}}


# --- acts ---


def predicting(plan: Plan) -> Act:
    """One picture through the network, its batch made beforehand."""
    plan.network.eval()
    batch = plan.source(plan.splits.train)[Draw((0,), None)]

    def act() -> None:
        with torch.inference_mode():
            plan.network.predict(batch)

    return act


def batching(source: RowBatches, plan: Plan, *, is_new: bool) -> Act:
    """One training batch: of pictures that are decoded anew, or were before."""
    draws = cycle(EpochSampler(plan.splits.train.rows, BATCH, seed=0, drop_last=True))

    def act() -> None:
        (plan.source(plan.splits.train) if is_new else source)[next(draws)]

    return act


@dataclass(frozen=True)
class Sizes:
    """How many parameters there are together, and in all the single networks."""

    together: int
    alone: Mapping[str, int]

    def table(self) -> str:
        """Millions, and the ratio."""
        total = sum(self.alone.values())
        each = ", ".join(f"{task} {number / 1e6:.2f}" for task, number in self.alone.items())
        return (f"parameters: together {self.together / 1e6:.2f} million, alone {each}: {total / 1e6:.2f} "
                f"({total / self.together:.2f} times)")  # fmt: skip


def in_turn(acts: Mapping[str, Act]) -> Act:
    """One after the other."""

    def act() -> None:
        for one in acts.values():
            one()

    return act


def run() -> Iterator[Comparison | Sizes]:
    """All that stands above."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder, rows=ROWS)
        plans = {name: make_plan(config, read_splits(config)) for name, config in configs_of(folder).items()}
        count = {name: sum(p.numel() for p in plan.network.parameters()) for name, plan in plans.items()}
        yield Sizes(count["together"], {task: count[task] for task in TASKS})
        seen = {name: predicting(plan) for name, plan in plans.items()}
        single = in_turn({task: seen[task] for task in TASKS})
        acts = {"together": seen["together"], "one after the other": single, **{t: seen[t] for t in TASKS}}
        yield by_turns("one picture through all heads", acts, base="together", rounds=60)
        together, steps = plans["together"], {name: our_step(plan) for name, plan in plans.items()}
        source = together.source(together.splits.train)
        for draw in EpochSampler(together.splits.train.rows, BATCH, seed=0):
            source[draw]  # decoded, and kept
        acts = {
            "step together": steps["together"],
            "steps of each alone": in_turn({task: steps[task] for task in TASKS}),
            "batch": batching(source, together, is_new=False),
            "batch, decoded anew": batching(source, together, is_new=True),
        }
        yield by_turns(f"training, batches of {BATCH} pictures", acts, base="step together", rounds=15, warm_up=2)
