"""How many cores, and how much memory, there are for this process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trunkline.machine import cores, launched, memory

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a system without affinity")


@needs_affinity
def test_affinity_counts(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores(tmp_path / "none") == 1
    finally:
        os.sched_setaffinity(0, before)
    assert cores(tmp_path / "none") == len(before)


@needs_affinity
def test_the_quota_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    quota = tmp_path / "cpu.max"
    for text, most in [
        ("max 100000\n", 16),
        ("400000 100000\n", 4),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("9900000 100000\n", 16),
        ("something else\n", 16),
        ("100000 0\n", 16),
        ("", 16),
    ]:
        quota.write_text(text)
        assert cores(quota) == most, text


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    whole = memory(tmp_path / "none")
    assert whole > 2**28
    limit = tmp_path / "memory.max"
    for text, most in [("max\n", whole), ("1048576\n", 2**20), (f"{whole * 2}\n", whole), ("what\n", whole)]:
        limit.write_text(text)
        assert memory(limit) == most, text


@pytest.mark.parametrize(
    ("env", "found"),
    [
        ({}, None),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}, (4, 2)),
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, None),  # processes that Lightning has started itself
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "12", "SLURM_NNODES": "3", "SLURM_JOB_NAME": "train"}, (4, 3)),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_JOB_NAME": "bash"}, None),
        (
            {"SLURM_PROCID": "0", "SLURM_JOB_NAME": "train", "SLURM_NNODES": "3", "SLURM_NTASKS": "12"},
            None,
        ),  # in a batch script, no srun
        ({"SLURM_STEP_ID": "0", "SLURM_NNODES": "one"}, None),
    ],
)
def test_what_a_launcher_has_started(env: dict[str, str], found: tuple[int, int] | None) -> None:
    assert launched(env) == found
