"""Training a network, with Lightning. The only room that knows it."""

from trunkline.training.loop import Fitted, Settings, train

__all__ = ["Fitted", "Settings", "train"]
