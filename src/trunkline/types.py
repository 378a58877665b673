"""The words every room shares: tokens, flags, batches.

Shape legend: `B` rows of a batch, `n` rows that have something (`n <= B`), `L` tokens, `D` width, `T` tasks,
`G` tasks of one stacked head, `K` numbers a head says about one task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.contexts import Context

Axis = Literal["grid", "time", "words", "nodes", "set"]
State = dict[str, Any]  # preprocessing state of one input or task: plain JSON
Choices = Mapping[str, tuple[Any, str]]  # options by name, each with the reason for its value


@dataclass(frozen=True)
class Span:
    """Where the tokens of one input lie, and how they are laid out.

    Attributes:
        input: name of the input; `None` for the one `set` token that stands for the whole row after fusion.
        start: first token.
        stop: one past the last token.
        axis: what the tokens run over.
        shape: `(height, width)` of a grid, else `(length,)`.
        stride: input units (pixels, frames, …) per token, one number an axis.
    """

    input: str | None
    start: int
    stop: int
    axis: Axis
    shape: tuple[int, ...]
    stride: tuple[float, ...] = (1.0,)


def _numbered(spans: Sequence[Span]) -> list[tuple[int, Span]]:
    """Each with its number among those of its input: a pyramid has several."""
    seen: Counter[str | None] = Counter()
    found = []
    for span in spans:
        found.append((seen[span.input], span))
        seen[span.input] += 1
    return found


@dataclass(frozen=True)
class Tokens:
    """The common currency of encoders, fusion, trunks and heads.

    Attributes:
        values: `[B, L, D]`.
        mask: `[B, L]` bool, `False` where a row has no such token (padding, or an absent input).
        spans: whose tokens lie where, in order.
        source: of a view whose task copies, what it copies from, `[B, …]` each (see `Batch.sources`).
    """

    values: Tensor
    mask: Tensor
    spans: tuple[Span, ...]
    source: Mapping[str, Tensor] | None = None

    @classmethod
    def of_rows(cls, values: Tensor, input: str | None = None) -> Tokens:
        """One `set` token a row, from `[B, D]`."""
        mask = torch.ones(values.shape[0], 1, dtype=torch.bool, device=values.device)
        return cls(values.unsqueeze(1), mask, (Span(input, 0, 1, "set", (1,)),))

    @classmethod
    def cat(cls, parts: Sequence[Tokens]) -> Tokens:
        """Several tokens side by side; spans move along."""
        if len(parts) == 1:
            return parts[0]
        spans: list[Span] = []
        offset = 0
        for part in parts:
            spans += [replace(s, start=s.start + offset, stop=s.stop + offset) for s in part.spans]
            offset = offset + part.values.shape[1]
        return cls(torch.cat([p.values for p in parts], 1), torch.cat([p.mask for p in parts], 1), tuple(spans))

    @classmethod
    def below(cls, parts: Sequence[Tokens]) -> Tokens:
        """One part below the other; what they copy from is left behind.

        Where parts have other spans, or shorter ones, each span has room for the longest, and what a part has not of
        it is masked.
        """
        if len(parts) == 1:
            return parts[0]
        if all(part.spans == parts[0].spans for part in parts):
            return cls(torch.cat([p.values for p in parts]), torch.cat([p.mask for p in parts]), parts[0].spans)
        spans: list[Span] = []
        pieces: list[list[Tokens]] = [[] for _ in parts]
        own = [{(span.input, number): span for number, span in _numbered(part.spans)} for part in parts]
        for key in dict.fromkeys(key for one in own for key in one):
            longest = max((one[key] for one in own if key in one), key=lambda span: span.stop - span.start)
            size = longest.stop - longest.start
            start = spans[-1].stop if spans else 0
            spans.append(replace(longest, start=start, stop=start + size))
            for part, one, found in zip(parts, own, pieces):
                found.append(part._room(one.get(key), size))
        wide = [cls.cat([replace(piece, spans=()) for piece in found]) for found in pieces]
        return cls(torch.cat([p.values for p in wide]), torch.cat([p.mask for p in wide]), tuple(spans))

    def _room(self, span: Span | None, size: int) -> Tokens:
        """The tokens of one span, and masked ones up to a size."""
        start, stop = (0, 0) if span is None else (span.start, span.stop)
        more = size - (stop - start)
        values = F.pad(self.values[:, start:stop], (0, 0, 0, more))
        return Tokens(values, F.pad(self.mask[:, start:stop], (0, more)), ())

    def with_values(self, values: Tensor) -> Tokens:
        """The same layout with other values (of any width)."""
        return replace(self, values=values)

    def named(self, input: str) -> Tokens:
        """The same tokens, every span under this input's name."""
        return replace(self, spans=tuple(replace(s, input=input) for s in self.spans))

    def take(self, rows: Tensor | None) -> Tokens:
        """Only these rows (`None`: all of them)."""
        if rows is None:
            return self
        source = None if self.source is None else {k: v.index_select(0, rows) for k, v in self.source.items()}
        return replace(
            self, values=self.values.index_select(0, rows), mask=self.mask.index_select(0, rows), source=source
        )

    def of(self, input: str | None) -> Tokens:
        """Only the tokens of one input; `None` gives the row token that a pooling fusion appends.

        Raises:
            KeyError: there are no tokens of that input (the fusion did not keep them).
        """
        spans = [s for s in self.spans if s.input == input]
        if not spans:
            raise KeyError(f"no tokens of {input!r} here: {[s.input for s in self.spans]}")
        return self._only(spans)

    def finest(self) -> Tokens:
        """Of each feature pyramid its first grid alone, and no token that stands for a whole input; else as it is."""
        return self._places({span.input: span for span in reversed(self._grids())})

    def coarsest(self) -> Tokens:
        """Of each feature pyramid its last grid alone, and no token that stands for a whole input; else as it is."""
        return self._places({span.input: span for span in self._grids()})

    def _places(self, grids: Mapping[str | None, Span]) -> Tokens:
        """What lies somewhere in its input, of each pyramid this grid; an input that is one token as a whole stays."""
        others = {span.input for span in self.spans if span.axis != "set"}
        return self._only(
            [
                span
                for span in self.spans
                if (grids.get(span.input, span) is span or span.axis != "grid")
                and (span.axis != "set" or span.input is None or span.input not in others)
            ]
        )

    def _grids(self) -> list[Span]:
        return [span for span in self.spans if span.axis == "grid"]

    def parts(self) -> list[Tokens]:
        """The tokens of each span, in order; side by side (`cat`) they are these."""
        return [self._part(span) for span in self.spans]

    def _only(self, spans: Sequence[Span]) -> Tokens:
        if len(spans) == len(self.spans):
            return self
        return replace(Tokens.cat([self._part(span) for span in spans]), source=self.source)

    def _part(self, span: Span) -> Tokens:
        place = slice(span.start, span.stop)
        here = replace(span, start=0, stop=span.stop - span.start)
        return Tokens(self.values[:, place], self.mask[:, place], (here,))

    def row(self) -> Tensor:
        """One vector a row, `[B, D]`: the row token where there is one, else the mean over present tokens."""
        if any(s.input is None for s in self.spans):
            return self.of(None).values[:, 0]
        if self.values.shape[1] == 1:
            return self.values[:, 0]
        weight = self.mask.to(self.values.dtype).unsqueeze(-1)
        return (self.values * weight).sum(1) / weight.sum(1).clamp(min=1.0)


