"""The charts of the bench, as SVG: docs/bench/*.svg.

The background is white and rounded, so that they are readable on a dark page too. Bars begin at 0;
log axes say that they are.
"""

import hashlib
import json
import textwrap
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from workshop.bench.tables import CHARTS, labels, ratio_text
from workshop.measuring.chart_style import COLOURS, GREY, GRID, MARKERS, STYLE
from workshop.measuring.formatting import format_number
from workshop.measuring.machine import sentence
from workshop.steps import step

WIDTH = 8.6  # inches
LOOK = STYLE | {"figure.facecolor": "none", "svg.hashsalt": "bench", "axes.titlesize": 11}
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1}
WHISKER = "Whiskers: 95 % interval"
WHISKERS = {
    "overlap.svg": "Whiskers: lowest and highest round",
    "pool.svg": "Whiskers: 95 % interval; of the sizes, lowest and highest round",
}
ERRORS = {"ecolor": "black", "elinewidth": 1.2, "capsize": 3}


def draw(results: dict[str, Any], folder: Path) -> None:
    """Draw those of CHARTS that were measured into the folder."""
    drawings = {
        "journey": journey,
        "overlap": overlap,
        "nagle": nagle,
        "pool": pool,
        "cache": cache,
        "token": token,
    }
    for part, drawing in drawings.items():
        if part not in results:
            continue
        name = f"{part}.svg"
        with rc_context(LOOK):
            figure = drawing(results)
            footer = f"{WHISKERS.get(name, WHISKER)}. {sentence(results['machine'])}"
            frame(figure, CHARTS[name], footer)
            save(figure, folder / name, digest(results))


def digest(results: dict[str, Any]) -> str:
    """Names the results that a chart shows; it stands in the chart's file."""
    text = json.dumps(results, sort_keys=True, ensure_ascii=False)
    return "results " + hashlib.sha256(text.encode()).hexdigest()


def frame(figure: Figure, title: str, footer: str) -> None:
    """The title above, a footer below, both on a white sheet with round corners."""
    inch = 1 / figure.get_figheight()
    figure.text(0.025, 1 - 0.32 * inch, title, fontweight="bold", fontsize=12)
    lines = textwrap.fill(footer, 135)  # as many letters as there is room for
    figure.text(0.025, 0.09 * inch, lines, fontsize=8, color=GREY, va="bottom")
    sheet = FancyBboxPatch(
        (0, 0), 1, 1, "round,pad=0,rounding_size=0.015",
        mutation_aspect=figure.get_figwidth() * inch,
        transform=figure.transFigure, facecolor="white", edgecolor="none", zorder=-1,
    )  # fmt: skip
    figure.patches.append(sheet)
    below = 0.85 if figure.legends else 0.35
    rect = (0.01, below * inch, 0.98, 1 - (below + 0.45) * inch)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=rect, w_pad=0.08)


def save(figure: Figure, path: Path, description: str) -> None:
    about = {"Title": path.stem, "Description": description, "Date": None}
    figure.savefig(path, format="svg", metadata=about)


