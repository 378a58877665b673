"""A predictor → one ONNX file, compared with the original."""

from trunkline.export.example import example_batch
from trunkline.export.onnx import Exported, export_onnx

__all__ = ["Exported", "example_batch", "export_onnx"]
