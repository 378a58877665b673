"""The data card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.report.figures import histogram_figure
from trunkline.report.files import RunFiles

CARDS = 40  # columns that have a card of their own
SKIPPED = 30  # faults that are listed


def data(run: RunFiles) -> dict[str, Any] | None:
    """Rows, presence and labels of each column, and how the labels overlap."""
    facts = run.facts["data"]
    if not facts:
        return None
    rows = facts["splits"]
    inputs = [_card(column, column["present"], rows) for column in facts["inputs"]]
    tasks = [_card(column, column["labelled"], rows) for column in facts["tasks"]]
    return {
        "splits": rows,
        "groups": [_group("Inputs", "present", inputs), _group("Tasks", "labelled", tasks)],
        "overlap": _overlap(facts["overlap"]),
        "skipped": run.skipped[:SKIPPED],
        "num_skipped": len({(fault["source"], fault["row"]) for fault in run.skipped}),
    }


def _group(title: str, word: str, cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Columns as cards; of many, how full they are."""
    is_wide = len(cards) > CARDS
    full = [card["shares"]["train"] for card in cards]
    emptiest = sorted(cards, key=lambda card: card["shares"]["train"])[:8] if is_wide else []
    counts = [sum(min(9, int(share * 10)) == place for share in full) for place in range(10)]
    return {
        "title": title,
        "word": word,
        "count": len(cards),
        "cards": [] if is_wide else cards,
        "emptiest": emptiest,
        "fullness": histogram_figure(
            [i / 10 for i in range(11)],
            counts,
            label=f"{title} by how full they are",
            unit=f"share of training rows {word}",
            width=420,
            height=110,
        )
        if is_wide
        else None,
    }


def _card(column: Mapping[str, Any], filled: Mapping[str, int], rows: Mapping[str, int]) -> dict[str, Any]:
    values = column["values"]
    return {
        "name": column["name"],
        "type": column["type"],
        "of": column.get("of"),
        "filled": filled,
        "shares": {split: filled[split] / count if count else 0.0 for split, count in rows.items()},
        "values": values,
        "looked_at": values["looked_at"] if values and values["looked_at"] < rows["train"] else None,
        "figure": histogram_figure(
            values["edges"], values["counts"], label=f"Values of {column['name']}", unit=values["unit"]
        )
        if values and values["kind"] != "classes" and values["min"] < values["max"]
        else None,
        "most": max((count for _, count in values["classes"]), default=1)
        if values and values["kind"] == "classes"
        else None,
    }


def _overlap(overlap: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Rows that carry both labels, as a share of those that carry the rarer one."""
    if overlap is None:
        return None
    rows = overlap["rows"]
    alone = [rows[i][i] for i in range(len(rows))]
    shares = [
        [count / min(alone[i], alone[j]) if min(alone[i], alone[j]) else 0.0 for j, count in enumerate(row)]
        for i, row in enumerate(rows)
    ]
    is_full = all(share > 0.999 for row in shares for share in row)
    return {"tasks": overlap["tasks"], "rows": rows, "shares": shares, "is_full": is_full}