@dataclass(frozen=True)
class Flags:
    """Named yes/no columns: which inputs are present, or which tasks are labelled.

    Attributes:
        names: of the columns.
        values: `[B, len(names)]` bool.
        host: the same on the host, where `values` are elsewhere.
    """

    names: tuple[str, ...]
    values: Tensor
    host: Tensor | None = None

    def __getitem__(self, name: str) -> Tensor:
        return self.values[:, self.names.index(name)]

    @property
    def on_host(self) -> np.ndarray:
        """`[B, len(names)]`; nobody waits for a device that `to` moved them to."""
        return (self.values if self.host is None else self.host).cpu().numpy()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Flags:
        """The same on another device."""
        host = self.values if self.host is None and self.values.device.type == "cpu" else self.host
        return Flags(self.names, self.values.to(device, non_blocking=non_blocking), host)


@dataclass(frozen=True)
class Part:
    """What one encoder reads, or one head learns from: dense values over the rows that have something.

    Attributes:
        values: `{name: tensor [n, …]}`.
        rows: `[n]`, which rows of the batch these are; `None` when it is every row, in order.
        flags: `[n, k]` bool, one column for each of the `k` inputs of a block; `None` when all are there.
            Whatever stands behind a `False` is never read.
        host: `rows` on the host, where they are elsewhere.
    """

    values: dict[str, Tensor]
    rows: Tensor | None = None
    flags: Tensor | None = None
    host: Tensor | None = None

    @property
    def on_host(self) -> np.ndarray | None:
        """Which rows, `[n]`; nobody waits for a device that `to` moved them to."""
        rows = self.rows if self.host is None else self.host
        return None if rows is None else rows.cpu().numpy()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Part:
        """The same on another device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=non_blocking)

        values = {k: v.to(device, non_blocking=non_blocking) for k, v in self.values.items()}
        is_here = self.rows is not None and self.rows.device.type == "cpu"
        return Part(
            values, move(self.rows), move(self.flags), self.rows if self.host is None and is_here else self.host
        )


@dataclass(frozen=True)
class Mix:
    """Rows of a batch that are seen in other rows of it, and what they teach there.

    Attributes:
        share: of each row that is its own; its partner has the rest, of what is seen and of the loss.
        targets: of the partners, as a batch has them, where they are seen.
        labelled: likewise, `[B, tasks]`.
    """

    share: float
    targets: dict[str, Part]
    labelled: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Mix:
        """The same on another device."""
        targets = {name: part.to(device, non_blocking) for name, part in self.targets.items()}
        return Mix(self.share, targets, self.labelled.to(device, non_blocking=non_blocking))


@dataclass(frozen=True)
class Batch:
    """Rows on their way into the network. What is absent is not stored: the flags say so.

    Attributes:
        size: number of rows `B`.
        inputs: by encoder name. An encoder none of whose inputs is present in these rows has no key.
        present: which row has which input, `[B, inputs]`.
        targets: by head name. A head none of whose tasks is labelled in these rows has no key.
        labelled: which row has a label for which task, `[B, tasks]`.
        counts: labelled rows of each task in this batch. On the host, so that nobody waits for a device to learn
            which tasks are absent.
        context: by input name, what was done to that row's input; `None` where it is absent.
        rows: row numbers in the table.
        mix: what else the rows show, where rows were mixed. As many of it are labelled as of the rows themselves.
        sources: by head name, of tasks that copy from their input, what they copy from: `{name: [B, …]}`.
    """

    size: int
    inputs: dict[str, Part]
    present: Flags
    targets: dict[str, Part]
    labelled: Flags
    counts: tuple[int, ...]
    context: Mapping[str, Sequence[Context | None]] = field(default_factory=dict)
    rows: tuple[int, ...] = ()
    mix: Mix | None = None
    sources: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device (Lightning calls this)."""
        return replace(
            self,
            inputs={k: p.to(device, non_blocking) for k, p in self.inputs.items()},
            targets={k: p.to(device, non_blocking) for k, p in self.targets.items()},
            present=self.present.to(device, non_blocking),
            labelled=self.labelled.to(device, non_blocking),
            mix=None if self.mix is None else self.mix.to(device, non_blocking),
            sources={
                head: {name: value.to(device, non_blocking=non_blocking) for name, value in source.items()}
                for head, source in self.sources.items()
            },
        )
