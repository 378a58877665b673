"""Where each balancer ends on the toy, and when it first meets the Pareto set. A row is one line.

Scale 0.1, Adam 1e-3, 50 000 steps, float64; without clipping, and with the combined gradient clipped to norm 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from balancers import toy
from trunkline.balancers import CATALOG, GramianBalancer
from trunkline.balancers.gls import gls_weights
from trunkline.balancers.imtl_l import imtl_l_terms
from trunkline.balancers.stch import stch_weights
from trunkline.balancers.uncertainty import uncertainty_terms
from trunkline.balancers.uw_so import uw_so_weights

STEPS = 50_000
INVERSE_SCALES = torch.tensor([1 / toy.SCALE, 1.0], dtype=torch.float64)
X = None  # not on the Pareto set by the end
EITHER = math.nan  # a rounding decides whether it arrives
Ends = tuple[float | None, float | None, float | None, float | None, float | None]


@dataclass(frozen=True)
class Row:
    """What is expected of a method, start by start: a number, `X`, or `EITHER`, of which nothing is.

    Attributes:
        name: of the row.
        balancer: in the catalogue.
        make: the method.
        ends: `x1` at the end.
        hits: thousand steps to the first point on the Pareto set.
        clipped: as `ends`, with gradients clipped; `None`: not looked at.
        ours: measured by trunkline alone; the others first by an independent script.
        tolerance: of the ends.
        valleys: the same for the first and the third start. They pass a valley, where a rounding decides on which side:
            methods that differ by a factor of 2 alone, which Adam does not see, end up to 0.7 apart.
        thousands: tolerance of `hits` of the other starts.
    """

    name: str
    balancer: str
    make: Callable[[], toy.Method]
    ends: Ends
    hits: Ends
    clipped: Ends | None = None
    ours: bool = False
    tolerance: float = 0.05
    valleys: float = 0.2
    thousands: float = 2.0


def of(name: str, **options: object) -> Callable[[], toy.Method]:
    """The catalogue's balancer as it stands; one that reads losses has them above their ideals."""

    def make() -> toy.Method:
        balancer = partial(CATALOG[name], **options)
        if issubclass(CATALOG[name], GramianBalancer):
            return toy.OfGramian(balancer)
        return toy.OfBalancer(balancer, above=toy.ZEROS if name == "rlw" else toy.IDEALS)

    return make


def above(weights: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], toy.Method]:
    """A function of losses above their ideals, since most methods need positive ones."""
    return lambda: toy.OfLosses(weights, above=toy.IDEALS)


def equal() -> toy.Method:
    return toy.OfLosses(torch.ones_like)


def uncertainty() -> toy.Method:
    """Log variances within ±50, by an Adam of 0.025: the losses are negative, so that nothing else bounds them."""
    return toy.Learned(uncertainty_terms, bound=50.0)


def imtl_l() -> toy.Method:
    return toy.Learned(imtl_l_terms, above=toy.IDEALS)


# The paper's equation with known ideals, μ = 1, and λ the inverse scales.
stch = above(lambda gaps: INVERSE_SCALES * stch_weights(INVERSE_SCALES * gaps, 1.0))
# What the paper's code makes of it for multi-task learning, where log losses take the place of losses, μ = 0.1.
log_stch = above(lambda gaps: stch_weights((gaps * INVERSE_SCALES).log(), 0.1) / gaps)

