"""The dense task: maps follow their pictures, nothing leaks from unknown pixels, and the figures are the field's."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline import testing
from trunkline.contexts import GridContext
from trunkline.errors import ConfigError, DataError
from trunkline.modalities.image import Image
from trunkline.tasks.dense import Dense
from trunkline.tasks.dense_head import angles_between
from trunkline.tasks.dense_scales import as_learned, as_reported, averages
from trunkline.types import Span, Tokens


def whole(height: int, width: int) -> GridContext:
    return GridContext((height, width), (0, 0, height, width), (height, width))


def hemisphere(size: int = 96, *, up: bool = False) -> np.ndarray:
    """Normals of a ball that fills the picture; beyond it nothing. Whatever way it is turned, it looks the same."""
    across = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(across, across)
    depth = 1 - x**2 - y**2
    normals = np.stack([x, -y if up else y, -np.sqrt(depth.clip(0))], -1).astype(np.float32)
    normals[depth <= 0] = np.nan
    return normals


def fitted(task: Dense, *maps: Any) -> dict[str, Any]:
    state = task.fit(task.read(m) for m in maps)
    assert json.loads(json.dumps(state)) == state
    return state


def bytes_of(save: Any) -> io.BytesIO:
    file = io.BytesIO()
    save(file)
    return io.BytesIO(file.getvalue())


def deep_colour_png(levels: np.ndarray) -> io.BytesIO:
    """`[H, W, 3]` uint16 as a PNG, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = levels.shape
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in levels)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + parts)


