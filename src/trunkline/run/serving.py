"""A trained run behind HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trunkline.loading import load
from trunkline.pretrained.extras import need


def serve(
    run: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    trust_code: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Answer until interrupted: `POST /predict`, and at `/` a page to try it (see `docs/serving.md`).

    Args:
        run: its folder.
        host: the address to listen at; by default only this machine can ask.
        port: likewise.
        trust_code: import classes of your own that the run's config names.
        say: told where it listens.

    Raises:
        ConfigError: the extra `serve` is not installed.
        RunError: it is no finished run.
    """
    for module in ("starlette", "python_multipart"):
        need(module, extra="serve", what="serving")
    uvicorn = need("uvicorn", extra="serve", what="serving")
    from trunkline.serving import make_app  # not above: what serves comes with an extra

    app = make_app(load(run, trust_code=trust_code), name=Path(run).absolute().name)
    say(f"http://{host}:{port}/ answers with {run}. Ctrl+C ends it.")
    uvicorn.run(app, host=host, port=port, log_level="warning")
