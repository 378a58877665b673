"""Markdown in which what comes from data is text and nothing else.

Names of columns and classes, and whatever else a user has written, are shown as code; where a sign in them could end
that (a backtick, a bar in a table, an angle bracket), every such sign becomes a numeric entity, which Markdown never
takes for structure (CommonMark 0.31, section 2.5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

NASTY = re.compile(r"[`|\\<>]")
SIGNS = re.compile(r"[!\"#$&'*+<>@\[\\\]^_`{|}~]")  # that mean something within a line
LONGEST = 80  # signs of a name


def one_line(text: object) -> str:
    """White space of every kind as one space; what a screen cannot show is left out.

    Example:
        >>> one_line(" two\\nlines\\u2028and\\x00more ")
        'two lines andmore'
    """
    return "".join(sign for sign in " ".join(str(text).split()) if sign.isprintable())


def inert(text: object) -> str:
    """As plain text, in which nothing is markup, and no address becomes a link.

    Example:
        >>> inert("a*b <i> www.x.org"), inert("2.5, not 3")
        ('a&#42;b &#60;i&#62; www&#46;x.org', '2.5, not 3')
    """
    safe = SIGNS.sub(lambda sign: f"&#{ord(sign[0])};", one_line(text))
    return safe.replace("://", "&#58;//").replace("www.", "www&#46;")


def name(text: object) -> str:
    """A name, as code.

    Example:
        >>> name("is_big"), name("a|b")
        ('`is_big`', '<code>a&#124;b</code>')
    """
    short = one_line(text)
    short = short if len(short) <= LONGEST else f"{short[: LONGEST - 1]}…"
    if not short:
        return "<code>&#32;</code>"
    return f"<code>{inert(short)}</code>" if NASTY.search(short) else f"`{short}`"


def names(several: Sequence[object], most: int = 12) -> str:
    """Several, and how many more there are."""
    shown = ", ".join(name(one) for one in several[:most])
    return f"{shown} and {len(several) - most} more" if len(several) > most else shown


def prose(text: str) -> str:
    """A sentence of trunkline's in which names stand bare, and code between backticks.

    Example:
        >>> prose("set `lr` for a_b")
        'set `lr` for a&#95;b'
    """
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _plain(text)
    return "".join(name(part) if i % 2 else _plain(part) for i, part in enumerate(parts))


def _plain(text: str) -> str:
    """The same between pieces of code: a space at either end stays."""
    return f"{' ' * text.startswith(' ')}{inert(text)}{' ' * (text.endswith(' ') and bool(text.strip()))}"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """A table of cells that are Markdown already.

    Args:
        heading: of each column.
        rows: cells.
        right: columns of figures.
    """
    rule = ["---:" if place in right else "---" for place in range(len(heading))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, rule, *rows))


def block(language: str, text: str) -> str:
    """Code on lines of its own; nothing in it ends it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
