"""Public contracts: run them on a component of your own, as trunkline runs them on every entry of its catalogs.

Each raises `AssertionError` with the rule that was broken, and returns nothing.
"""

from trunkline.testing.balancers import check_balancer
from trunkline.testing.fusion import check_fusion
from trunkline.testing.modalities import check_modality
from trunkline.testing.shared import WIDTH, check_constructor
from trunkline.testing.tasks import check_task
from trunkline.testing.trunks import check_trunk

__all__ = [
    "WIDTH",
    "check_balancer",
    "check_constructor",
    "check_fusion",
    "check_modality",
    "check_task",
    "check_trunk",
]
