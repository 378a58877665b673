"""Everything that is wrong with a config, told at once."""

from __future__ import annotations

from trunkline.errors import ConfigError, one_line


class Problems:
    """Collects what is wrong, one line each, with its place in front."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, message: str) -> None:
        """Note one problem, at a place such as `tasks.kind.type`."""
        self.lines.append(f"{one_line(where)}: {message}")

    def raise_any(self) -> None:
        """Go on if there are none.

        Raises:
            ConfigError: all of them.
        """
        if self.lines:
            raise ConfigError("\n".join(self.lines))