class TestCells:
    def test_every_way_to_write_a_map(self, tmp_path: Path) -> None:
        depth = np.array([[0, 1500, 65535], [7, 8, 9]], dtype=np.uint16)
        PIL.Image.fromarray(depth).save(tmp_path / "deep.png")
        PIL.Image.fromarray(depth.astype(np.float32)).save(tmp_path / "float.tif")
        np.save(tmp_path / "plain.npy", depth.astype(np.int64))
        np.save(tmp_path / "double.npy", depth[:, :, None].astype(np.float64))
        (tmp_path / "named otherwise").write_bytes((tmp_path / "plain.npy").read_bytes())
        cells = [str(tmp_path / n) for n in ("deep.png", "float.tif", "plain.npy", "double.npy", "named otherwise")]
        as_bytes = [io.BytesIO(Path(cell).read_bytes()) for cell in cells]
        for cell in [*cells, *as_bytes, tmp_path / "deep.png", PIL.Image.fromarray(depth), depth, depth.tolist()]:
            value = Dense().read(cell)
            assert value.dtype == np.float32
            np.testing.assert_array_equal(value, depth[:, :, None])
        small = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
        PIL.Image.fromarray(small).save(tmp_path / "colour.png")
        np.testing.assert_array_equal(Dense().read(str(tmp_path / "colour.png")), small)

    def test_units_and_what_was_not_measured(self) -> None:
        task = Dense(scale=1000, missing=0)
        np.testing.assert_array_equal(task.read(np.array([[0, 1500]], np.uint16))[..., 0], [[np.nan, 1.5]])
        np.testing.assert_array_equal(
            task.read([[np.inf, 250.0, -np.inf, np.nan]])[0, :, 0], [np.nan, 0.25, np.nan, np.nan]
        )
        colours = Dense(missing=0).read(np.array([[[0, 0, 0], [0, 0, 1], [np.nan, 1, 1]]]))
        np.testing.assert_array_equal(np.isnan(colours), [[[True] * 3, [False] * 3, [True] * 3]])

    def test_bad_cells_say_why(self, tmp_path: Path) -> None:
        (tmp_path / "text.png").write_text("no picture")
        (tmp_path / "pickled.npy").write_bytes(pickle.dumps(np.zeros((2, 2))))
        np.save(tmp_path / "objects.npy", np.array([[1, None]], dtype=object), allow_pickle=True)
        np.save(tmp_path / "whole.npy", np.zeros((40, 40)))
        (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:400])
        picture = PIL.Image.new("RGB", (4, 4))
        for cell, message in [
            (str(tmp_path / "none.npy"), "there is no file"),
            (str(tmp_path), "cannot be read as a map"),
            (str(tmp_path / "text.png"), "is neither an .npy nor a picture; save a grey PNG, or use numpy.save"),
            (str(tmp_path / "pickled.npy"), "is neither an .npy nor a picture"),
            (str(tmp_path / "objects.npy"), "cannot be read as a map: Object arrays cannot be loaded"),
            (str(tmp_path / "cut.npy"), "cannot be read as a map"),
            (bytes_of(lambda f: picture.convert("L").save(f, "JPEG")), "is a JPEG, which changes values"),
            (bytes_of(lambda f: picture.convert("RGBA").save(f, "PNG")), "of mode RGBA holds no plain values"),
            (bytes_of(lambda f: picture.convert("P").save(f, "PNG")), "of mode P holds no plain values"),
            (
                deep_colour_png(np.zeros((2, 2, 3))),
                "three channels of 16 bits, which Pillow cuts to 8; save",
            ),
            (np.zeros((2, 2, 2)), r"shape \[2, 2, 2\] is not a map; give \[height, width\], or .* 1 or 3 channels$"),
            (np.zeros((3, 8, 9)), "channels come last"),
            (np.zeros((0, 4)), "is not a map"),
            (5.0, r"shape \[\] is not a map"),
            ([[1, 2], [3]], "this is no map"),
            ([["a"]], "holds no numbers"),
            (np.zeros((2, 2), complex), "complex128 holds no numbers"),
            ([[np.nan, np.inf]], "no pixel of the map is known; leave the cell empty"),
        ]:
            with pytest.raises(DataError, match=message):
                Dense().read(cell)
        with pytest.raises(DataError, match="no pixel of the map is known"):
            Dense(missing=7).read([[7, 7]])
        with pytest.raises(ConfigError, match="scale: 0 units of the file cannot be one; give more than 0"):
            Dense(scale=0).read([[1]])

    def test_a_map_of_another_size_or_kind_than_training_had(self) -> None:
        task = Dense()
        state = fitted(task, [[1.0, 2.0]])
        with pytest.raises(DataError, match="the map is 1 × 2 pixels high and wide, its picture 3 × 4"):
            task.prepare(task.read([[1, 2]]), state, whole(3, 4))
        with pytest.raises(DataError, match="the map has 3 channels, the first map of the training rows 1"):
            task.prepare(task.read(np.ones((1, 2, 3))), state, whole(1, 2))
        with pytest.raises(DataError, match="the map has 3 channels, the first map of the training rows 1"):
            fitted(task, np.ones((2, 2)), np.ones((2, 2, 3)))


