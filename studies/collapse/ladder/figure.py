"""The collapse study's figure: every run, a line of dots a row."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from studies.collapse.ladder.records import Ladder

HEALTHY, COLLAPSED, MEAN = "#0072B2", "#D55E00", "#000000"  # Okabe and Ito 2008


def draw_ladder(runs: pd.DataFrame, ladder: Ladder) -> Figure:
    """Draw every run: bal_acc_adj and largest predicted share on test, a line of dots a row."""
    names = list(ladder.steps)
    figure = Figure(figsize=(11, 0.56 * len(names) + 1.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _ladder_panel(left, runs, names, "bal_acc_adj", ladder.truth.bal_acc_adj_below)
    _ladder_panel(right, runs, names, "largest_share", ladder.truth.share_from)
    left.set_title("Balanced accuracy above chance, on test\n(0: chance, 1: perfect)", fontsize=11)
    right.set_title("Largest predicted share, on test\n(1: one class for all)", fontsize=11)
    left.set_xlim(min(-0.04, runs["bal_acc_adj"].min() - 0.04), 1.04)
    right.set_xlim(0.2, 1.04)
    labels = [f"{i}. {name}" for i, name in enumerate(names, start=1)]
    left.set_yticks(range(len(names)), labels)
    left.invert_yaxis()
    handles = [
        Line2D([], [], marker="o", color=HEALTHY, linestyle="", label="a run (one seed)"),
        Line2D([], [], marker="X", color=COLLAPSED, linestyle="", label="a run collapsed in truth"),
        Line2D(
            [], [], marker="o", markersize=11, markerfacecolor="none", markeredgecolor="#777777",
            linestyle="", label="the detector's alarm stands at the end",
        ),
        Line2D([], [], marker="|", markersize=12, color=MEAN, linestyle="", label="mean of seeds"),
        Line2D([], [], color="#777777", linestyle=":", label="bound of the truth"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=10, frameon=False)
    return figure


def _ladder_panel(
    axes: Axes, runs: pd.DataFrame, names: list[str], column: str, bound: float
) -> None:
    axes.axvline(bound, color="#777777", linestyle=":", linewidth=1.2, zorder=1)
    for height, name in enumerate(names):
        part = runs[runs["row"] == name].reset_index(drop=True)
        # seeds beside each other, so that equal runs don't hide one another
        offsets = np.linspace(-0.24, 0.24, len(part)) if len(part) > 1 else np.zeros(1)
        heights = height + offsets
        fell = (part["collapsed"] == 1).to_numpy()
        alarmed = part["standing_alarm"].notna().to_numpy()
        value = part[column].to_numpy()
        axes.plot(
            value[alarmed], heights[alarmed], "o", markersize=11, markerfacecolor="none",
            markeredgecolor="#777777", zorder=2,
        )  # fmt: skip
        axes.plot(value[~fell], heights[~fell], "o", color=HEALTHY, markersize=6)
        axes.plot(value[fell], heights[fell], "X", color=COLLAPSED, markersize=7)
        axes.plot([value.mean()] * 2, [height - 0.34, height + 0.34], color=MEAN, linewidth=1.6)
    for height in range(1, len(names)):
        axes.axhline(height - 0.5, color="#e4e4e4", linewidth=0.8, zorder=0)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
