"""What is said of each pixel is worked out part by part: the same bits as at once, and no room for all of it."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from trunkline.arrays import seeing
from trunkline.arrays.answers import in_units
from trunkline.arrays.maps import LEAST, VOID, MapAnswers, MaskAnswers, restored_indices
from trunkline.arrays.seeing import plain_window
from trunkline.contexts import GridContext

SIZES = [(1, 1), (1, 97), (131, 1), (7, 5), (31, 37)]
CONTEXTS = [
    *(GridContext(size, plain_window(size, (9, 13), "stretch"), (9, 13)) for size in SIZES),
    *(GridContext(size, plain_window(size, (9, 13), "letterbox"), (9, 13)) for size in SIZES),
    GridContext((31, 37), (0, 0, 31, 37), (9, 13), flipped=True),
    GridContext((31, 37), (10, 3, 11, 31), (9, 13)),  # some of it is cut off
    GridContext((31, 37), (10, -3, 11, 50), (9, 13), flipped=True),
]


def at_once(grid: np.ndarray, context: GridContext) -> np.ndarray:
    """`[C, h, w]` → `[C, *original]`, the whole window at a time; NaN where the picture is cut off."""
    grid = grid[:, :, ::-1] if context.flipped else grid
    (top, left, height, width), (rows, columns) = context.crop, context.original
    for size, axis in ((height, 1), (width, 2)):
        places = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(grid.shape[axis] / size)
        places = np.maximum(places - np.float32(0.5), 0)
        low = places.astype(np.int64)
        high = np.minimum(low + 1, grid.shape[axis] - 1)
        share = (places - low)[:, None] if axis == 1 else places - low
        grid = grid.take(low, axis) * (1 - share) + grid.take(high, axis) * share
    out = np.full((len(grid), *context.original), np.nan)
    inside = grid[:, max(0, -top) : rows - top, max(0, -left) : columns - left]
    top, left = max(0, top), max(0, left)
    out[:, top : top + inside.shape[1], left : left + inside.shape[2]] = inside
    return out


@pytest.fixture(params=[1, 300])
def part(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeing, "PART", request.param)


@pytest.mark.usefixtures("part")
@pytest.mark.parametrize("context", CONTEXTS, ids=str)
@pytest.mark.parametrize("indices", [[0, 1], [7, 3, 255, 0, 9], [0, 300, 4]], ids=str)
def test_masks_are_those_of_the_whole_picture(context: GridContext, indices: list[int]) -> None:
    logits = np.random.default_rng(0).standard_normal((1, len(indices), *context.size)).astype(np.float32)
    whole = at_once(logits[0], context)
    is_cut = np.isnan(whole[0])
    expected = np.where(is_cut, VOID, np.array(indices)[np.where(is_cut, 0, whole).argmax(0)])
    ((mask,),) = MaskAnswers().decode(logits, [{"indices": indices}], [context])
    assert mask.dtype == (np.uint8 if expected.max() <= VOID else np.uint16)
    np.testing.assert_array_equal(mask, expected)


SCALES: list[dict[str, Any]] = [{"std": 2.0, "mean": 0.3}, {"std": 0.7, "mean": 1.0, "unit": 0.5, "limits": [-2, 2]}]


@pytest.mark.usefixtures("part")
@pytest.mark.parametrize("context", CONTEXTS, ids=str)
@pytest.mark.parametrize("channels", [SCALES[:1], SCALES[1:], [*SCALES, SCALES[0]], None])
def test_maps_are_those_of_the_whole_picture(context: GridContext, channels: list[dict[str, Any]] | None) -> None:
    """`None`: directions."""
    state = {"learn": "directions"} if channels is None else {"learn": "values", "channels": channels}
    count = 3 if channels is None else len(channels)
    output = np.random.default_rng(0).standard_normal((1, count, *context.size))
    output = output.astype(np.float32)
    values = at_once(output[0], context)
    if channels is None:
        values = values / np.maximum(np.sqrt(np.square(values).sum(0)), LEAST)
        values[0] *= -1 if context.flipped else 1
    else:
        values = np.stack([in_units(one, channel) for one, channel in zip(values, channels, strict=True)])
    expected = (values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)).astype(np.float32)
    ((said,),) = MapAnswers().decode(output, [state], [context])
    assert said.dtype == np.float32
    np.testing.assert_array_equal(said, expected)


def test_a_large_picture_takes_the_room_of_its_mask() -> None:
    """Three bytes a pixel, whatever the number of classes; at once, 40 classes would take 160 MB and more."""
    context = GridContext((500, 1000), (0, 0, 500, 1000), (16, 16))
    logits = np.random.default_rng(0).standard_normal((40, 16, 16)).astype(np.float32)
    tracemalloc.start()
    try:
        mask = restored_indices(logits, context, np.arange(40))
        assert tracemalloc.get_traced_memory()[1] < 3 * mask.size + 6e6
    finally:
        tracemalloc.stop()


def test_a_thin_picture_is_not_made_square() -> None:
    """The window around it would have 40 000 million pixels."""
    context = GridContext((1, 200_000), plain_window((1, 200_000), (8, 8), "letterbox"), (8, 8))
    mask = restored_indices(np.random.default_rng(0).standard_normal((2, 8, 8)), context, np.arange(2))
    assert mask.shape == (1, 200_000)
