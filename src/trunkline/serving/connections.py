"""Connections of uvicorn that nobody can keep without asking anything."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 15.0  # seconds


class Connection(H11Protocol):
    """Ended when nothing has happened on it for `PATIENCE`, seen from one look to the next.

    What happens is that the header of a request has come, that it is answered, or that some of an answer is taken.
    Uvicorn would wait for ever for a header, for the rest of a body that was answered before it had come, and for a
    caller who does not read. While a request is answered it has time: the application says how much.
    """

    # Uvicorn's own method takes a narrower type than asyncio's protocol, and ignores the same error there.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Looks begin."""
        super().connection_made(transport)
        self._watch = self.loop.call_later(PATIENCE, self._look, self._state())

    def connection_lost(self, exc: Exception | None) -> None:
        """They end."""
        self._watch.cancel()
        super().connection_lost(exc)

    def _state(self) -> tuple[Any, bool, int]:
        """The last request whose header came, whether it is being answered, and bytes that are not taken."""
        is_answered = self.cycle is not None and not self.cycle.response_complete
        return self.cycle, is_answered, self.transport.get_write_buffer_size()

    def _look(self, before: tuple[Any, bool, int]) -> None:
        state = self._state()
        _, is_answered, untaken = state
        if state == before and (untaken or not is_answered):
            self.transport.abort()
        else:
            self._watch = self.loop.call_later(PATIENCE, self._look, state)
