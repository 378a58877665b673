"""Components made in Python → what a config would say to make them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.config.options import signature_of


def as_type_and_options(component: Any, catalog: Mapping[str, type[Any]]) -> dict[str, Any]:
    """`type`, `options` and `component` of a `ComponentConfig`.

    A constructor only stores its arguments, so they can be read back. A class that is not in the catalog is named
    `module:Class`.
    """
    cls = type(component)
    named = {cls: name for name, cls in catalog.items()}
    options = {
        name: value
        for name, parameter in signature_of(cls).items()
        if (value := getattr(component, name)) != parameter.default
    }
    return {"type": named.get(cls, f"{cls.__module__}:{cls.__qualname__}"), "options": options, "component": cls}
