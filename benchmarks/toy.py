"""`python -m benchmarks.toy [row …]` runs the 2-D toy, prints a table, and draws `docs/toy.svg` of what it ran.

Without names it runs the rows of the figure. See `docs/toy.md`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from markupsafe import Markup

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from balancers import toy
from balancers.toy_rows import ROWS, STEPS, Row
from trunkline.report.figures.svg import Scale, element, path, scale

SHOWN = ("LS", "UW", "log-sum", "FAMO", "STCH's equation", "UPGrad", "MGDA", "Nash-MTL")
FILE = Path(__file__).parents[1] / "docs" / "toy.svg"
SIZE, GAP, HEAD, ACROSS = 190, 14, 24, 4
STYLE = """
svg { --s0: #3f6fd8; --s1: #d9822b; --s2: #21966a; --s3: #b14fa6; --s4: #c9483f; --ink: #23272e; --quiet: #6b7280;
  --rule: #dfe3ea; --paper: #ffffff; font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { svg { --s0: #7ea2ff; --s1: #f0a35a; --s2: #4fc596; --s3: #d785ce; --s4: #f07f76;
  --ink: #e6e9ef; --quiet: #9aa3b2; --rule: #343a46; --paper: #16181d; } }
.paper { fill: var(--paper); } .frame { fill: none; stroke: var(--rule); } .title { fill: var(--ink); font-weight: 600; }
.tick { fill: var(--quiet); font-size: 10px; } .front { stroke: var(--quiet); stroke-width: 5; stroke-linecap: round; opacity: .45; }
.valley { stroke: var(--quiet); stroke-dasharray: 2 3; } .line { stroke-width: 1.5; stroke-linejoin: round; }
"""  # noqa: E501


def main(names: Sequence[str]) -> None:
    """Run, print and draw."""
    torch.set_num_threads(1)
    rows = [row for row in ROWS if row.name in (names or SHOWN)]
    paths = {}
    print("| | x1 at the end, by start | thousand steps to the front | with clip 1 |\n|---|---|---|---|")
    for row in rows:
        plain, clipped = toy.run(row.make(), STEPS, clips=(np.inf, 1.0))
        print(f"| {row.name} | {_told(plain)} | {_hits(plain)} | {_told(clipped)} |", flush=True)
        paths[row.name] = plain
    FILE.write_text(draw(rows, [paths[row.name] for row in rows]))


def _told(found: toy.Path) -> str:
    there = toy.on_front(found.ends)
    told = [f"{a:.2f}" if is_there else f"✗ ({a:.1f}, {b:.1f})" for (a, b), is_there in zip(found.ends, there)]
    return ", ".join(told).replace("-", "−")


def _hits(found: toy.Path) -> str:
    return ", ".join("–" if hit < 0 else f"{hit / 1000:.1f}" for hit in found.hits)


def draw(rows: Sequence[Row], paths: Sequence[toy.Path]) -> str:
    """A panel for each method."""
    down = math.ceil(len(rows) / ACROSS)
    width, height = ACROSS * (SIZE + GAP) + GAP, down * (SIZE + HEAD + GAP) + GAP
    parts = [element("style", Markup(STYLE)), element("rect", width="100%", height="100%", class_="paper")]
    for k, (row, found) in enumerate(zip(rows, paths, strict=True)):
        left, top = GAP + k % ACROSS * (SIZE + GAP), GAP + k // ACROSS * (SIZE + HEAD + GAP)
        parts.append(element("g", *panel(row.name, found), transform=f"translate({left},{top})"))
    label = "Trajectories of balancers on the 2-D toy, from five starts"
    return str(
        element("svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}", role="img",
                aria_label=label)
    ) + "\n"  # fmt: skip


def panel(name: str, found: toy.Path) -> list[Markup]:
    """The plane: dotted valleys, the Pareto set, and a path from each start, a ring, to where it ends, a dot."""
    x, y = scale([-10, 10], 0, SIZE, margin=0), scale([-10, 10], HEAD + SIZE, HEAD, margin=0)
    heights = np.linspace(0, 10, 21)
    parts = [
        element("text", name, x=0, y=14, class_="title"),
        element("text", f"{int(toy.on_front(found.ends).sum())} of {len(found.ends)} arrive", x=SIZE, y=14,
                class_="tick", text_anchor="end"),
        element("rect", x=0, y=HEAD, width=SIZE, height=SIZE, class_="frame"),
        element("line", x1=x(-toy.ENDS), x2=x(toy.ENDS), y1=y(toy.FRONT), y2=y(toy.FRONT), class_="front"),
        *[path(_places(np.stack([side * (7 - 2 * np.tanh(heights)), heights], 1), x, y), class_="valley")
          for side in (-1, 1)],
    ]  # fmt: skip
    for k in range(len(toy.STARTS)):
        points = _places(thinned(found.points[:, k]), x, y)
        colour = f"var(--s{k})"
        parts.append(path(points, class_="line", style=f"stroke:{colour}"))
        for (a, b), fill in ((points[0], "var(--paper)"), (points[-1], colour)):
            parts.append(element("circle", cx=a, cy=b, r=3, style=f"fill:{fill};stroke:{colour};stroke-width:1.5"))
    return parts


def thinned(points: np.ndarray, apart: float = 0.12) -> np.ndarray:
    """Points `[K, P]` that are some way from the one before, and the last."""
    kept = [points[0]]
    for point in points[1:]:
        if np.hypot(*(point - kept[-1])) >= apart:
            kept.append(point)
    return np.stack([*kept, points[-1]])


def _places(points: np.ndarray, x: Scale, y: Scale) -> list[tuple[float, float]]:
    return [(x(float(a)), y(float(b))) for a, b in points]


if __name__ == "__main__":
    main(sys.argv[1:])
