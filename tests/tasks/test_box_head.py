"""Boxes: places and their inverse, losses as the papers write them, and which points learn what."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trunkline.arrays.boxes import as_original
from trunkline.contexts import GridContext
from trunkline.tasks.box_assignment import POINTS, Assignment, assign
from trunkline.tasks.box_head import (
    PRIOR,
    BoxHead,
    draw,
    generalised_overlap_loss,
    grid_points,
    naming_loss,
    placing_loss,
    quality_focal_loss,
)
from trunkline.tasks.box_places import area, as_seen, clipped, overlap
from trunkline.types import Span, Tokens

sides = st.integers(8, 200)


@st.composite
def contexts(draw: st.DrawFn, angle: st.SearchStrategy[float]) -> GridContext:
    height, width = draw(sides), draw(sides)
    h, w = draw(st.integers(4, height)), draw(st.integers(4, width))
    crop = (draw(st.integers(0, height - h)), draw(st.integers(0, width - w)), h, w)
    return GridContext((height, width), crop, (draw(sides), draw(sides)), draw(st.booleans()), draw(angle))


def random_boxes(count: int, height: float, width: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    ends = torch.rand(count, 2, 2, generator=generator, dtype=torch.float64).sort(1).values
    return (ends * torch.tensor([width, height], dtype=torch.float64)).flatten(1)


@given(contexts(st.just(0.0)), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_boxes_come_back(context: GridContext, seed: int) -> None:
    boxes = random_boxes(5, *context.original, seed)
    np.testing.assert_allclose(as_original(as_seen(boxes, context).numpy(), context), boxes, atol=1e-9, rtol=1e-9)
    scaled = area(as_seen(boxes, context)) / area(boxes)
    expected = math.prod(context.size) / math.prod(context.crop[2:])
    torch.testing.assert_close(scaled, torch.full_like(scaled, expected), atol=0, rtol=1e-9)


@given(contexts(st.floats(-45, 45)), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_points_come_back_whatever_was_done(context: GridContext, seed: int) -> None:
    """A box without area is a point, turned ones too; and what fills a box as an ellipse lies in its upright box."""
    boxes = random_boxes(5, *context.original, seed)
    points = torch.cat([boxes[:, :2], boxes[:, :2]], 1)
    seen = as_seen(points, context)
    np.testing.assert_allclose(as_original(seen.numpy(), context), points, atol=1e-8, rtol=1e-8)
    turns = torch.linspace(0, 2 * math.pi, 721, dtype=torch.float64)
    circle = torch.stack([turns.cos(), turns.sin()], 1)  # [721, 2]
    for box, around in zip(boxes, as_seen(boxes, context)):
        places = (box[:2] + box[2:]) / 2 + circle * (box[2:] - box[:2]) / 2
        edge = as_seen(torch.cat([places, places], 1), context)
        tight = torch.cat([edge[:, :2].amin(0), edge[:, :2].amax(0)])
        torch.testing.assert_close(around, tight, atol=1e-4 * float(area(around) ** 0.5 + 1), rtol=1e-4)


@pytest.mark.parametrize("angle", [0.0, 20.0, -35.0])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_box_stays_on_its_disc(angle: float, flipped: bool) -> None:
    """The picture is turned by `apply`; the bright pixels that result lie in the box and reach its edges."""
    context = GridContext((60, 80), (5, 10, 50, 60), (100, 90), flipped, angle)
    y, x = torch.meshgrid(torch.arange(60) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    picture = (((y - 31) / 6) ** 2 + ((x - 44) / 9) ** 2 <= 1).float()[None]
    rows, columns = (context.apply(picture, mode="nearest")[0] > 0.5).nonzero(as_tuple=True)
    seen = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).double()
    box = as_seen(torch.tensor([[35.0, 25, 53, 37]]), context)[0]
    assert float((box - seen).abs().max()) < 2.5


def test_overlaps_are_torchvisions() -> None:
    ops = pytest.importorskip("torchvision.ops")
    first, second = random_boxes(7, 50, 50, 1), random_boxes(9, 50, 50, 2)
    torch.testing.assert_close(overlap(first, second), ops.box_iou(first, second))
    ours = generalised_overlap_loss(first, second[:7])
    torch.testing.assert_close(ours, ops.generalized_box_iou_loss(first, second[:7], reduction="none"))
    apart = generalised_overlap_loss(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[3.0, 0, 5, 2]]))
    assert float(apart) == pytest.approx(1 - (0 - 2 / 10)), "1 − (IoU − what of the hull neither covers)"


def test_quality_focal_loss_is_the_papers() -> None:
    """QFL(σ) = −|y − σ|^β ((1 − y) log(1 − σ) + y log σ), and with y of 0 or 1 the focal loss without α."""
    logits = torch.tensor([-2.0, 0.3, 1.5], dtype=torch.float64)
    quality = torch.tensor([0.0, 0.7, 0.4], dtype=torch.float64)
    for z, y, loss in zip(logits, quality, quality_focal_loss(logits, quality)):
        s = 1 / (1 + math.exp(-z))
        assert float(loss) == pytest.approx(-((y - s) ** 2) * ((1 - y) * math.log(1 - s) + y * math.log(s)))
    ops = pytest.importorskip("torchvision.ops")
    hard = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(
        quality_focal_loss(logits, hard), ops.sigmoid_focal_loss(logits, hard, alpha=-1, gamma=2)
    )


def test_each_true_box_counts_once_in_place() -> None:
    """However many points learn it: the mean over its points by quality."""
    boxes = torch.tensor([[[0.0, 0, 8, 8], [10, 10, 14, 14]]])
    drawn = torch.tensor([[[0.0, 0, 8, 4], [0, 0, 8, 2], [10, 10, 14, 12], [0, 0, 1, 1]]])
    found = Assignment(torch.tensor([[0, 0, 1, -1]]), torch.tensor([[0.6, 0.3, 0.5, 0.0]]))
    first = (0.5 * 0.601 + 0.75 * 0.301) / 0.902
    assert float(placing_loss(drawn, boxes, found)) == pytest.approx(first + 0.5)
    nothing = Assignment(torch.full((1, 4), -1), torch.zeros(1, 4))
    assert float(placing_loss(drawn, boxes, nothing)) == 0.0


def test_the_loss_does_not_wait_for_the_device() -> None:
    """Tensors without data cannot be counted or looked at: what would wait for a device fails."""
    head, view = BoxHead(2, 16).to("meta"), view_of(2, (4, 4.0))
    view = replace(view, values=view.values.to("meta"), mask=view.mask.to("meta"))
    target = {
        "boxes": torch.zeros(2, 3, 4, device="meta"),
        "classes": torch.zeros(2, 3, dtype=torch.long, device="meta"),
    }
    total, weight = head.loss(head.train_output(view), target)
    assert total.shape == weight.shape == (1,)


def test_scores_learn_the_quality_of_their_own_class() -> None:
    logits, classes = torch.zeros(1, 3, 2, requires_grad=True), torch.tensor([[1, -1]])
    found = Assignment(torch.tensor([[0, -1, 0]]), torch.tensor([[0.9, 0.0, 0.1]]))
    naming_loss(logits, classes, found, torch.zeros(1, 3, 2, dtype=torch.bool)).backward()
    assert logits.grad is not None
    assert (logits.grad[0] < 0).tolist() == [[False, True], [False, False], [False, False]]


def test_points_in_a_crowd_do_not_learn_that_its_class_is_not_there() -> None:
    head, view = BoxHead(2, 16), view_of(1, (4, 4.0))
    boxes = torch.tensor([[[0.0, 0, 16, 8], [9, 9, 15, 15]]])
    output = head.train_output(view)
    logits = output["logits"].detach().requires_grad_()

    def slope(classes: list[int]) -> Tensor:
        total, weight = head.loss({**output, "logits": logits}, {"boxes": boxes, "classes": torch.tensor([classes])})
        assert float(weight) == 1
        return torch.autograd.grad(total.sum(), logits)[0][0]  # [P, K]

    crowd, alone = slope([-2, 1]), slope([-1, 1])
    assert not bool(crowd[:8, 0].any()), "the upper half lies in a crowd of the first class"
    torch.testing.assert_close(crowd[8:], alone[8:])
    torch.testing.assert_close(crowd[:, 1], alone[:, 1])
    both = slope([-3, 1])  # points that learn a box of the crowd's class go on learning it
    torch.testing.assert_close(both[8:], alone[8:])


def points_of(*grids: tuple[int, float]) -> Tensor:
    return torch.cat([grid_points(Span("p", 0, n * n, "grid", (n, n), (s, s)), torch.device("cpu")) for n, s in grids])


def test_points_lie_in_the_middle_of_their_squares() -> None:
    points = grid_points(Span("p", 0, 6, "grid", (2, 3), (4.0, 8.0)), torch.device("cpu"))
    assert points.tolist() == [[x, y, 8, 4] for y in (2, 6) for x in (4, 12, 20)]
    drawn = draw(torch.tensor([[[0.0, 0, 0, 0]], [[0.5, -1, math.log(2), 0]]]), points[:1])
    assert drawn.tolist() == [[[0, 0, 8, 4]], [[0, -4, 16, 0]]]


def test_the_aligned_points_learn_a_box() -> None:
    """Of 8 × 8 points those in the box that draw it best; the best one's quality is its overlap."""
    points = points_of((8, 4.0))
    boxes, classes = torch.tensor([[[8.0, 8, 24, 24], [0, 0, 0, 0]]]), torch.tensor([[1, -1]])
    drawn = torch.cat([points[:, :2] - 8, points[:, :2] + 8], 1)[None]
    found = assign(torch.full((1, 64, 2), 0.1), drawn, points, boxes, classes)
    (mine,) = (found.owner[0] == 0).nonzero(as_tuple=True)
    assert len(mine) == POINTS
    inside = (points[mine, :2] > 8).all(1) & (points[mine, :2] < 24).all(1)
    assert bool(inside.all())
    overlaps = overlap(boxes[0, :1], drawn[0])[0]
    best = int(found.quality[0].argmax())
    assert float(found.quality[0, best]) == pytest.approx(float(overlaps[mine].max()))
    assert set(found.owner[0].tolist()) == {-1, 0} and not found.quality[0][found.owner[0] < 0].any()


