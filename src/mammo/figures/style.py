"""How every figure looks, and how it becomes a PNG whose bytes depend on nothing but the data.

A strategy has one colour and marker everywhere, the same as in the templates of `dvc plots`; the
ordered classes run through one sequential scale. Both are told apart without red and green.
Sources: Okabe and Ito 2008 (strategies), cividis of Nuñez 2018 (classes).
"""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mammo.storage.files import write_bytes

COLOURS = {
    "head_only": "#E69F00",
    "last_block": "#0072B2",
    "last_two_blocks": "#009E73",
    "full": "#CC79A7",
    "probe": "#D55E00",
    "ensemble": "#56B4E9",
}
MORE_COLOURS = ["#000000", "#8C6D31", "#7B4173", "#7F7F7F"]
MARKERS = ["o", "s", "D", "^", "v", "P"]
CLASS_SCALE = (-0.26, 1.28)
GREY = "#777777"

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "figure.dpi": 120,
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "grid.color": "#e4e4e4",
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
}


def style() -> AbstractContextManager[None]:
    """Set the project's style while figures are made or written."""
    # Over the defaults, not over the user's matplotlibrc: the bytes must not depend on it.
    return matplotlib.style.context(["default", STYLE])


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure; the file names neither the library's version nor a date."""
    content = io.BytesIO()
    with style():
        FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    write_bytes(content.getvalue(), path)


def strategy_colours(names: Sequence[str]) -> dict[str, str]:
    """Give each strategy its colour: the known ones theirs, the others the next by name."""
    others = sorted(set(names) - set(COLOURS))
    more = dict(zip(others, islice(cycle(MORE_COLOURS), len(others)), strict=True))
    return {name: COLOURS.get(name) or more[name] for name in names}


def strategy_markers(names: Sequence[str]) -> dict[str, str]:
    """Give each strategy its marker, by the same rule as its colour."""
    ordered = [*COLOURS, *sorted(set(names) - set(COLOURS))]
    return {name: MARKERS[ordered.index(name) % len(MARKERS)] for name in names}


def class_colours(k: int) -> list[str]:
    """Spread k ordered classes over a sequential scale, dark to light.

    Vega takes k of k + 1 equal steps from a scale stretched to the templates' `extent`: so here.
    """
    low, high = CLASS_SCALE
    steps = low + (high - low) * np.arange(1, k + 1) / (k + 1)
    return [to_hex(colour) for colour in matplotlib.colormaps["cividis"](steps)]


def strategy_handles(names: Sequence[str]) -> list[Line2D]:
    """Explain the strategies' colours and markers."""
    colours, markers = strategy_colours(names), strategy_markers(names)
    return [Line2D([], [], color=colours[n], marker=markers[n], label=n) for n in names]


def chance_handle() -> Line2D:
    """Explain the dotted line."""
    return Line2D([], [], color=GREY, linestyle=":", linewidth=1.2, label="chance")


def legend_above(figure: Figure, handles: Sequence[Any]) -> None:
    """Place the legend outside the panels, in as few rows of equal length as fit."""
    rows = -(-len(handles) // max(1, int(figure.get_figwidth() / 1.65)))
    columns = -(-len(handles) // rows)
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)
