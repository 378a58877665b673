"""Sharing architectures, one file each. To add one: a file here, and a line in `CATALOG`."""

from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.trunks.hard import Hard
from trunkline.trunks.mmoe import MMoE
from trunkline.trunks.mtan import MTAN
from trunkline.trunks.transformer import Transformer

CATALOG: dict[str, type[Trunk]] = {"hard": Hard, "transformer": Transformer, "mmoe": MMoE, "mtan": MTAN}

__all__ = ["CATALOG", "MTAN", "Hard", "MMoE", "Taps", "Transformer", "Trunk", "TrunkModule"]
