"""The pictures in the notebooks: few kinds, all alike, with labels, units and a text for the blind.

Colours are those of M. Okabe and K. Ito, "Color Universal Design" (2008), told apart by nearly all
eyes; the background is white, so that they are readable on a dark page too.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from statistics import median

from matplotlib import rc_context
from matplotlib.figure import Figure

from workshop.lab.telling import amount

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
MARKS = ["o", "s", "^", "D", "v", "P"]
GREY, REFUSED = "#555555", "#BBBBBB"
WIDTH = 7.6  # inches
STYLE = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "svg.fonttype": "path",
}


class Picture:
    """A figure that shows itself in a notebook; `text` says what is to be seen."""

    def __init__(self, figure: Figure, text: str):
        self.figure, self.text = figure, text

    def svg(self) -> bytes:
        target = io.BytesIO()
        with rc_context(STYLE):
            self.figure.savefig(target, format="svg")
        return target.getvalue()

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.svg()).decode()
        alt = html.escape(self.text, quote=True)
        return f'<img alt="{alt}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'


def headline(figure: Figure, title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", size=13, weight="bold")


def timeline(groups: Mapping[str, Sequence], title: str) -> Picture:
    """When each request began and ended: a bar for each Call, a panel for each group."""
    with rc_context(STYLE):
        heights = [min(2.4, 0.7 + 0.14 * len(calls)) for calls in groups.values()]
        figure = Figure((WIDTH, sum(heights) + 0.9), layout="constrained")
        panels = figure.subplots(
            len(groups), 1, sharex=True, squeeze=False, height_ratios=heights
        ).flat
        for panel, (name, calls), colour in zip(panels, groups.items(), COLOURS, strict=False):
            calls = sorted(calls, key=lambda call: call.ended)
            panel.barh(
                range(1, len(calls) + 1),
                [call.took for call in calls],
                left=[call.begun for call in calls],
                color=[colour if call.status < 400 else REFUSED for call in calls],
                height=0.7,
            )
            panel.set(title=name, ylabel="request")
            panel.set_yticks([1, len(calls)] if len(calls) > 1 else [1])
            panel.invert_yaxis()
            panel.margins(x=0.01, y=0.03)
        refused = any(call.status >= 400 for calls in groups.values() for call in calls)
        panel.set_xlabel("seconds since the first was sent" + " (grey: refused)" * refused)
        panel.set_xlim(left=0)
        headline(figure, title)
    last = {name: max(call.ended for call in calls) for name, calls in groups.items()}
    told = "; ".join(f"{name}: the last ended after {amount(s)} s" for name, s in last.items())
    return Picture(figure, f"{title}. {told}.")


def bars(
    values: Mapping[str, float | Sequence[float]],
    unit: str,
    title: str,
    limit: float | None = None,
    log: bool = False,
) -> Picture:
    """One bar for each name; of several values the median, and each of them as a dot."""
    samples = {
        name: [value] if isinstance(value, int | float) else list(value)
        for name, value in values.items()
    }
    middles = {name: median(many) for name, many in samples.items()}
    with rc_context(STYLE):
        figure = Figure((WIDTH, 1.3 + 0.5 * len(samples)), layout="constrained")
        axes = figure.subplots()
        colours = [COLOURS[at % len(COLOURS)] for at in range(len(samples))]
        axes.barh(list(samples), list(middles.values()), color=colours, height=0.6)
        furthest = max(max(many) for many in samples.values())
        for at, (name, many) in enumerate(samples.items()):
            if len(many) > 1:
                axes.plot(many, [at] * len(many), "o", ms=5, mfc="white", mec="black", mew=0.8)
            label = f" {amount(middles[name])}"
            axes.annotate(
                label, (max(many), at), va="center", xytext=(5, 0), textcoords="offset points"
            )
        if limit:
            axes.axvline(limit, color=GREY, ls="--", lw=1.2)
            axes.annotate(
                f"limit {amount(limit)}",
                (limit, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(-4, 3),
                textcoords="offset points",
                ha="right",
                color=GREY,
            )
            furthest = max(furthest, limit)
        if log:
            axes.set_xscale("log")
            low = min(min(many) for many in samples.values())
            axes.set_xlim(low / 3, furthest * 3)
        else:
            axes.set_xlim(0, furthest * 1.14)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(lambda value, _: amount(value))
        axes.set_xlabel(f"{unit} (logarithmic scale)" if log else unit)
        headline(figure, title)
    told = "; ".join(f"{name}: {amount(value)} {unit}" for name, value in middles.items())
    return Picture(figure, f"{title}. {told}.")


def curves(
    series: Mapping[str, Mapping[float, float]],
    x: str,
    y: str,
    title: str,
    limit: Mapping[float, float] | None = None,
    log: bool = False,
) -> Picture:
    """A line for each name, from x to y; `limit` is drawn dashed."""
    with rc_context(STYLE):
        figure = Figure((WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        if limit:
            axes.plot(list(limit), list(limit.values()), "--", color=GREY, lw=1.2, label="limit")
        for (name, points), colour, mark in zip(series.items(), COLOURS, MARKS, strict=False):
            axes.plot(list(points), list(points.values()), color=colour, marker=mark, label=name)
        axes.set(xlabel=x, ylabel=y)
        if log:
            axes.set_xscale("log")
            axes.set_yscale("log")
            ticks = sorted({value for points in series.values() for value in points})
            axes.set_xticks(ticks, [amount(value) for value in ticks])
            axes.minorticks_off()
            axes.yaxis.set_major_formatter(lambda value, _: amount(value))
        else:
            axes.set_ylim(bottom=0)
            axes.set_xlim(left=0)
        axes.grid(color="#DDDDDD", lw=0.6)
        axes.set_axisbelow(True)
        headline(figure, title)
        if limit or len(series) > 1:
            axes.legend(frameon=False)
    told = "; ".join(
        f"{name}: " + ", ".join(f"{amount(value)} at {amount(at)}" for at, value in points.items())
        for name, points in series.items()
    )
    return Picture(figure, f"{title}. {y} over {x}. {told}.")
