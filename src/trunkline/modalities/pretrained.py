"""Encoders that others have trained, by name: what all modalities' have in common.

`encoder: library:name`. The architecture is part of the input's state, so a run folder is complete: loading it
builds the layers without their weights, which lie in the run's own file. Weights come from elsewhere once, before
training (`load_pretrained`).

Shape legend: `n` rows, `L` tokens, `F` features of the pretrained network, `D` width.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import pickle
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from trunkline.errors import ConfigError, suggest
from trunkline.modalities.contract import Encoder
from trunkline.pretrained import Tuning
from trunkline.types import Tokens

CACHE_BYTES = 1 << 30
SCRATCH = "scratch"  # the name of the network that nobody has trained
Lengths = tuple[dict[str, list[int]], list[int]]


def library_and_name(encoder: str, libraries: Sequence[str]) -> tuple[str, str]:
    """`timm:resnet18` → `("timm", "resnet18")`.

    Raises:
        ConfigError: it does not begin with one of the libraries.
    """
    library, _, name = encoder.partition(":")
    if library not in libraries or not name:
        forms = " or ".join(f"{known}:NAME" for known in libraries)
        raise ConfigError(f"encoder: {encoder!r} does not say where it is from. Give {forms}.")
    return library, name


def is_offered(*modules: str) -> bool:
    """Whether a network that needs these modules may be chosen by default: they can be imported (none of them is), and
    the environment does not say `TRUNKLINE_PACKAGED=off`.
    """
    if os.environ.get("TRUNKLINE_PACKAGED") == "off":
        return False
    return all(importlib.util.find_spec(module) is not None for module in modules)


def are_usual(options: dict[str, Any], constructor: Callable[..., Any]) -> bool:
    """Whether options have the values that they have where nothing is said."""
    usual = inspect.signature(constructor).parameters
    return all(value == usual[name].default for name, value in options.items())


def packaged(encoder: str, known: dict[str, tuple[str, str, str]], *, extra: str | None = "pretrained") -> Path:
    """Where the weights of `package:NAME` lie.

    Args:
        encoder: `package:NAME`.
        known: by name the package as it is installed, the module it has, and the path inside of it.
        extra: that brings all of these packages, if any does.

    Raises:
        ConfigError: the name is not known, or its package is not installed.
    """
    name = encoder.partition(":")[2]
    if name not in known:
        raise ConfigError(f"encoder: {encoder!r} is not known.{suggest(name, known)}")
    package, module, path = known[name]
    spec = importlib.util.find_spec(module)  # the package itself, whose own dependencies are many, is not imported
    if spec is None or not spec.submodule_search_locations:
        also = f' (or all of them with "trunkline[{extra}]")' if extra else ""
        raise ConfigError(
            f'encoder: {encoder!r} needs the package {package}, which is missing; pip install "{package}"{also}'
        )
    return Path(spec.submodule_search_locations[0]) / path


def projection(features: int, width: int, *, freeze: bool) -> nn.Sequential:
    """A norm, dropout and a linear map; a frozen network's features are many, and cannot fit the task, so more drop."""
    return nn.Sequential(nn.LayerNorm(features), FeatureDropout(0.4 if freeze else 0.1), nn.Linear(features, width))


class PretrainedEncoder(Encoder):
    """A network that others have trained, then a norm, dropout and a linear map of its features to the width.

    Batch normalisation runs on its running statistics, in training too, so that a row's tokens depend on no other row.
    A frozen network is not trained at all: it runs as in evaluation and, where `keep` is set and it has no adapters,
    once a row.

    Args:
        network: from elsewhere.
        features: `F`.
        width: `D`.
        weights: puts the pretrained weights into the network.
        tuning: how it goes on learning.
        keep: keep a frozen network's features of each row: the rows' values come again unchanged.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        features: int,
        width: int,
        weights: Callable[[nn.Module], None],
        tuning: Tuning,
        keep: bool,
    ) -> None:
        super().__init__()
        tuning.check()
        tuning.apply(network)
        self.network = network
        self.project = projection(features, width, freeze=tuning.is_still)
        self.weights = weights
        self.tuning = tuning
        self.kept = KeptFeatures(CACHE_BYTES) if keep and tuning.is_still else None

    def load_pretrained(self) -> None:
        """Weights from elsewhere."""
        self.tuning.load(self.network, self.weights)

    def pretrained_parameters(self) -> Iterable[tuple[nn.Parameter, float]]:
        """Of the network that others have trained; see `Tuning.rates`."""
        return self.tuning.rates(self.network)

    def train(self, mode: bool = True) -> PretrainedEncoder:
        """Modes of the layers; see the class."""
        super().train(mode)
        for module in self.network.modules():
            if self.tuning.is_still or isinstance(module, nn.modules.batchnorm._NormBase):
                module.training = False
        return self

    def layers_in_turn(self) -> Sequence[nn.Module]:
        """Of the network, where it runs for every row: the largest list of layers of one kind. Not of one that leaves
        layers out at random (`layerdrop`).
        """
        if self.kept is not None or bool(getattr(getattr(self.network, "config", None), "layerdrop", False)):
            return ()
        lists = [m for m in self.network.modules() if isinstance(m, nn.ModuleList | nn.Sequential) and len(m) > 1]
        alike = [list(one) for one in lists if len({type(layer) for layer in one}) == 1]
        return max(alike, key=_num_weights, default=())

    def _apply(self, fn: Any, recurse: bool = True) -> PretrainedEncoder:
        if self.kept is not None:
            self.kept.clear()  # they lie on the device that is left, and in the precision
        super()._apply(fn, recurse)
        return self

    def features(self, values: dict[str, Tensor]) -> Tensor:
        """`[n, L, F]` for these values, each row's from its own values alone."""
        if not self.tuning.is_still:
            return self.run(values)
        with torch.no_grad():
            if self.kept is None or torch.compiler.is_compiling():
                return self.run(values)
            return self.kept.get(values, self.lengths(values), self.run)

    @abstractmethod
    def run(self, values: dict[str, Tensor]) -> Tensor:
        """The network alone, `[n, L, F]`."""

    def lengths(self, values: dict[str, Tensor]) -> Lengths | None:
        """Where rows differ in length: how long each row's values are (by name), and how many tokens it has."""
        return None

    @abstractmethod
    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """Values → tokens `[n, L, D]`."""


