"""Training a network, with Lightning. The only room that knows it."""

from trunkline.training.loop import Fitted, Rows, Settings, train

__all__ = ["Fitted", "Rows", "Settings", "train"]
