"""The layers, put together. The only place where present rows are gathered and scattered.

Shape legend: `B` rows, `n` rows that have something, `L` tokens, `D` width, `V` views (1 or `G`), `G` tasks of a head.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.balancers import index_like
from trunkline.engine import Engine, Whole
from trunkline.errors import ConfigError
from trunkline.fusion import Fusion, LateModule
from trunkline.modalities import Encoder
from trunkline.model.alignment import make_alignment
from trunkline.model.blending import make_blending
from trunkline.model.building import build_encoders, build_heads
from trunkline.model.ensemble import averaged, members_loss
from trunkline.model.holding import Holder
from trunkline.model.late import at_rows, check_late, joined, late_loss
from trunkline.model.lots import Lot, Shared, at, divide, taken, worth_on
from trunkline.model.numbers import HeadWatch, Watch, answer
from trunkline.model.penalties import paid
from trunkline.model.placing import any_present, encode, encode_part, fill, scatter
from trunkline.model.splitting import split
from trunkline.model.views import Sources, Views
from trunkline.schema import HeadUnit, Preprocessing
from trunkline.tasks import Head
from trunkline.trunks import Trunk
from trunkline.types import Batch, Flags, Part, Tokens


@dataclass(frozen=True)
class HeadOutput:
    """What one head says, about which rows of the batch (`None`: all of them, in order)."""

    output: Any
    rows: Tensor | None


class Network(nn.Module):
    """Encoders → fusion → trunk → boundary → heads.

    Args:
        preprocessing: fitted states; they fix widths, vocabularies and task names.
        fusion: how inputs come together.
        trunk: what tasks share.
        width: `D`.
        align: weight of the contrastive loss between encoders, see `Alignment`; 0 for none.
    """

    def __init__(
        self, preprocessing: Preprocessing, fusion: Fusion, trunk: Trunk, width: int, align: float = 0.0
    ) -> None:
        super().__init__()
        schema = preprocessing.schema
        self.preprocessing = preprocessing
        self.encoders = nn.ModuleList(build_encoders(preprocessing, width))
        self.missing = nn.Parameter(torch.randn(len(self.encoders), width) * 0.02)
        if fusion.is_late:
            check_late(schema, trunk)
        self.keeps_all = trunk.wants_tokens
        keep = tuple(schema.inputs) if self.keeps_all else schema.kept_inputs
        names = [unit.name for unit in preprocessing.encoders]
        self.fusion = fusion.build(names, keep, width)
        self.alignment = make_alignment(names, width, align)
        self.blending = make_blending(self.fusion, names, preprocessing.tasks)
        self.trunk = trunk.build(preprocessing.tasks, width)
        if fusion.is_late and self.trunk.members > 1:
            raise ConfigError("fusion: late makes an ensemble of the inputs; leave `trunk.members` at 1")
        self.views = Views(schema, self.trunk, self.fusion.experts if isinstance(self.fusion, LateModule) else 0)
        self.heads = nn.ModuleList(build_heads(preprocessing, width))
        self.first_heads = nn.ModuleList(build_heads(preprocessing, width) if self.trunk.first_weight > 0 else ())
        self.watch: Watch | None = None  # while it is trained
        self.holder = Holder()
        self.in_lots = True  # rows that lack each other's inputs go through fusion and trunk apart (`model/lots.py`)
        self.learning: tuple[nn.Module, ...] | None = None  # where not all of it does (`model/joining.py`)
        if isinstance(self.fusion, LateModule):
            for head in cast(Iterable[Head], [*self.heads, *self.first_heads]):
                head.expect_experts(self.fusion.experts, joint=self.fusion.joint)

    def load_pretrained(self) -> None:
        """Weights of encoders and heads that others have trained: to be called once, before training."""
        for layers in dict.fromkeys([*self.encoders, *self.heads, *self.first_heads]):
            if isinstance(layers, Encoder | Head):
                layers.load_pretrained()

    def train(self, mode: bool = True) -> Self:
        super().train(mode if self.learning is None else False)
        for module in self.learning or ():
            module.train(mode)
        return self

    def forget_notes(self) -> None:
        """What layers note of a step begins anew: loads of experts, the contrastive loss."""
        self.trunk.forget_loads()
        if self.alignment is not None:
            self.alignment.forget()

    def encoders_without_padding(self, device: torch.device) -> list[str]:
        """Names of those that work out nothing for the padding of their rows there."""
        named = zip(self.preprocessing.encoders, self.encoders)
        return [unit.name for unit, one in named if isinstance(one, Encoder) and one.leaves_padding(device)]

    # --- inputs to taps ---

    def share(self, batch: Batch) -> Shared:
        """Everything shared: encode the rows that have each input, fill the others, fuse, share, lot by lot."""
        found = self._encoded(batch)
        lots = self._divided(batch, found)
        if lots is None:
            return self._shared(*self._filled(batch, found))
        return tuple(self._lot(batch, found, rows) for rows in lots)

    def _shared(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Shared:
        """Of all rows at once."""
        fused = self.holder.use(self.fusion, lambda: self.fusion(tokens, present))
        return (Lot(self.holder.use(self.trunk, lambda: self.trunk.share(fused))),)

    def _divided(self, batch: Batch, found: Sequence[Tokens | None]) -> list[np.ndarray] | None:
        """Rows of lots; `None` where all rows go together."""
        if not self.in_lots or isinstance(self.fusion, LateModule):
            return None
        flags, units = batch.present.on_host, self.preprocessing.encoders
        present = np.stack([flags[:, unit.columns].any(1) for unit in units], 1)
        lengths = [0 if one is None or unit.is_block else one.values.shape[1] for unit, one in zip(units, found)]
        return divide(present, lengths, worth_on(self.missing.device))

    def _lot(self, batch: Batch, found: Sequence[Tokens | None], rows: np.ndarray) -> Lot:
        """Rows that have about the same inputs."""
        index = at(rows, self.missing)
        flags = Flags(batch.present.names, batch.present.values.index_select(0, index))
        tokens, present = {}, {}
        for unit, one, missing in zip(self.preprocessing.encoders, found, self.missing):
            tokens[unit.name] = taken(unit, one, batch.inputs.get(unit.name), missing, rows, batch.size)
            present[unit.name] = any_present(unit, flags)
        return Lot(self.trunk.share(self.fusion(tokens, present)), rows)

    def _encoded(self, batch: Batch) -> list[Tokens | None]:
        """What each encoder makes of the rows that have its input; `None` where none has."""
        units = zip(self.preprocessing.encoders, self.encoders)
        return [encode_part(self.holder, unit, encoder, batch.inputs.get(unit.name)) for unit, encoder in units]

    def _filled(self, batch: Batch, found: Sequence[Tokens | None]) -> tuple[dict[str, Tokens], dict[str, Tensor]]:
        """By encoder name, the tokens of all rows, and which rows have the input `[B]`."""
        tokens, present = {}, {}
        for unit, one, missing in zip(self.preprocessing.encoders, found, self.missing):
            part = batch.inputs.get(unit.name)
            tokens[unit.name] = scatter(unit, one, None if part is None else part.rows, missing, batch.size)
            present[unit.name] = any_present(unit, batch.present)
        return tokens, present

    def encoded(self, batch: Batch) -> tuple[dict[str, Tokens], dict[str, Tensor]]:
        """By encoder name, the tokens of all rows, and which rows have the input `[B]`."""
        return self._filled(batch, self._encoded(batch))

    def share_dense(self, values: Mapping[str, dict[str, Tensor]], present: Flags) -> Shared:
        """The same as `share` without gather and scatter, for export: every row is encoded, and absent ones replaced.

        Args:
            values: by encoder name, values of all `B` rows; anything may stand where an input is absent.
            present: `[B, inputs]`.
        """
        tokens, flags = {}, {}
        for unit, encoder, missing in zip(self.preprocessing.encoders, self.encoders, self.missing):
            encoded = encode(unit, encoder, values[unit.name], present.values[:, unit.columns])
            flags[unit.name] = any_present(unit, present)
            tokens[unit.name] = encoded if unit.is_block else fill(encoded, present[unit.name], missing)
        return self._shared(tokens, flags)

    # --- taps to outputs ---

    def units(self) -> Iterator[tuple[HeadUnit, Head]]:
        """Each head with the tasks it serves."""
        return zip(self.preprocessing.heads, cast(Iterable[Head], self.heads))

    def predict(self, batch: Batch, tasks: Collection[str] | None = None) -> dict[str, HeadOutput]:
        """What each head says, by head name: about every row, or about those that have the input it is bound to.

        Args:
            batch: the rows.
            tasks: ask only the heads of these; all by default.
        """
        shared = self.share(batch)
        outputs = {}
        for unit, head in self.units():
            if tasks is not None and not any(task in tasks for task in unit.tasks):
                continue
            of = self.preprocessing.schema.tasks[unit.name].of
            part = None if of is None else batch.inputs.get(of)
            if of is None or part is not None:
                said = self.output(unit, head, shared, part, batch.present, batch.sources)
                outputs[unit.name] = HeadOutput(head.finish(said), None if part is None else part.rows)
        return outputs

    def output(
        self,
        unit: HeadUnit,
        head: Head,
        shared: Shared,
        part: Part | None,
        present: Flags,
        sources: Sources,
    ) -> Any:
        """What one head says about some rows; of several inputs each for itself, joined.

        Args:
            unit: the head's tasks.
            head: the head.
            shared: of the whole batch.
            part: of the rows that are asked about; `None` for all.
            present: `[B, inputs]`, of the whole batch.
            sources: of the whole batch, see `Batch.sources`.
        """
        rows = None if part is None else part.rows
        view = self.view(unit, shared, part, sources)
        return self.holder.use(head, lambda: self._output(unit, head, view, rows, present))

    def _output(self, unit: HeadUnit, head: Head, view: Any, rows: Tensor | None, present: Flags) -> Any:
        output = head.predict_output(view)
        if isinstance(self.fusion, LateModule):
            output = joined(head, output, at_rows(self.speaking(self.fusion, present), rows))
        elif self.views.is_ensemble(unit):
            output = averaged(output, self.trunk.members)
        if type(head).heed_absence is Head.heed_absence:
            return output
        return head.heed_absence(output, present.values.all(1) if rows is None else present.values[rows].all(1))

    def speaking(self, fusion: LateModule, present: Flags) -> Tensor:
        """Which expert says something about which row, `[E, B]`."""
        return fusion.speaking(torch.stack([any_present(unit, present) for unit in self.preprocessing.encoders]))

    def view(
        self,
        unit: HeadUnit,
        shared: Shared | Mapping[str, Shared],
        part: Part | None,
        sources: Sources,
        *,
        is_first: bool = False,
    ) -> Any:
        """What one head reads, see `Views.of`."""
        look = partial(self.views.of, unit, shared, part, sources, is_first=is_first)
        return look() if self.trunk.one_view else self.holder.use(self.trunk, look)

    def pass_by(self, *heads: Head | None) -> None:
        """This process has nothing to ask these heads, where others may have something; see `Holder`."""
        for head in heads:
            if head is not None:
                self.holder.pass_by(*(() if self.trunk.one_view else (self.trunk,)), head)

    # --- outputs to the total ---

    def training_loss(self, batch: Batch, engine: Engine, whole: Whole | None = None) -> Tensor:
        """One scalar to call `backward` on; balancing happens on the way (see `Engine`).

        Heads run on labelled rows only; a task that is labelled nowhere in the step takes no part.

        Args:
            batch: the rows.
            engine: balances.
            whole: the step that they are a part of, where they are not all of it.
        """
        present = engine.begin(batch.counts, batch.size, whole)
        aligned = None if self.alignment is None else self.encoded(batch)
        shared = self.share(batch) if aligned is None else self._shared(*aligned)
        sums, weights = self.losses(batch, split(shared, present, batch, engine))
        if len(present) < len(sums):
            index = index_like(self.preprocessing.places(present), sums)
            sums, weights = sums[index], weights[index]
        total = engine.combine(sums, weights, present)
        if self.alignment is None or aligned is None:
            return total
        return total + self.alignment(*aligned) / (1 if whole is None else whole.parts)

    def losses(self, batch: Batch, shared: Shared | Mapping[str, Shared]) -> tuple[Tensor, Tensor]:
        """`(sum [T], weight [T])` of all tasks in order; both 0 where a task is not labelled in these rows.

        Of mixed rows, both are what their own labels give and what their partners' give, by share.
        """
        sums, weights = self._losses(batch.targets, batch, shared)
        if batch.mix is not None:
            others = self._losses(batch.mix.targets, batch, shared)
            own, rest = batch.mix.share, 1 - batch.mix.share
            sums, weights = own * sums + rest * others[0], own * weights + rest * others[1]
        return (sums + weights * self._paid(batch, shared) if self.trunk.has_penalty else sums), weights

    def _paid(self, batch: Batch, shared: Shared | Mapping[str, Shared]) -> Tensor:
        """What each task pays to the trunk, `[T]`."""
        present = {task: count > 0 for task, count in zip(self.preprocessing.tasks, batch.counts, strict=True)}
        own = {t: shared[t] if isinstance(shared, Mapping) else shared for t, here in present.items() if here}
        speaking = self.speaking(self.fusion, batch.present) if isinstance(self.fusion, LateModule) else None
        return self.holder.use(self.trunk, partial(paid, self.trunk, own, batch, speaking))

    def _losses(
        self, targets: Mapping[str, Part], batch: Batch, shared: Shared | Mapping[str, Shared]
    ) -> tuple[Tensor, Tensor]:
        sums, weights = [], []
        firsts = cast(Sequence[Head | None], self.first_heads or [None] * len(self.heads))
        for (unit, head), first in zip(self.units(), firsts):
            part = targets.get(unit.name)
            if part is None:
                self.pass_by(head, first)
                total = count = batch.labelled.values.new_zeros(len(unit.tasks), dtype=torch.float32)
            else:
                total, count = self._loss(unit, head, shared, part, batch, False)
                if first is not None:
                    total = total + self.trunk.first_weight * self._loss(unit, first, shared, part, batch, True)[0]
                if (watch := self._watch_of(unit)) is not None:
                    total, count = watch.losses(total, count)
            sums.append(total.reshape(-1).float())
            weights.append(count.reshape(-1).float())
        return torch.cat(sums), torch.cat(weights)

    def _loss(
        self,
        unit: HeadUnit,
        head: Head,
        shared: Shared | Mapping[str, Shared],
        part: Part,
        batch: Batch,
        is_first: bool,
    ) -> tuple[Tensor, Tensor]:
        view = self.view(unit, shared, part, batch.sources, is_first=is_first)
        return self.holder.use(head, lambda: self._loss_of(unit, head, view, part, batch))

    def _loss_of(self, unit: HeadUnit, head: Head, view: Any, part: Part, batch: Batch) -> tuple[Tensor, Tensor]:
        watch = self._watch_of(unit)
        if isinstance(self.fusion, LateModule):
            present = at_rows(self.speaking(self.fusion, batch.present), part.rows)
            return late_loss(head, view, part.values, present, self.fusion, self._blend(unit, view), watch)
        if self.views.is_ensemble(unit):
            return members_loss(head, view, part.values, self.trunk.members, watch)
        return head.loss(answer(head, view, part.values, watch), part.values)

    def _watch_of(self, unit: HeadUnit) -> HeadWatch | None:
        return None if self.watch is None else HeadWatch(self.watch, self.preprocessing.places(unit.tasks))

    def _blend(self, unit: HeadUnit, like: Tensor) -> Tensor | None:
        """Weights of what is said of a head's tasks together and by each expert, `[E + 1, G]`."""
        if self.blending is None:
            return None
        return self.blending.weights[index_like(self.preprocessing.places(unit.tasks), like)].T
