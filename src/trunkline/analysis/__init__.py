"""Statistics of what models say and of models that are compared. Pure: numbers in, numbers out."""

from trunkline.analysis.affinity import Grouping, Helping, groupings, helping
from trunkline.analysis.calibration import Bin, calibration_error, reliability
from trunkline.analysis.comparison import NOT_RATIOS, Scores, compare_scores, metrics_of
from trunkline.analysis.confusions import Confusion, confusion
from trunkline.analysis.curves import precision_recall_curve, roc_curve
from trunkline.analysis.delta import delta_m, mean_over_tasks, relative_change
from trunkline.analysis.intervals import Interval, bootstrap, paired_bootstrap
from trunkline.analysis.leaving_out import Subset, subsets
from trunkline.analysis.paired import Verdict, interval, mean_std, student_quantile, summary, verdict
from trunkline.analysis.ranks import mean_ranks

__all__ = [
    "NOT_RATIOS",
    "Bin",
    "Confusion",
    "Grouping",
    "Helping",
    "Interval",
    "Scores",
    "Subset",
    "Verdict",
    "bootstrap",
    "calibration_error",
    "compare_scores",
    "confusion",
    "delta_m",
    "groupings",
    "helping",
    "interval",
    "mean_over_tasks",
    "mean_ranks",
    "mean_std",
    "metrics_of",
    "paired_bootstrap",
    "precision_recall_curve",
    "relative_change",
    "reliability",
    "roc_curve",
    "student_quantile",
    "subsets",
    "summary",
    "verdict",
]
