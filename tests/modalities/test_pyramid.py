"""Feature pyramids of pictures: several grids of one input, finest first, joined from the coarsest down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from trunkline import testing
from trunkline.modalities import Image
from trunkline.modalities.picture_sizes import finest_stride, pyramid_size, pyramid_strides
from trunkline.modalities.pyramid import SimpleScales, join_top_down
from trunkline.types import Tokens


def pictures(count: int = 3, height: int = 40, width: int = 56) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3)).astype(np.uint8) for _ in range(count)]


def encoder_and_pixels(width: int = 24, **options: Any) -> tuple[Any, Tensor]:
    modality, values = Image(**options), pictures()
    state = json.loads(json.dumps(modality.fit(values)))
    pixels = modality.collate([modality.prepare(v, state, None)[0] for v in values])["pixels"]
    torch.manual_seed(0)
    return modality.build_pyramid(state, width).eval(), pixels


def shapes(tokens: Tokens) -> list[tuple[int, ...]]:
    return [span.shape for span in tokens.spans]


def test_sizes_follow_the_median_picture() -> None:
    assert pyramid_size([(180, 240)] * 3) == (192, 256)
    assert pyramid_size([(1080, 1920)] * 3) == (128, 256)  # 144 is nearer to 128 than to 160
    assert pyramid_size([(160, 160), (128, 128), (128, 128)]) == (128, 128)
    assert pyramid_size([(40, 56)] * 3) == (40, 56)  # steps of 32 would be too coarse
    assert pyramid_size([(8, 8)]) == (16, 16)
    assert pyramid_size([(40, 56)], least=128) == (128, 128)
    assert pyramid_size([]) == (256, 256)


def test_strides_leave_two_tokens_a_side() -> None:
    assert [finest_stride((side, side)) for side in (16, 127, 128, 256)] == [4, 4, 8, 8]
    assert pyramid_strides((192, 256), 8) == (8, 16, 32)
    assert pyramid_strides((64, 64), 4) == (4, 8, 16, 32)
    assert pyramid_strides((16, 16), 4) == (4, 8)
    assert pyramid_strides((33, 256), 8) == (8, 16, 32)
    assert pyramid_strides((4, 64), 4) == (2,)
    assert pyramid_strides((512, 512), 64) == (64,)


@pytest.mark.parametrize(
    ("size", "stride", "grids"),
    [
        ((16, 24), None, [(4, 6), (2, 3)]),
        ((30, 17), None, [(8, 5), (4, 3), (2, 2)]),
        ((96, 128), None, [(12, 16), (6, 8), (3, 4)]),
        ((32, 32), 16, [(2, 2)]),
    ],
)
def test_levels_cover_the_picture(size: tuple[int, int], stride: int | None, grids: list[tuple[int, int]]) -> None:
    encoder, pixels = encoder_and_pixels(size=size, stride=stride)
    tokens = encoder({"pixels": pixels})
    assert shapes(tokens) == grids and tokens.mask.all()
    for span in tokens.spans:
        assert [n * s for n, s in zip(span.shape, span.stride)] == pytest.approx(size)


@pytest.mark.parametrize("side", [7, 8])
def test_scales_of_a_single_map_lie_where_they_say(side: int) -> None:
    """What rises from left to right still does so from half a token's width on, also where a side is odd."""
    scales = SimpleScales(1, (side, side))
    ramp = ((torch.arange(side) + 0.5) / side).expand(1, 1, side, side)
    half = scales(ramp)[2]
    n = scales.grids[2][1]
    torch.testing.assert_close(half[0, 0, 0], (torch.arange(n) + 0.5) / n)


def test_the_join_is_the_papers() -> None:
    """`m_l = c_l + upsample(m_{l+1})`, nearest, by hand."""
    fine, middle, coarse = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 3, 2), torch.randn(1, 2, 2, 1)
    joined = join_top_down([fine, middle, coarse])
    assert torch.equal(joined[2], coarse)
    torch.testing.assert_close(joined[1], middle + coarse[:, :, [0, 0, 1]][:, :, :, [0, 0]])
    torch.testing.assert_close(joined[0], fine + joined[1][:, :, [0, 0, 1, 1, 2]][:, :, :, [0, 0, 1, 1]])


def test_every_level_reaches_what_lies_below_it_and_no_more() -> None:
    """The finest hears of all laterals; the coarsest of its own alone, but of all stages."""
    encoder, pixels = encoder_and_pixels(size=32)
    tokens = encoder({"pixels": pixels})
    assert len(tokens.spans) == len(encoder.laterals) == 3
    for place, span in enumerate(tokens.spans):
        encoder.zero_grad()
        tokens.values[:, span.start : span.stop].square().sum().backward(retain_graph=True)
        reached = [bool(lateral.weight.grad.any()) for lateral in encoder.laterals]
        assert reached == [other >= place for other in range(3)]
        assert all(p.grad is not None for p in encoder.stages.parameters())
        assert [bool(one.weight.grad.any()) for one in encoder.levels.project] == [o == place for o in range(3)]