def test_points_are_chosen_by_score_overlap_and_place() -> None:
    """By hand, of random scores and boxes: `s^½ u^6`, less at a box's edge; the quality is that, scaled to the best
    overlap."""
    ops = pytest.importorskip("torchvision.ops")
    generator = torch.Generator().manual_seed(3)
    points = points_of((8, 4.0))
    box = torch.tensor([4.0, 6, 26, 25])
    drawn = box + torch.randn(64, 4, generator=generator) * 3
    chances = torch.rand(64, 2, generator=generator)
    found = assign(chances[None], drawn[None], points, box[None, None], torch.tensor([[1]]))
    s, u = chances[:, 1].double(), ops.box_iou(drawn, box[None])[:, 0].double()
    x, y = points[:, 0].double(), points[:, 1].double()
    far = torch.maximum((x - 15).abs() / 11, (y - 15.5).abs() / 9.5)
    wish = (s.clamp(min=1e-4) ** 0.5 * u.clamp(min=1e-4) ** 6 / far.square().exp()).masked_fill(far > 1, -1)
    chosen = wish.topk(10).indices.sort().values
    assert (found.owner[0] == 0).nonzero().flatten().tolist() == chosen.tolist()
    nearest = far.topk(10, largest=False).indices.sort().values
    best = u.masked_fill(far > 1, -1).topk(10).indices.sort().values
    assert chosen.tolist() not in (nearest.tolist(), best.tolist()), "neither the place alone nor the overlap alone"
    aligned = s[chosen] ** 0.5 * u[chosen] ** 6
    expected = aligned / aligned.max() * u[chosen].max()
    torch.testing.assert_close(found.quality[0, chosen].double(), expected, atol=1e-5, rtol=1e-4)


