"""Draw the comparison tables as PNGs whose bytes depend on nothing but the tables.

A strategy has one colour and marker everywhere, the same as in the templates of `dvc plots`; the
ordered classes run through one sequential scale. Both are told apart without red and green.
Sources: Okabe and Ito 2008 (strategies), cividis of Nuñez 2018 (classes).
"""

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mammo.curves import numbers
from mammo.files import write_bytes

COLOURS = {
    "head_only": "#E69F00",
    "last_block": "#0072B2",
    "last_two_blocks": "#009E73",
    "full": "#CC79A7",
}
MORE_COLOURS = ["#D55E00", "#56B4E9", "#000000", "#8C6D31", "#7B4173", "#7F7F7F"]
MARKERS = ["o", "s", "D", "^", "v", "P"]
STATUS_MARKS = {"collapsed": ("X", "#000000"), "warning": ("^", "#777777")}
CLASS_SCALE = (-0.26, 1.28)
COLUMNS = 4
GREY = "#777777"

CURVE_METRICS = ["loss", "kappa", "bal_acc_adj"]
# Test metric -> its value by chance.
COMPARED_METRICS = {
    "kappa": 0.0,
    "bal_acc_adj": 0.0,
    "kappa_quadratic": 0.0,
    "auc_macro": 0.5,
    "macro_f1": None,
}
TITLES = {
    "loss": "loss",
    "kappa": "kappa",
    "bal_acc_adj": "balanced accuracy,\nadjusted",
    "kappa_quadratic": "kappa,\nquadratic",
    "auc_macro": "AUC,\nmean of classes",
    "macro_f1": "F1,\nmean of classes",
}

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


def draw_comparison(
    tables: Mapping[str, pd.DataFrame], warmup_epochs: Mapping[str, int]
) -> dict[str, Figure]:
    """Draw every figure of plots/comparison, by file name.

    Args:
        tables: What `curves.comparison_tables` returns, by file name.
        warmup_epochs: Strategy -> epochs in which only its head trains.
    """
    with _style():
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


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure; the file names neither the library's version nor a date."""
    content = io.BytesIO()
    with _style():
        FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    write_bytes(content.getvalue(), path)


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
            _curve_panel(axes, curves, strategies, warmup_epochs, metric, split)
            axes.set_title(split if row == 0 else "")
            axes.set_ylabel(TITLES[metric] if column == 0 else "")
            axes.set_xlabel("epoch" if row == len(CURVE_METRICS) - 1 else "")
    _legend_above(figure, _curve_handles(curves, warmup_epochs))
    return figure


