"""The page that shows rows as training sees them: whole, escaped, and true to its draws."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from trunkline.config import load_config
from trunkline.data import Draw, write_rows
from trunkline.plan import Plan, make_plan
from trunkline.run import preview
from trunkline.run.previewing import DRAWS, ROWS
from trunkline.sources import columns_of, read_splits
from trunkline.tasks import Mask
from worlds import write_world

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("preview")
    path = write_world(folder, 40, holes=0.2)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["split"] = "val" if number % 5 == 4 else "train"
        row[EVIL] = row.pop("note")
    write_rows(path, rows)
    config = load_config({
        "data": {"table": str(path), "split": "split"},
        "inputs": {
            "photo": {"type": "image", "size": [24, 32], "mosaic": 0.5},
            "sound": "audio", EVIL: "text", "size": "number",
        },
        "tasks": {"area": {"type": "mask", "of": "photo"}, "kind": "category", "marks": "labels"},
        "training": {"steps": 2, "input_dropout": 0.3, "threads": 1},
    }, columns=columns_of)  # fmt: skip
    return make_plan(config, read_splits(config))


def test_the_page_shows_what_training_sees(plan: Plan, tmp_path: Path) -> None:
    page = preview(plan, tmp_path / "page.html", title=EVIL).read_text(encoding="utf-8")
    assert page.count("<section class=") == ROWS
    assert EVIL not in page and "&lt;script&gt;" in page, "names are escaped"
    assert page.count("<audio") > 3 and "of four rows" in page and "left out:" in page
    titles = re.findall(r"<h3>(.*?)</h3>", page)
    assert set(titles) == {"plain", *(f"draw {n}" for n in range(1, DRAWS + 1))}
    assert not re.search(r'(src|href)="(?!data:)', page), "nothing is fetched"
    assert page.count('alt="waveform and log-mel') == page.count("<audio"), "a sound is drawn, too"
    contents = re.findall(r'<img src="data:image/[a-z]+;base64,([^"]+)" alt="(?!waveform)', page)
    shapes = {Picture.open(io.BytesIO(base64.b64decode(content))).size for content in contents}
    assert shapes == {(288, 216)}, "tiny ones are enlarged by whole numbers"
    assert len(set(contents)) == len(contents) > ROWS, "draws differ"


def test_the_page_follows_from_the_seed(plan: Plan, tmp_path: Path) -> None:
    first, second = (preview(plan, tmp_path / f"{n}.html", title="x").read_bytes() for n in range(2))
    assert first == second


def test_masks_lie_on_the_squares_they_are_of(plan: Plan) -> None:
    """What is drawn is what the batch holds: bare where no square is, coloured where one is."""
    source = plan.source(plan.splits.train)
    rows = tuple(
        int(row) for row in plan.splits.train.rows if source.labelled[row, source.preprocessing.tasks.index("area")]
    )[:6]
    batch = source[Draw(rows, 3)]
    part, pixels = batch.targets["area"], batch.inputs["photo"].values["pixels"]
    state = source.preprocessing.states["tasks"]["area"]
    for place in range(len(part.values["values"])):
        row = place if part.rows is None else int(part.rows[place])
        target = {"values": part.values["values"][place]}
        inputs = batch.inputs["photo"].rows
        seen = pixels[row if inputs is None else inputs.tolist().index(row)].permute(1, 2, 0).numpy()
        shown = Mask().show_target(target, state, seen)
        drawn = np.array(Picture.open(io.BytesIO(shown.data)).resize((32, 24), Picture.Resampling.NEAREST)).astype(int)
        plain = (seen.clip(0, 1) * 255).round().astype(int)
        changed = np.abs(drawn - plain).sum(2) > 40
        labelled = ((target["values"] > 0) & (target["values"] != 255)).numpy()
        assert (changed != labelled).mean() < 0.06
