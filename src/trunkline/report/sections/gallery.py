"""Rows to look at and to listen to."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trunkline.report.files import RunFiles

WIDE = ("boxes",)  # types whose pictures have words in them
MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".mp3": "audio/mpeg", ".wav": "audio/wav"}


def gallery(run: RunFiles) -> dict[str, Any] | None:
    """Groups of rows: drawn at random, and the worst and best of each task."""
    facts = run.facts["gallery"]
    if not facts or not facts["rows"]:
        return None
    folder = run.folder / "report"
    rows = [_row(row, folder, run) for row in facts["rows"]]
    groups = [{"title": "drawn at random", "task": None, "rows": [rows[i] for i in facts["random"]]}]
    for task, ends in facts["ends"].items():
        for word in ("worst", "best"):
            if ends[word]:
                groups.append({"title": word, "task": task, "rows": [rows[i] for i in ends[word]]})
    return {
        "groups": groups,
        "tasks": facts["tasks"],
        "more": facts["more"],
        "split": facts["split"],
        "legends": {task: told["legend"] for task in facts["tasks"] if (told := run.tasks[task]).get("legend")},
        "is_wide": any(run.tasks[task]["type"] in WIDE for task in facts["tasks"]),
    }


def _row(row: Mapping[str, Any], folder: Path, run: RunFiles) -> dict[str, Any]:
    shown = {name: _shown(one, folder) for name, one in row["inputs"].items()}
    media = {name: one for name, one in shown.items() if one and one["kind"] in ("picture", "sound")}
    answers = {}
    for task, answer in row["answers"].items():
        said, true = _shown(answer["said"], folder), _shown(answer["true"], folder)
        assert said is not None
        answers[task] = {**answer, "said": said, "true": true, "mark": _mark(said, true, run.tasks[task]["type"])}
    return {
        "number": row["row"],
        "media": media,
        "plain": {name: one for name, one in shown.items() if one and name not in media},
        "absent": [name for name, one in shown.items() if one is None],
        "answers": answers,
    }


def _mark(said: Mapping[str, Any], true: Mapping[str, Any] | None, kind: str) -> str:
    """`right` or `wrong` where an answer is either; numbers, pictures and sentences are more or less."""
    if true is None:
        return "unknown"
    if kind in ("number", "mask", "boxes", "text", "transcript", "dense"):
        return "near"
    return "right" if (said["text"], said["tags"]) == (true["text"], true["tags"]) else "wrong"


def _shown(one: Mapping[str, Any] | None, folder: Path) -> dict[str, Any] | None:
    """With its file inline; a file that is gone is told, not shown."""
    if one is None:
        return None
    path = None if one["file"] is None else folder / one["file"]
    if path is None or path.suffix not in MEDIA or not path.is_file():
        return {**one, "uri": None}
    return {**one, "uri": inline(path.read_bytes(), path.suffix)}


def inline(content: bytes, suffix: str) -> str:
    """The content of a picture or a sound, as the address of itself."""
    return f"data:{MEDIA[suffix]};base64,{base64.b64encode(content).decode('ascii')}"
