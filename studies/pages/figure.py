"""The picture of a study: every arm's interval, a panel a metric."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mammo.figures.style import style
from studies.pages.results import Repeats
from studies.pages.wording import WORDS

REFERENCE, OTHER, CEILING = "#d17a00", "#0b6e99", "0.35"


def forest(
    result: Repeats, metrics: Sequence[str], reference: str, ceiling: float | None = None
) -> Figure:
    """Draw the intervals; the reference in a colour of its own, with a line through its value.

    Args:
        result: The comparison.
        metrics: A panel each.
        reference: The arm that the others are held against.
        ceiling: Of the first metric: what the labels allow; None where nobody knows.
    """
    with style():
        size = (4.2 * len(metrics) + 1.8, 0.34 * len(result.arms) + 1.7)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            _panel(axes, result, metric, reference)
        if ceiling is not None:
            allowed = panels[0].axvline(ceiling, color=CEILING, linestyle="--", linewidth=1)
            figure.legend([allowed], ["what the labels allow"], loc="outside lower left")
        panels[0].set_yticks(range(len(result.arms)), list(result.arms))
        panels[0].invert_yaxis()
        return figure


def _panel(axes: Axes, result: Repeats, metric: str, reference: str) -> None:
    axes.axvline(result.arms[reference][metric].value, color=REFERENCE, linewidth=1, alpha=0.5)
    axes.axvline(0, color="0.6", linewidth=1, linestyle=":")
    for height, (name, measured) in enumerate(result.arms.items()):
        found, colour = measured[metric], REFERENCE if name == reference else OTHER
        if found.low is not None and found.high is not None:
            axes.hlines(height, found.low, found.high, color=colour, linewidth=1.8)
        axes.plot(found.value, height, "o", color=colour, markersize=5)
    axes.set_title(WORDS.get(metric, metric), fontsize=10)
    axes.grid(axis="y", visible=False)
