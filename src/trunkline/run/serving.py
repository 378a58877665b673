"""A trained run behind HTTP."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from trunkline.arrays.extras import need
from trunkline.errors import ConfigError, RunError
from trunkline.loading import load

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
NAME = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*\.?|\*|\[[\da-fA-F:.]+\]")  # of a machine, all below one, any, or IPv6
CALLERS = 512  # connections at once; more are refused


def serve(
    run: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    hosts: Sequence[str] = (),
    trust_code: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Answer until interrupted: `POST /predict`, and at `/` a page to try it (see `docs/serving.md`).

    Args:
        run: its folder.
        host: the address to listen at; by default only this machine can ask.
        port: likewise; 0 for any that is free.
        hosts: names that it may be called by besides (`models.example`, `*.example`), as a server in front of it passes
            them on in `Host`. None given, it is this machine's alone, or any where `host` lets others ask.
        trust_code: import classes of your own that the run's config names.
        say: told where it listens.

    Raises:
        ConfigError: the extra `serve` is not installed, or a name is none.
        RunError: it is no finished run, or the port is taken.
    """
    for module in ("starlette", "python_multipart"):
        need(module, extra="serve", what="serving")
    uvicorn = need("uvicorn", extra="serve", what="serving")
    for name in hosts:
        if not NAME.fullmatch(name):
            raise ConfigError(f"--allow-host {name!r} is no name; give it without scheme and port, such as "
                              "models.example, or *.example for all below it")  # fmt: skip
    from trunkline.serving import make_app  # not above: what serves comes with an extra
    from trunkline.serving.connections import PATIENCE, Connection

    # So that no other site's name can be made to mean this machine.
    shown = f"[{host}]" if ":" in host else host
    called = (*LOOPBACK, shown, *hosts) if hosts or host in LOOPBACK else ("*",)
    app = make_app(load(run, trust_code=trust_code), name=Path(run).absolute().name, hosts=called)
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise RunError(f"--host {host} --port {port}: cannot listen there: {error}") from None
    say(f"http://{shown}:{listening.getsockname()[1]}/ answers with {run}. Ctrl+C ends it.")
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_level="warning",
        limit_concurrency=CALLERS,
        timeout_keep_alive=int(PATIENCE),
    )
    uvicorn.Server(config).run(sockets=[listening])
