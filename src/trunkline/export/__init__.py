"""A predictor → ONNX, compared with the original.

Importing this loads nothing, so that `Model` and `Writer` run where PyTorch is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trunkline.export.example import example_batch
    from trunkline.export.model import Model
    from trunkline.export.onnx import Exported, export_onnx
    from trunkline.export.quantizing import Quantized, check_precision, quantize
    from trunkline.export.telling import tell, tell_smaller

_WHERE = {
    "example_batch": "example",
    "Exported": "onnx",
    "Model": "model",
    "export_onnx": "onnx",
    **dict.fromkeys(("Quantized", "check_precision", "quantize"), "quantizing"),
    **dict.fromkeys(("tell", "tell_smaller"), "telling"),
}

__all__ = [
    "Exported",
    "Model",
    "Quantized",
    "check_precision",
    "example_batch",
    "export_onnx",
    "quantize",
    "tell",
    "tell_smaller",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
