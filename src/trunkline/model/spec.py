"""What a model is made of, before its layers exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trunkline.fusion import Concat, Fusion
from trunkline.modalities import Modality
from trunkline.model.network import Network
from trunkline.schema import InputColumn, Preprocessing, Schema, TaskColumn
from trunkline.tasks import Task
from trunkline.trunks import Hard, Trunk


@dataclass(frozen=True)
class MultiTaskModel:
    """One network on several inputs for several tasks; `trunkline.fit` trains it.

    Attributes:
        inputs: by name; a bare modality reads the column of that name.
        tasks: by name; a bare task learns the column of that name.
        fusion: how inputs come together.
        trunk: what tasks share.
        width: `D`, numbers per token everywhere.
        align: weight of a contrastive loss that brings the inputs of a row together (`model/alignment.py`); 0: none.

    Example:
        >>> from trunkline import modalities, tasks
        >>> MultiTaskModel(
        ...     inputs={"photo": modalities.Image(size=64), "price": modalities.Number()},
        ...     tasks={"kind": tasks.Category(), "sold": tasks.Binary()},
        ... ).width
        128
    """

    inputs: Mapping[str, InputColumn | Modality]
    tasks: Mapping[str, TaskColumn | Task]
    fusion: Fusion = field(default_factory=Concat)
    trunk: Trunk = field(default_factory=Hard)
    width: int = 128
    align: float = 0.0

    def schema(self) -> Schema:
        """Names bound to columns.

        Raises:
            ConfigError: the bindings do not fit.
        """
        return Schema(self.inputs, self.tasks)

    def build(self, preprocessing: Preprocessing) -> Network:
        """The layers, for these states."""
        return Network(preprocessing, self.fusion, self.trunk, self.width, self.align)
