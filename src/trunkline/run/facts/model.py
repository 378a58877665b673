"""What the network is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from trunkline.run.facts.subject import Subject

NAMES = 6  # members of a block or a stack that are named


def model_facts(subject: Subject) -> dict[str, Any]:
    """Parameters of each part, a shared one counted where it comes first.

    Schema: `width`; `total`; `frozen` (of them not trained); `encoders` and `heads [{name, members, more, type,
    parameters}]`, with the names of the first members and how many more there are; `missing`, `fusion`, `trunk`
    `{type, parameters}`.
    """
    network, config = subject.predictor.network, subject.plan.config
    seen: set[int] = set()
    assert config.fusion is not None and config.trunk is not None
    encoders = [
        _part(unit.inputs, config.inputs, _count(module.parameters(), seen))
        for unit, module in zip(subject.preprocessing.encoders, network.encoders)
    ]
    missing = {"type": "learned tokens", "parameters": _count([network.missing], seen)}
    fusion = {"type": config.fusion.type, "parameters": _count(network.fusion.parameters(), seen)}
    trunk = {"type": config.trunk.type, "parameters": _count(network.trunk.parameters(), seen)}
    firsts = list(network.first_heads) or [nn.Identity() for _ in network.heads]
    heads = [
        _part(unit.tasks, config.tasks, _count([*module.parameters(), *first.parameters()], seen))
        for unit, module, first in zip(subject.preprocessing.heads, network.heads, firsts)
    ]
    return {
        "width": config.width,
        "total": sum(p.numel() for p in network.parameters()),
        "frozen": sum(p.numel() for p in network.parameters() if not p.requires_grad),
        "encoders": encoders,
        "missing": missing,
        "fusion": fusion,
        "trunk": trunk,
        "heads": heads,
    }


def _part(members: tuple[str, ...], configs: Mapping[str, Any], parameters: int) -> dict[str, Any]:
    kinds = list(dict.fromkeys(configs[name].type for name in members))
    return {
        "name": members[0],
        "members": list(members[:NAMES]),
        "more": max(0, len(members) - NAMES),
        "type": " + ".join(kinds),
        "parameters": parameters,
    }


def _count(parameters: Iterable[nn.Parameter], seen: set[int]) -> int:
    new = [p for p in parameters if id(p) not in seen]
    seen.update(map(id, new))
    return sum(p.numel() for p in new)