class TestWhatIsLearned:
    def test_it_follows_from_the_maps(self) -> None:
        rng, ball = np.random.default_rng(0), hemisphere()
        levels = np.nan_to_num((ball + 1) / 2 * 255).round().astype(np.uint8)  # black where there is none
        deep = np.nan_to_num((ball + 1) / 2 * 65535).round().astype(np.uint16)
        shares = np.nan_to_num((ball + 1) / 2)
        for cell, learn, code in [
            (ball, "directions", None),
            (np.nan_to_num(ball), "directions", None),
            (levels, "directions", 255),
            (deep, "directions", 65535),
            (shares, "directions", 1),
            (rng.integers(0, 256, (40, 40, 3)), "values", None),
            (rng.uniform(1, 5, (40, 40)), "values", None),
            (10 ** rng.uniform(0, 3, (40, 40)), "log", None),
            (10 ** rng.uniform(0, 3, (40, 40)) - 1.5, "values", None),
        ]:
            task = Dense()
            ((found, reason),) = task.choose([task.read(cell)]).values()
            state = fitted(task, cell)
            assert (found, state["learn"], state.get("code")) == (learn, learn, code), reason
        assert "coded as 2 p / 255 − 1" in Dense().choose([Dense().read(levels)])["learn"][1]
        assert (
            "3.0 orders of magnitude"
            in Dense().choose([Dense().read(10 ** np.linspace(0, 3.06, 1000)[None])])["learn"][1]
        )

    def test_the_choice_can_be_made_otherwise(self) -> None:
        assert fitted(Dense(learn="values"), hemisphere())["learn"] == "values"
        assert fitted(Dense(learn="log"), [[1.0, 2.0]])["learn"] == "log"
        long = fitted(Dense(learn="directions"), np.random.default_rng(0).normal(0, 50, (9, 9, 3)))
        assert long["learn"] == "directions"
        with pytest.raises(DataError, match="directions have three channels, these maps have one"):
            fitted(Dense(learn="directions"), [[1.0]])
        with pytest.raises(DataError, match="no pixel of the training maps has a direction"):
            fitted(Dense(learn="directions"), np.zeros((2, 2, 3)))
        with pytest.raises(DataError, match="needs maps in the training rows, found none"):
            Dense().fit([])
        assert (Dense().primary, Dense(learn="directions").primary) == ("rmse", "angle_mean")

    def test_mean_and_spread_are_those_of_all_known_pixels(self) -> None:
        rng = np.random.default_rng(0)
        maps = [rng.normal(1000, 3, (4, n, 3)) for n in (3, 7, 90)]
        for one in maps:
            one[rng.random(one.shape[:2]) < 0.3] = np.nan
        known = np.concatenate([m[np.isfinite(m[..., 0])] for m in maps]).astype(np.float32).astype(np.float64)
        state = fitted(Dense(learn="values"), *maps)
        np.testing.assert_allclose([c["mean"] for c in state["channels"]], known.mean(0), rtol=1e-12)
        np.testing.assert_allclose([c["std"] for c in state["channels"]], known.std(0), rtol=1e-9)
        assert fitted(Dense(), [[5.0, 5.0]])["channels"] == [{"mean": 5.0, "std": 1.0}]

    def test_logarithms_and_back(self) -> None:
        values = 10 ** np.random.default_rng(0).uniform(-1, 3, (20, 20))
        task = Dense()
        state = fitted(task, values)
        learned = as_learned(torch.from_numpy(task.read(values)).movedim(-1, 0), state)
        assert abs(float(learned.mean())) < 1e-5
        assert abs(float(learned.std(correction=0)) - 1) < 1e-4
        np.testing.assert_allclose(as_reported(learned[None], state)[0, 0], values, rtol=1e-4)
        far = as_reported(torch.full((1, 1, 1, 2), 99.0), state)
        np.testing.assert_allclose(far, values.max(), rtol=1e-4)  # a step too far is a factor
        guess = as_reported(torch.tensor(averages(state)).view(1, 1, 1, 1), state)
        np.testing.assert_allclose(guess, values.mean(), rtol=1e-4)