def draw_shares(shares: pd.DataFrame) -> Figure:
    """Draw the share of val images predicted as each class, epoch by epoch, beside the truth."""
    names, classes = _unique(shares["strategy"]), _unique(shares["class"])
    columns, rows = min(len(names), COLUMNS), -(-len(names) // COLUMNS)
    width = max(6.5, 3.4 * columns)
    figure = Figure(figsize=(width, 0.9 + 3.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, name in _panels(panels, names):
        _share_panel(axes, shares[shares["strategy"] == name], classes)
        axes.set_title(name)
        axes.set_xlabel("epoch")
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
    _legend_above(figure, handles)
    return figure


def draw_confusion(confusion: pd.DataFrame, strategies: pd.DataFrame) -> Figure:
    """Draw each strategy's confusion matrix on test: colour by recall, counts printed."""
    names = _unique(confusion["strategy"])
    columns, rows = min(len(names), COLUMNS), -(-len(names) // COLUMNS)
    width = max(4.6, 3.3 * columns + 0.9)
    figure = Figure(figsize=(width, 4.0 * rows + 0.1), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    image = _confusion_panels(panels, confusion, strategies)
    bar = figure.colorbar(image, ax=panels, shrink=0.8 / rows, pad=0.02)
    bar.set_label("share of the actual class")
    bar.outline.set_visible(False)
    return figure


def draw_roc_pr(roc: pd.DataFrame, pr: pd.DataFrame) -> Figure:
    """Draw ROC and precision-recall curves on test, each class against the rest."""
    names, classes = _unique(roc["strategy"]), _unique(roc["class"])
    width = max(6.8, 3.3 * len(classes))
    pad = 8 + 18 * -(-len(names) // COLUMNS)  # room for the areas, above each panel
    figure = Figure(figsize=(width, 7.8), layout="constrained")
    panels = figure.subplots(2, max(len(classes), 1), sharey="row", squeeze=False)
    for column, label in enumerate(classes):
        upper, lower = panels[:, column]
        upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2)
        _class_curves(upper, roc[roc["class"] == label], names, "fpr", "tpr", "auc")
        rows = pr[pr["class"] == label]
        lower.axhline(numbers(rows["prevalence"]).mean(), color=GREY, linestyle=":", linewidth=1.2)
        _class_curves(lower, rows, names, "recall", "precision", "average_precision")
        upper.set_xlabel("false positive rate")
        lower.set_xlabel("recall")
        upper.set_title(f"{label} against the rest\nAUC", pad=pad)
        lower.set_title("average precision", pad=pad)
    panels[0, 0].set_ylabel("true positive rate")
    panels[1, 0].set_ylabel("precision")
    _legend_above(figure, [*_strategy_handles(names), _chance_handle()])
    return figure


def draw_strategies(strategies: pd.DataFrame) -> Figure:
    """Set the strategies' trainable parameters and test metrics side by side."""
    figure = Figure(figsize=(12.5, 1.7 + 0.55 * len(strategies)), layout="constrained")
    panels = figure.subplots(
        1,
        1 + len(COMPARED_METRICS),
        sharey=True,
        squeeze=False,
        width_ratios=[1.25] + [1] * len(COMPARED_METRICS),
    )[0]
    _parameter_panel(panels[0], strategies)
    for axes, (metric, chance) in zip(panels[1:], COMPARED_METRICS.items(), strict=True):
        _metric_panel(axes, strategies, metric, chance)
    figure.supxlabel("test split; dotted: chance", fontsize=10, color=GREY)
    return figure


def draw_overview(tables: Mapping[str, pd.DataFrame], warmup_epochs: Mapping[str, int]) -> Figure:
    """Draw the one picture of the README: who wins, at what cost, and how it errs."""
    curves, strategies = tables["curves.csv"], tables["strategies.csv"]
    confusion = tables["confusion.csv"]
    names = _unique(strategies["strategy"])
    columns, rows = min(len(names), COLUMNS), -(-len(names) // COLUMNS)
    figure = Figure(figsize=(12, 4.2 + 3.7 * rows), layout="constrained")
    halves = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.7, 3.7 * rows], hspace=0.03)
    top, bottom = halves[:, 0]
    bars, history = top.subfigures(1, 2, squeeze=False, width_ratios=[1.45, 1])[0]
    panels = bars.subplots(1, 3, sharey=True, width_ratios=[1.15, 1, 1])
    _parameter_panel(panels[0], strategies)
    for axes, metric in zip(panels[1:], ("kappa", "bal_acc_adj"), strict=True):
        _metric_panel(axes, strategies, metric, COMPARED_METRICS[metric])
    bars.suptitle("Test split", fontsize=13, fontweight="bold")
    axes = history.subplots()
    _curve_panel(axes, curves, strategies, warmup_epochs, "kappa", "val")
    axes.set_ylabel("kappa")
    axes.set_xlabel("epoch")
    # The bars beside it already name the strategies.
    marks = _curve_handles(curves, warmup_epochs)[len(names) :]
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
    _confusion_panels(matrices, confusion, strategies)
    bottom.suptitle("Test split: counts, coloured by recall", fontsize=13, fontweight="bold")
    return figure


def strategy_colours(names: Sequence[str]) -> dict[str, str]:
    """Give each strategy its colour: the known four theirs, the others the next by name."""
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


def _style() -> AbstractContextManager[None]:
    # Over the defaults, not over the user's matplotlibrc: the bytes must not depend on it.
    return matplotlib.style.context(["default", STYLE])


def _curve_panel(
    axes: Axes,
    curves: pd.DataFrame,
    strategies: pd.DataFrame,
    warmup_epochs: Mapping[str, int],
    metric: str,
    split: str,
) -> None:
    """Draw one metric on one split, a line per strategy; on val, mark what happened."""
    names = _unique(curves["strategy"])
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


def _share_panel(axes: Axes, shares: pd.DataFrame, classes: Sequence[str]) -> None:
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


def _confusion_panels(
    panels: np.ndarray, confusion: pd.DataFrame, strategies: pd.DataFrame
) -> AxesImage:
    """Draw one matrix per strategy; return an image that carries the common colour scale."""
    metrics = strategies.set_index("strategy")
    for axes, name in _panels(panels, _unique(confusion["strategy"])):
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
    classes = _unique(cells["actual"])
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


def _class_curves(
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


def _parameter_panel(axes: Axes, strategies: pd.DataFrame) -> None:
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


def _metric_panel(axes: Axes, strategies: pd.DataFrame, metric: str, chance: float | None) -> None:
    """Draw one test metric as bars with the values printed."""
    values = numbers(strategies[metric].astype(object))
    _bars(axes, strategies, values.fillna(0))
    for row, (value, collapsed) in enumerate(zip(values, strategies["collapsed"], strict=True)):
        text = _signed(value) if np.isfinite(value) else "none"
        text += "  collapsed" if collapsed == "true" else ""
        at = max(value, 0) if np.isfinite(value) else 0
        axes.text(at + 0.02, row, text, va="center", fontsize=10)
    if chance is not None:
        axes.axvline(chance, color=GREY, linestyle=":", linewidth=1.2)
    axes.set_xlim(min(0, values.min() * 1.15), 1.19)
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


def _curve_handles(curves: pd.DataFrame, warmup_epochs: Mapping[str, int]) -> list[Line2D]:
    names = _unique(curves["strategy"])
    handles = _strategy_handles(names)
    ring = {"markersize": 10, "markeredgewidth": 1.6, "markerfacecolor": "none"}
    handles.append(
        Line2D([], [], marker="o", color=GREY, linestyle="", label="epoch kept", **ring)  # type: ignore[arg-type]
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
    return [*handles, _chance_handle()]


def _warmup_ends(curves: pd.DataFrame, warmup_epochs: Mapping[str, int]) -> list[int]:
    """List the distinct last epochs of a warm-up that training went beyond."""
    last = curves["epoch"].astype(int).max()
    ends = {warmup_epochs[name] for name in _unique(curves["strategy"])}
    return sorted(end for end in ends if 0 < end < last)


def _strategy_handles(names: Sequence[str]) -> list[Line2D]:
    colours, markers = strategy_colours(names), strategy_markers(names)
    return [Line2D([], [], color=colours[n], marker=markers[n], label=n) for n in names]


def _chance_handle() -> Line2D:
    return Line2D([], [], color=GREY, linestyle=":", linewidth=1.2, label="chance")


def _legend_above(figure: Figure, handles: Sequence[Any]) -> None:
    """Place the legend outside the panels, in as few rows of equal length as fit."""
    rows = -(-len(handles) // max(1, int(figure.get_figwidth() / 1.65)))
    columns = -(-len(handles) // rows)
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)


def _panels(panels: np.ndarray, names: Sequence[str]) -> list[tuple[Axes, str]]:
    """Pair panels with names; hide the panels left over."""
    for axes in panels.ravel()[len(names) :]:
        axes.set_axis_off()
    return list(zip(panels.ravel(), names, strict=False))


def _unique(column: pd.Series) -> list[str]:
    return list(dict.fromkeys(column))


def _signed(value: Any) -> str:
    """Write a metric with two digits and a true minus sign."""
    return f"{float(value):.2f}".replace("-", "−")
