"""The panels that the figures of a run are put together from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mammo.figures.style import (
    GREY,
    chance_handle,
    class_colours,
    strategy_colours,
    strategy_handles,
    strategy_markers,
)
from mammo.figures.tables import numbers

STATUS_MARKS = {"collapsed": ("X", "#000000"), "warning": ("^", "#777777")}
LEVEL_MARKS = {"breast": "s", "patient": "D"}
COLUMNS = 4
TITLES = {
    "loss": "loss",
    "kappa": "kappa",
    "bal_acc_adj": "balanced accuracy,\nadjusted",
    "kappa_quadratic": "quadratic kappa",
    "auc_macro": "AUC,\nmean of classes",
    "macro_f1": "F1,\nmean of classes",
}


def curve_panel(
    axes: Axes,
    curves: pd.DataFrame,
    strategies: pd.DataFrame,
    warmup_epochs: Mapping[str, int],
    metric: str,
    split: str,
) -> None:
    """Draw one metric on one split, a line per strategy; on val, mark what happened."""
    names = unique(curves["strategy"])
    colours, markers = strategy_colours(names), strategy_markers(names)
    best = dict(zip(strategies["strategy"], strategies["best_epoch"].astype(int), strict=True))
    if metric != "loss":
        axes.axhline(0, color=GREY, linestyle=":", linewidth=1.2)
    for epochs in _warmup_ends(curves, warmup_epochs):
        axes.axvline(epochs + 0.5, color="#999999", linestyle=(0, (6, 3)), linewidth=1.0)
    for name in names:
        rows = curves[(curves["strategy"] == name) & (curves["split"] == split)]
        epoch, value = rows["epoch"].astype(int).to_numpy(), numbers(rows[metric]).to_numpy()
        every = max(1, len(epoch) // 15)
        axes.plot(epoch, value, color=colours[name], marker=markers[name], markevery=every)
        if split == "val":
            for chosen, ring in ((epoch == best[name], "o"), (rows["status"] == "collapsed", "X")):
                kept = {"markerfacecolor": "none", "markersize": 11, "markeredgewidth": 1.6}
                fell = {"color": "black", "markersize": 7}
                options: dict[str, Any] = kept if ring == "o" else fell
                axes.plot(
                    epoch[chosen],
                    value[chosen],
                    linestyle="",
                    marker=ring,
                    markeredgecolor=colours[name] if ring == "o" else "white",
                    zorder=3,
                    **options,
                )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def share_panel(axes: Axes, shares: pd.DataFrame, classes: Sequence[str]) -> None:
    """Stack one strategy's predicted shares per epoch; the labels' own shares stand at the end."""
    epochs = np.array(sorted(shares["epoch"].astype(int).unique()))
    truth = epochs[-1] + 1 + max(1.0, 0.06 * len(epochs))
    below, true_below = np.zeros(len(epochs)), 0.0
    for label, colour in zip(classes, class_colours(len(classes)), strict=True):
        rows = shares[shares["class"] == label]
        share, true_share = numbers(rows["share"]).to_numpy(), numbers(rows["true_share"]).mean()
        axes.bar(epochs, share, bottom=below, width=0.9, color=colour)
        axes.bar(truth, true_share, bottom=true_below, width=truth - epochs[-1] - 0.6, color=colour)
        below, true_below = below + share, true_below + true_share
    rows = shares[shares["class"] == classes[0]]
    for status, (marker, colour) in STATUS_MARKS.items():
        marked = rows.loc[rows["status"] == status, "epoch"].astype(int)
        size = min(6.0, 120 / len(epochs))
        axes.plot(
            marked, [1.05] * len(marked), linestyle="", marker=marker, color=colour, markersize=size
        )
    step = -(-len(epochs) // 8)
    ticks = [int(epoch) for epoch in epochs if (epoch - epochs[0]) % step == 0]
    axes.set_xticks([*ticks, truth], [*map(str, ticks), "true"])
    axes.set_ylim(0, 1.1)
    axes.set_yticks(np.linspace(0, 1, 5))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol=" %"))
    axes.grid(visible=False)


def confusion_panels(
    panels: np.ndarray, confusion: pd.DataFrame, strategies: pd.DataFrame
) -> AxesImage:
    """Draw one matrix per strategy; return an image that carries the common colour scale."""
    metrics = strategies.set_index("strategy")
    for axes, name in paired(panels, unique(confusion["strategy"])):
        image = _confusion_panel(axes, confusion[confusion["strategy"] == name])
        kappa, bal_acc_adj = metrics.loc[name, ["kappa", "bal_acc_adj"]]
        scores = f"kappa {_signed(kappa)}, bal_acc_adj {_signed(bal_acc_adj)}"
        axes.set_title(f"{name}\n{scores}", fontsize=11)
        axes.set_xlabel("predicted")
    for row in panels:
        row[0].set_ylabel("actual")
    return image


def _confusion_panel(axes: Axes, cells: pd.DataFrame) -> AxesImage:
    """Draw one matrix, rows actual; a class that the labels lack has an empty row."""
    classes = unique(cells["actual"])
    shape = (len(classes), len(classes))
    recall = numbers(cells["recall"]).to_numpy().reshape(shape)
    n = cells["n"].astype(int).to_numpy().reshape(shape)
    image = axes.imshow(recall, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    axes.set_facecolor("#eeeeee")
    for (row, column), count in np.ndenumerate(n):
        share = recall[row, column]
        text = f"{count}\n{100 * share:.0f} %" if np.isfinite(share) else "–"
        colour = "white" if share > 0.55 else "#222222"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.tick_params(length=0, labelleft=True, labelbottom=True)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return image


def class_curves(
    axes: Axes, rows: pd.DataFrame, names: Sequence[str], x: str, y: str, area: str
) -> None:
    """Draw one class's curve per strategy; the areas stand above the panel, clear of the data."""
    colours = strategy_colours(names)
    handles = []
    for name in names:
        points = rows[rows["strategy"] == name]
        if points.empty:
            continue
        stepped = "steps-pre" if y == "precision" else "default"
        axes.plot(
            numbers(points[x]),
            numbers(points[y]),
            color=colours[name],
            drawstyle=stepped,
            alpha=0.9,
        )
        text = f"{numbers(points[area]).iloc[0]:.2f}"
        handles.append(Line2D([], [], color=colours[name], linewidth=3, label=text))
    axes.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=COLUMNS,
        handlelength=0.9,
        handletextpad=0.4,
        columnspacing=0.9,
        borderaxespad=0.2,
    )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)


