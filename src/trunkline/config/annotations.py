"""Does a value from a config fit what a constructor's annotation allows?"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from trunkline.errors import brief, suggest

LARGEST = 2**63 - 1  # that tensors count to
_UNIONS = (Union, UnionType)
_SEQUENCES = (list, tuple, Sequence)
_MAPPINGS = (dict, Mapping)
_NAMES = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("text", "texts"),
}


class MisfitError(Exception):
    """A value that the annotation does not allow; the message says what it does allow."""


def as_annotated(value: Any, hint: Any) -> Any:
    """The value as the annotation wants it: whole floats as `int`, lists as `tuple` where one is asked for.

    Raises:
        MisfitError: it does not fit.

    Example:
        >>> as_annotated([8, 4e0], tuple[int, int]), as_annotated(1, float | None)
        ((8, 4), 1.0)
    """
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any or hint is inspect.Parameter.empty:
        return value
    if origin in _UNIONS:
        return _as_union(value, hint, args)
    if origin is Literal:
        return _as_literal(value, args)
    if (origin or hint) in _SEQUENCES:
        return _as_sequence(value, hint, origin or hint, args)
    if (origin or hint) in _MAPPINGS:
        return _as_mapping(value, hint, args)
    return _as_scalar(value, hint)


def describe(hint: Any, *, many: bool = False) -> str:
    """What an annotation allows, in words: `a whole number`, `text or a list of texts`."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in _UNIONS:
        return " or ".join(describe(a, many=many) for a in args if a is not NoneType)
    if origin is Literal:
        return " or ".join(map(repr, args))
    if (origin or hint) in _SEQUENCES:
        items = [a for a in args if a is not Ellipsis]
        count = f"{len(items)} " if origin is tuple and Ellipsis not in args else ""
        kind = "lists" if many else "a list"
        return f"{kind} of {count}{describe(items[0], many=True)}" if items else kind
    if (origin or hint) in _MAPPINGS:
        return "mappings" if many else "a mapping"
    if hint in _NAMES:
        return _NAMES[hint][many]
    return "anything" if hint is Any else getattr(hint, "__name__", str(hint))


def _as_union(value: Any, hint: Any, args: tuple[Any, ...]) -> Any:
    if value is None and NoneType in args:
        return None
    options = [a for a in args if a is not NoneType]
    if len(options) == 1:
        return as_annotated(value, options[0])
    # The exact type first: 1 stays 1 under `float | int`.
    for option in sorted(options, key=lambda option: type(value) is not option):
        try:
            return as_annotated(value, option)
        except MisfitError:
            continue
    raise MisfitError(f"{brief(value)} is not {describe(hint)}.")


def _as_literal(value: Any, allowed: tuple[Any, ...]) -> Any:
    # `precision: 32` means "32", and 1 does not mean True.
    for option in allowed:
        if type(option) is type(value) and option == value:
            return option
        if isinstance(option, str) and not isinstance(value, bool) and option == str(value):
            return option
    raise MisfitError(f"{brief(value)} is not known here.{suggest(str(value), map(str, allowed))}")


def _as_sequence(value: Any, hint: Any, kind: Any, args: tuple[Any, ...]) -> Any:
    if not isinstance(value, list | tuple):
        raise MisfitError(f"{brief(value)} is not {describe(hint)}.")
    is_fixed = kind is tuple and bool(args) and Ellipsis not in args
    if is_fixed and len(args) != len(value):
        raise MisfitError(f"{brief(value)} is not {describe(hint)}.")
    hints = args if is_fixed else (args[:1] or (Any,)) * len(value)
    try:
        items = [as_annotated(item, hint) for item, hint in zip(value, hints)]
    except MisfitError:
        raise MisfitError(f"{brief(value)} is not {describe(hint)}.") from None
    return tuple(items) if kind is tuple else items


def _as_mapping(value: Any, hint: Any, args: tuple[Any, ...]) -> Any:
    if not isinstance(value, Mapping):
        raise MisfitError(f"{brief(value)} is not {describe(hint)}.")
    return {key: as_annotated(item, args[1] if args else Any) for key, item in value.items()}


def _as_scalar(value: Any, hint: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and isinstance(value, int) and abs(value) > LARGEST:
        raise MisfitError(f"{brief(value)} is too large a number.")
    if hint is int and is_number and value == value // 1 and abs(value) <= LARGEST:
        return int(value)
    if hint is float and is_number:
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    quotes = " Put it in quotes." if hint is str and isinstance(value, int | float) else ""
    raise MisfitError(f"{brief(value)} is not {describe(hint)}.{quotes}")
