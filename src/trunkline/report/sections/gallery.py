"""Rows to look at and to listen to."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trunkline.files import is_inside
from trunkline.report.figures import attention_figure, map_figure
from trunkline.report.files import RunFiles
from trunkline.report.tagged import sentences
from trunkline.report.written import differing

WIDE = ("boxes", "text", "transcript")  # types that need the page's width
HALF = ("tags", "mask", "dense", "speech")  # or half of it
WRITTEN = ("text", "transcript")  # types whose answers stand beside what they should be
MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".mp3": "audio/mpeg", ".wav": "audio/wav"}


def gallery(run: RunFiles) -> dict[str, Any] | None:
    """Groups of rows: drawn at random, and the worst and best of each task."""
    facts = run.facts["gallery"]
    if not facts or not facts["rows"]:
        return None
    folder = run.folder / "report"
    kinds = facts.get("kinds", {})
    rows = [_row(row, folder, run, facts) for row in facts["rows"]]
    groups: list[dict[str, Any]] = [
        {"title": "drawn at random", "task": None, "rows": [rows[i] for i in facts["random"]]}
    ]
    for task, ends in facts["ends"].items():
        for word in ("worst", "best"):
            if ends[word]:
                groups.append({"title": word, "task": task, "rows": [rows[i] for i in ends[word]]})
    types = {run.tasks[task]["type"] for task in facts["tasks"]}
    for group in groups:
        group["kinds"] = _kinds(group, kinds)
    reads = [read for row in facts["rows"] for a in row["answers"].values() if (read := a.get("attention"))]
    return {
        "groups": groups,
        "tasks": facts["tasks"],
        "more": facts["more"],
        "split": facts["split"],
        "legends": {
            t: told["legend"] for t in facts["tasks"] if t not in kinds and (told := run.tasks[t]).get("legend")
        },
        "width": "wide" if types & {*WIDE} else "half" if types & {*HALF} else "",
        "has_attention": any(not read.get("is_alignment") for read in reads),
        "has_alignment": any(read.get("is_alignment") for read in reads),
    }


def _kinds(group: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Of each task that tags, the kinds that are seen in these rows, with their colours."""
    found = {}
    for task in kinds:
        sentences = [s for row in group["rows"] for s in row["answers"].get(task, {}).get("sentences", ())]
        seen = {part["kind"] for sentence in sentences for part in sentence["parts"]}
        found[task] = [pair for pair in kinds[task] if pair[0] in seen]
    return found


def _row(row: Mapping[str, Any], folder: Path, run: RunFiles, facts: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: _shown(one, folder) for name, one in row["inputs"].items()}
    media = {name: one for name, one in shown.items() if one and one["kind"] in ("picture", "sound")}
    answers = {}
    for task, answer in row["answers"].items():
        said, true = _shown(answer["said"], folder), _shown(answer["true"], folder)
        assert said is not None
        answers[task] = {**answer, "said": said, "true": true, "mark": _mark(said, true, run.tasks[task]["type"])}
        if said["kind"] == "tags":
            colours = dict(facts.get("kinds", {}).get(task, []))
            answers[task]["sentences"], answers[task]["counts"] = sentences(said, true, colours)
    texts = {task: _text(task, a) for task, a in answers.items() if run.tasks[task]["type"] in WRITTEN}
    sources = facts.get("texts", []) if texts else []
    return {
        "number": row["row"],
        "media": media,
        "plain": {name: one for name, one in shown.items() if one and name not in media and name not in sources},
        "sources": {name: one for name in sources if (one := shown[name])},
        "absent": [name for name, one in shown.items() if one is None],
        "texts": texts,
        "answers": {task: answer for task, answer in answers.items() if task not in texts},
    }


def _text(task: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What was written beside the reference, the words that differ marked, and what was read for it."""
    said, true = answer["said"]["text"], answer["true"]
    runs = differing(said, true["text"]) if true is not None else ([(said, False)], None)
    read = answer.get("attention")
    return {"said": runs[0], "true": runs[1], "scores": answer.get("scores", {}), "read": read and _read(task, read)}


def _read(task: str, read: Mapping[str, Any]) -> dict[str, Any]:
    label = f"When {task} was said" if read.get("is_alignment") else f"What {task} read"
    maps = {name: map_figure(shares, label=f"Where in {name} {task} looked") for name, shares in read["maps"].items()}
    weights = read["weights"]
    if read.get("is_alignment"):  # where a word is, however long it is
        weights = [[share / (max(row) or 1.0) for share in row] for row in weights]
    return {
        "figure": attention_figure(read["sources"], read["words"], weights, label=label),
        "most": max(max(row) for row in read["weights"]),
        "maps": maps,
        "more": read["more"],
        "unread": read["unread"],
        "is_alignment": read.get("is_alignment", False),
    }


def _mark(said: Mapping[str, Any], true: Mapping[str, Any] | None, kind: str) -> str:
    """`right` or `wrong` where an answer is either; numbers, pictures and sentences are more or less."""
    if true is None:
        return "unknown"
    if kind in ("number", "mask", "boxes", "text", "transcript", "dense", "speech"):
        return "near"
    return "right" if (said["text"], said["tags"]) == (true["text"], true["tags"]) else "wrong"


def _shown(one: Mapping[str, Any] | None, folder: Path) -> dict[str, Any] | None:
    """With its file inline; a file that is gone is told, not shown."""
    if one is None:
        return None
    return {**one, "uri": _uri(one["file"], folder), "drawn": _uri(one.get("drawing"), folder)}


def _uri(name: str | None, folder: Path) -> str | None:
    path = None if name is None else folder / name
    if path is None or path.suffix not in MEDIA or not path.is_file() or not is_inside(path, folder):
        return None  # a page is passed on: nothing but the run's own files may come into it
    return inline(path.read_bytes(), path.suffix)


def inline(content: bytes, suffix: str) -> str:
    """The content of a picture or a sound, as the address of itself."""
    return f"data:{MEDIA[suffix]};base64,{base64.b64encode(content).decode('ascii')}"
