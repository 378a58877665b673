"""Numbers and counts as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

IN_UNITS = ("mae", "rmse", "abs_err", "angle_mean")  # metrics in the column's own units, or in degrees
ERRORS = ("wer", "cer", "mel_distance")  # other metrics of which less is better
OUT_OF_100 = ("bleu", "chrf")


def score(value: float | None, metric: str = "") -> str:
    """A score: three decimals, one where it runs to 100, four figures in a column's own units."""
    if value is None:
        return "–"
    if metric in OUT_OF_100:
        return f"{value:.1f}"
    return f"{value:.4g}" if metric in IN_UNITS else f"{value:.3f}"


def signed(value: float | None, metric: str = "") -> str:
    """A difference."""
    return "–" if value is None else ("+" if value >= 0 else "−") + score(abs(value), metric)


def percent_change(value: float | None) -> str:
    """A change in percent.

    Example:
        >>> percent_change(-25.864)
        '−25.9\xa0%'
    """
    if value is None:
        return "–"
    return ("+" if value >= 0 else "−") + f"{abs(value):.{1 if abs(value) >= 1 else 2}f}\u00a0%"


def rank(value: float | None) -> str:
    """A mean rank."""
    return "–" if value is None else f"{value:.2f}"


def count(value: int | None) -> str:
    """A whole number in groups of three.

    Example:
        >>> count(1234567)
        '1\u202f234\u202f567'
    """
    return "–" if value is None else f"{value:,}".replace(",", "\u202f")


def figure(value: float) -> str:
    """A number of the data: four figures, large whole ones in full.

    Example:
        >>> figure(0.123456), figure(99999.0)
        ('0.1235', '99\u202f999')
    """
    return count(round(value)) if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A share; tiny ones are not 0."""
    if value is None:
        return "–"
    rounded = (
        "< 1 %"
        if 0 < value < 0.005
        else "> 99 %"
        if 0.995 < value < 1
        else f"{value:.0%}".replace("%", " %").replace("-", "−")
    )
    return rounded.replace(" ", "\u00a0")


def seconds(value: float) -> str:
    """A time.

    Example:
        >>> seconds(12.3), seconds(150), seconds(8000)
        ('12 s', '2.5 min', '2.2 h')
    """
    return f"{value:.0f} s" if value < 100 else f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"


def plural(number: int, noun: str, nouns: str = "") -> str:
    """`1 row`, `2 rows`."""
    return f"{count(number)} {noun if number == 1 else nouns or noun + 's'}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """`a, b and c`, or `a, b and 7 more`."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))


def code(text: str) -> Markup:
    """What stands between backticks as code; everything escaped.

    Example:
        >>> str(code("set `lr` < 1"))
        'set <code>lr</code> &lt; 1'
    """
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def flat(content: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested settings by dotted path."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        where = f"{path}.{key}" if path else str(key)
        found |= flat(value, where) if isinstance(value, Mapping) else {where: value}
    return found
