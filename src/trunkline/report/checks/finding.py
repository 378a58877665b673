"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """In whole sentences.

    Attributes:
        says: what is so, with its figures.
        cure: what could be done; config keys as they are written.
    """

    says: str
    cure: str