class TestGeometry:
    def test_values_are_those_of_the_map_and_nothing_spreads_from_unknown_pixels(self) -> None:
        """Whatever training does to the picture, each target pixel is one pixel of the map, or unknown."""
        rng, task = np.random.default_rng(0), Dense()
        value = rng.permutation(40 * 56).reshape(40, 56).astype(np.float32)
        value[rng.random(value.shape) < 0.4] = np.nan
        state, known = fitted(task, value), set(value[np.isfinite(value)].tolist())
        modality = Image((24, 32), crop=0.5, rotate=30, colour=0, flip=True)
        pixels = np.zeros((40, 56, 1), np.uint8)
        for _ in range(20):
            _, context = modality.prepare(pixels, modality.fit([pixels]), rng)
            target = task.prepare(task.read(value), state, context)
            assert target.shape == (1, 24, 32)
            found = as_reported(target[None], state)[0, 0]
            there = found[~found.isnan()]
            assert 0.3 < len(there) / found.numel() < 0.7
            assert set(there.round().tolist()) <= known
            assert float((there - there.round()).abs().max()) < 1e-2

    def test_maps_stay_on_their_pictures(self) -> None:
        rng, task, modality = (
            np.random.default_rng(0),
            Dense(),
            Image((48, 48), crop=0.7, rotate=40, colour=0, flip=True),
        )
        picture = np.kron(rng.integers(0, 2, (6, 6)), np.ones((16, 16))).astype(np.uint8)[:, :, None] * 255
        state, task_state = modality.fit([picture]), fitted(task, picture)
        for _ in range(10):
            item, context = modality.prepare(picture, state, rng)
            target = as_reported(task.prepare(task.read(picture), task_state, context)[None], task_state)[0, 0]
            pixels = modality.collate([item])["pixels"][0, 0]
            known = ~target.isnan()
            assert ((pixels > 0.5) != (target > 128))[known].double().mean() < 0.08

    @pytest.mark.parametrize("flipped", [False, True])
    @pytest.mark.parametrize("angle", [0.0, 35.0, -70.0, 180.0])
    @pytest.mark.parametrize("y", ["down", "up"])
    def test_normals_turn_and_are_mirrored_with_the_picture(self, flipped: bool, angle: float, y: Any) -> None:
        """A ball in the middle looks the same, turned or mirrored, and so must its normals."""
        ball = hemisphere(up=y == "up")
        task = Dense(y=y)
        state = fitted(task, ball)
        context = GridContext((96, 96), (0, 0, 96, 96), (96, 96), flipped, angle)
        target = task.prepare(task.read(ball), state, context)
        truth = torch.from_numpy(ball).movedim(-1, 0)
        inside = torch.from_numpy(np.hypot(*np.indices((96, 96)) - 47.5) < 40)
        angles = angles_between(target[None].double(), truth[None].double())[0][inside]
        assert float(angles.max()) < 2.5  # one pixel
        torch.testing.assert_close(target.norm(dim=0)[inside], torch.ones(int(inside.sum())))

    @pytest.mark.parametrize("y", ["down", "up"])
    def test_a_ball_beside_the_middle(self, y: Any) -> None:
        """Where the window lies plays no part: what is turned is what each pixel says."""
        ball, task = hemisphere(up=y == "up"), Dense(y=y)
        context = GridContext((96, 96), (30, 10, 40, 40), (80, 80), True, 25.0)
        target = task.prepare(task.read(ball), fitted(task, ball), context)
        affine = torch.tensor(context.affine(), dtype=torch.float64)
        grid = F.affine_grid(affine[None], [1, 1, 80, 80], align_corners=False)[
            0
        ]  # where each pixel was, from the middle
        cos, sin = np.cos(np.radians(25)), np.sin(np.radians(25))
        x, down = -(cos * grid[..., 0] + sin * grid[..., 1]), cos * grid[..., 1] - sin * grid[..., 0]
        truth = torch.stack([x, -down if y == "up" else down, -(1 - x**2 - down**2).clamp(min=0).sqrt()])
        known = ~target[0].isnan()
        assert float(known.double().mean()) > 0.9
        angles = angles_between(target[None].double(), truth[None])[0]
        assert float(angles[known & (grid.norm(dim=-1) < 0.85)].max()) < 3

    def test_what_lies_beyond_the_picture_is_unknown(self) -> None:
        task, value = Dense(), np.arange(64, dtype=np.float32).reshape(8, 8)
        state = fitted(task, value)
        turned = task.prepare(task.read(value), state, GridContext((8, 8), (0, 0, 8, 8), (8, 8), angle=45.0))
        corners = turned[0, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.isnan().all()
        assert not turned[0, 2:6, 2:6].isnan().any()
        wide = GridContext((8, 8), (-4, 0, 16, 8), (16, 8), angle=360.0)  # bars above and below
        target = task.prepare(task.read(value), state, wide)
        assert target[0, :4].isnan().all()
        assert target[0, 12:].isnan().all()
        np.testing.assert_allclose(as_reported(target[None], state)[0, 0, 4:12], value, atol=1e-4)

    def test_decoding_is_the_way_back(self) -> None:
        """Exact where nothing is scaled; of the picture's size, in the map's unit, and unknown where it was cut off."""
        rng = np.random.default_rng(0)
        normals = rng.normal(size=(12, 10, 3))
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        for value, task in [(rng.uniform(500, 900, (12, 10)), Dense(scale=100)), (normals, Dense())]:
            state = fitted(task, value)
            context = GridContext((12, 10), (2, 1, 8, 6), (8, 6), flipped=True)
            target = task.prepare(task.read(value), state, context)
            ((back,),) = task.decode(target[None], [state], [context])
            assert (back.shape, back.dtype) == (value.shape, np.float32)
            np.testing.assert_allclose(back[2:10, 1:7], value[2:10, 1:7] / task.scale, atol=1e-5)
            assert np.isnan(back[:2]).all()
            assert np.isnan(back[:, 7:]).all()
        ((back,),) = task.decode(torch.randn(1, 3, 5, 4), [state], [GridContext((33, 47), (0, 0, 33, 47), (5, 4))])
        assert back.shape == (33, 47, 3)
        np.testing.assert_allclose(np.linalg.norm(back, axis=-1), 1, atol=1e-5)


def head_tokens(task: Dense, value: Any, grid: tuple[int, int] = (4, 3)) -> tuple[Any, Tokens]:
    values = torch.randn(3, grid[0] * grid[1], 16)
    span = Span("", 0, values.shape[1], "grid", grid, (8.0, 8.0))
    head = task.build([fitted(task, value)], 16)
    return head, Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool), (span,))


