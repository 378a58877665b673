"""The image modality: any picture file is read right or refused with a reason; its network sees one row at a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from trunkline.errors import ConfigError, DataError
from trunkline.modalities.image import Image, is_grey, typical_size, usual_stride

COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]], dtype=np.uint8)


def pictures(count: int, *, height: int = 20, width: int = 28, channels: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, channels), dtype=np.uint8) for _ in range(count)]


def test_every_mode_is_read_right(tmp_path: Path) -> None:
    grey = np.array([[0, 100], [200, 255]], dtype=np.uint8)
    palette = PIL.Image.fromarray(grey).convert("P")
    palette.putpalette([v for i in range(256) for v in (255 - i, i, 7)])
    cases = {
        "rgb": (PIL.Image.fromarray(COLOURS), COLOURS),
        "grey": (PIL.Image.fromarray(grey), grey[:, :, None]),
        "palette": (palette, np.stack([255 - grey, grey, np.full_like(grey, 7)], 2)),
        "bit": (PIL.Image.fromarray(grey > 150), (255 * (grey > 150)).astype(np.uint8)[:, :, None]),
    }
    for name, (picture, expected) in cases.items():
        path = tmp_path / f"{name}.png"
        picture.save(path)
        np.testing.assert_array_equal(Image().read(str(path)), expected, err_msg=name)


def test_sixteen_bits_keep_their_precision(tmp_path: Path) -> None:
    deep = np.array([[0, 1], [32768, 65535]], dtype=np.uint16)
    path = tmp_path / "deep.png"
    PIL.Image.fromarray(deep).save(path)
    value = Image().read(str(path))
    assert value.dtype == np.float32
    np.testing.assert_allclose(value[:, :, 0] * 65535, deep, atol=0.01)


def test_what_is_transparent_shows_white() -> None:
    rgba = np.array([[[255, 0, 0, 0], [255, 0, 0, 255], [0, 0, 0, 51]]], dtype=np.uint8)
    np.testing.assert_array_equal(Image().read(rgba)[0], [[255, 255, 255], [255, 0, 0], [204, 204, 204]])
    palette = PIL.Image.new("P", (1, 1), 3)
    palette.info["transparency"] = 3
    np.testing.assert_array_equal(Image().read(palette)[0, 0], [255, 255, 255])


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    path = tmp_path / "turned.png"
    PIL.Image.fromarray(COLOURS[:1]).save(path, exif=exif)
    np.testing.assert_array_equal(Image().read(str(path)), COLOURS[:1].transpose(1, 0, 2))


def test_bad_cells_say_why(tmp_path: Path) -> None:
    text, cut = tmp_path / "text.png", tmp_path / "cut.jpg"
    text.write_text("not a picture")
    PIL.Image.fromarray(pictures(1, height=200, width=200)[0]).save(cut)
    cut.write_bytes(cut.read_bytes()[:3000])
    cases = {
        str(tmp_path / "none.png"): "there is no file",
        str(text): "is not a picture",
        str(cut): "cannot be read: .*truncated",
        str(tmp_path): "cannot be read",
    }
    for cell, message in cases.items():
        with pytest.raises(DataError, match=message):
            Image().read(cell)
    for cell, message in [
        (7, "7 is not a picture; give a path"),
        (np.zeros((4, 4, 5)), r"shape \[4, 4, 5\] is not a picture"),
        (np.zeros((4, 4), dtype=np.int64), "int64 has no known white"),
        (np.full((4, 4), np.nan), "NaN or infinite"),
    ]:
        with pytest.raises(DataError, match=message):
            Image().read(cell)


def test_fit_is_json_and_finds_grey_pictures() -> None:
    grey_in_three_channels = [np.repeat(p, 3, axis=2) for p in pictures(4, channels=1)]
    state = Image().fit(grey_in_three_channels)
    assert state["channels"] == 1
    assert Image(channels="rgb").fit(grey_in_three_channels)["channels"] == 3
    assert Image().fit([*grey_in_three_channels, *pictures(1)])["channels"] == 3
    assert json.loads(json.dumps(state)) == state
    assert Image().fit([])["channels"] == 3


def test_fit_standardises() -> None:
    values = pictures(6)
    modality = Image((20, 28), crop=1)
    state = modality.fit(values)
    batch = modality.collate([modality.prepare(v, state, None)[0] for v in values])["pixels"].double() / 255
    std, mean = torch.std_mean(batch, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(torch.tensor(state["mean"], dtype=torch.float64), mean)
    torch.testing.assert_close(torch.tensor(state["std"], dtype=torch.float64), std)


def test_sizes_and_strides() -> None:
    assert typical_size([(8, 8)], 64) == (16, 16)
    assert typical_size([(480, 640)] * 3, 64) == (48, 64)
    assert [usual_stride((side, side)) for side in (16, 32, 64, 65, 224)] == [4, 4, 8, 16, 32]
    assert Image([24, 32]).fit(pictures(1))["size"] == [24, 32]  # type: ignore[arg-type]  # as YAML gives it


def test_what_is_left_open_is_chosen_from_the_pictures() -> None:
    few, many = (Image().choose(pictures(3, height=300, width=400), rows) for rows in (200, 100_000))
    assert (few["size"][0], few["stride"][0], few["channels"][0]) == ((32, 48), 8, "rgb")
    read = Image().choose(pictures(3, height=300, width=400), 200, is_read=True)
    assert many["size"][0] == read["size"][0] == (48, 64)
    assert few["crop"][0] < many["crop"][0] and few["rotate"][0] > many["rotate"][0]
    small = Image().choose(pictures(3, height=8, width=8, channels=1), 200)
    assert (small["size"][0], small["channels"][0]) == ((16, 16), "grey") and small["crop"][0] > few["crop"][0]
    assert Image(size=128).choose(pictures(3), 200)["stride"][0] == 16
    assert set(Image().choose([], 0)) <= set(vars(Image()))
    assert all(reason for _, reason in few.values())


def test_options_that_cannot_work_are_refused() -> None:
    for modality, message in [
        (Image(stride=3), "not a power of two"),
        (Image(crop=0), "not a share"),
        (Image(size=0), "size=0: at least 1 pixel a side"),
        (Image(size=(8, -1), stem=0), "a side\nimage input: stem=0: at least 1"),
        (Image(depth=0), "depth=0: at least 1"),
        (Image(rotate=-1, colour=-0.5), "rotate=-1: 0 or more\nimage input: colour=-0.5: 0 or more"),
        (Image(channels="blue"), "'rgb' or 'grey'"),  # type: ignore[arg-type]  # as YAML may give it
    ]:
        with pytest.raises(ConfigError, match=message):
            modality.fit([])


def test_evaluation_sees_the_whole_picture_and_training_a_crop() -> None:
    modality = Image((20, 28), crop=0.5, flip=True, rotate=0)
    value = pictures(1)[0]
    state = modality.fit([value])
    item, context = modality.prepare(value, state, None)
    np.testing.assert_array_equal(item.permute(1, 2, 0), value)
    assert context.crop == (0, 0, 20, 28)
    rng = np.random.default_rng(0)
    crops = [modality.prepare(value, state, rng)[1] for _ in range(50)]
    assert len({c.crop for c in crops}) > 40
    assert {c.flipped for c in crops} == {False, True}
    assert all(c.crop[2] >= 10 and c.crop[0] + c.crop[2] <= 20 and c.crop[3] >= 14 for c in crops)


def test_nothing_is_mirrored_unless_asked() -> None:
    modality, value, rng = Image(16), pictures(1)[0], np.random.default_rng(0)
    state = modality.fit([value])
    assert modality.is_random
    assert not Image(16, crop=1, rotate=0, colour=0).is_random
    assert not any(modality.prepare(value, state, rng)[1].flipped for _ in range(20))


def smooth_picture(height: int, width: int) -> np.ndarray:
    """Colours that change slowly, so that ways of scaling agree."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    return (np.stack([x, y, (x + y) / 2], 2) * 255).round().astype(np.uint8)


