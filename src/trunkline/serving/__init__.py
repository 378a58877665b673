"""A `Predictor` → HTTP, and a page to try it. The command line is the only one that opens a port."""

from trunkline.serving.app import make_app
from trunkline.serving.limits import Limits

__all__ = ["Limits", "make_app"]