def _num_weights(layers: Iterable[nn.Module]) -> int:
    return sum(p.numel() for layer in layers for p in layer.parameters())


class FeatureDropout(nn.Module):
    """Dropout of features, the same ones in all tokens of a row: an average over tokens must not undo it.

    Args:
        rate: probability.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """`[n, L, F]` → the same shape."""
        if not self.training:
            return x
        return x * nn.functional.dropout(x.new_ones(len(x), 1, x.shape[2]), self.rate)


class KeptFeatures:
    """Features of rows that were seen before, by the bytes of their values, while there is room.

    Args:
        room: bytes.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.left = self.room
        self.rows: dict[bytes, Tensor] = {}

    def get(
        self, values: dict[str, Tensor], lengths: Lengths | None, run: Callable[[dict[str, Tensor]], Tensor]
    ) -> Tensor:
        """What `run` says about the values, asked only about rows that are new; padded with zeros to the longest."""
        of_values, of_tokens = ({}, None) if lengths is None else lengths
        keys = [precision_of(values) + key for key in row_keys(values, of_values)]
        if new := [i for i, key in enumerate(keys) if key not in self.rows]:
            index = torch.tensor(new, device=next(iter(values.values())).device)
            made = dict(zip(new, run({k: v.index_select(0, index) for k, v in values.items()})))
            made = {i: row if of_tokens is None else row[: of_tokens[i]] for i, row in made.items()}
        else:
            made = {}
        rows = [made[i] if i in made else self.rows[key] for i, key in enumerate(keys)]
        for i, row in made.items():
            if row.nbytes <= self.left:
                self.left -= row.nbytes
                self.rows[keys[i]] = row.clone()
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptFeatures:
        return KeptFeatures(self.room)


def precision_of(values: dict[str, Tensor]) -> bytes:
    """In what precision a network runs on these values now: what it says in another is not the same."""
    kind = next(iter(values.values())).device.type
    return str(torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else "").encode()


def row_keys(values: dict[str, Tensor], lengths: dict[str, list[int]]) -> list[bytes]:
    """For each row a digest of its values, without their padding."""
    arrays = {name: value.detach().cpu().contiguous().numpy() for name, value in values.items()}
    keys = []
    for row in range(len(next(iter(arrays.values())))):
        digest = hashlib.blake2b(digest_size=16)
        for name, array in arrays.items():
            cell = array[row][: lengths[name][row]] if name in lengths else array[row]
            digest.update(str(np.shape(cell)).encode() + cell.tobytes())
        keys.append(digest.digest())
    return keys


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Weights of a file, safetensors or PyTorch's own (nothing else pickled is read).

    Raises:
        ConfigError: there is no such file, it holds no weights or more than weights, or those of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"weights: there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(path)
        else:
            weights = torch.load(path, weights_only=True, map_location="cpu")
            weights = weights.get("state_dict", weights)
        weights = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
    # What PyTorch and safetensors raise of a file that is none of theirs, is torn, or would run code.
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, ValueError, EOFError, OSError, LookupError,
            TypeError, AttributeError) as error:  # fmt: skip
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"weights: {path} holds none that can be read: {first}") from error
    fit_weights(network, weights, str(path))


def fit_weights(network: nn.Module, weights: dict[str, Any], source: str) -> None:
    """Put weights into a network that may lack the layers that classify.

    Raises:
        ConfigError: the network has others.
    """
    own = network.state_dict()
    wrong = [name for name, value in own.items() if name not in weights or weights[name].shape != value.shape]
    if wrong:
        raise ConfigError(
            f"weights: {source} holds those of another network: {wrong[0]!r} is missing or of another shape"
        )
    network.load_state_dict({name: weights[name] for name in own})
