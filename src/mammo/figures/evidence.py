"""The two pictures of the comparison: a forest plot and reliability diagrams."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mammo.figures.style import style

FOREST_METRICS = {
    "bal_acc_adj": "balanced accuracy above chance",
    "kappa": "kappa",
    "kappa_quadratic": "quadratic kappa",
    "auc_dense": "AUC, dense versus not",
}
LEVEL_STYLE = {"image": ("o", "#0b6e99"), "breast": ("s", "#d17a00"), "patient": ("D", "#7a3e9d")}
AS_STATED, TEMPERED = "#0b6e99", "#d17a00"
NO_SKILL = {"auc_dense": 0.5}
PANELS_PER_ROW = 5


def forest_plot(table: pd.DataFrame) -> Figure:
    """Draw every arm's interval at each level, one panel a metric.

    Args:
        table: From `mammo.comparison.compare.comparison_table`.
    """
    with style():
        return _forest(table)


def _forest(table: pd.DataFrame) -> Figure:
    names = list(table["strategy"].unique())
    size = (3.1 * len(FOREST_METRICS) + 1.2, 0.62 * len(names) + 1.5)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(FOREST_METRICS), sharey=True)
    for axes, (metric, title) in zip(panels, FOREST_METRICS.items(), strict=True):
        _forest_panel(axes, table[table["metric"] == metric], names)
        axes.axvline(NO_SKILL.get(metric, 0), color="0.6", linewidth=1, linestyle=":", zorder=0)
        axes.set_title(title, fontsize=10)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def reliability_diagram(calibration: dict[str, dict[str, Any]]) -> Figure:
    """Draw the share that is right over the stated confidence, one panel an arm.

    Args:
        calibration: The part of that name of `mammo.comparison.compare.compare`'s result.
    """
    with style():
        return _reliability(calibration)


def _reliability(calibration: dict[str, dict[str, Any]]) -> Figure:
    rows = math.ceil(len(calibration) / PANELS_PER_ROW)
    columns = min(len(calibration), PANELS_PER_ROW)
    figure = Figure(figsize=(3 * columns + 0.6, 3.4 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for axes in panels[len(calibration) :]:
        axes.set_axis_off()
    for axes, (name, found) in zip(panels, calibration.items(), strict=False):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
        _reliability_line(axes, found["reliability"], AS_STATED, "o", "as stated")
        tempered = "after the temperature fitted on val"
        _reliability_line(axes, found["reliability_tempered"], TEMPERED, "s", tempered)
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel="confidence")
        axes.tick_params(labelbottom=True)
        axes.set_title(f"{name}\ntemperature {found['temperature']:.2f}", fontsize=10)
    for row in grid:
        row[0].set_ylabel("share right (area: images)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _forest_panel(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    for offset, (level, (marker, colour)) in zip((-0.2, 0, 0.2), LEVEL_STYLE.items(), strict=True):
        at_level = rows[rows["level"] == level].set_index("strategy").reindex(names)
        heights = [position + offset for position in range(len(names))]
        # An arm without an interval keeps its marker: the line to NaN isn't drawn.
        axes.hlines(heights, at_level["low"], at_level["high"], color=colour, linewidth=1.6)
        axes.plot(
            at_level["value"],
            heights,
            marker,
            color=colour,
            markersize=5,
            label=f"by {level}",
        )
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _reliability_line(
    axes: Axes, bins: list[dict[str, Any]], colour: str, marker: str, label: str
) -> None:
    images = sum(row["n"] for row in bins)
    confidence = [row["confidence"] for row in bins]
    accuracy = [row["accuracy"] for row in bins]
    sizes = [8 + 220 * row["n"] / images for row in bins]
    axes.plot(confidence, accuracy, color=colour, linewidth=1, alpha=0.7)
    axes.scatter(
        confidence,
        accuracy,
        s=sizes,
        color=colour,
        marker=marker,
        alpha=0.7,
        label=label,
        clip_on=False,  # a bin at 1 would lose half of its marker
    )
