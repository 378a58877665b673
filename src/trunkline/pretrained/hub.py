"""Names of Hugging Face's hub, and folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trunkline.arrays.extras import need
from trunkline.errors import ConfigError

FOLDERS = (".", "/", "~")  # what begins so is a folder


def resolved(name: str) -> str:
    """A hub's name as it is, a folder with `~` told."""
    return str(Path(name).expanduser()) if name.startswith("~") else name


def from_hub(what: str, load: Callable[..., Any], source: str, **options: Any) -> Any:
    """`load(source)`. Code that lies beside weights is not run.

    Args:
        what: is wanted, as errors begin: `encoder: 'transformers:t5-small'`.
        load: a `from_pretrained` of Transformers.
        source: a hub's name or a folder.
        **options: of `load`.

    Raises:
        ConfigError: it cannot be had.
    """
    if source.startswith(FOLDERS) and not Path(source).expanduser().is_dir():
        raise ConfigError(f"{what}: there is no folder {source}")
    need("transformers.utils.logging", "text", what).disable_progress_bar()
    try:
        return load(resolved(source), trust_remote_code=False, **options)  # nor is anybody asked
    # What transformers and its hub's client raise when there is no connection, no such name, or no such file.
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"{what} cannot be had: {first} (without a connection, give a local folder)") from error
