"""Windows that reach beyond the picture: pixels, boxes and masks stay on one another, and come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from trunkline.arrays.boxes import picture_part
from trunkline.arrays.seeing import Aspect, plain_window
from trunkline.contexts import GridContext
from trunkline.errors import ConfigError
from trunkline.modalities import Image
from trunkline.modalities.windows import choose_aspect, draw_geometry
from trunkline.tasks import Boxes, Mask
from trunkline.tasks.box_metric import BoxMetric

pytest.importorskip("torchvision")
pytest.importorskip("pycocotools")

STILL: dict[str, Any] = {"crop": 1, "rotate": 0, "colour": 0}
sides = st.integers(20, 120)
changes = st.fixed_dictionaries(
    {
        "aspect": st.sampled_from(["stretch", "letterbox"]),
        "crop": st.sampled_from([1.0, 0.6]),
        "zoom": st.sampled_from([1.0, 0.4]),
        "rotate": st.sampled_from([0.0, 25.0]),
        "flip": st.booleans(),
    }
)


def painted(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """A white rectangle on black, its mask, and its box."""
    rng = np.random.default_rng(seed)
    h, w = int(rng.integers(8, height // 2 + 1)), int(rng.integers(8, width // 2 + 1))
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[top : top + h, left : left + w] = 1
    return np.repeat(mask[:, :, None] * 255, 3, 2), mask, [left, top, left + w, top + h]


def extent(here: torch.Tensor) -> torch.Tensor:
    """`[H, W]` bool → `[left, top, right, bottom]` of what is true."""
    rows, columns = here.nonzero(as_tuple=True)
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


@given(sides, sides, st.integers(0, 10**6), changes)
@settings(max_examples=80, deadline=None)
def test_a_box_stays_around_its_pixels(height: int, width: int, seed: int, drawn: dict[str, Any]) -> None:
    """Just as far as they reach, where nothing was turned; turned, no further."""
    picture, _, box = painted(height, width, seed)
    modality, task = Image((64, 96), colour=0, **drawn), Boxes()
    state = {**modality.fit([picture]), "mean": [0.25] * 3}
    item, context = modality.prepare(picture, state, np.random.default_rng(seed))
    bright = modality.collate([item])["pixels"][0, 0] > 0.5
    entries = [{"box": list(map(float, box)), "label": "it"}]
    target = task.prepare(entries, task.fit([entries]), context)
    if len(target["boxes"]) == 0 or not bright.any():
        return
    seen, (found,) = extent(bright), target["boxes"]
    kept = modality.shrink(picture, state).pixels.shape[1:]
    grains = (
        size / side * max(1, of / k)
        for size, side, of, k in zip(context.size, context.crop[2:], context.original, kept)
    )
    slack = 1 + max(grains)  # one pixel that is seen, and one of the picture, or of what is kept of it
    if context.angle:  # the box is around the ellipse that fills the rectangle, whose corners reach further
        is_whole = bool((found[:2] > 0).all() and (found[2:] < torch.tensor([96, 64])).all())
        further = bool((found[:2] < seen[:2] - slack).any() or (found[2:] > seen[2:] + slack).any())
        assert not (is_whole and further)
    else:
        assert bool(((found - seen).abs() <= slack).all())


@given(sides, sides, st.integers(0, 10**6), changes)
@example(
    20, 20, 41, {"aspect": "letterbox", "crop": 0.6, "zoom": 1.0, "rotate": 0.0, "flip": False}
)  # ends at the frame
@settings(max_examples=80, deadline=None)
def test_a_mask_lies_on_its_pixels_and_is_void_beyond(
    height: int, width: int, seed: int, drawn: dict[str, Any]
) -> None:
    picture, indices, _ = painted(height, width, seed)
    modality, task = Image((64, 96), colour=0, **drawn), Mask()
    state = {**modality.fit([picture]), "mean": [0.25] * 3}
    item, context = modality.prepare(picture, state, np.random.default_rng(seed))
    pixels = modality.collate([item])["pixels"][0, 0]
    target = task.prepare(indices.astype(np.uint16), task.fit([indices.astype(np.uint16)]), context)
    is_void = target == 255
    whole = context.apply(torch.ones(1, height, width), mode="nearest", fill=0.0)[0] == 0
    assert torch.equal(is_void, whole), "nothing is labelled beyond the edge, and all else is"
    labels = F.pad(
        torch.where(is_void, 2.0, target.float())[None], (3, 3, 3, 3), value=2.0
    )  # nor is the frame's edge one
    settled = (F.max_pool2d(labels, 7, 1) == -F.max_pool2d(-labels, 7, 1))[0] & ~is_void  # no edge is near
    assert torch.equal((pixels > 0.5)[settled], (target == 1)[settled])
    if context.reaches_beyond:
        assert float((pixels[is_void] - 0.25).abs().double().mean()) < 0.02, "the mean colour is there"


@given(st.integers(3, 40), st.integers(3, 40), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_letterboxed_masks_come_back(height: int, width: int, scale: int, seed: int) -> None:
    side = scale * max(height, width)
    context = GridContext((height, width), plain_window((height, width), (side, side), "letterbox"), (side, side))
    mask = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, (height, width)).astype(np.uint8))
    seen = context.apply(mask[None], mode="nearest", fill=3)[0]
    back = context.restore(torch.nn.functional.one_hot(seen.long(), 4).movedim(-1, 0).float())
    assert back.shape == (4, height, width) and not bool(back.isnan().any())
    assert torch.equal(back.argmax(0), mask.long())


def test_a_letterboxed_picture_keeps_its_shape() -> None:
    picture = np.zeros((40, 120, 3), dtype=np.uint8)
    picture[10:30, 50:70] = 255
    modality = Image(60, aspect="letterbox", **STILL)
    state = {**modality.fit([picture]), "mean": [0.2, 0.4, 0.6]}
    item, context = modality.prepare(picture, state, None)
    assert extent(item[0] > 128).tolist() == [25, 25, 35, 35], "a square is a square"
    for channel, level in enumerate(state["mean"]):
        assert set(item[channel, :19].flatten().tolist()) == {round(255 * level)}
    assert context.crop == (-40, 0, 120, 120)
    assert Image(60, **STILL).prepare(picture, state, None)[1].crop == (0, 0, 40, 120)


@given(sides, sides, st.sampled_from([0.4, 0.8]), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_zoom_is_a_range_of_scales(height: int, width: int, zoom: float, seed: int) -> None:
    """The picture is `zoom` to `1 / crop` times as large, a side a tenth more than the other at most, and in sight."""
    rng = np.random.default_rng(seed)
    context = draw_geometry(
        (height, width), (64, 64), aspect="stretch", crop=0.5, zoom=zoom, rotate=0, flip=False, rng=rng
    )
    top, left, h, w = context.crop
    assert zoom - 0.03 <= (height * width / h / w) ** 0.5 <= 2.2
    assert 1 / 1.15 <= (height / h) / (width / w) <= 1.15
    for start, kept, side in ((top, h, height), (left, w, width)):
        assert 0 <= start <= side - kept if kept <= side else side - kept <= start <= 0


def test_a_whole_picture_is_never_cut() -> None:
    """`crop: 1`: smaller, a side more than the other, but all of it."""
    rng = np.random.default_rng(0)
    how: dict[str, Any] = {"crop": 1.0, "zoom": 0.6, "rotate": 0.0, "flip": False, "rng": rng}
    for _ in range(500):
        top, left, height, width = draw_geometry((60, 80), (48, 64), aspect="stretch", **how).crop
        assert top <= 0 and left <= 0 and top + height >= 60 and left + width >= 80


def test_windows_of_a_letterbox_keep_its_shape() -> None:
    rng = np.random.default_rng(0)
    how: dict[str, Any] = {"crop": 0.5, "zoom": 1.0, "rotate": 0.0, "flip": False, "rng": rng}
    windows = [draw_geometry((100, 300), (64, 64), aspect="letterbox", **how).crop for _ in range(200)]
    ratios = [height / width for _, _, height, width in windows]
    assert min(ratios) > 0.88 and max(ratios) < 1.14
    assert min(height for _, _, height, _ in windows) >= 150 and max(height for _, _, height, _ in windows) > 290


@pytest.mark.parametrize("zoom", [1.0, 0.9])
def test_enough_pixels_are_kept_for_the_smallest_window(zoom: float) -> None:
    picture = np.zeros((400, 400, 3), np.uint8)
    modality = Image(50, crop=0.25, zoom=zoom)
    kept = modality.shrink(picture, modality.fit([picture]))
    assert kept.pixels.shape[1] * 0.25 >= 50


def test_scores_are_the_same_in_a_letterboxed_frame() -> None:
    """A box that reaches into what is no picture is cut at the picture's edge, as what is decoded is."""
    task, entries = Boxes(), [{"box": [0.0, 0, 20, 40], "label": "it"}]
    state, scores = task.fit([entries]), []
    aspects: tuple[Aspect, ...] = ("stretch", "letterbox")
    for aspect in aspects:
        size = (80, 80)
        context = GridContext((40, 80), plain_window((40, 80), size, aspect), size)
        target = task.collate([[task.prepare(entries, state, context)]])
        left, top, right, bottom = picture_part(context).tolist()
        assert (left, top, right, bottom) == ((0, 0, 80, 80) if aspect == "stretch" else (0, 20, 80, 60))
        output = torch.tensor([[[0.0, 0, 20, 80, 0.9]]])  # as high as the frame
        metric = BoxMetric(state["classes"], 0.01)
        metric.update(output, target)
        scores.append(metric.compute()[0])
        assert task.decode(output, [state], [context])[0][0][0]["box"] == [0, 0, 20, 40]
    assert scores[0] == scores[1] == {"map50": pytest.approx(1.0), "map": pytest.approx(1.0)}


