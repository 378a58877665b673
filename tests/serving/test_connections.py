"""Who is connected and asks nothing, sends slowly, or does not read, is sent away; whoever is answered has time."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from trunkline import serving as serving_room
from trunkline.run import serve, serving
from trunkline.serving import connections

PATIENCE, LONG = 1.0, 60.0
HEADER = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
LARGE = 30_000_000


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/slow` takes three times the patience, `/large` says much, `/early` answers before the body has come."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * PATIENCE)
    body = b"x" * (LARGE if scope["path"] == "/large" else 2)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[uvicorn.Server]:
    """What `serve` has listen, with another application and less patience."""
    servers = []

    class Server(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            servers.append(self)

    monkeypatch.setattr(uvicorn, "Server", Server)
    monkeypatch.setattr(serving_room, "make_app", lambda *_, **__: app)
    monkeypatch.setattr(serving, "load", lambda *_, **__: None)
    monkeypatch.setattr(serving, "CALLERS", 9)
    monkeypatch.setattr(connections, "PATIENCE", PATIENCE)
    thread = threading.Thread(target=serve, args=("run",), kwargs={"port": 0})
    thread.start()
    until(lambda: bool(servers) and servers[0].started)
    try:
        yield servers[0]
    finally:
        servers[0].should_exit = True
        thread.join(LONG)


@pytest.fixture
def port(server: uvicorn.Server) -> int:
    """Where it listens."""
    return int(server.servers[0].sockets[0].getsockname()[1])


def until(is_so: Callable[[], bool]) -> None:
    """Wait for it, a minute at most."""
    end = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_ended(caller: socket.socket, drip: bytes) -> None:
    """Wait until the server has closed a connection on which a byte comes now and then."""
    caller.settimeout(0.1)
    end = time.monotonic() + LONG
    while True:
        assert time.monotonic() < end, "it is open still"
        try:
            if drip:
                caller.sendall(drip)
            if caller.recv(65536) == b"":
                return
        except TimeoutError:
            pass
        except (ConnectionResetError, BrokenPipeError):
            return


@pytest.mark.parametrize(
    ("sent", "drip"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nX: ", b"x"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nX: ", b"x"),  # the second one
        (HEADER, b"x"),
    ],
)
def test_who_asks_nothing_is_sent_away(port: int, sent: bytes, drip: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(sent)
        is_ended(caller, drip)


@pytest.mark.parametrize("times", [1, 3])
def test_who_does_not_read_is_sent_away(server: uvicorn.Server, port: int, times: int) -> None:
    """Also with requests behind it, whose answers wait for the first to be taken."""
    state = server.server_state
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * times)
        until(lambda: bool(state.connections))
        until(lambda: not state.connections and not state.tasks)


def test_silent_ones_shut_nobody_out(port: int) -> None:
    address = f"http://127.0.0.1:{port}/"
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(9)]
    until(lambda: httpx.get(address, timeout=LONG).status_code == 200)
    for one in silent:
        is_ended(one, b"")
        one.close()


def test_whoever_is_answered_has_time(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LONG) as client:
        assert client.get("/slow").text == "xx"
        time.sleep(PATIENCE / 4)
        assert client.get("/").text == "xx"
        with client.stream("GET", "/large") as answer:
            size = 0
            for chunk in answer.iter_raw(LARGE // 20):
                size += len(chunk)
                time.sleep(PATIENCE / 5)
        assert size == LARGE
