"""A score between guessing and perfect, with how sure it is."""

from __future__ import annotations

from markupsafe import Markup

from trunkline.report.figures.svg import Scale, element, figure

WIDTH, HEIGHT, MIDDLE = 240, 26, 13


def interval_figure(
    score: float,
    *,
    majority: float | None,
    best: float,
    low: float | None = None,
    high: float | None = None,
    twin: float | None = None,
    tone: str = "good",
) -> Markup:
    """From the worst of what is shown to `best`: a tick for guessing, a bar for the interval, a dot for the model.

    Args:
        score: of the model.
        majority: of guessing.
        best: of perfect answers.
        low: end of the interval.
        high: end of the interval.
        twin: of a model trained for this task alone: a hollow diamond.
        tone: `good`, `unsure` or `bad`.
    """
    known = [v for v in (score, majority, best, low, high, twin) if v is not None]
    worst = max(known) if best == min(known) else min(known)
    x = Scale(worst, best, 10, WIDTH - 10)
    parts = [element("line", x1=x.start, x2=x.stop, y1=MIDDLE, y2=MIDDLE, class_="track")]
    if low is not None and high is not None:
        ends = sorted((x(low), x(high)))
        parts.append(
            element(
                "rect",
                x=ends[0],
                y=MIDDLE - 5,
                width=max(ends[1] - ends[0], 2),
                height=10,
                rx=5,
                class_=f"range {tone}",
            )
        )
    if majority is not None:
        parts.append(element("line", x1=x(majority), x2=x(majority), y1=3, y2=HEIGHT - 3, class_="guess"))
    if twin is not None:
        place = x(twin)
        points = f"{place:.1f},{MIDDLE - 6} {place + 6:.1f},{MIDDLE} {place:.1f},{MIDDLE + 6} {place - 6:.1f},{MIDDLE}"
        parts.append(element("polygon", element("title", f"alone {twin:.3f}"), points=points, class_="twin"))
    parts.append(element("circle", cx=x(score), cy=MIDDLE, r=4.5, class_=f"score {tone}"))
    told = f"score {score:.3f}" + ("" if majority is None else f", guessing {majority:.3f}") + f", perfect {best:g}"
    return figure(WIDTH, HEIGHT, [element("title", told), *parts], label=told, class_="interval")