def test_what_is_chosen() -> None:
    """Letterboxes where places are read and shapes differ; sizes change where places are read, more if rows are few."""
    wide, high = np.zeros((40, 120, 3), np.uint8), np.zeros((120, 40, 3), np.uint8)
    mixed, alike = [wide, high] * 5, [wide] * 10
    assert Image().choose_pyramid(mixed, 200)["aspect"][0] == "letterbox"
    assert Image().choose_pyramid(alike, 200)["aspect"][0] == "stretch"
    assert Image().choose(mixed, 200)["aspect"][0] == "stretch" and Image().choose(mixed, 200)["zoom"][0] == 1
    few, many = (Image().choose_pyramid(mixed, rows) for rows in (200, 50_000))
    assert few["zoom"][0] < many["zoom"][0] < 1 and few["crop"][0] < many["crop"][0]
    frozen = Image(encoder="package:efficientnet-lite0").choose_pyramid(mixed, 200)
    assert (frozen["zoom"][0], frozen["aspect"][0]) == (1, "letterbox")
    assert choose_aspect([], is_placed=True)[0] == "stretch"
    for modality, message in [(Image(zoom=1.5), "zoom: 1.5"), (Image(aspect="round"), "'stretch' or 'letterbox'")]:  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=message):
            modality.fit([])


def test_pictures_of_many_shapes_share_a_batch() -> None:
    """What is kept of each may have a shape of its own; each is altered as if it were alone."""
    modality = Image(32, aspect="letterbox", crop=0.5, zoom=0.3, rotate=10)
    values = [painted(h, w, n)[0] for n, (h, w) in enumerate([(40, 120), (120, 40), (90, 90), (300, 200)])]
    state, rng = modality.fit(values), np.random.default_rng(0)
    items = [modality.prepare(modality.shrink(v, state), state, rng)[0] for v in values * 4]
    together = modality.collate(items)["pixels"]
    for one, item in zip(together, items):
        torch.testing.assert_close(one, modality.collate([item])["pixels"][0], atol=1e-6, rtol=0)
