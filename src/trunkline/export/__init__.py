"""A predictor → one ONNX file, compared with the original."""

from trunkline.export.onnx import Exported, export_onnx

__all__ = ["Exported", "export_onnx"]
