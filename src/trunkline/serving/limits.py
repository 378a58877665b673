"""How much one request may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class Limits:
    """What is refused, so that one caller cannot take the server from all others.

    Attributes:
        megabytes: of a request; more is refused with 413.
        rows: of a request; more is refused with 422, and so is all that follows.
        letters: of a text, and parts of a list or an object.
        megapixels: of all pictures of a request, or of several that go through the network together, times the masks
            and maps that are asked for, which have a picture's size.
        megasamples: likewise of all sounds, channels times samples, or at the network's rate.
        waiting: rows that wait to be answered; while there are more, requests are refused with 503.
        waiting_megabytes: the same of what was sent, and of what is being sent by all together.
        seconds: until a request has come, and from then on until its answer; later ones are given up with 504.
        batch_rows: that go through the network together, where no single request has more.
        batch_seconds: that a request waits for others to come along, where others are about.
    """

    megabytes: float = 32.0
    rows: int = 256
    letters: int = 20_000
    megapixels: float = 25.0
    megasamples: float = 50.0
    waiting: int = 1024
    waiting_megabytes: float = 256.0
    seconds: float = 60.0
    batch_rows: int = 64
    batch_seconds: float = 0.005


class LimitedBody:
    """Counts the bytes of requests as they come, and reads no more of them than may be.

    Args:
        app: what is called.
        most: bytes of a request.
        together: bytes of all requests that are not answered yet.
    """

    def __init__(self, app: ASGIApp, most: int, together: int) -> None:
        self.app, self.most, self.together = app, most, max(most, together)
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. What is too long raises where it is read, so that it is answered like any other error."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            size = len(message.get("body", b""))
            seen, self.held = seen + size, self.held + size
            if seen > self.most:
                raise HTTPException(413, f"a request may have {self.most / 1e6:g} MB; this one has more")
            if self.held > self.together:
                raise HTTPException(503, "too much is being sent; try again", {"Retry-After": "1"})
            return message

        try:
            await self.app(scope, counted if scope["type"] == "http" else receive, send)
        finally:
            self.held -= seen
