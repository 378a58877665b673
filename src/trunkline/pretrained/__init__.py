"""What others have trained: where it is had from, and how it goes on learning. For inputs and tasks alike."""

from trunkline.arrays.extras import need
from trunkline.pretrained.hub import from_hub, resolved
from trunkline.pretrained.tuning import Tuning

__all__ = ["Tuning", "from_hub", "need", "resolved"]