# x1 at the end; thousand steps to the Pareto set; x1 at the end with clipping.
# fmt: off
ROWS = [
    Row("LS", "equal", equal,
        (-5.73, -5.73, X, -5.73, -5.73), (37, 16, X, 15, 28), (X, -5.73, X, -5.73, -5.73)),
    Row("RLW", "rlw", of("rlw"),
        (-5.70, -5.70, X, -5.70, -5.70), (42, 17, X, 16, 22), (X, -5.70, X, -5.70, -5.70), thousands=7),
    Row("UW", "uncertainty", uncertainty,
        (X, -5.73, X, -5.73, -5.73), (X, 12, X, 11, 8), (X, -5.73, X, -5.73, -5.73)),
    Row("FAMO", "famo", toy.Famo,
        (-.31, .08, .36, -.95, 1.75), (22, 16, 22, 13, 15), (-.49, .08, .34, -.95, 1.76), thousands=1),
    Row("STCH's equation", "stch", stch,
        (0, 0, 0, 0, 0), (20, 16, 20, 13, 16), (X, 0, X, 0, 0), tolerance=0.01, thousands=1),
    Row("MGDA", "mgda", of("mgda"),
        (-1.92, 6.10, 6.98, -4.26, 7.00), (27, 16, 22, 10, 13), (-2.02, 5.99, 6.98, -4.26, 7.00), tolerance=0.12),
    Row("PCGrad", "pcgrad", of("pcgrad"),
        (-4.91, -3.35, X, -3.82, 5.03), (24, 15, X, 15, 9), (-4.04, -3.32, 2.25, -3.68, 4.90), valleys=0.8),
    Row("UPGrad", "upgrad", of("upgrad"),
        (-4.91, -3.35, X, -3.82, 5.03), (24, 15, X, 15, 9), (-4.04, -3.32, 2.25, -3.68, 4.90),
        tolerance=0.12, valleys=0.8),
    Row("DualProj", "dualproj", of("dualproj"),
        (-5.72, -5.72, X, -5.72, 3.86), (25, 16, X, 15, 11), (-5.72, -5.72, 2.30, -5.71, 3.83)),
    Row("CAGrad .4", "cagrad", of("cagrad", c=0.4),  # the script came from the first start after 40 thousand steps
        (-5.73, -5.73, X, -5.73, -5.73), (28, 16, X, 15, 27), (-5.73, -5.73, -5.73, -5.73, -5.73)),
    Row("IMTL-G", "imtl_g", of("imtl_g"),
        (-2.20, 0, 2.43, -3.39, 5.30), (31, 16, 23, 12, 13), (-2.54, 0, 2.43, -3.39, 5.30)),
    # The script was slower: -3.76, 0, 3.53, -3.66, 4.92 after 36, 10, 41, 10, 7. The paper's own equation has steps of
    # equal length, and is FairGrad 1 in direction.
    Row("Nash-MTL", "nash_mtl", of("nash_mtl"),
        (-2.90, 0, 2.92, -3.28, 4.89), (14.5, 8, 15, 7, 6.5), (-2.93, 0, 2.93, -3.27, 4.87), ours=True),
    # The script ended at -2.06, -.27, X, -3.69, 4.69, TorchJD at -2.20, 0, X, -3.70, 5.02 (clipped: -3.11, 0, 2.79,
    # -3.57, 5.02): the third start passes a valley. Of eight starts 1e-9 apart there four arrive, at 1.80 to 3.62 after
    # 43 to 50 thousand steps. With two tasks ConFIG has the direction of IMTL-G.
    Row("ConFIG", "config", of("config"),
        (-2.05, 0, EITHER, -3.70, 5.02), (41.5, 16, EITHER, 15, 10.5), (-3.11, 0, 2.79, -3.57, 5.02),
        ours=True, valleys=0.5),
    Row("FairGrad 1", "fairgrad", of("fairgrad", alpha=1.0),
        (-2.90, 0, 2.91, -3.27, 4.90), (15, 8, 15, 7, 7), (-2.92, 0, 2.92, -3.27, 4.88)),
    # The script ended at -3.12, 3.52, 4.30, -3.62, 5.70, and clipped where we do.
    Row("FairGrad 2", "fairgrad", of("fairgrad", alpha=2.0),
        (-3.05, 3.56, 4.27, -3.56, 5.73), (14, 7, 15, 6, 6), (-2.30, 3.76, 4.25, -3.73, 5.93), ours=True),
    # The script ended at -5.75, 6.44, 6.67, -3.85, 6.75.
    Row("FairGrad 10", "fairgrad", of("fairgrad", alpha=10.0),
        (-5.19, 6.44, 6.67, -3.75, 6.73), (16, 5, 16, 4, 4), ours=True),
    # The script ended at -5.73, -5.73, X, -5.73, -5.73 (28, 16, X, 10, 20); clipped, at X, -5.73, X, -5.73, -5.73;
    # TorchJD 0.18 at -5.73, -5.73, -4.31, -5.73, -4.58. Gradients that are nearly opposed have one direction or two as
    # a rounding decides, and the update of the one is another than that of the two.
    Row("Aligned-MTL", "aligned_mtl", of("aligned_mtl"),
        (-5.73, -5.73, -5.72, -5.73, -5.73), (25, 15, 20, 10, 22.7), (-5.73, -5.73, -5.72, -5.73, -5.73),
        ours=True),
    Row("GradVac .5", "gradvac", of("gradvac", beta=0.5),
        (-5.73, -5.73, X, -5.73, -5.73), (35, 16, X, 15, 23), (-5.73, -5.73, -5.73, -5.73, -5.73)),
    Row("log-sum", "log_sum", above(torch.reciprocal),
        (X, 6.24, X, -6.24, 6.24), (X, 13, X, 12, 11.5), (X, 6.24, X, -6.24, 6.24), ours=True),
    Row("GLS", "gls", above(gls_weights),
        (X, 6.24, X, -6.24, 6.24), (X, 14.5, X, 14, 13), (X, 6.24, X, -6.24, 6.24), ours=True),
    Row("UW-SO", "uw_so", above(lambda gaps: uw_so_weights(gaps, 1.0)),
        (X, -6.09, X, -6.09, -6.09), (X, 15, X, 15, 25), (X, -6.09, X, -6.09, -6.09), ours=True),
    Row("IMTL-L", "imtl_l", imtl_l,
        (X, 6.24, X, -6.24, 6.24), (X, 14, X, 13, 11.5), (X, 6.24, X, -6.24, 6.24), ours=True),
    Row("STCH of logs", "stch", log_stch,
        (X, 0, X, 0, 0), (X, 15, X, 10, 13), (X, 0, X, 0, 0), ours=True, tolerance=0.01),
    Row("DWA", "dwa", of("dwa"),
        (-5.73, -5.73, X, -5.73, -5.73), (34, 16, X, 15, 28), ours=True),
    Row("GO4Align", "go4align", of("go4align"),
        (X, 7, 7, 7, 7), (X, 12, 16.5, 11, 11), ours=True),
]
# fmt: on
WITHOUT_ROW = {
    "famo_lagged": "the row of FAMO is its as well: each step has all rows",
    "gradnorm": "needs positive losses, and those of the toy are negative",
}