def test_what_training_sees_is_what_its_context_says() -> None:
    """The batch is altered at once, from smaller copies; a mask is altered alone, from the original."""
    modality, rng = Image((32, 24), crop=0.6, rotate=30, colour=0, flip=True), np.random.default_rng(0)
    values = [smooth_picture(60, 80), smooth_picture(90, 40)]
    state = modality.fit(values)
    for value in values:
        drawn = [modality.prepare(modality.shrink(value, state), state, rng) for _ in range(8)]
        assert {c.flipped for _, c in drawn} == {False, True} and len({c.angle for _, c in drawn}) == 8
        together = modality.collate([item for item, _ in drawn])["pixels"]
        assert together.shape == (8, 3, 32, 24)
        for seen, (_, context) in zip(together, drawn):
            alone = context.apply(torch.from_numpy(value).permute(2, 0, 1), mode="bilinear", fill=None) / 255
            torch.testing.assert_close(seen, alone, atol=0.03, rtol=0)


def test_colours_change_a_little_and_geometry_not_at_all() -> None:
    modality, rng, value = Image(32, crop=1, rotate=0, colour=0.3), np.random.default_rng(0), smooth_picture(32, 32)
    state = modality.fit([value])
    seen = modality.collate([modality.prepare(value, state, rng)[0] for _ in range(20)])["pixels"]
    plain = modality.collate([modality.prepare(value, state, None)[0]])["pixels"].float() / 255
    assert seen.min() >= 0 and seen.max() <= 1
    assert all(0.01 < float((picture - plain).abs().mean()) < 0.3 for picture in seen)
    grey = [picture.mean(0).flatten() for picture in (*plain, *seen)]
    assert all(float(torch.corrcoef(torch.stack([grey[0], other]))[0, 1]) > 0.9 for other in grey[1:])


