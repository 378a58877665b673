"""Inputs that share an encoder, tasks that share a head: `share: other` takes over the other's type and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trunkline.config.components import AUTO, InputConfig, TaskConfig
from trunkline.config.problems import Problems
from trunkline.errors import suggest

# By section: what one of it is called, what it shares, and what one of those serves.
WORDS = {
    "inputs": ("an input", "encoder", "one encoder reads one kind"),
    "tasks": ("a task", "head", "one head learns one kind"),
}


def take_over(
    section: str, configs: Mapping[str, InputConfig] | Mapping[str, TaskConfig], problems: Problems
) -> dict[str, Any]:
    """The inputs or tasks, those with `share:` with the type and the options of the one they name."""
    taken = {}
    for name, config in configs.items():
        other = None if config.share is None else configs.get(config.share)
        if config.share is not None and (fault := _unfit(section, name, config, other, configs)) is not None:
            problems.add(f"{section}.{name}.share", fault)
        elif other is not None:
            config = replace(config, type=other.type, component=other.component, options=other.options)
        taken[name] = config
    return taken


def _unfit(section: str, name: str, config: Any, other: Any, configs: Mapping[str, Any]) -> str | None:
    share = config.share
    noun, part, why = WORDS[section]
    this = noun.split()[1]
    if other is None:
        return f"{share!r} is not {noun}.{suggest(str(share), [n for n in configs if n != name])}"
    if other.share is not None:
        return f"{share!r} has no {part} of its own: it shares that of {other.share!r}. Name {noun} that has one."
    is_open = config.type == AUTO
    if other.component is None or (config.component is None and not is_open):
        return None  # the unknown type is the fault to tell
    if not is_open and config.component is not other.component:
        return f"{share!r} is of type {other.type}, this {this} of type {config.type}: {why}."
    if section == "inputs" and other.component.block is not None:
        return f"inputs of type {other.type} are encoded together in one table block: each has its own weights there."
    if section == "tasks" and not other.component.can_share:
        return f"tasks of type {other.type} have a head each. Leave `share` out."
    unlike = [o for o, v in config.options.items() if other.options.get(o) != v]
    if unlike:
        return f"the option {unlike[0]!r} differs from that of {share!r}. Leave the options of this {this} out."
    return None
