"""Predictions → JSON. A picture, a map or a sound among them is a file in base64."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from trunkline.files import plain_json
from trunkline.sounds import Sound


def as_json(said: Any) -> Any:
    """A prediction, or a part of one."""
    if isinstance(said, Mapping):
        return {str(name): as_json(value) for name, value in said.items()}
    if isinstance(said, Sound):
        return _file("audio/wav", _wav(said))
    if isinstance(said, np.ndarray) and said.ndim >= 2:
        return _file("application/x-npy", _npy(said)) if said.dtype.kind == "f" else _file("image/png", _png(said))
    if isinstance(said, (list, tuple)):
        return [as_json(value) for value in said]
    return plain_json(said)


def _file(kind: str, content: bytes) -> dict[str, str]:
    return {"mime": kind, "base64": base64.b64encode(content).decode()}


def _wav(sound: Sound) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, sound.wave, sound.rate, format="WAV")
    return out.getvalue()


def _png(indices: np.ndarray) -> bytes:
    """Of class indices."""
    out = io.BytesIO()
    Image.fromarray(indices).save(out, "PNG")
    return out.getvalue()


def _npy(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values, allow_pickle=False)
    return out.getvalue()
