"""Statistics of models that are compared. Pure: numbers in, numbers out."""

from trunkline.analysis.comparison import NOT_RATIOS, Scores, compare_scores
from trunkline.analysis.delta import delta_m, mean_over_tasks, relative_change
from trunkline.analysis.paired import Verdict, interval, mean_std, student_quantile, summary, verdict

__all__ = [
    "NOT_RATIOS",
    "Scores",
    "Verdict",
    "compare_scores",
    "delta_m",
    "interval",
    "mean_over_tasks",
    "mean_std",
    "relative_change",
    "student_quantile",
    "summary",
    "verdict",
]
