"""The two pictures of the comparison: a forest plot and reliability diagrams."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mammo.figures.style import style

FOREST_METRICS = {
    "kappa_quadratic": "quadratic kappa",
    "kappa": "kappa",
    "bal_acc_adj": "balanced accuracy\nabove chance",
    "auc_dense": "AUC, dense\nversus not",
}
CEILING = "ceiling"  # an observer who knows the truth: a line, not an arm
CEILING_COLOUR = "#b3261e"
LEVEL_STYLE = {"image": ("o", "#0b6e99"), "breast": ("s", "#d17a00"), "patient": ("D", "#7a3e9d")}
AS_STATED, TEMPERED = "#0b6e99", "#d17a00"
NO_SKILL = {"auc_dense": 0.5}
PANELS_PER_ROW = 5


def forest_plot(table: pd.DataFrame) -> Figure:
    """Draw every arm's interval at each level, one panel a metric.

    Args:
        table: From `mammo.comparison.tables.comparison_table`.
    """
    with style():
        return _forest(table)


def _forest(table: pd.DataFrame) -> Figure:
    known = table[(table["strategy"] == CEILING) & (table["level"] == "image")]
    ceiling = known.set_index("metric")["value"]
    table = table[table["strategy"] != CEILING]
    names = list(table["strategy"].unique())
    shown = _told_apart(table)
    figure = Figure(figsize=(3.1 * len(shown) + 1.2, 0.62 * len(names) + 1.7), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, shown, strict=True):
        _forest_panel(axes, table[table["metric"] == metric], names)
        axes.axvline(NO_SKILL.get(metric, 0), color="0.6", linewidth=1, linestyle=":", zorder=0)
        if metric in ceiling.index and metric not in NO_SKILL:
            axes.axvline(ceiling[metric], color=CEILING_COLOUR, linewidth=1.2, linestyle="--",
                         label="ceiling: knows the true dense share, by image")  # fmt: skip
        axes.set_title(FOREST_METRICS[metric], fontsize=10)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _told_apart(table: pd.DataFrame) -> list[str]:
    """List the metrics to draw: of two classes, quadratic kappa is kappa."""
    at = table.pivot_table(index=["strategy", "level"], columns="metric", values="value")
    same = {"kappa", "kappa_quadratic"} <= set(at) and at["kappa"].equals(at["kappa_quadratic"])
    return [m for m in FOREST_METRICS if m in set(at) and not (same and m == "kappa_quadratic")]


def reliability_diagram(calibration: pd.DataFrame) -> Figure:
    """Draw the share that is right over the stated confidence, one panel an arm.

    Args:
        calibration: From `mammo.comparison.tables.calibration_table`.
    """
    with style():
        return _reliability(calibration)


def _reliability(calibration: pd.DataFrame) -> Figure:
    names = list(calibration["strategy"].unique())
    rows = math.ceil(len(names) / PANELS_PER_ROW)
    columns = min(len(names), PANELS_PER_ROW)
    figure = Figure(figsize=(3 * columns + 0.6, 3.4 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels, names, strict=False):
        bins = calibration[calibration["strategy"] == name]
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
        stated = bins["probabilities"] == "as stated"
        _reliability_line(axes, bins[stated], AS_STATED, "o", "as stated")
        if not stated.all():
            tempered = "after the temperature fitted on val"
            _reliability_line(axes, bins[~stated], TEMPERED, "s", tempered)
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel="confidence")
        axes.tick_params(labelbottom=True)
        temperature = float(bins["temperature"].iloc[0])
        title = name if math.isnan(temperature) else f"{name}\ntemperature {temperature:.2f}"
        axes.set_title(title, fontsize=10)
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


def _reliability_line(axes: Axes, bins: pd.DataFrame, colour: str, marker: str, label: str) -> None:
    axes.plot(bins["confidence"], bins["accuracy"], color=colour, linewidth=1, alpha=0.7)
    axes.scatter(
        bins["confidence"],
        bins["accuracy"],
        s=8 + 220 * bins["n"] / bins["n"].sum(),
        color=colour,
        marker=marker,
        alpha=0.7,
        label=label,
        clip_on=False,  # a bin at 1 would lose half of its marker
    )