class TestLoss:
    def test_hubers_error_by_hand(self) -> None:
        head, _ = head_tokens(Dense(), [[1.0, 2.0]])
        output = torch.tensor([[[[0.0, 0.5, 3.0, 7.0]]]])
        values = torch.tensor([[[[0.5, 0.5, 0.0, float("nan")]]]])
        total, weight = head.loss(output, {"values": values})
        assert (total.tolist(), weight.tolist()) == ([0.25 + 0 + (2 * 3 - 1)], [3.0])

    def test_one_minus_cosine_by_hand(self) -> None:
        head, _ = head_tokens(Dense(), hemisphere(8))
        said = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, -1]]).T[None, :, None]
        true = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [float("nan")] * 3]).T[None, :, None]
        total, weight = head.loss(said, {"values": true})
        assert total.tolist() == pytest.approx([0 + 0.2])
        assert weight.tolist() == [2.0]

    @pytest.mark.parametrize("value", [np.array([[1.0, 2.0]]), hemisphere(8)], ids=["values", "directions"])
    def test_unknown_pixels_reach_neither_loss_nor_gradient(self, value: np.ndarray) -> None:
        head, tokens = head_tokens(Dense(), value)
        output = head.predict_output(tokens).detach().requires_grad_()
        values = F.normalize(torch.randn_like(output), dim=1)
        values[:, :, 5:, 3:] = torch.nan
        values[2] = torch.nan
        total, weight = head.loss(output, {"values": values})
        total.sum().backward()
        known = ~values[:, :1].isnan()
        assert float(weight) == float(known.sum())
        assert torch.isfinite(total).all()
        assert torch.isfinite(output.grad).all()
        assert not output.grad[~known.expand_as(output)].any()
        assert output.grad[known.expand_as(output)].any()
        first = {"values": values[:1]}
        rest = {"values": values[1:]}
        torch.testing.assert_close(head.loss(output[:1], first)[0] + head.loss(output[1:], rest)[0], total)
        nothing, none = head.loss(output[2:], {"values": values[2:]})
        assert (nothing.tolist(), none.tolist()) == ([0.0], [0.0])

    def test_the_head_answers_at_the_encoders_resolution_one_row_at_a_time(self) -> None:
        for value, channels in [(np.array([[1.0, 2.0]]), 1), (hemisphere(8), 3)]:
            head, tokens = head_tokens(Dense(), value)
            together = head.predict_output(tokens)
            assert together.shape == (3, channels, 32, 24)
            alone = head.predict_output(tokens.take(torch.tensor([1])))
            torch.testing.assert_close(alone, together[1:2], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.norm(dim=1), torch.ones(3, 32, 24))

    def test_it_starts_at_the_mean(self) -> None:
        for value in ([[1.0, 3.0]], hemisphere(8), 10 ** np.linspace(0, 4, 50)[None]):
            task = Dense()
            head, tokens = head_tokens(task, value)
            state = fitted(task, value)
            torch.nn.init.zeros_(head.cells.weight)
            baseline = task.baseline([state], {"values": torch.zeros(3, len(averages(state)), 32, 24)})
            torch.testing.assert_close(head.predict_output(tokens), baseline)

    def test_contract_of_directions(self) -> None:
        rng = np.random.default_rng(0)
        cells = [np.roll(hemisphere(16), int(n), 1) for n in rng.integers(0, 16, 4)]
        span = Span("photo", 0, 16, "grid", (4, 4), (4.0, 4.0))
        view = Tokens(torch.randn(4, 16, testing.shared.WIDTH), torch.ones(4, 16, dtype=torch.bool), (span,))
        testing.check_task(Dense(), cells, view, [whole(16, 16)] * 4)


