"""How to get the same run again, and where this one was made."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trunkline.config import setting
from trunkline.machine import cores
from trunkline.run.facts.subject import Subject

PACKAGES = (
    "trunkline",
    "torch",
    "lightning",
    "torchmetrics",
    "numpy",
    "pyarrow",
    "transformers",
    "torchvision",
    "timm",
)


def system_facts(subject: Subject) -> dict[str, Any]:
    """Schema: `command`; `seed`; `device`; `threads`; `machine`; `cores`; `python`; `packages {name: version}`."""
    import torch

    parameter = next(subject.predictor.network.parameters())
    return {
        "command": f"trunkline fit {subject.folder / 'config.yaml'} --out {subject.folder}-again",
        "seed": subject.plan.config.training.seed,
        "device": _device(str(parameter.device)),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.release()}, {_processor()}",
        "cores": cores(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def choices_facts(subject: Subject) -> dict[str, Any]:
    """Schema: `choices [{path, value, reason}]`, one for each setting that the config had left open."""
    config = subject.plan.config
    choices = [
        {"path": path, "value": str(setting(config, path)), "reason": " ".join(why.split())}
        for path, why in subject.plan.reasons.items()
    ]
    return {"choices": choices}


def _device(name: str) -> str:
    import torch

    return torch.cuda.get_device_name() if name.startswith("cuda") else name


def _processor() -> str:
    cpu = Path("/proc/cpuinfo")
    if cpu.is_file():
        for line in cpu.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