def parameter_panel(axes: Axes, strategies: pd.DataFrame) -> None:
    """Draw the trainable parameters, logarithmic, with counts and shares printed."""
    counts = strategies["trainable_parameters"].astype(int)
    _bars(axes, strategies, counts)
    axes.set_xscale("log")
    axes.set_xlim(10 ** np.floor(np.log10(counts.min()) - 0.5), counts.max() * 3)
    for row, (count, percent) in enumerate(
        zip(counts, numbers(strategies["trainable_percent"]), strict=True)
    ):
        text = f"{count:,} ({percent:.3g} %)"
        axes.text(0.02, row - 0.42, text, transform=axes.get_yaxis_transform(), fontsize=9)
    axes.set_title("trainable parameters")


def metric_panel(axes: Axes, strategies: pd.DataFrame, metric: str, chance: float | None) -> None:
    """Draw one test metric as bars with the values printed; breasts and patients as marks."""
    values = numbers(strategies[metric].astype(object))
    _bars(axes, strategies, values.fillna(0))
    farthest, lowest = values.fillna(0).clip(lower=0), values.min()
    for level, marker in LEVEL_MARKS.items():
        if f"{metric}_{level}" in strategies:
            at = numbers(strategies[f"{metric}_{level}"].astype(object))
            axes.plot(at, range(len(at)), marker, color="black", markersize=5, zorder=3)
            farthest, lowest = farthest.combine(at.fillna(0), max), np.fmin(lowest, at.min())
    for row, (value, collapsed) in enumerate(zip(values, strategies["collapsed"], strict=True)):
        text = _signed(value) if np.isfinite(value) else "none"
        text += "  collapsed" if collapsed == "true" else ""
        axes.text(farthest.iloc[row] + 0.06, row, text, va="center", fontsize=10)
    if chance is not None:
        axes.axvline(chance, color=GREY, linestyle=":", linewidth=1.2)
    axes.set_xlim(min(0, lowest * 1.15), 1.25)
    axes.set_xticks([0, 0.5, 1])
    axes.set_title(TITLES[metric])


def _bars(axes: Axes, strategies: pd.DataFrame, values: pd.Series) -> None:
    names = list(strategies["strategy"])
    colours = strategy_colours(names)
    axes.barh(range(len(names)), values, height=0.5, color=[colours[name] for name in names])
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.65)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def level_handles() -> list[Line2D]:
    """Explain the marks of `metric_panel`."""
    return [
        Line2D([], [], marker=mark, color="black", linestyle="", markersize=5, label=f"by {level}")
        for level, mark in LEVEL_MARKS.items()
    ]


def curve_handles(curves: pd.DataFrame, warmup_epochs: Mapping[str, int]) -> list[Line2D]:
    """Explain the lines and marks of `curve_panel`, the strategies first."""
    names = unique(curves["strategy"])
    handles = strategy_handles(names)
    ring = {"markersize": 10, "markeredgewidth": 1.6, "markerfacecolor": "none"}
    handles.append(
        Line2D([], [], marker="o", color=GREY, linestyle="", label="kept", **ring)  # type: ignore[arg-type]
    )
    if (curves["status"] == "collapsed").any():
        mark = Line2D([], [], marker="X", color="black", linestyle="", markersize=7)
        mark.set_label("collapsed")
        handles.append(mark)
    if _warmup_ends(curves, warmup_epochs):
        dashes = (0, (6, 3))
        handles.append(
            Line2D([], [], color="#999999", linestyle=dashes, linewidth=1, label="warm-up ends")
        )
    return [*handles, chance_handle()]


def _warmup_ends(curves: pd.DataFrame, warmup_epochs: Mapping[str, int]) -> list[int]:
    """List the distinct last epochs of a warm-up that training went beyond."""
    last = curves["epoch"].astype(int).max()
    ends = {warmup_epochs[name] for name in unique(curves["strategy"])}
    return sorted(end for end in ends if 0 < end < last)


def paired(panels: np.ndarray, names: Sequence[str]) -> list[tuple[Axes, str]]:
    """Pair panels with names; hide the panels left over."""
    for axes in panels.ravel()[len(names) :]:
        axes.set_axis_off()
    return list(zip(panels.ravel(), names, strict=False))


def unique(column: pd.Series) -> list[str]:
    """List the values in the order in which they first appear."""
    return list(dict.fromkeys(column))


def _signed(value: Any) -> str:
    """Write a metric with two digits, a true minus sign, and never a negative zero."""
    return f"{float(value):z.2f}".replace("-", "−")