class TestScores:
    def test_errors_in_the_unit_of_the_map(self) -> None:
        task = Dense(scale=10)
        state = fitted(task, [[100.0, 200.0, 400.0]])
        metric = task.metric([state])
        assert metric.compute() == [None]
        true = as_learned(torch.tensor([[[10.0, 20.0, float("nan")]]]), state)[None]
        said = as_learned(torch.tensor([[[13.0, 16.0, 99.0]]]), state)[None]
        metric.update(said, {"values": true})
        assert metric.compute() == [{"rmse": pytest.approx((25 / 2) ** 0.5, rel=1e-5), "abs_err": pytest.approx(3.5)}]
        metric.reset()
        metric.update(said, {"values": torch.full_like(true, torch.nan)})
        assert metric.compute() == [None]

    def test_angles_by_hand(self) -> None:
        task = Dense()
        state = fitted(task, hemisphere(16))
        degrees = torch.tensor([0.0, 0.01, 10, 20, 25, 80, 50])
        said = torch.stack([degrees.deg2rad().cos(), degrees.deg2rad().sin(), torch.zeros(7)])[None, :, None]
        true = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).repeat(1, 1, 1, 7)
        true[..., 6] = torch.nan
        metric = task.metric([state])
        metric.update(said[..., :3], {"values": true[..., :3]})
        metric.update(2 * said[..., 3:], {"values": true[..., 3:]})  # its length plays no part
        (scores,) = metric.compute()
        assert list(scores) == ["angle_mean", "rmse", "abs_err", "within_11", "within_22", "within_30"]
        assert scores["angle_mean"] == pytest.approx(135.01 / 6, abs=1e-5)
        assert (scores["within_11"], scores["within_22"], scores["within_30"]) == pytest.approx((3 / 6, 4 / 6, 5 / 6))
        error = (said - true)[..., :6]
        assert scores["rmse"] == pytest.approx(float(error.square().mean().sqrt()), rel=1e-5)
        assert scores["abs_err"] == pytest.approx(float(error.abs().mean()), rel=1e-5)

    def test_guessing(self) -> None:
        value = np.array([[1.0, 2.0, 9.0, np.nan]])
        task = Dense()
        state = fitted(task, value)
        target = task.collate([[task.prepare(task.read(value), state, whole(1, 4))]])
        metric = task.metric([state])
        metric.update(task.baseline([state], target), target)
        assert metric.compute()[0]["rmse"] == pytest.approx(np.nanstd(value), rel=1e-6)
        ((said,),) = task.decode(task.baseline([state], target), [state], [whole(1, 4)])
        np.testing.assert_allclose(said, 4)


