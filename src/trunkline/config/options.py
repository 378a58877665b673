"""A class's constructor is the schema of its section of a config."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from trunkline.config.annotations import MisfitError, as_annotated, describe
from trunkline.config.problems import Problems
from trunkline.errors import suggest

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def read_options(
    where: str, given: Mapping[str, Any], cls: type, problems: Problems, *, beside: Iterable[str] = ()
) -> dict[str, Any]:
    """The given options, checked against the constructor; what does not fit is noted and left out.

    Args:
        where: the section, such as `tasks.kind`.
        given: what it says.
        cls: whose constructor it is for.
        problems: where faults are noted.
        beside: keys the section has besides these options, for "did you mean".
    """
    schema = signature_of(cls)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())
    options = {}
    for name, value in given.items():
        if name not in schema and not takes_any:
            known = [*schema, *beside]
            problems.add(f"{where}.{name}", f"there is no such option.{suggest(name, known) if known else ''}")
            continue
        try:
            options[name] = as_annotated(value, schema[name].annotation if name in schema else Any)
        except MisfitError as misfit:
            problems.add(f"{where}.{name}", str(misfit))
    for name, parameter in schema.items():
        if parameter.default is inspect.Parameter.empty and name not in given:
            problems.add(f"{where}.{name}", f"is missing: {describe(parameter.annotation)}.")
    return options


def signature_of(cls: type) -> dict[str, inspect.Parameter]:
    """Parameters of a constructor by name, with annotations as types."""
    return {
        name: parameter.replace(annotation=Any) if parameter.annotation is parameter.empty else parameter
        for name, parameter in inspect.signature(cls, eval_str=True).parameters.items()
        if parameter.kind not in _VARIADIC
    }
