"""What to look at before believing, and what to try."""

from __future__ import annotations

from typing import Any

from trunkline.report.checks import CHECKS, findings
from trunkline.report.files import RunFiles


def checks(run: RunFiles) -> dict[str, Any]:
    """Findings with their cures, and which checks were muted."""
    return {
        "findings": findings(run),
        "looked": sum(check.code not in run.muted for check in CHECKS),
        "muted": sorted(run.muted),
    }
