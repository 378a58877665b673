"""`type:` and options → a component that can be made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from trunkline.balancers import CATALOG as BALANCERS
from trunkline.config.options import signature_of
from trunkline.fusion import CATALOG as FUSION
from trunkline.modalities import CATALOG as MODALITIES
from trunkline.tasks import CATALOG as TASKS
from trunkline.trunks import CATALOG as TRUNKS

AUTO = "auto"  # a type that is chosen from the column's cells
Level = Literal["auto", "losses", "features", "last", "sketch", "trunk", "trunk-lean"]


@dataclass(frozen=True, kw_only=True)
class ComponentConfig:
    """A type and its options, both known to be good.

    Attributes:
        type: a name in the catalog, or `my_package.my_module:MyClass`; `AUTO` until it is chosen.
        options: what the config says to its constructor.
        component: the class; `None` only while a config with an unknown type is searched for further faults.
    """

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    component: Any

    def complete(self) -> Self:
        """The same with every option that has a value written out, so that no later default changes its meaning."""
        schema = signature_of(self.component).items()
        defaults = {name: p.default for name, p in schema if p.default not in (None, p.empty)}
        return replace(self, options={**defaults, **self.options})

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The same with these options, too."""
        return replace(self, options={**self.options, **options})

    def make(self) -> Any:
        """The component: a modality, task, fusion, trunk or balancer."""
        return self.component(**self.options)


@dataclass(frozen=True, kw_only=True)
class InputConfig(ComponentConfig):
    """An input: a modality and the column it reads.

    Attributes:
        column: its name in the table.
        share: the input whose encoder reads this one, too.
        reason: why it has this type, where the config left that open.
    """

    column: str
    share: str | None = None
    reason: str | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class TaskConfig(ComponentConfig):
    """A task: its kind, its target column, the input it is bound to, and how much it is preferred.

    Attributes:
        column: its name in the table.
        of: the input it is bound to.
        weight: preference.
        share: the task whose head learns this one, too.
        added: how often tasks had been added to a trained network when this one was; `start:` writes it.
        reason: why it has this type, where the config left that open.
    """

    column: str
    of: str | None = None
    weight: float = 1.0
    share: str | None = None
    added: int = 0
    reason: str | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class BalancerConfig(ComponentConfig):
    """A balancer, where the engine takes the gradients for it (`None`: chosen later), and how often.

    Attributes:
        level: where.
        every: steps that the weights of one comparison serve.
    """

    level: Level | None = None
    every: int = 1


@dataclass(frozen=True)
class Catalogs:
    """The names that `type:` may have, by section."""

    modalities: Mapping[str, type[Any]] = field(default_factory=lambda: MODALITIES)
    tasks: Mapping[str, type[Any]] = field(default_factory=lambda: TASKS)
    fusion: Mapping[str, type[Any]] = field(default_factory=lambda: FUSION)
    trunks: Mapping[str, type[Any]] = field(default_factory=lambda: TRUNKS)
    balancers: Mapping[str, type[Any]] = field(default_factory=lambda: BALANCERS)