class TestShowing:
    def test_a_map_beside_the_truth(self) -> None:
        task = Dense()
        value = np.linspace(2, 6, 64).reshape(8, 8)
        value[0, 0] = np.nan
        state, true = fitted(task, value), task.read(value)
        right = task.show(value.astype(np.float32), true, state, None)
        worse = task.show(value.astype(np.float32) + 1, true, state, None)
        assert (right.error, worse.error) == (pytest.approx(0, abs=1e-6), pytest.approx(1 / np.nanstd(value), rel=1e-4))
        assert right.said.text == right.true.text == "2.063 to 6"
        pixels = np.array(PIL.Image.open(io.BytesIO(right.true.data)).convert("RGB"))
        assert pixels[0, 0].tolist() == [0, 0, 0]  # not known
        assert pixels[-1, -1].tolist() == [253, 231, 37]
        assert task.show(value.astype(np.float32), None, state, None).error is None

    def test_normals_are_colours_and_errors_angles(self) -> None:
        ball = hemisphere(16)
        levels = np.nan_to_num((ball + 1) / 2 * 255).round().astype(np.uint8)
        task = Dense()
        state, true = fitted(task, levels), task.read(levels)
        flipped = ball * np.array([-1, 1, 1], np.float32)
        right, wrong = (task.show(np.nan_to_num(said, nan=1.0), true, state, None) for said in (ball, flipped))
        assert right.error < 0.5 < 20 < wrong.error
        pixels = np.array(PIL.Image.open(io.BytesIO(right.true.data)).convert("RGB"))
        assert np.abs(pixels[:: len(pixels) // 16, :: len(pixels) // 16].astype(int) - levels).max() <= 1

    def test_three_numbers_a_pixel(self) -> None:
        task = Dense()
        value = np.random.default_rng(0).uniform(0, 9, (8, 8, 3))
        answer = task.show(value.astype(np.float32), task.read(value), fitted(task, value), None)
        assert answer.error == pytest.approx(0, abs=1e-6)
        assert answer.said.kind == "picture"


def test_a_twin_of_numpy() -> None:
    """Loss and metric of random maps are what a few lines of NumPy say."""
    rng, task = np.random.default_rng(0), Dense()
    maps = [rng.normal(50, 9, (6, 5)) for _ in range(4)]
    for one in maps:
        one[rng.random(one.shape) < 0.3] = np.nan
    state = fitted(task, *maps)
    target = task.collate([[task.prepare(task.read(one), state, whole(6, 5))] for one in maps])
    said = rng.normal(size=(4, 1, 6, 5)).astype(np.float32)
    known = np.concatenate([m[np.isfinite(m)] for m in maps])
    mean, std = known.mean(), known.std()
    error = np.abs(said[:, 0] - (np.stack(maps) - mean) / std)
    expected = np.nansum(np.where(error <= 1, error**2, 2 * error - 1))
    head = task.build([state], 8)
    total, weight = head.loss(torch.from_numpy(said), target)
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert float(weight) == len(known)
    metric = task.metric([state])
    metric.update(torch.from_numpy(said), target)
    (scores,) = metric.compute()
    assert scores["rmse"] == pytest.approx(std * np.sqrt(np.nanmean(error**2)), rel=1e-5)
    assert scores["abs_err"] == pytest.approx(std * np.nanmean(error), rel=1e-5)


def test_angles_are_exact_where_they_are_small() -> None:
    first = torch.tensor([1.0, 0, 0], dtype=torch.float64).view(1, 3, 1, 1)
    second: Tensor = torch.tensor([1.0, 1e-7, 0], dtype=torch.float64).view(1, 3, 1, 1)
    assert float(angles_between(first, second)) == pytest.approx(np.degrees(1e-7), rel=1e-6)
