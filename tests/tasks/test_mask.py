"""The mask task: indices stay indices, masks follow their pictures, and the scores are the field's."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import torchmetrics
from torch import Tensor
from torch.nn import functional as F

from trunkline.contexts import GridContext
from trunkline.errors import ConfigError, DataError
from trunkline.modalities.image import Image
from trunkline.tasks.mask import Mask, confusion_scores
from trunkline.tasks.mask_loss import VOID, mask_loss
from trunkline.types import Span, Tokens


def whole(height: int, width: int) -> GridContext:
    return GridContext((height, width), (0, 0, height, width), (height, width))


def one_hot(mask: Tensor, classes: int) -> Tensor:
    """Logits that are sure: `[n, H, W]` → `[n, K, H, W]`."""
    return 10.0 * torch.nn.functional.one_hot(mask.long(), classes).movedim(-1, 1).float()


def test_palette_indices_are_kept(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    palette = PIL.Image.frombytes("P", (2, 2), indices.tobytes())
    palette.putpalette([200, 10, 10] * 256)  # every colour is the same
    palette.save(tmp_path / "palette.png")
    PIL.Image.fromarray(indices).save(tmp_path / "grey.png")
    PIL.Image.fromarray(indices.astype(np.uint16) + 300).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(Mask().read(str(tmp_path / "palette.png")), indices)
    np.testing.assert_array_equal(Mask().read(str(tmp_path / "grey.png")), indices)
    np.testing.assert_array_equal(Mask().read(str(tmp_path / "deep.png")), indices.astype(int) + 300)
    np.testing.assert_array_equal(Mask().read([[True, False]]), [[1, 0]])


def test_bad_cells_say_why(tmp_path: Path) -> None:
    colour = PIL.Image.new("RGB", (4, 4))
    colour.save(tmp_path / "colour.png")
    colour.convert("L").save(tmp_path / "lossy.jpg")
    (tmp_path / "text.png").write_text("no picture")
    for cell, message in [
        (str(tmp_path / "none.png"), "there is no file"),
        (str(tmp_path / "text.png"), "cannot be read as a mask"),
        (str(tmp_path / "colour.png"), r"in colour \(RGB\); save class indices as a grey or palette PNG"),
        (str(tmp_path / "lossy.jpg"), "is a JPEG, which changes class indices"),
        (np.zeros((2, 2, 3), dtype=np.uint8), "is not a mask; give"),
        (np.zeros((2, 2)), "float64 has no class indices"),
        (np.array([[-1]]), "run from 0 to 65535; the mask holds -1"),
    ]:
        with pytest.raises(DataError, match=message):
            Mask().read(cell)


def test_fit_finds_classes_and_their_share() -> None:
    task = Mask(ignore=7)
    state = task.fit(task.read(m) for m in ([[0, 0, 255]], [[0, 7, 7]]))
    assert state == {"indices": [0, 255], "names": ["0", "255"], "prior": [0.75, 0.25]}
    assert json.loads(json.dumps(state)) == state
    named = Mask(["sky", "road", "car"]).fit([task.read([[0, 2]])])
    assert named == {"indices": [0, 1, 2], "names": ["sky", "road", "car"], "prior": [0.5, 0.0, 0.5]}
    with pytest.raises(DataError, match="no pixel"):
        task.fit([task.read([[7]])])
    with pytest.raises(ConfigError, match="ignore: -1 is not an index"):
        Mask(ignore=-1).fit([])


def test_prepare_refuses_what_does_not_fit() -> None:
    task = Mask()
    state = task.fit([task.read([[0, 1]])])
    with pytest.raises(DataError, match="1 × 2 pixels high and wide, its picture 3 × 4"):
        task.prepare(task.read([[0, 1]]), state, whole(3, 4))
    with pytest.raises(DataError, match=r"index 9, which is not named in `classes` \(0, 1\); `ignore: 9`"):
        Mask(["a", "b"]).read([[0, 9]])


def test_pixels_that_training_never_saw_count_as_wrong() -> None:
    """One more class, always missed; the loss leaves them out."""
    task = Mask()
    state = task.fit([task.read([[0, 1]])])
    with pytest.warns(UserWarning, match="index 9, which no training mask holds: its pixels count as wrong"):
        item = task.prepare(task.read([[0, 1, 9, 9]]), state, whole(1, 4))
    target = task.collate([[item]])
    output = torch.tensor([[[[5.0, -5, 5, -5]], [[-5.0, 5, -5, 5]]]])
    metric = task.metric([state])
    metric.update(output, target)
    assert metric.compute() == [{"miou": pytest.approx((1 / 2 + 1 / 2 + 0) / 3), "pixel_accuracy": 0.5}]
    head = task.build([state], 8)
    known = {"values": target["values"][..., :2]}
    assert head.loss(output, target) == head.loss(output[..., :2], known)


def test_a_mask_stays_on_its_picture_and_comes_back() -> None:
    """Bright squares cut, scaled and mirrored with their mask; at full size the two agree in every pixel."""
    modality, task = Image((24, 24), crop=0.6, rotate=0, colour=0, flip=True), Mask()
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 2, (6, 6)), np.ones((8, 8))).astype(np.uint8)[:, :, None] * 255
    mask = task.read(picture[:, :, 0] // 255)
    state, task_state = modality.fit([picture]), task.fit([mask])
    for _ in range(20):
        item, context = modality.prepare(picture, state, rng)
        target = task.prepare(mask, task_state, context)
        assert target.shape == (24, 24)
        pixels = modality.collate([item])["pixels"][0, 0]
        assert ((pixels > 0.5) != target.bool()).double().mean() < 0.08  # blurred edges only
        ((back,),) = task.decode(one_hot(target[None], 2), [task_state], [context])
        top, left, height, width = context.crop
        inside = np.zeros((48, 48), dtype=bool)
        inside[top : top + height, left : left + width] = True
        assert (back[~inside] == VOID).all()
        assert (back[inside] != mask[inside]).mean() < 0.08


def test_a_mask_turns_with_its_picture() -> None:
    modality, task, rng = Image((48, 48), crop=0.8, rotate=40, colour=0), Mask(), np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 2, (6, 6)), np.ones((16, 16))).astype(np.uint8)[:, :, None] * 255
    mask = task.read(picture[:, :, 0] // 255)
    state, task_state = modality.fit([picture]), task.fit([mask])
    for _ in range(10):
        item, context = modality.prepare(picture, state, rng)
        target = task.prepare(mask, task_state, context)
        pixels = modality.collate([item])["pixels"][0, 0]
        assert abs(context.angle) > 0 and ((pixels > 0.5) != target.bool()).double().mean() < 0.08


def test_without_scaling_the_way_and_back_is_exact() -> None:
    task, rng = Mask(), np.random.default_rng(0)
    mask = task.read(rng.integers(0, 3, (12, 10)) * 100)
    state = task.fit([mask])
    context = GridContext((12, 10), (2, 1, 8, 6), (8, 6), flipped=True)
    target = task.prepare(mask, state, context)
    np.testing.assert_array_equal(target * 100, mask[2:10, 1:7][:, ::-1].astype(int))
    ((back,),) = task.decode(one_hot(target[None], 3), [state], [context])
    np.testing.assert_array_equal(back[2:10, 1:7], mask[2:10, 1:7])
    assert back.dtype == np.uint8


def head_tokens(task: Mask, grid: tuple[int, int], stride: tuple[float, float]) -> tuple[torch.nn.Module, Tokens]:
    state = task.fit([task.read([[0, 1, 2, 2]])])
    values = torch.randn(3, grid[0] * grid[1], 16)
    span = Span("", 0, values.shape[1], "grid", grid, stride)
    return task.build([state], 16), Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool), (span,))


def test_the_head_answers_at_the_encoders_resolution_one_row_at_a_time() -> None:
    head, tokens = head_tokens(Mask(), (4, 3), (7.5, 17 / 3))
    together = head.predict_output(tokens)
    assert together.shape == (3, 3, 30, 17)
    alone = head.predict_output(tokens.take(torch.tensor([1])))
    torch.testing.assert_close(alone, together[1:2], atol=1e-5, rtol=0)


def test_only_labelled_pixels_are_learned_from() -> None:
    head, tokens = head_tokens(Mask(), (2, 2), (4.0, 4.0))
    output = head.predict_output(tokens).detach().requires_grad_()
    values = torch.full((3, 8, 8), VOID, dtype=torch.uint8)
    values[0, :2, :3] = 1
    total, weight = head.loss(output, {"values": values})
    total.sum().backward()
    assert (total.shape, weight.tolist()) == ((1,), [6.0])
    torch.testing.assert_close(total[0], plain_loss(output, values.long()))
    assert output.grad is not None
    assert (output.grad[values.unsqueeze(1).expand_as(output) == VOID] == 0).all()


def test_scores_by_hand() -> None:
    """Class 0: 3 right of a union of 5; class 1: 1 of 3; class 2 is only predicted: 0 of 1; class 3 never occurs."""
    counts = torch.tensor([[3, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    scores = confusion_scores(counts)
    assert scores["miou"] == pytest.approx((3 / 5 + 1 / 2 + 0) / 3)
    assert scores["pixel_accuracy"] == pytest.approx(4 / 6)


def test_scores_equal_those_of_torchmetrics() -> None:
    task = Mask(["a", "b", "c", "d", "e"])
    metric = task.metric([task.fit([task.read([[0]])])])
    logits, values = torch.randn(6, 5, 9, 7), torch.randint(0, 5, (6, 9, 7), dtype=torch.uint8)
    values[torch.rand(values.shape) < 0.2] = VOID
    assert metric.compute() == [None]
    metric.update(logits[:4], {"values": values[:4]})
    metric.update(logits[4:], {"values": values[4:]})
    (scores,) = metric.compute()
    options = {"num_classes": 5, "ignore_index": VOID}
    iou = torchmetrics.JaccardIndex("multiclass", average="macro", **options)(logits, values.long())
    accuracy = torchmetrics.Accuracy("multiclass", average="micro", **options)(logits, values.long())
    assert scores == pytest.approx({"miou": float(iou), "pixel_accuracy": float(accuracy)}, abs=1e-6)
    metric.reset()
    assert metric.compute() == [None]


def test_the_baseline_says_the_most_frequent_class() -> None:
    task = Mask()
    state = task.fit([task.read([[0, 3, 3]])])
    output = task.baseline([state], {"values": torch.zeros(2, 4, 5, dtype=torch.uint8)})
    assert output.shape == (2, 2, 4, 5)
    ((first, _),) = task.decode(output, [state], [whole(4, 5)] * 2)
    assert (first == 3).all()


def test_it_learns_to_find_bright_squares() -> None:
    modality, task, rng = Image(24, crop=0.7, flip=True, stride=4), Mask(["ground", "square"]), np.random.default_rng(0)

    def scene() -> tuple[np.ndarray, np.ndarray]:
        mask = np.zeros((32, 32), dtype=np.uint16)
        for top, left, side in zip(*rng.integers(0, 24, (2, 2)), rng.integers(6, 12, 2)):
            mask[top : top + side, left : left + side] = 1
        return np.clip(60 + 110 * mask + rng.normal(0, 30, mask.shape), 0, 255).astype(np.uint8)[:, :, None], mask

    scenes = [scene() for _ in range(120)]
    state, task_state = modality.fit(p for p, _ in scenes[:96]), task.fit(m for _, m in scenes[:96])
    encoder, head = modality.build(state, 32), task.build([task_state], 32)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)

    def batch(rows: np.ndarray, rng: np.random.Generator | None) -> tuple[Tensor, dict[str, Tensor]]:
        prepared = [modality.prepare(scenes[i][0], state, rng) for i in rows]
        targets = [[task.prepare(scenes[i][1], task_state, context)] for i, (_, context) in zip(rows, prepared)]
        return head.predict_output(encoder(modality.collate([p for p, _ in prepared]))), task.collate(targets)

    for _ in range(10):
        for rows in np.array_split(rng.permutation(96), 6):
            optimizer.zero_grad()
            total, weight = head.loss(*batch(rows, rng))
            (total / weight).sum().backward()
            optimizer.step()
    metric = task.metric([task_state])
    with torch.no_grad():
        metric.update(*batch(np.arange(96, 120), None))
    (scores,) = metric.compute()
    assert scores["miou"] > 0.8


def test_every_class_counts_in_a_rows_error() -> None:
    """Also the one of index 255."""
    task, picture = Mask(), np.zeros((2, 2, 3), np.uint8)
    state = task.fit([np.array([[0, 255], [0, 255]])])
    said, true = np.full((2, 2), 255, np.uint8), np.array([[0, 0], [0, 255]])
    assert task.show(said, true, state, picture).error == 0.75


def test_bytes_of_a_file_are_a_mask() -> None:
    """As tables of Hugging Face and Parquet hold them."""
    file = io.BytesIO()
    PIL.Image.fromarray(np.array([[1, 2]], np.uint8)).save(file, "PNG")
    assert Mask().read(file).tolist() == [[1, 2]]
    file.seek(0)
    with pytest.raises(DataError, match="1 × 2 pixels high and wide, its picture 3 × 4"):
        Mask().check_place(file, (3, 4))
    with pytest.raises(DataError, match="the file cannot be read as a mask"):
        Mask().read(io.BytesIO(b"no picture"))


def test_a_path_object_is_a_path(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8)).save(tmp_path / "mask.png")
    assert Mask().read(tmp_path / "mask.png").tolist() == [[0, 1], [2, 1]]
    with pytest.raises(DataError, match="there is no file"):
        Mask().read(tmp_path / "none.png")


def plain_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The same, class by class and pixel by pixel, as the definition has it."""
    total = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="sum")
    for row, mask in zip(logits.softmax(1), labels):
        known, dice = mask != VOID, []
        for k in mask[known].unique().tolist():
            dice.append(2 * row[k][mask == k].sum() / (row[k][known].sum() + (mask == k).sum()))
        if dice:
            total = total + known.sum() * (1 - torch.stack(dice).mean())
    return total


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_the_loss_is_cross_entropy_and_the_overlap_that_is_missing(spread: float) -> None:
    """Value and slopes, of rows of which all, some and no pixels are labelled; class 3 is nowhere to be seen."""
    generator = torch.Generator().manual_seed(0)
    logits = (spread * torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(0, 3, (3, 5, 6), generator=generator)
    labels[1, :2], labels[2] = VOID, VOID
    losses = [mask_loss(logits, labels), plain_loss(logits, labels)]
    torch.testing.assert_close(*losses)
    slopes = [torch.autograd.grad(3 * loss, logits)[0] for loss in losses]
    torch.testing.assert_close(*slopes)
    assert not slopes[0][2].any() and not slopes[0][1, :, :2].any(), "what has no label is learned from"


def test_slopes_are_those_of_the_loss() -> None:
    logits = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 3, 4))
    labels[0, :, :2] = VOID
    assert torch.autograd.gradcheck(lambda x: mask_loss(x, labels), (logits,))


def test_a_certain_and_right_answer_costs_nothing() -> None:
    labels = torch.tensor([[[0, 1], [1, 2]]])
    sure = torch.full((1, 3, 2, 2), -60.0).double().scatter(1, labels.unsqueeze(1), 60.0)
    assert float(mask_loss(sure, labels)) == pytest.approx(0, abs=1e-9)
