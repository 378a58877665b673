"""Inputs that share an encoder: `share: other` takes over the other input's type and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trunkline.config.components import InputConfig
from trunkline.config.problems import Problems
from trunkline.errors import suggest


def take_over(inputs: Mapping[str, InputConfig], problems: Problems) -> dict[str, Any]:
    """The inputs, those with `share:` with the type and the options of the one they name."""
    taken = {}
    for name, config in inputs.items():
        other = None if config.share is None else inputs.get(config.share)
        if config.share is not None and (fault := _unfit(name, config, other, inputs)) is not None:
            problems.add(f"inputs.{name}.share", fault)
        elif other is not None:
            config = replace(config, type=other.type, component=other.component, options=other.options)
        taken[name] = config
    return taken


def _unfit(name: str, config: InputConfig, other: InputConfig | None, inputs: Mapping[str, InputConfig]) -> str | None:
    share = config.share
    if other is None:
        return f"{share!r} is not an input.{suggest(str(share), [n for n in inputs if n != name])}"
    if other.share is not None:
        return f"{share!r} has no encoder of its own: it shares that of {other.share!r}. Name an input that has one."
    if config.component is None or other.component is None:
        return None  # the unknown type is the fault to tell
    if config.reason is None and config.component is not other.component:
        return f"{share!r} is of type {other.type}, this input of type {config.type}: one encoder reads one kind."
    if other.component.block is not None:
        return f"inputs of type {other.type} are encoded together in one table block: each has its own weights there."
    unlike = [o for o, v in config.options.items() if config.reason is None and other.options.get(o) != v]
    if unlike:
        return f"the option {unlike[0]!r} differs from that of {share!r}. Leave the options of this input out."
    return None
