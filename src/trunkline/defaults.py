"""Data → settings, each with its reason. What a config says stands; only what it leaves out is chosen here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from trunkline.balancers import CATALOG as BALANCERS
from trunkline.balancers import GramianBalancer
from trunkline.config import BalancerConfig, ComponentConfig, Config
from trunkline.engine import choose_level
from trunkline.errors import ConfigError
from trunkline.fusion import CATALOG as FUSION
from trunkline.machine import launched, num_devices
from trunkline.trunks import CATALOG as TRUNKS
from trunkline.trunks import Hard

Reasons = dict[str, str]
Kind = Literal["plain", "texts", "graphs", "others", "places", "sequences"]

FEW, MANY = 5_000, 100_000  # training rows
SMALL_TABLE = 2_000  # rows of which a tenth is too few to choose by
MIN_STEPS, MAX_STEPS = 600, 20_000
MINUTES = 20.0  # on a CPU; see `run.budget`
VALIDATIONS = 20
MANY_TASKS = 64
LOOK = 0.4  # rows looked at in all validations together, at most, in rows trained on: about an eighth of the time
PADDING = 0.2  # of a batch, from which on rows of about one length come together
FEWEST_ROWS = 500  # to look at in a validation
USUAL = "as usual where answers are sequences, not measured"


@dataclass(frozen=True)
class Recipe:
    """What measured best at one size and kind of table, on real tables of 73 to 35 000 rows (see `docs/log.md`).

    Attributes:
        name: of the size and kind, as reasons say it.
        epochs: passes over the rows.
        lr: peak learning rate.
        weight_decay: of AdamW.
        members: of the trunk's ensemble.
        dropout: of the trunk.
        patience: validations without a better one.
        width: numbers a token.
        why: these values and no others.
    """

    name: str
    epochs: float
    lr: float
    weight_decay: float
    members: int
    dropout: float
    patience: int = 6
    width: int = 128
    why: str = "measured best on such"


TABLES = (  # numbers and categories alone
    Recipe("few rows of a plain table", 60, 1e-3, 0.3, 8, 0.3),
    Recipe("a plain table of middle size", 12, 2e-3, 0.3, 4, 0.3),
    Recipe("a large plain table", 8, 2e-3, 0.1, 1, 0.1),
)
TEXTS = (  # texts, with or without numbers and categories
    Recipe("few rows with texts", 80, 2e-3, 0.1, 4, 0.3, patience=10, width=256),
    Recipe("a middling number of rows with texts", 8, 4e-3, 0.1, 2, 0.3),
    Recipe("many rows with texts", 6, 3e-3, 0.05, 1, 0.1),
)
GRAPHS = (  # graphs, whatever is beside them
    Recipe("few rows with graphs", 60, 1e-3, 0.1, 4, 0.3, patience=10, why="as usual with more, not measured"),
    Recipe("a middling number of rows with graphs", 20, 1.5e-3, 0.1, 2, 0.3),
    Recipe("many rows with graphs", 10, 1e-3, 0.05, 1, 0.1, why="as usual with fewer, not measured"),
)
OTHERS = (  # pictures, sounds, vectors
    Recipe("few rows", 80, 2e-3, 0.1, 4, 0.3, patience=10, width=256),
    Recipe("a middling number of rows", 8, 3e-3, 0.1, 2, 0.3),
    Recipe("many rows", 6, 2e-3, 0.05, 1, 0.1),
)
PLACES = (  # pictures of which a task reads the places
    Recipe("few pictures whose places are read", 100, 1e-3, 0.05, 1, 0.0, 10, why="better than as for other pictures"),
    Recipe("a middling number of pictures whose places are read", 24, 1e-3, 0.05, 1, 0.0, why="as usual with few"),
    Recipe("many pictures whose places are read", 12, 1e-3, 0.05, 1, 0.0, why="as usual with few"),
)
SEQUENCES = (  # of whose tasks one writes, transcribes or speaks
    Recipe("few rows whose answers are sequences", 60, 1e-3, 0.05, 1, 0.1, 10, 192, USUAL),
    Recipe("a middling number of rows whose answers are sequences", 12, 1e-3, 0.05, 1, 0.1, 10, 256, USUAL),
    Recipe("many rows whose answers are sequences", 6, 1e-3, 0.05, 1, 0.1, 6, 256, USUAL),
)
RECIPES: dict[Kind, tuple[Recipe, ...]] = {
    "plain": TABLES,
    "texts": TEXTS,
    "graphs": GRAPHS,
    "others": OTHERS,
    "places": PLACES,
    "sequences": SEQUENCES,
}


@dataclass(frozen=True)
class Facts:
    """What the choices follow from.

    Attributes:
        rows: training rows with at least one label.
        inputs: how many there are.
        encoders: those among them that are pictures, texts, sounds or vectors.
        can_join: every task can join what single inputs say (see `fusion.Late`).
        kind: `places` where a task reads a pyramid, `sequences` where one writes, transcribes or speaks; of all else
            `graphs` where there is one, `plain` where all inputs are numbers and categories, `texts` where all others
            are texts. Of several tables, where a quarter of what is drawn is so.
        share: of the rows drawn, that is of this kind.
        padding: how much of batches of random rows would be padding; `None` where no task writes texts or
            reads their words.
        window: rows of the table that fit into a share of the memory; `None`: all of them do.
        tasks: names.
        overlap: `[T, T]`, training rows that carry both labels.
        counts: `[T]`, training rows that carry each label.
    """

    rows: int
    inputs: int
    encoders: int
    can_join: bool
    kind: Kind
    share: float
    padding: float | None
    window: int | None
    tasks: Sequence[str]
    overlap: Tensor
    counts: Tensor

    @property
    def recipe(self) -> Recipe:
        """What measured best on tables like this one."""
        return RECIPES[self.kind][(self.rows >= FEW) + (self.rows >= MANY)]


def validation_share(rows: int) -> float:
    """Of a table of so many rows, what to choose the best weights by, where nothing else is said."""
    return 0.2 if rows < SMALL_TABLE else 0.1


def choose(config: Config, facts: Facts) -> tuple[Config, Reasons]:
    """The config with nothing left open, and why each choice was made, by dotted path."""
    reasons: Reasons = {}

    def pick(path: str, given: Any, make: Callable[[], tuple[Any, str]]) -> Any:
        if given is not None:
            return given
        value, reasons[path] = make()
        return value

    t, recipe = config.training, facts.recipe
    several = config.data is not None and bool(config.data.tables)
    how_many = f"{facts.share:.0%} of {facts.rows:,}" if several and facts.share < 1 else f"{facts.rows:,}"
    so = f"{recipe.name} ({how_many}): {recipe.why}"
    batch_size = pick("training.batch_size", t.batch_size, lambda: _batch_size(facts))
    here, nodes = launched() or (num_devices(t.devices or 1, t.accelerator or "auto"), 1)
    processes = (t.devices if isinstance(t.devices, int) else here) * (t.nodes or nodes)
    per_epoch = math.ceil(facts.rows / (batch_size * processes))
    steps = pick("training.steps", t.steps, lambda: _steps(t.epochs, recipe.epochs, per_epoch))
    validations = pick("training.validations", t.validations, lambda: (VALIDATIONS, "as many points on each curve"))
    training = replace(
        t,
        batch_size=batch_size,
        steps=steps,
        epochs=None,
        minutes=None
        if t.steps is not None or t.shard
        else pick("training.minutes", t.minutes, lambda: _minutes(t.accelerator)),
        accumulate=t.accumulate or 1,
        validations=validations,
        validation_rows=pick(
            "training.validation_rows", t.validation_rows, lambda: _validation_rows(steps * batch_size, validations)
        ),
        patience=pick(
            "training.patience", t.patience, lambda: (recipe.patience, "what does not get better by then will not")
        ),
        ema=pick("training.ema", t.ema, lambda: usual_ema(steps)),
        lr=pick("training.lr", t.lr, lambda: (recipe.lr, so)),
        weight_decay=pick("training.weight_decay", t.weight_decay, lambda: (recipe.weight_decay, so)),
        warmup=pick("training.warmup", t.warmup, lambda: (0.1, "the first tenth of the steps, then a cosine to zero")),
        clip=pick("training.clip", t.clip, lambda: (1.0, "one wild batch cannot undo the ones before")),
        precision=pick("training.precision", t.precision, lambda: ("32", "safe everywhere")),
        devices=pick("training.devices", t.devices, lambda: _started(here, "one process")),
        nodes=pick("training.nodes", t.nodes, lambda: _started(nodes, "one machine")),
        shuffle=pick("training.shuffle", t.shuffle, lambda: _shuffle(config, facts)),
        by_length=pick("training.by_length", t.by_length, lambda: _by_length(config, facts)),
        input_dropout=pick("training.input_dropout", t.input_dropout, lambda: _input_dropout(facts.inputs)),
    )
    trunk = pick("trunk", config.trunk, lambda: _component("hard", TRUNKS, "the cheapest way to share"))
    fusion = pick("fusion", config.fusion, lambda: _fusion(facts, trunk))
    chosen = replace(
        config,
        inputs={name: c.complete() for name, c in config.inputs.items()},
        tasks={name: c.complete() for name, c in config.tasks.items()},
        fusion=fusion.complete(),
        trunk=_with_members(trunk, fusion, facts, reasons).complete(),
        balancer=_with_level(
            pick("balancer", config.balancer, _equal), trunk, facts, reasons, is_sharded=t.shard
        ).complete(),
        width=pick("width", config.width, lambda: (recipe.width, so)),
        training=training,
    )
    return chosen, reasons


def _started(count: int, alone: str) -> tuple[int, str]:
    return count, alone if count == 1 else "as many as the launcher has started"


def _shuffle(config: Config, facts: Facts) -> tuple[int | Literal["all"], str]:
    if facts.window is None:
        return "all", "any row may come at any time"
    if config.data is not None and not config.data.is_drawn_whole:
        return "all", "rows of several tables are drawn by their shares"
    return facts.window, "the table is larger than half of the memory, and rows from all over it are slow to read"


def _by_length(config: Config, facts: Facts) -> tuple[bool, str]:
    if config.data is not None and not config.data.is_drawn_whole:
        return False, "rows of several tables are drawn by their shares"
    if facts.padding is None:
        return False, "no task writes texts or reads their words"
    return facts.padding > PADDING, f"about {facts.padding:.0%} of a batch of random rows would be padding"


def _batch_size(facts: Facts) -> tuple[int, str]:
    """At least 64 labels a task and step, on average, where there are rows enough for five batches; more of many."""
    if facts.kind == "places":
        size = 8 if facts.rows < FEW else 16
        return size, f"{size} pictures have many places to learn from"
    if facts.kind == "sequences":
        size = 32 if facts.rows < FEW else 128
        return size, f"{size} sequences are much to learn from"
    taught = facts.counts[facts.counts > 0]  # with `start` the run's own tasks are not
    rate = float(taught.mean()) / max(facts.rows, 1) if len(taught) else 1.0
    most = 1024 if facts.kind == "plain" else 256
    wanted = min(most, 2 ** math.ceil(math.log2(max(64 / max(rate, 0.25), facts.rows / 192))))
    size = min(wanted, max(8, 2 ** int(math.log2(facts.rows / 5 + 1))))
    return size, f"a task is labelled on {rate:.0%} of the {facts.rows} rows: about {size * rate:.0f} labels a step"


def _steps(epochs: float | None, usual: float, per_epoch: int) -> tuple[int, str]:
    if epochs is not None:
        return max(1, round(epochs * per_epoch)), f"{epochs:g} epochs of {per_epoch} batches"
    found, so = round(usual * per_epoch), f"{usual:g} epochs of {per_epoch} batches"
    if found < MIN_STEPS:
        return MIN_STEPS, f"{so} are {found} steps, on which little is learned"
    return min(found, MAX_STEPS), so if found <= MAX_STEPS else f"{so} are {found} steps, more than pay"


def usual_ema(steps: int) -> tuple[float, str]:
    """The decay of an average over about the last twentieth of so many steps."""
    decay = min(0.999, max(0.95, 1 - 20 / steps))
    return round(decay, 4), "an average over the last twentieth of the steps is better than the last of them"


def _with_members(trunk: ComponentConfig, fusion: ComponentConfig, facts: Facts, reasons: Reasons) -> ComponentConfig:
    """Hard sharing with what its recipe says of ensembles and dropout, where it is left open."""
    if not issubclass(trunk.component, Hard):
        return trunk
    recipe = facts.recipe
    is_one = fusion.component.is_late or len(facts.tasks) > MANY_TASKS
    chosen = {"members": 1 if is_one else recipe.members, "dropout": recipe.dropout}
    chosen = {name: value for name, value in chosen.items() if getattr(trunk.make(), name) is None}
    reasons.update({f"trunk.{name}": f"{recipe.name}: {recipe.why}" for name in chosen})
    if is_one and "members" in chosen:
        reasons["trunk.members"] = "an ensemble of inputs, or of so many tasks, is enough of a crowd"
    return trunk.with_options(chosen)


def _minutes(accelerator: str | None) -> tuple[float | Literal["off"], str]:
    """Where there is a GPU nobody knows what is too long."""
    if accelerator == "cpu" or (accelerator in (None, "auto") and not torch.cuda.is_available()):
        return MINUTES, "as long as one waits for a CPU"
    return "off", "on a GPU, as long as it takes"


def _validation_rows(rows_trained_on: int, validations: int) -> tuple[int, str]:
    rows = max(FEWEST_ROWS, int(LOOK * rows_trained_on / validations))
    return rows, f"at most: {validations} validations then take about an eighth of the time"


def _input_dropout(inputs: int) -> tuple[float, str]:
    if inputs > 1:
        return 0.1, f"{inputs} inputs: the network must learn to do without any of them"
    return 0.0, "a single input cannot be left out"


def _fusion(facts: Facts, trunk: ComponentConfig) -> tuple[ComponentConfig, str]:
    """Where rows are few, the one whose inputs learn alone, too: else the first to be useful is all that is heard."""
    if facts.rows >= FEW or facts.encoders < 2:
        return _component("concat", FUSION, "every input keeps its own place")
    if issubclass(trunk.component, Hard) and (trunk.options.get("members") or 1) > 1:
        return _component("concat", FUSION, "every input keeps its own place; the trunk is an ensemble already")
    if not facts.can_join or trunk.component.wants_tokens:
        return _component("concat", FUSION, "every input keeps its own place; tasks or trunk read tokens")
    late = ComponentConfig(type="late", component=FUSION["late"], options={"joint": True})
    return late, f"{facts.encoders} pictures, texts, sounds or vectors a row and few rows: each learns alone, too"


def _component(name: str, catalog: dict[str, Any], reason: str) -> tuple[ComponentConfig, str]:
    return ComponentConfig(type=name, component=catalog[name]), reason


def _equal() -> tuple[BalancerConfig, str]:
    return BalancerConfig(type="equal", component=BALANCERS["equal"]), "the plain sum, hard to beat"


def _with_level(
    balancer: BalancerConfig, trunk: ComponentConfig, facts: Facts, reasons: Reasons, *, is_sharded: bool
) -> BalancerConfig:
    if balancer.level not in (None, "auto"):
        return balancer
    if issubclass(balancer.component, GramianBalancer):
        if is_sharded:
            if not trunk.component.meets_at_taps:
                raise ConfigError(f"training.shard: in trunk {trunk.type!r} tasks meet in the layers, and their "
                                  "gradients there are in no process whole; take a balancer from losses, or another "
                                  "trunk, or say balancer.level: features")  # fmt: skip
            reasons["balancer.level"] = "the level from gradients that goes with training.shard"
            return replace(balancer, level="features")
        level, reasons["balancer.level"] = choose_level(
            facts.overlap, facts.counts, facts.tasks, own=balancer.component.level
        )
        if level == "features" and not trunk.component.meets_at_taps:
            level, reasons["balancer.level"] = "last", "in this trunk, tasks meet in the layers and not at the features"
        return replace(balancer, level=level)
    return replace(balancer, level="losses")
