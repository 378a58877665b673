"""What the tests of `tests/fuzz` have in common: how many examples, what odd values look like, and a count of outcomes.

`HYPOTHESIS_PROFILE` says how long: `short` (the same few examples in every run, for `make test`) or `long`
(`make fuzz`: new ones each time, `FUZZ_EXAMPLES` a target).
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "short")
LONG = int(os.environ.get("FUZZ_EXAMPLES", "1000"))
OUTCOMES: dict[str, Counter[str]] = defaultdict(Counter)  # by target

# Time is not what is tested, and fixtures that are made once are made to be used by all examples.
_ALWAYS: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}
_PROFILES: dict[str, dict[str, Any]] = {
    "short": {"derandomize": True, "database": None, **_ALWAYS},
    "long": {"print_blob": True, **_ALWAYS},
}


def examples(few: int, *, share: float = 1.0) -> Callable[[Any], Any]:
    """Settings of a test.

    Args:
        few: examples in the short profile.
        share: of the long profile's number, where one example takes long.
    """
    number = few if PROFILE == "short" else max(few, int(LONG * share))
    return settings(max_examples=number, **_PROFILES[PROFILE])


def tally(target: str, outcome: str) -> None:
    """Count one example."""
    OUTCOMES[target][outcome] += 1


ODD_TEXTS = (
    "",
    " ",
    "\n",
    "\x00",
    "a\x00b",
    "\ufeff",
    "\u2028",
    "\x85",
    "\x1b[31m",
    "‮abc",
    "é",
    "e\u0301",
    "ß",
    "İ",
    "日本語",
    "🙂" * 3,
    "\ud800",
    "\udfff\ud800",
    "null",
    "~",
    "NaN",
    "-inf",
    "1e999",
    "0x10",
    "1_000",
    "007",
    "- a",
    "a: b",
    "{",
    "[",
    "]",
    "&a",
    "*a",
    "!!python/object/apply:os.system",
    "%s%n",
    "{0}",
    "${HOME}",
    "__class__",
    "../../../etc/passwd",
    "/dev/zero",
    "/",
    "file:///etc/passwd",
    "http://127.0.0.1:9/x",
    "~root",
    ".",
    "..",
    "C:\\x",
    "a" * 5_000,
    "9" * 5_000,
    "[" * 5_000,
    '{"a":' * 3_000,
)
ODD_NUMBERS = (
    0,
    -0.0,
    1,
    -1,
    2,
    3,
    7,
    0.5,
    1e-320,
    1e308,
    -1e308,
    2**31,
    -(2**31),
    2**53 + 1,
    2**63,
    2**64,
    -(2**64),
    10**400,
    float("nan"),
    float("inf"),
    float("-inf"),
)

# Halves of surrogate pairs are letters here: JSON and command lines can hold them.
letters = st.characters(codec=None)  # type: ignore[arg-type]
texts = st.sampled_from(ODD_TEXTS) | st.text(letters, max_size=12)
numbers = st.sampled_from(ODD_NUMBERS) | st.integers() | st.floats()
plain = st.none() | st.booleans() | numbers | texts
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3), max_leaves=12
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file's bytes: cut, with bits turned, a part taken out, put in twice or replaced."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.sampled_from((1, 2, 4, 8, 64)) | st.integers(1, max(1, len(content))))
        how = draw(st.sampled_from(("flip", "cut", "out", "twice", "other", "zero", "full")))
        part = bytes(content[at : at + length])
        if how == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del content[at:]
        elif how == "out":
            del content[at : at + length]
        elif how == "twice":
            content[at:at] = part
        elif how == "other":
            content[at : at + length] = draw(st.binary(max_size=16))
        elif how in ("zero", "full"):
            content[at : at + length] = (b"\x00" if how == "zero" else b"\xff") * len(part)
    return bytes(content)


@st.composite
def mutated(draw: st.DrawFn, tree: Any) -> Any:
    """Plain values with one to three places changed: another value, another key, one more, one less, or a swap."""
    holder = [_copied(tree)]
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(holder))
        inside, key = places[draw(st.integers(0, len(places) - 1))]
        how = draw(st.sampled_from(("value", "value", "drop", "rename", "add", "wrap", "take", "list")))
        if how == "drop" and inside is not holder:
            del inside[key]
        elif how == "rename" and isinstance(inside, dict):
            inside[draw(texts)] = inside.pop(key)
        elif how == "add" and isinstance(inside[key], dict):
            inside[key][draw(texts | st.sampled_from(WORDS))] = draw(anything)
        elif how == "wrap":
            inside[key] = {draw(texts | st.sampled_from(WORDS)): inside[key]}
        elif how == "list":
            inside[key] = [inside[key]] * draw(st.integers(1, 3))
        elif how == "take":
            other, there = places[draw(st.integers(0, len(places) - 1))]
            inside[key] = _copied(other[there])
        else:
            inside[key] = draw(anything)
    return holder[0]


WORDS = (
    "inputs",
    "tasks",
    "data",
    "train",
    "table",
    "tables",
    "validation",
    "test",
    "split",
    "type",
    "column",
    "columns",
    "of",
    "share",
    "weight",
    "training",
    "steps",
    "epochs",
    "lr",
    "precision",
    "devices",
    "trunk",
    "fusion",
    "balancer",
    "level",
    "every",
    "width",
    "mute",
    "na",
    "separator",
    "encoder",
    "size",
    "experts",
    "separator",
    "all_other",
    "auto",
    "off",
    "image",
    "text",
    "number",
    "category",
    "binary",
    "mask",
    "upgrad",
    "mmoe",
    "attention",
    "options",
    "<<",
)


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def _places(tree: Any) -> Any:
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])
