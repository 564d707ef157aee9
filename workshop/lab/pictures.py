"""The pictures in the notebooks: few kinds, all alike, with labels, units and an alternative text.

The background is white, so that they are readable on a dark page too.
"""

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

from workshop.lab.calls import Call
from workshop.measuring.chart_style import COLOURS, GREY, GRID, LIGHT_GREY, MARKERS, STYLE
from workshop.measuring.formatting import format_number

WIDTH = 7.6  # inches


class Picture:
    """A figure that shows itself in a notebook; `text` describes it to those who can't see it."""

    def __init__(self, figure: Any, text: str):
        self.figure, self.text = figure, text

    def _repr_html_(self) -> str:
        svg = io.BytesIO()
        with _style():
            self.figure.savefig(svg, format="svg")
        data = base64.b64encode(svg.getvalue()).decode()
        alt = html.escape(self.text, quote=True)
        return f'<img alt="{alt}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'


def timeline(groups: Mapping[str, Sequence[Call]], title: str) -> Picture:
    """When each request began and ended: a bar for each Call, a panel for each group."""
    heights = [min(2.4, 0.7 + 0.14 * len(calls)) for calls in groups.values()]
    with _figure(sum(heights) + 0.9, title) as figure:
        panels = figure.subplots(
            len(groups), 1, sharex=True, squeeze=False, height_ratios=heights
        ).flat
        for panel, (name, calls), colour in zip(panels, groups.items(), COLOURS, strict=False):
            _draw_calls(panel, sorted(calls, key=lambda call: call.ended_at), colour)
            panel.set(title=name, ylabel="request")
        refused = any(call.status >= 400 for calls in groups.values() for call in calls)
        panel.set_xlabel("seconds since the first was sent" + " (grey: refused)" * refused)
        panel.set_xlim(left=0)
    ends = {name: max(call.ended_at for call in calls) for name, calls in groups.items()}
    text = "; ".join(
        f"{name}: the last ended after {format_number(end)} s" for name, end in ends.items()
    )
    return Picture(figure, f"{title}. {text}.")


def bars(
    values: Mapping[str, float | Sequence[float]], unit: str, title: str, log: bool = False
) -> Picture:
    """One bar for each name; of several values the median, and each of them as a dot."""
    samples = {
        name: [value] if isinstance(value, int | float) else list(value)
        for name, value in values.items()
    }
    medians = {name: median(sample) for name, sample in samples.items()}
    with _figure(1.3 + 0.5 * len(samples), title) as figure:
        axes = figure.subplots()
        colours = [COLOURS[at % len(COLOURS)] for at in range(len(samples))]
        axes.barh(list(samples), list(medians.values()), color=colours, height=0.6)
        for at, (name, sample) in enumerate(samples.items()):
            _label_bar(axes, at, sample, format_number(medians[name]))
        everything = [value for sample in samples.values() for value in sample]
        if log:
            axes.set_xscale("log")
            axes.set_xlim(min(everything) / 3, max(everything) * 3)
        else:
            axes.set_xlim(0, max(everything) * 1.14)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(lambda value, _: format_number(value))
        axes.set_xlabel(f"{unit} (logarithmic scale)" if log else unit)
    text = "; ".join(f"{name}: {format_number(value)} {unit}" for name, value in medians.items())
    return Picture(figure, f"{title}. {text}.")


def curves(
    series: Mapping[str, Mapping[float, float]],
    x: str,
    y: str,
    title: str,
    limit: Mapping[float, float] | None = None,
    log: bool = False,
) -> Picture:
    """A line for each name, from x to y; `limit` is drawn dashed."""
    with _figure(3.6, title) as figure:
        axes = figure.subplots()
        if limit:
            axes.plot(list(limit), list(limit.values()), "--", color=GREY, lw=1.2, label="limit")
        for (name, points), colour, marker in zip(series.items(), COLOURS, MARKERS, strict=False):
            axes.plot(list(points), list(points.values()), color=colour, marker=marker, label=name)
        axes.set(xlabel=x, ylabel=y)
        if log:
            _use_log_scales(axes, sorted({at for points in series.values() for at in points}))
        else:
            axes.set_ylim(bottom=0)
            axes.set_xlim(left=0)
        axes.grid(color=GRID, lw=0.6)
        axes.set_axisbelow(True)
        if limit or len(series) > 1:
            axes.legend(frameon=False)
    text = "; ".join(f"{name}: {_points_text(points)}" for name, points in series.items())
    return Picture(figure, f"{title}. {y} over {x}. {text}.")


def _draw_calls(panel: Any, calls: Sequence[Call], colour: str) -> None:
    panel.barh(
        range(1, len(calls) + 1),
        [call.duration for call in calls],
        left=[call.started_at for call in calls],
        color=[colour if call.status < 400 else LIGHT_GREY for call in calls],
        height=0.7,
    )
    panel.set_yticks([1, len(calls)] if len(calls) > 1 else [1])
    panel.invert_yaxis()
    panel.margins(x=0.01, y=0.03)


def _label_bar(axes: Any, at: int, sample: Sequence[float], label: str) -> None:
    if len(sample) > 1:
        axes.plot(sample, [at] * len(sample), "o", ms=5, mfc="white", mec="black", mew=0.8)
    place = {"xytext": (8, 0), "textcoords": "offset points", "va": "center"}
    axes.annotate(label, (max(sample), at), **place)


def _use_log_scales(axes: Any, ticks: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(ticks, [format_number(value) for value in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: format_number(value))


def _points_text(points: Mapping[float, float]) -> str:
    return ", ".join(f"{format_number(y)} at {format_number(x)}" for x, y in points.items())


def _style() -> Any:
    from matplotlib import rc_context  # takes long to import, and the servers don't draw

    return rc_context(STYLE)


@contextmanager
def _figure(height: float, title: str) -> Iterator[Any]:
    """A figure of this height in inches, with its title, in our style."""
    from matplotlib.figure import Figure

    with _style():
        figure = Figure((WIDTH, height), layout="constrained")
        yield figure
        figure.suptitle(title, x=0.01, ha="left", size=13, weight="bold")
