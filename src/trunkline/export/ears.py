"""Pretrained networks of sounds: each is a graph of its own, which hears one sound after the other.

So no sound is padded to another's length, which would change what such networks say, and the network's graph reads
features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from trunkline.export.tracing import trace
from trunkline.modalities.pretrained_audio import PretrainedAudio
from trunkline.model import Network
from trunkline.types import Batch

TRACED = 16000  # samples, at least those of one token

Hear = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def listeners(network: Network) -> dict[str, PretrainedAudio]:
    """Encoders that are pretrained networks of sounds, by name."""
    units = zip(network.preprocessing.encoders, network.encoders)
    return {unit.name: encoder for unit, encoder in units if isinstance(encoder, PretrainedAudio)}


def hearing(batch: Batch, hear: Mapping[str, Hear]) -> Batch:
    """The batch with what was heard in place of sounds, `{"features", "count"}`.

    Args:
        batch: with samples.
        hear: by encoder.
    """
    inputs = {
        name: replace(part, values=hear[name](part.values)) if name in hear else part
        for name, part in batch.inputs.items()
    }
    return replace(batch, inputs=inputs)


def write_ears(network: Network, path: Path) -> dict[str, dict[str, Any]]:
    """A file for each beside that of the network; by encoder, what `Model.hear` must know."""
    told = {}
    for place, (name, encoder) in enumerate(listeners(network).items()):
        file, ear = f"{path.stem}.ear{place}.onnx", encoder.ear
        shapes = {"wave": {1: Dim("samples", min=max(2, encoder.hearing["least"]), max=2**30)}}
        wave = torch.zeros(1, max(TRACED, 2 * encoder.hearing["least"]))
        trace(ear.eval(), {"wave": wave}, shapes, ["wave"], ["features"], path.parent / file)
        told[name] = {"hears": {"file": file, **encoder.hearing}}
    return told
