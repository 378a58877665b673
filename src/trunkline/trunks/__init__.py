"""Sharing architectures, one file each. To add one: a file here, and a line in `CATALOG`."""

from trunkline.trunks.adapters import Adapters
from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.trunks.cross_stitch import CrossStitch
from trunkline.trunks.dselect_k import DSelectK
from trunkline.trunks.film import FiLM
from trunkline.trunks.hard import Hard
from trunkline.trunks.latents import Latents
from trunkline.trunks.lora import LoRA
from trunkline.trunks.mmoe import MMoE
from trunkline.trunks.mtan import MTAN
from trunkline.trunks.padnet import PADNet
from trunkline.trunks.ple import PLE
from trunkline.trunks.transformer import Transformer

CATALOG: dict[str, type[Trunk]] = {
    "hard": Hard,
    "transformer": Transformer,
    "mmoe": MMoE,
    "dselect_k": DSelectK,
    "ple": PLE,
    "cross_stitch": CrossStitch,
    "mtan": MTAN,
    "padnet": PADNet,
    "film": FiLM,
    "adapters": Adapters,
    "lora": LoRA,
    "latents": Latents,
}

__all__ = [
    "CATALOG",
    "MTAN",
    "PLE",
    "Adapters",
    "CrossStitch",
    "DSelectK",
    "FiLM",
    "Hard",
    "Latents",
    "LoRA",
    "MMoE",
    "PADNet",
    "Taps",
    "Transformer",
    "Trunk",
    "TrunkModule",
]
