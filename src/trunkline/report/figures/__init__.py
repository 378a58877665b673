"""Figures as inline SVG, in the page's own colours, light and dark: pure functions from numbers to markup."""

from trunkline.report.figures.attention import attention_figure, map_figure
from trunkline.report.figures.intervals import interval_figure
from trunkline.report.figures.lines import Line, line_figure
from trunkline.report.figures.networks import network_figure
from trunkline.report.figures.small import histogram_figure, sparkline_figure
from trunkline.report.figures.squares import curves_figure, scatter_figure, square_figure

__all__ = [
    "Line",
    "attention_figure",
    "curves_figure",
    "histogram_figure",
    "interval_figure",
    "line_figure",
    "map_figure",
    "network_figure",
    "scatter_figure",
    "sparkline_figure",
    "square_figure",
]
