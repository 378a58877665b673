"""Numbers, as people write them: what kind of numbers a column holds, and what stands between them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trunkline.cells import NO, YES, read_number
from trunkline.data.counts import Counts
from trunkline.data.description import Description, Kind
from trunkline.errors import DataError

ABSENT = frozenset(
    {"?", "na", "n/a", "#n/a", "nan", "null", "none", "-", "--", "unknown", "missing", ".", "nil", "n.a."}
)
ALWAYS_ABSENT = frozenset({"?", "na", "n/a", "#n/a", "nan", "null"})  # also between names
SENTINELS = (-999.0, -9999.0, -99999.0, -99.0)
ID_NAME = re.compile(r"(?i:(?:^|[\W_])(?:id|uid|uuid|guid|index|idx|key|nr|no|row)$|^unnamed: \d+$)|[a-z](?:Id|ID)$")
LONGEST_SCALE = 11  # steps of an ordinal scale: 0 to 10
_CODE = re.compile(r"[-+]?0\d")  # only codes are written with zeros in front
MOSTLY = 0.8  # share of the cells that makes a column one of numbers with some mess


def numbers_as(name: str, numbers: np.ndarray, counts: np.ndarray) -> Description:
    """Distinct numbers and how often each occurs → what they are."""
    low, high, present = float(numbers.min()), float(numbers.max()), int(counts.sum())

    def found(kind: Kind, reason: str) -> Description:
        return Description(kind, reason, low=low, high=high)

    is_whole = bool((numbers == np.round(numbers)).all())
    if len(numbers) == 1:
        return found("constant", f"every cell is {_short(low)}")
    if set(numbers.tolist()) == {0.0, 1.0}:
        return found("binary", "every cell is 0 or 1")
    if is_whole and present >= 20 and (id_reason := _identifier(name, numbers, present)):
        return found("identifier", id_reason)
    has_no_gap = is_whole and high - low + 1 == len(numbers)
    if has_no_gap and 3 <= len(numbers) <= LONGEST_SCALE and low in (0, 1) and present > 2 * len(numbers):
        return found("ordinal", f"whole numbers from {_short(low)} to {_short(high)}")
    what = "whole numbers" if is_whole else "numbers"
    return found("number", f"{what} from {_short(low)} to {_short(high)}, {len(numbers)} of them different")


def _identifier(name: str, numbers: np.ndarray, present: int) -> str | None:
    """Why these whole numbers say who a row is, and not what it is like."""
    is_unique = len(numbers) == present
    if is_unique and numbers[-1] - numbers[0] + 1 == present:
        return f"running numbers from {_short(numbers[0])} to {_short(numbers[-1])}"
    if ID_NAME.search(name) and is_unique:
        return "named like an identifier, and every number is another"
    if ID_NAME.search(name) and len(numbers) > 20:
        return f"named like an identifier; each number is on {present / len(numbers):.1f} rows"
    return None


def texts_as_numbers(name: str, counts: Counts) -> Description | None:
    """A column of texts most of which are numbers: which ones are not. `None` where numbers are not the rule."""
    assert counts.counts is not None
    if not _may_be_numbers(counts.texts, counts.counts):
        return None
    sorts: dict[str, dict[str, int]] = {"plain": {}, "loose": {}, "absent": {}, "other": {}}
    for text, count in zip(counts.texts, counts.counts.tolist()):
        sorts[_sort(text)][text] = count
    num_numbers, num_other = (sum(sum(sorts[s].values()) for s in two) for two in (("plain", "loose"), ("other",)))
    if num_numbers == 0 or num_numbers < MOSTLY * (num_numbers + num_other):
        return None
    decimal = _decimal(sorts["loose"], sorts["plain"]) if sorts["loose"] else None
    values: Counter[float] = Counter()
    for text, count in [*sorts["plain"].items(), *sorts["loose"].items()]:
        if (value := _value(text, decimal)) is not None:
            values[value] += count
        else:
            sorts["other"][text] = count
            sorts["loose"].pop(text, None)
    numbers = np.array(sorted(values))
    described = numbers_as(name, numbers, np.array([values[v] for v in numbers.tolist()]))
    told = {
        "loose": ("written for people", "written for people"),
        "other": ("no number", "no numbers"),
        "absent": ("taken for absent", "taken for absent"),
    }
    mess = tuple(f"{_cells(sorts[s], *words)}: {_listed(sorts[s])}" for s, words in told.items() if sorts[s])
    options = {} if decimal is None else {"decimal": decimal}
    return replace(described, mess=mess, na=tuple(sorts["absent"]), options=options)


def _sort(text: str) -> str:
    """`plain`, `loose`, `absent` or `other`."""
    if _value(text, None) is not None:
        return "plain"
    if text.lower() in ABSENT:
        return "absent"
    is_loose = any(_value(text, decimal) is not None for decimal in (".", ","))
    return "loose" if is_loose else "other"


def _value(text: str, decimal: str | None) -> float | None:
    if _CODE.match(text):
        return None
    try:
        return read_number(text, decimal)
    except DataError:
        return None


def _decimal(loose: dict[str, int], plain: dict[str, int]) -> str:
    """The decimal sign that reads more of the cells; of two that read as many, the one that reads more as fractions."""

    def reads(decimal: str) -> tuple[int, int]:
        read = {text: value for text in (*loose, *plain) if (value := _value(text, decimal)) is not None}
        both = {**loose, **plain}
        return sum(both[text] for text in read), sum(both[text] for text, value in read.items() if value % 1)

    return "," if reads(",") > reads(".") else "."


def sentinels(numbers: np.ndarray, counts: np.ndarray) -> tuple[str, ...]:
    """Numbers that stand for "absent": -999 and the like, below numbers that are none of them negative."""
    if len(numbers) > 2 and numbers[0] in SENTINELS and counts[0] > 1 and numbers[1] >= 0:
        return (_short(numbers[0]),)
    return ()


def is_truth(texts: Sequence[str]) -> bool:
    """Whether the texts are a yes and a no, and nothing else."""
    words = {text.lower() for text in texts}
    return bool(words & YES) and bool(words & NO) and words <= YES | NO


def _may_be_numbers(texts: Sequence[str], counts: np.ndarray) -> bool:
    """A quick look at the most frequent ones: is any of them a number?"""
    order = np.argsort(-counts, kind="stable")[:200]
    return any(any(c.isdigit() for c in texts[int(i)]) and len(texts[int(i)]) < 40 for i in order)


def _cells(found: dict[str, int], of_one: str, of_many: str) -> str:
    count = sum(found.values())
    return f"{count} cell is {of_one}" if count == 1 else f"{count} cells are {of_many}"


def _listed(found: dict[str, int]) -> str:
    most = sorted(found, key=lambda text: -found[text])[:4]
    return ", ".join(repr(text[:30]) for text in most) + (" …" if len(found) > 4 else "")


def _short(value: float) -> str:
    return f"{value:.6g}"