def test_the_same_draw_is_the_same_picture() -> None:
    modality, value = Image(16), pictures(1)[0]
    state = modality.fit([value])
    first, second, third = (
        modality.collate([modality.prepare(value, state, np.random.default_rng(seed))[0]])["pixels"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, second) and not torch.equal(first, third)


def test_deep_and_shallow_pictures_share_a_batch() -> None:
    modality = Image(16, channels="grey")
    shallow = np.full((16, 16, 1), 51, dtype=np.uint8)
    state = modality.fit([shallow])
    items = [modality.prepare(v, state, None)[0] for v in (shallow, shallow.astype(np.float32) / 255)]
    pixels = modality.collate(items)["pixels"]
    torch.testing.assert_close(pixels, torch.full((2, 1, 16, 16), 0.2))


def encoder_and_pixels(size: tuple[int, int], stride: int | None = None) -> tuple[torch.nn.Module, Tensor]:
    modality = Image(size, stride=stride)
    values = pictures(5)
    state = modality.fit(values)
    pixels = modality.collate([modality.prepare(v, state, None)[0] for v in values])["pixels"]
    return modality.build(json.loads(json.dumps(state)), 24), pixels


@pytest.mark.parametrize(
    ("size", "stride", "grid"), [((16, 24), 4, (4, 6)), ((30, 17), 8, (4, 3)), ((32, 32), 2, (16, 16))]
)
def test_the_grid_covers_the_picture(size: tuple[int, int], stride: int, grid: tuple[int, int]) -> None:
    encoder, pixels = encoder_and_pixels(size, stride)
    tokens = encoder({"pixels": pixels})
    (span,) = tokens.spans
    assert (span.shape, span.axis, tokens.values.shape) == (grid, "grid", (5, grid[0] * grid[1], 24))
    assert [n * s for n, s in zip(span.shape, span.stride)] == pytest.approx(size)


def test_a_row_does_not_see_the_rows_beside_it() -> None:
    encoder, pixels = encoder_and_pixels((32, 32))
    together = encoder({"pixels": pixels}).values
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(encoder({"pixels": pixels[order]}).values, together[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder({"pixels": pixels[2:3]}).values, together[2:3], atol=1e-5, rtol=0)


def test_it_exports_with_a_dynamic_batch() -> None:
    class Values(torch.nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return encoder({"pixels": pixels}).values

    encoder, pixels = encoder_and_pixels((16, 16))
    module = Values()
    module.encoder = encoder
    program = torch.export.export(module, (pixels[:3],), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.testing.assert_close(program.module()(pixels), module(pixels), atol=1e-5, rtol=0)


def test_it_learns_handwritten_digits() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    modality, rng = Image(), np.random.default_rng(0)
    values = [modality.read(np.float32(p / 16)) for p in digits.images]
    order, labels = rng.permutation(len(values)), torch.tensor(digits.target)
    test, train = order[:360], order[360:]
    state = modality.fit([values[i] for i in train])
    assert state["channels"] == 1
    encoder, head = modality.build(state, 64), torch.nn.Linear(64, 10)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 184)

    def logits(rows: np.ndarray, rng: np.random.Generator | None) -> Tensor:
        return head(encoder(modality.collate([modality.prepare(values[i], state, rng)[0] for i in rows])).row())

    for _ in range(8):
        for rows in np.array_split(rng.permutation(train), 23):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits(rows, rng), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        accuracy = (logits(test, None).argmax(1) == labels[test]).double().mean()
    assert accuracy > 0.95


def test_grey_is_seen_in_any_number_of_channels() -> None:
    assert is_grey(pictures(1, channels=1)[0])
    assert not is_grey(COLOURS)


def test_a_path_object_is_a_path(tmp_path: Path) -> None:
    PIL.Image.fromarray(COLOURS).save(tmp_path / "colours.png")
    np.testing.assert_array_equal(Image().read(tmp_path / "colours.png"), COLOURS)
    with pytest.raises(DataError, match="there is no file"):
        Image().read(tmp_path / "none.png")


def test_fit_looks_at_all_it_is_given() -> None:
    """Which pictures those are is the caller's choice, who is told how many are wanted."""
    assert Image.fit_sample == 512
    dark, bright = (np.full((16, 16, 1), level, dtype=np.uint8) for level in (0, 255))
    assert Image().fit(iter([dark] * 600 + [bright] * 600))["mean"] == pytest.approx([0.5])
