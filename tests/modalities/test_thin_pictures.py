"""Windows are scaled axis by axis: what the whole window at once would give, and no room for all of it."""

from __future__ import annotations

import tracemalloc
from typing import Literal

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from trunkline.arrays.seeing import plain_window, scaled
from trunkline.contexts import GridContext
from trunkline.modalities import Image
from trunkline.modalities.windows import draw_geometry
from trunkline.tasks import Mask

LONG = 300_000  # a window of as many rows as columns would take 360 GB
LEVELS = [0.25, 0.5, 0.75]

sides = st.integers(1, 40)
contexts = st.builds(
    lambda original, size, aspect, crop, zoom, seed: draw_geometry(
        original, size, aspect=aspect, crop=crop, zoom=zoom, rotate=0, flip=False, rng=np.random.default_rng(seed)
    ),
    st.tuples(sides, sides),
    st.tuples(sides, sides),
    st.sampled_from(["stretch", "letterbox"]),
    st.sampled_from([1.0, 0.6]),
    st.sampled_from([1.0, 0.4]),
    st.integers(0, 10**6),
)


def window(picture: np.ndarray, context: GridContext, fill: float | list[float]) -> np.ndarray:
    """`[C, H, W]` → all of the window, `[C, *crop[2:]]`."""
    (top, left, height, width), (rows, columns) = context.crop, context.original
    whole = np.empty((len(picture), height, width), picture.dtype)
    whole[...] = np.reshape(fill, (-1, 1, 1))
    whole[:, max(0, -top) : rows - top, max(0, -left) : columns - left] = picture[
        :, max(0, top) : top + height, max(0, left) : left + width
    ]
    return whole


def triangles(side: int, size: int) -> Tensor:
    """`[size, side]`: how much each pixel counts, a triangle as wide as what is seen, no narrower than a pixel."""
    scale = max(side / size, 1)
    middles = (torch.arange(size).double() + 0.5) * side / size
    shares = (1 - (torch.arange(side) + 0.5 - middles[:, None]).abs() / scale).clamp(min=0)
    return shares / shares.sum(1, keepdim=True)


@given(contexts, st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_a_picture_is_what_pillow_makes_of_the_window(context: GridContext, seed: int) -> None:
    picture = np.random.default_rng(seed).random((*context.original, 3), np.float32)
    expected = [
        np.asarray(PIL.Image.fromarray(one).resize(context.size[::-1], PIL.Image.Resampling.BILINEAR))
        for one in window(picture.transpose(2, 0, 1), context, LEVELS)
    ]
    found = scaled(picture, 3, context, LEVELS)
    assert found.shape == (3, *context.size)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@given(contexts, st.integers(0, 99), st.sampled_from(["nearest", "bilinear"]))
@settings(max_examples=150, deadline=None)
def test_what_follows_a_picture_is_what_the_window_gives(
    context: GridContext, seed: int, mode: Literal["nearest", "bilinear"]
) -> None:
    values = np.random.default_rng(seed).random((3, *context.original), np.float32)
    whole = torch.from_numpy(window(values, context, LEVELS))
    if mode == "nearest":
        expected = F.interpolate(whole[None], context.size, mode="nearest-exact")[0]
    else:
        rows, columns = (triangles(*sides) for sides in zip(whole.shape[1:], context.size))
        expected = (rows @ whole.double() @ columns.T).float()
    found = context.apply(torch.from_numpy(values), mode=mode, fill=torch.tensor(LEVELS)[:, None, None])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if mode == "bilinear" else 0)


@given(contexts)
@settings(max_examples=50, deadline=None)
def test_the_edge_is_repeated_where_nothing_is_to_stand_beyond_it(context: GridContext) -> None:
    (top, left, height, width), (rows, columns) = context.crop, context.original
    values = torch.arange(rows * columns).reshape(1, rows, columns)

    def index(start: int, length: int, side: int) -> Tensor:
        return torch.arange(start, start + length).clamp(0, side - 1)

    whole = values[0][index(top, height, rows)][:, index(left, width, columns)]
    expected = F.interpolate(whole[None, None].float(), context.size, mode="nearest-exact")[0].long()
    assert torch.equal(context.apply(values, mode="nearest", fill=None), expected)


@pytest.mark.parametrize("original", [(1, LONG), (LONG, 1)], ids=["wide", "high"])
def test_a_line_in_a_letterbox_needs_no_room_for_its_window(original: tuple[int, int]) -> None:
    picture = np.full((*original, 3), 200, np.uint8)
    modality = Image((8, 16), aspect="letterbox", crop=1, rotate=0, flip=False, colour=0)
    state = {**modality.fit([picture]), "mean": [0.0] * 3}
    item, context = modality.prepare(picture, state, None)
    tracemalloc.start()  # which sees NumPy, and so what other machines do
    scaled(picture, 3, context, [0.0] * 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert context == GridContext(original, plain_window(original, (8, 16), "letterbox"), (8, 16))
    assert item.shape == (3, 8, 16) and 0 < int(item.float().mean()) + 1 < 200
    assert peak < 64 * picture.nbytes

    mask = np.zeros(original, np.uint16)
    task = Mask()
    target = task.prepare(mask, task.fit([mask]), context)
    assert target.shape == (8, 16) and set(target.unique().tolist()) <= {0, 255}
