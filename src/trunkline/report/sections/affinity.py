"""Which task helps which."""

from __future__ import annotations

from typing import Any

from trunkline.report.files import RunFiles

MANY = 24  # tasks whose table is still read
NAMED = 6  # pairs that are told in words


def affinity(run: RunFiles) -> dict[str, Any] | None:
    """Affinities of pairs, as far as they were measured, and which tasks should share a network."""
    facts = run.facts["affinity"]
    if "tasks" not in facts:
        return None
    tasks, table = facts["tasks"], facts["affinity"]
    places = [(i, j) for i in range(len(tasks)) for j in range(len(tasks)) if i != j]
    known = {(i, j): table[i][j]["mean"] for i, j in places if table[i][j]["mean"] is not None}
    largest = max(map(abs, known.values()), default=0.0) or 1.0
    clear = sorted((p for p in known if table[p[0]][p[1]]["is_clear"]), key=lambda p: known[p])
    return {
        "facts": facts,
        "tasks": tasks if len(tasks) <= MANY else [],
        "shades": {place: known[place] / largest for place in clear},
        "helps": [(tasks[i], tasks[j], known[i, j]) for i, j in reversed(clear) if known[i, j] > 0][:NAMED],
        "harms": [(tasks[i], tasks[j], known[i, j]) for i, j in clear if known[i, j] < 0][:NAMED],
        "unclear": len(known) - len(clear),
        "pairs": len(known),
    }