def test_what_is_left_open_is_chosen_for_places() -> None:
    choices = Image().choose_pyramid(pictures(3, 180, 240), 300)
    assert (choices["size"][0], choices["stride"][0], choices["encoder"][0]) == ((192, 256), 8, "scratch")
    assert set(choices) == set(Image().choose(pictures(3, 180, 240), 300, is_read=True))
    small = Image().choose_pyramid(pictures(), 300)
    assert (small["size"][0], small["stride"][0]) == ((40, 56), 4)
    assert Image(size=256).choose_pyramid(pictures(), 300)["stride"][0] == 8
    assert Image(encoder="timm:resnet18").choose_pyramid(pictures(3, 180, 240), 300)["size"][0] == (192, 256)
    assert all(reason for _, reason in choices.values())


class TestPretrained:
    """Tiny networks with random weights: no hub is asked."""

    NAMES = ("timm:test_resnet.r160_in1k", "timm:test_vit.r160_in1k", "torchvision:squeezenet1_1")

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("timm")
        pytest.importorskip("torchvision")

    @pytest.mark.parametrize(
        ("name", "grids"),
        [
            (NAMES[0], [(16, 24), (8, 12), (4, 6), (2, 3)]),
            (NAMES[1], [(8, 12), (4, 6), (2, 3)]),  # no stages: twice, once and half its one grid
            (NAMES[2], [(15, 23), (7, 11), (3, 5)]),
            ("timm:tf_efficientnet_lite0", [(16, 24), (8, 12), (4, 6), (2, 3)]),
            ("torchvision:resnet18", [(16, 24), (8, 12), (4, 6), (2, 3)]),
        ],
    )
    def test_levels_are_the_stages(self, name: str, grids: list[tuple[int, int]]) -> None:
        encoder, pixels = encoder_and_pixels(size=(64, 96), encoder=name)
        tokens = encoder({"pixels": pixels})
        assert shapes(tokens) == grids
        for span in tokens.spans:
            assert [n * s for n, s in zip(span.shape, span.stride)] == pytest.approx((64, 96))
        assert all(p.grad is None for p in encoder.network.parameters())

    def test_fine_strides_are_left_out_of_large_pictures(self) -> None:
        encoder, _ = encoder_and_pixels(size=128, encoder=self.NAMES[0])
        assert [shape[:2] for shape in encoder.shapes] == [(16, 16), (8, 8), (4, 4)]

    @pytest.mark.parametrize("name", NAMES)
    def test_they_keep_the_contract(self, name: str) -> None:
        testing.check_modality(Image(size=64, encoder=name), pictures(4, 40, 40), tolerance=1e-4)

    def test_levels_are_what_the_network_says_there(self) -> None:
        encoder, pixels = encoder_and_pixels(size=64, encoder="torchvision:resnet18")
        x = (pixels.float() / 255 - encoder.mean) / encoder.std
        layers = encoder.network.layers
        for level, last in zip(encoder.network(x), (4, 5, 6, 7)):  # conv1 bn1 relu maxpool layer1 …
            torch.testing.assert_close(level, layers[: last + 1](x).permute(0, 2, 3, 1))

    def test_features_of_all_levels_are_kept(self) -> None:
        encoder, pixels = encoder_and_pixels(size=64, encoder=self.NAMES[0])
        seen: list[int] = []
        run = encoder.run
        encoder.run = lambda values: (seen.append(len(values["pixels"])), run(values))[1]
        first = encoder({"pixels": pixels[:2]}).values
        again = encoder({"pixels": pixels[[2, 0, 1]]}).values
        assert seen == [2, 1]
        torch.testing.assert_close(again[1:], first)
        encoder.kept = None
        torch.testing.assert_close(encoder({"pixels": pixels[:2]}).values, first, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("name", NAMES[:2])
    def test_trained_ones_learn_through_every_level(self, name: str) -> None:
        encoder, pixels = encoder_and_pixels(size=64, encoder=name, freeze=False)
        encoder.train()({"pixels": pixels}).finest().values.square().sum().backward()
        assert all(p.grad is not None for p in [*encoder.finer.parameters(), *encoder.project.parameters()])
        assert any(p.grad is not None for p in encoder.network.parameters())
        assert {id(p) for p, _ in encoder.pretrained_parameters()} == {id(p) for p in encoder.network.parameters()}

    @pytest.mark.parametrize("name", NAMES[:2])
    def test_weights_come_from_a_file(self, tmp_path: Path, name: str) -> None:
        import timm

        torch.manual_seed(1)
        theirs = timm.create_model(name.partition(":")[2], pretrained=False, img_size=64) if "vit" in name else None
        theirs = timm.create_model(name.partition(":")[2], pretrained=False) if theirs is None else theirs
        save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
        encoder, _ = encoder_and_pixels(size=64, encoder=name, weights=str(tmp_path / "weights.safetensors"))
        encoder.load_pretrained()
        network = encoder.network.network if "vit" in name else encoder.network
        expected = theirs.state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in network.model.state_dict().items())
