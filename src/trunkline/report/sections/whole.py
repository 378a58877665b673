"""The network, the choices, and how to get the same again."""

from __future__ import annotations

import re
from typing import Any

from trunkline.report.figures import network_figure
from trunkline.report.files import RunFiles

REASON = re.compile(r"^# (?P<path>[^:]+): (?P<reason>.+)$", re.MULTILINE)


def model(run: RunFiles) -> dict[str, Any] | None:
    """The picture, and parameters of each part."""
    facts = run.facts["model"]
    if not facts:
        return None
    total = max(facts["total"], 1)
    parts = {
        "encoders": sum(part["parameters"] for part in facts["encoders"]),
        "fusion": facts["fusion"]["parameters"] + facts["missing"]["parameters"],
        "trunk": facts["trunk"]["parameters"],
        "heads": sum(part["parameters"] for part in facts["heads"]),
    }
    return {
        "facts": facts,
        "figure": network_figure(facts),
        "parts": [(name, count, count / total) for name, count in parts.items()],
    }


def choices(run: RunFiles) -> dict[str, Any] | None:
    """Settings that the config had left open; of older runs, the comments in the resolved config."""
    told = run.facts["choices"].get("choices")
    if told is None:
        told = [{"path": m["path"], "value": "", "reason": m["reason"]} for m in REASON.finditer(run.config)]
    return {"choices": told, "config": run.config} if told or run.config else None


def again(run: RunFiles) -> dict[str, Any]:
    """Everything that the result depends on."""
    return {
        "system": run.facts["system"],
        "metrics": run.metrics,
        "tables": run.metrics.get("tables") or {},
        "signatures": run.metrics.get("signatures") or {},
    }
