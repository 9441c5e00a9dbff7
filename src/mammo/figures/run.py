"""Draw the comparison tables of a run: curves, predicted shares, confusion, ROC, strategies."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mammo.figures.panels import (
    COLUMNS,
    STATUS_MARKS,
    TITLES,
    class_curves,
    confusion_panels,
    curve_handles,
    curve_panel,
    level_handles,
    metric_panel,
    paired,
    parameter_panel,
    share_panel,
    unique,
)
from mammo.figures.style import (
    GREY,
    chance_handle,
    class_colours,
    legend_above,
    strategy_handles,
    style,
)
from mammo.figures.tables import numbers

STEPS = "epoch or step"  # a solved head has steps of a path, in the same column
CURVE_METRICS = ["loss", "kappa", "bal_acc_adj"]
# Test metric -> its value by chance.
COMPARED_METRICS = {
    "kappa_quadratic": 0.0,
    "kappa": 0.0,
    "bal_acc_adj": 0.0,
    "auc_macro": 0.5,
    "macro_f1": None,
}


def draw_comparison(
    tables: Mapping[str, pd.DataFrame], warmup_epochs: Mapping[str, int]
) -> dict[str, Figure]:
    """Draw every figure of plots/plot, by file name.

    Args:
        tables: What `tables.comparison_tables` returns, by file name.
        warmup_epochs: Strategy -> epochs in which only its head trains.
    """
    with style():
        return {
            "curves.png": draw_curves(
                tables["curves.csv"], tables["strategies.csv"], warmup_epochs
            ),
            "predicted_shares.png": draw_shares(tables["shares.csv"]),
            "confusion.png": draw_confusion(tables["confusion.csv"], tables["strategies.csv"]),
            "roc_pr.png": draw_roc_pr(tables["roc.csv"], tables["pr.csv"]),
            "strategies.png": draw_strategies(tables["strategies.csv"]),
            "overview.png": draw_overview(tables, warmup_epochs),
        }


def draw_curves(
    curves: pd.DataFrame, strategies: pd.DataFrame, warmup_epochs: Mapping[str, int]
) -> Figure:
    """Draw loss, kappa and adjusted balanced accuracy over epochs, train beside val."""
    figure = Figure(figsize=(10, 9.5), layout="constrained")
    panels = figure.subplots(
        len(CURVE_METRICS),
        2,
        sharex=True,
        sharey="row",
        squeeze=False,
        gridspec_kw={"hspace": 0.04},
    )
    for row, metric in enumerate(CURVE_METRICS):
        for column, split in enumerate(("train", "val")):
            axes = panels[row, column]
            curve_panel(axes, curves, strategies, warmup_epochs, metric, split)
            axes.set_title(split if row == 0 else "")
            axes.set_ylabel(TITLES[metric] if column == 0 else "")
            axes.set_xlabel(STEPS if row == len(CURVE_METRICS) - 1 else "")
    legend_above(figure, curve_handles(curves, warmup_epochs))
    return figure


def draw_shares(shares: pd.DataFrame) -> Figure:
    """Draw the share of val images predicted as each class, epoch by epoch, beside the truth."""
    names, classes = unique(shares["strategy"]), unique(shares["class"])
    columns, rows = min(len(names), COLUMNS), -(-len(names) // COLUMNS)
    width = max(6.5, 3.4 * columns)
    figure = Figure(figsize=(width, 0.9 + 3.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, name in paired(panels, names):
        share_panel(axes, shares[shares["strategy"] == name], classes)
        axes.set_title(name)
        axes.set_xlabel(STEPS)
    for row in panels:
        row[0].set_ylabel("share of val predictions")
    handles: list[Artist] = [
        Patch(color=colour, label=label)
        for label, colour in zip(classes, class_colours(len(classes)), strict=True)
    ]
    handles += [
        Line2D([], [], marker=marker, color=colour, linestyle="", label=f"{status} epoch")
        for status, (marker, colour) in STATUS_MARKS.items()
        if (shares["status"] == status).any()
    ]
    legend_above(figure, handles)
    return figure


def draw_confusion(confusion: pd.DataFrame, strategies: pd.DataFrame) -> Figure:
    """Draw each strategy's confusion matrix on test: colour by recall, counts printed."""
    names = unique(confusion["strategy"])
    columns, rows = min(len(names), COLUMNS), -(-len(names) // COLUMNS)
    width = max(4.6, 3.3 * columns + 0.9)
    figure = Figure(figsize=(width, 4.0 * rows + 0.1), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    image = confusion_panels(panels, confusion, strategies)
    bar = figure.colorbar(image, ax=panels, shrink=0.8 / rows, pad=0.02)
    bar.set_label("share of the actual class")
    bar.outline.set_visible(False)
    return figure


def draw_roc_pr(roc: pd.DataFrame, pr: pd.DataFrame) -> Figure:
    """Draw ROC and precision-recall curves on test, each class against the rest."""
    names, classes = unique(roc["strategy"]), unique(roc["class"])
    width = max(6.8, 3.3 * len(classes))
    pad = 8 + 18 * -(-len(names) // COLUMNS)  # room for the areas, above each panel
    figure = Figure(figsize=(width, 7.8), layout="constrained")
    panels = figure.subplots(2, max(len(classes), 1), sharey="row", squeeze=False)
    for column, label in enumerate(classes):
        upper, lower = panels[:, column]
        upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2)
        class_curves(upper, roc[roc["class"] == label], names, "fpr", "tpr", "auc")
        rows = pr[pr["class"] == label]
        lower.axhline(numbers(rows["prevalence"]).mean(), color=GREY, linestyle=":", linewidth=1.2)
        class_curves(lower, rows, names, "recall", "precision", "average_precision")
        upper.set_xlabel("false positive rate")
        lower.set_xlabel("recall")
        upper.set_title(f"{label} against the rest\nAUC", pad=pad)
        lower.set_title("average precision", pad=pad)
    panels[0, 0].set_ylabel("true positive rate")
    panels[1, 0].set_ylabel("precision")
    legend_above(figure, [*strategy_handles(names), chance_handle()])
    return figure


def draw_strategies(strategies: pd.DataFrame) -> Figure:
    """Set the strategies' trainable parameters and test metrics side by side."""
    figure = Figure(figsize=(12.5, 2.0 + 0.55 * len(strategies)), layout="constrained")
    shown = told_apart(strategies)
    panels = figure.subplots(
        1,
        1 + len(shown),
        sharey=True,
        squeeze=False,
        width_ratios=[1.25] + [1] * len(shown),
    )[0]
    parameter_panel(panels[0], strategies)
    for axes, metric in zip(panels[1:], shown, strict=True):
        metric_panel(axes, strategies, metric, COMPARED_METRICS[metric])
    figure.supxlabel("test split; bars: by image; dotted: chance", fontsize=10, color=GREY)
    legend_above(figure, level_handles())
    return figure


def told_apart(strategies: pd.DataFrame) -> list[str]:
    """List the metrics to draw: of two classes, quadratic kappa is kappa."""
    same = numbers(strategies["kappa"].astype(object)).equals(
        numbers(strategies["kappa_quadratic"].astype(object))
    )
    return [m for m in COMPARED_METRICS if not (same and m == "kappa_quadratic")]


def draw_overview(tables: Mapping[str, pd.DataFrame], warmup_epochs: Mapping[str, int]) -> Figure:
    """Draw the one picture of the README: who wins, at what cost, and how it errs."""
    curves, strategies = tables["curves.csv"], tables["strategies.csv"]
    confusion = tables["confusion.csv"]
    names = unique(strategies["strategy"])
    columns, rows = min(len(names), COLUMNS), -(-len(names) // COLUMNS)
    figure = Figure(figsize=(12, 4.2 + 3.7 * rows), layout="constrained")
    halves = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.7, 3.7 * rows], hspace=0.03)
    top, bottom = halves[:, 0]
    bars, history = top.subfigures(1, 2, squeeze=False, width_ratios=[1.45, 1])[0]
    panels = bars.subplots(1, 3, sharey=True, width_ratios=[1.15, 1, 1])
    parameter_panel(panels[0], strategies)
    for axes, metric in zip(panels[1:], told_apart(strategies)[:2], strict=True):
        metric_panel(axes, strategies, metric, COMPARED_METRICS[metric])
    bars.suptitle("Test split (bars: by image)", fontsize=13, fontweight="bold")
    bars.legend(handles=level_handles(), loc="outside lower center", ncols=2, fontsize=9.5)
    axes = history.subplots()
    curve_panel(axes, curves, strategies, warmup_epochs, "kappa", "val")
    axes.set_ylabel("kappa")
    axes.set_xlabel(STEPS)
    # The bars beside it already name the strategies.
    marks = curve_handles(curves, warmup_epochs)[len(names) :]
    history.legend(
        handles=marks,
        loc="outside lower center",
        ncols=len(marks),
        fontsize=9.5,
        columnspacing=1.0,
        handlelength=1.6,
        handletextpad=0.4,
    )
    history.suptitle("Validation split, while training", fontsize=13, fontweight="bold")
    matrices = bottom.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    confusion_panels(matrices, confusion, strategies)
    bottom.suptitle("Test split: counts, coloured by recall", fontsize=13, fontweight="bold")
    return figure
