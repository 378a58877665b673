"""What does not go with a network that is divided among processes."""

from __future__ import annotations

from trunkline.config.problems import Problems
from trunkline.config.sections import Config


def check_sharding(config: Config, problems: Problems) -> None:
    """Refuse what `training.shard` cannot keep right, with what would work."""
    training, balancer = config.training, config.balancer
    if not training.shard:
        return
    if training.devices == 1 and training.nodes in (None, 1):
        problems.add("training.shard", "divides the network among processes, and training.devices is 1. Give 2 or "
                     "more, or leave it out.")  # fmt: skip
    if training.precision == "16-mixed":
        problems.add("training.precision", "16-mixed scales whole gradients, and with training.shard no process has "
                     "one; bf16-mixed needs no scaling.")  # fmt: skip
    if isinstance(training.minutes, int | float):
        problems.add("training.minutes", "are measured on one device, for which a network with training.shard may be "
                     "too large. Give steps or epochs.")  # fmt: skip
    if training.affinity:
        problems.add("training.affinity", "one process measures it, with the whole network; leave out training.shard.")
    if balancer is not None and balancer.level not in (None, "auto", "losses", "features"):
        problems.add("balancer.level", f"{balancer.level!r} needs whole gradients of parameters, and with "
                     "training.shard no process has one. Take 'features', or a balancer from losses.")  # fmt: skip
