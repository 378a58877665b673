"""What of the machine is this process's to use."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container (cgroup v2): microseconds of CPU in a period, or `max`


MEMORY = Path("/sys/fs/cgroup/memory.max")  # of a container (cgroup v2): bytes, or `max`


def launched(env: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """Processes on each machine, and machines, where a launcher (`torchrun`, `srun`) has started this process.

    Args:
        env: its environment.
    """
    try:
        if "TORCHELASTIC_RUN_ID" in env:
            return int(env["LOCAL_WORLD_SIZE"]), int(env["WORLD_SIZE"]) // int(env["LOCAL_WORLD_SIZE"])
        if "SLURM_STEP_ID" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
            nodes = int(env["SLURM_NNODES"])
            return int(env["SLURM_NTASKS"]) // nodes, nodes
    except (KeyError, ValueError):  # no such launch, though something is named like it
        pass
    return None


def num_devices(devices: int | str, accelerator: str) -> int:
    """What `training.devices` comes to here: `auto` is all GPUs, and one CPU."""
    import torch  # of those who ask this alone

    if isinstance(devices, int):
        return devices
    return 1 if accelerator == "cpu" else max(1, torch.cuda.device_count())


def memory(limit: Path = MEMORY) -> int:
    """Bytes of memory that this machine, or the container, has; 8 GiB where nobody tells.

    Args:
        limit: the file in which Linux tells a control group's.
    """
    try:
        own = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # another system
        own = 8 * 2**30
    try:
        most = limit.read_text(encoding="utf-8").strip()
        return own if most == "max" else min(own, int(most))
    except (OSError, ValueError):
        return own


def cores(quota: Path = QUOTA) -> int:
    """CPU cores that this process may run on, one at least: by its affinity (`taskset`, SLURM) and its container.

    Args:
        quota: the file in which Linux tells a control group's.
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        most, period = quota.read_text(encoding="utf-8").split()
        return own if most == "max" else max(1, min(own, math.ceil(int(most) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # another system, or another kernel's way to say it
        return own
