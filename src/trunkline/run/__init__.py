"""The acts, composed. The command line says the same verbs."""

from trunkline.run.beginning import Beginning, init
from trunkline.run.checking import Report, check
from trunkline.run.comparing import Comparison, compare
from trunkline.run.fitting import Metrics, Run, fit
from trunkline.run.helping import Affinity, affinity
from trunkline.run.previewing import preview
from trunkline.run.reporting import noticed, report
from trunkline.run.serving import serve
from trunkline.run.twins import single_task_twins
from trunkline.run.using import evaluate, export, predict

__all__ = [
    "Affinity",
    "Beginning",
    "Comparison",
    "Metrics",
    "Report",
    "Run",
    "affinity",
    "check",
    "compare",
    "evaluate",
    "export",
    "fit",
    "init",
    "noticed",
    "predict",
    "preview",
    "report",
    "serve",
    "single_task_twins",
]
