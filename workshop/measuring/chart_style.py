"""What all charts share, in the bench and in the notebooks.

Colours are those of M. Okabe and K. Ito, "Color Universal Design" (2008), which nearly all eyes can
tell apart.
"""

from typing import Any

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
MARKERS = ["o", "s", "^", "D", "v", "P"]
GREY, LIGHT_GREY, GRID = "#555555", "#BBBBBB", "#DDDDDD"
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "svg.fonttype": "path",
}
