from __future__ import annotations

import pytest

from fuzzing import OUTCOMES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if OUTCOMES:
        terminalreporter.section("examples")
    for target, outcomes in OUTCOMES.items():
        told = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
        terminalreporter.write_line(f"{target}: {outcomes.total()} examples ({told})")