def test_half_precision_leaves_edges_and_scores_as_fine_as_they_are() -> None:
    head, view = BoxHead(3, 16), view_of(2, (8, 4.0))
    nn.init.normal_(head.places.weight)
    with torch.autocast("cpu", torch.bfloat16):
        said = head.train_output(view)
    for name in ("boxes", "logits"):
        assert said[name].dtype == torch.float32
        assert len(said[name].unique()) > len(said[name].bfloat16().unique())


def test_a_point_that_two_want_learns_the_one_it_overlaps_more() -> None:
    points = points_of((4, 4.0))
    boxes, classes = torch.tensor([[[0.0, 0, 16, 16], [4, 4, 12, 12]]]), torch.tensor([[0, 0]])
    drawn = torch.cat([points[:, :2] - 4, points[:, :2] + 4], 1)[None]
    found = assign(torch.full((1, 16, 1), 0.1), drawn, points, boxes, classes)
    assert found.owner[0, [5, 6, 9, 10]].tolist() == [1, 1, 1, 1]
    assert 0 in found.owner[0].tolist()


@given(st.floats(0, 30), st.floats(0, 30), st.floats(0.5, 30), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_box_is_somebodys(left: float, top: float, side: float, seed: int) -> None:
    """The smallest, between points, and whatever the points draw: also where nothing overlaps."""
    points = points_of((4, 8.0), (2, 16.0))
    boxes = clipped(torch.tensor([[[left, top, left + side, top + side / 2]]]), (32, 32))
    drawn = random_boxes(len(points), 2, 2, seed).float()[None]
    found = assign(torch.full((1, len(points), 3), 0.01), drawn, points, boxes, torch.tensor([[2]]))
    assert bool((found.owner == 0).any())


def test_the_better_score_of_the_right_class_wins() -> None:
    points = points_of((2, 8.0))
    boxes, classes = torch.tensor([[[0.0, 0, 16, 16]]]), torch.tensor([[1]])
    drawn = torch.tensor([[[0.0, 0, 16, 12]]]).expand(1, 4, 4)
    chances = torch.tensor([[[0.9, 0.1], [0.1, 0.8], [0.9, 0.1], [0.9, 0.1]]])
    assert int(assign(chances, drawn, points, boxes, classes).quality.argmax()) == 1


def view_of(rows: int, *grids: tuple[int, float], width: int = 16) -> Tokens:
    spans, start = [], 0
    for n, stride in grids:
        spans.append(Span("p", start, start + n * n, "grid", (n, n), (stride, stride)))
        start += n * n
    values = torch.randn(rows, start, width, generator=torch.Generator().manual_seed(0))
    return Tokens(values, torch.ones(rows, start, dtype=torch.bool), tuple(spans))


@pytest.mark.parametrize("grids", [((4, 4.0),), ((4, 4.0), (2, 8.0)), ((8, 2.0), (4, 4.0), (2, 8.0))])
def test_any_number_of_grids(grids: tuple[tuple[int, float], ...]) -> None:
    head = BoxHead(3, 16)
    output = head.predict_output(view_of(2, *grids)).detach()
    assert output.shape == (2, sum(n * n for n, _ in grids), 7)
    assert bool((output[..., :4] >= 0).all() and (output[..., :4] <= 16).all())
    assert float(output[..., 4:].mean()) == pytest.approx(PRIOR, rel=0.5)


def test_a_span_of_a_grid_is_said_the_same_beside_others() -> None:
    """Towers are shared, and grids do not see each other."""
    head, view = BoxHead(3, 16).eval(), view_of(2, (4, 4.0), (2, 8.0))
    alone = Tokens(view.values[:, :16], view.mask[:, :16], view.spans[:1])
    torch.testing.assert_close(head.predict_output(view)[:, :16], head.predict_output(alone))


def test_an_empty_picture_teaches_as_one_row_and_parts_add_up() -> None:
    head, view = BoxHead(2, 16), view_of(3, (4, 4.0), (2, 8.0))
    boxes = torch.tensor([[[0.0, 0, 8, 8], [4, 4, 16, 16]], [[0.0, 0, 0, 0]] * 2, [[2.0, 2, 9, 9], [0, 0, 0, 0]]])
    target = {"boxes": boxes, "classes": torch.tensor([[0, 1], [-1, -1], [1, -1]])}
    total, weight = head.loss(head.train_output(view), target)
    assert float(weight) == 4
    sums = torch.zeros(2)
    for row in range(3):
        part = {key: value[row : row + 1] for key, value in target.items()}
        sums += torch.cat(head.loss(head.train_output(view.take(torch.tensor([row]))), part)).detach()
    torch.testing.assert_close(sums, torch.cat([total, weight]).detach())
    empty = {"boxes": boxes[1:2], "classes": target["classes"][1:2]}
    alone, _ = head.loss(head.train_output(view.take(torch.tensor([1]))), empty)
    alone.sum().backward()
    assert head.names.bias.grad is not None and bool((head.names.bias.grad > 0).all())
    unseen = {"boxes": boxes[2:], "classes": torch.tensor([[99, -1]])}
    ignored, _ = head.loss(head.train_output(view.take(torch.tensor([1]))), unseen)
    torch.testing.assert_close(ignored, alone)