def panels(height: float, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure of this height in inches, and its axes."""
    figure = Figure((WIDTH, height), layout="constrained")
    return figure, figure.subplots(1, columns, **options)


def journey(results: dict[str, Any]) -> Figure:
    """Throughput of each step with its limit; latency from p50 to p99."""
    entries = results["journey"]["steps"]
    names = [f"{entry['number']}  {step(entry['number']).title}" for entry in entries]
    figure, (left, right) = panels(3.9, 2, sharey=True, width_ratios=(3, 2))
    bars(left, names, entries)
    for at, entry in enumerate(entries):
        limit = entry["limit"]["per_second"]
        left.plot([limit] * 2, [at - 0.42, at + 0.42], "--", color=GREY, lw=1.6)
    left.plot([], [], "--", color=GREY, lw=1.6, label="limit of the step")
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=9)
    left.set_xlabel("requests/s")
    left.set_xlim(0, 1.08 * max(max(e["high"], e["limit"]["per_second"]) for e in entries))
    left.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for at, entry in enumerate(entries):
        latency(right, at, entry)
    rate = results["journey"]["rate"]
    right.set(xscale="log", xlabel=f"ms at {rate} requests/s (log scale)")
    right.set_title("latency: p50 ●  to p99 |", fontsize=10, fontweight="normal")
    use_plain_numbers(right.xaxis)
    return figure


def latency(axes: Any, at: int, entry: dict[str, Any]) -> None:
    if not entry["p50"]:
        axes.text(0.05, at, "cannot serve so many", va="center", color=GREY,
                  transform=axes.get_yaxis_transform())  # fmt: skip
        return
    colour = COLOURS[at]
    far = entry["p99"] or entry["p50"]
    axes.plot([entry["p50"], far], [at, at], color=colour, lw=3)
    axes.plot(entry["p50"], at, "o", color=colour, ms=8)
    axes.plot(far, at, "|", color=colour, ms=14, mew=3)
    axes.annotate(f"{format_number(entry['p50'])} – {format_number(far)}", (far, at), xytext=(8, 0),
                  textcoords="offset points", va="center", fontsize=9)  # fmt: skip
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, entry["p50"] / 2), max(high, far * 5))


def overlap(results: dict[str, Any]) -> Figure:
    """Throughput and memory over connections; the limit is connections / wait."""
    points = results["overlap"]["points"]
    figure, (left, right) = panels(4.6, 2)
    limit = sorted({(point["connections"], point["limit"]) for point in points})
    left.plot(*zip(*limit, strict=True), "--", color=GREY, lw=1.4, label="connections / wait")
    servers = labels(results["machine"]["cores"]).items()
    for (server, label), colour, mark in zip(servers, COLOURS, MARKERS, strict=False):
        own = [point for point in points if point["server"] == server]
        if not own:  # a quick run
            continue
        at = [point["connections"] for point in own]
        means = [point["throughput"] for point in own]
        low = [mean - min(point["values"]) for mean, point in zip(means, own, strict=True)]
        high = [max(point["values"]) - mean for mean, point in zip(means, own, strict=True)]
        line = {"color": colour, "marker": mark, "ms": 5.5, "lw": 1.6}
        left.errorbar(at, means, [low, high], **line, capsize=3, label=label)
        right.plot(at, [point["peak_mib"] for point in own], **line)
    ticks = [n for n, _ in limit]
    for axes, title in ((left, "requests/s (log scale)"), (right, "memory of the server, MiB")):
        axes.set(xscale="log", xlabel="connections (log scale)")
        axes.set_title(title, fontweight="normal")
        axes.set_xticks([n for n in ticks if n != 200 and n != 500], minor=False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.minorticks_off()
        axes.grid(color=GRID, lw=0.6)
        axes.set_axisbelow(True)
    left.set_yscale("log")
    use_plain_numbers(left.yaxis)
    right.set_ylim(bottom=0)
    place: Any = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.33 / figure.get_figheight())}
    figure.legend(**place, ncols=3, frameon=False, fontsize=9)
    return figure


def nagle(results: dict[str, Any]) -> Figure:
    figure, axes = panels(2.4)
    compared(axes, results["nagle"])
    return figure


def pool(results: dict[str, Any]) -> Figure:
    """Without and with a pool; then by the size of the pool."""
    part = results["pool"]
    figure, (left, right) = panels(3.4, 2, width_ratios=(3, 2))
    compared(left, part)
    left.set_title("10 connections", fontweight="normal")
    sizes = part["sizes"]
    means = [entry["throughput"] for entry in sizes]
    low = [mean - min(entry["values"]) for mean, entry in zip(means, sizes, strict=True)]
    high = [max(entry["values"]) - mean for mean, entry in zip(means, sizes, strict=True)]
    at = [entry["size"] for entry in sizes]
    right.errorbar(at, means, [low, high], color=COLOURS[2], marker="o", capsize=3)
    right.set(xscale="log", xlabel="size of the pool (log scale)", ylim=(0, max(means) * 1.25))
    right.set_xticks(at, [str(size) for size in at])
    right.xaxis.minorticks_off()
    right.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    right.set_title("60 connections: requests/s", fontweight="normal")
    right.grid(color=GRID, lw=0.6)
    return figure


def cache(results: dict[str, Any]) -> Figure:
    """The report twice; GET / on the same server is the limit."""
    part = results["cache"]
    figure, axes = panels(2.7)
    compared(axes, {**part, "sides": part["sides"][:2]}, limit=part["sides"][2])
    return figure


def token(results: dict[str, Any]) -> Figure:
    figure, axes = panels(2.4)
    compared(axes, results["token"])
    return figure


def compared(axes: Any, part: dict[str, Any], limit: dict[str, Any] | None = None) -> None:
    """The two sides of a comparison, their ratio as the title, a limit where there is one."""
    sides, ratio = part["sides"], part["ratio"]
    bars(axes, [entry["name"] for entry in sides], sides)
    furthest = max(entry["high"] for entry in sides)
    if limit:
        axes.axvline(limit["throughput"], color=GREY, ls="--", lw=1.6)
        label = f"limit: {limit['name']} {format_number(limit['throughput'])}"
        axes.annotate(
            label, (limit["throughput"], 1),
            xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
            ha="right", color=GREY, fontsize=9,
        )  # fmt: skip
        furthest = max(furthest, limit["throughput"])
    axes.set_xlim(0, furthest * 1.15)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel(f"requests/s\n{ratio_text(ratio)} times: {ratio['verdict']}")


def bars(axes: Any, names: list[str], sides: list[dict[str, Any]]) -> None:
    """A horizontal bar for each, its interval as an error bar, its figure to the right of it."""
    means = [entry["throughput"] for entry in sides]
    low = [mean - entry["low"] for mean, entry in zip(means, sides, strict=True)]
    high = [entry["high"] - mean for mean, entry in zip(means, sides, strict=True)]
    axes.barh(
        names, means, xerr=[low, high], color=COLOURS[: len(sides)], height=0.6, error_kw=ERRORS
    )
    for at, entry in enumerate(sides):
        axes.annotate(format_number(entry["throughput"]), (entry["high"], at), xytext=(6, 0),
                      textcoords="offset points", va="center", fontsize=10,
                      bbox=WHITE)  # fmt: skip
    axes.set_ylim(len(sides) - 0.5, -0.5)


def use_plain_numbers(axis: Any) -> None:
    """1,000 and not 10³."""
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axis.set_minor_formatter(lambda value, _: "")
