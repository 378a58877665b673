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
        megapixels: of all pictures of a request. An answer may be a few times as large: masks have a picture's size.
        megasamples: of all sounds of a request, channels times samples.
        waiting: rows that wait to be answered; while there are more, requests are refused with 503.
        waiting_megabytes: the same of what was sent.
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
    """Counts the bytes of a request as they come, and reads no more of them than may be.

    Args:
        app: what is called.
        most: bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. What is too long raises where it is read, so that it is answered like any other error."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.most:
                raise HTTPException(413, f"a request may have {self.most / 1e6:g} MB; this one has more")
            return message

        await self.app(scope, counted if scope["type"] == "http" else receive, send)
