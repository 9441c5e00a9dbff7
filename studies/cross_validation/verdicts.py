"""What a cross-validation shows: strategies against the better baseline, and all differences."""

from collections.abc import Sequence

from mammo.comparison.results import Family
from mammo.comparison.wording import number
from studies.pages.results import Difference, Repeats
from studies.pages.wording import WORDS, adjustment, differences_table


def standing(result: Repeats, better: str, rate: float) -> list[str]:
    """Write a line a metric: which strategies are above the better baseline, and which below."""
    found = result.of_family("baseline")
    lines = []
    for metric in dict.fromkeys(d.metric for d in found):
        of_metric = [d for d in found if d.metric == metric]
        groups = {
            "shown to be above": [d for d in of_metric if d.shown(rate) and d.value > 0],
            "above, but not shown": [d for d in of_metric if not d.shown(rate) and d.value > 0],
            "not above": [d for d in of_metric if not d.shown(rate) and d.value == 0],
            "below, but not shown": [d for d in of_metric if not d.shown(rate) and d.value < 0],
            "shown to be below": [d for d in of_metric if d.shown(rate) and d.value < 0],
        }
        said = "; ".join(f"{_named(of)} {verdict}" for verdict, of in groups.items() if of)
        lines.append(f"In {WORDS[metric]}, against `{better}`, the better baseline: {said}.")
    return lines


def moved(result: Repeats, reference: str, rate: float) -> list[str]:
    """Write which arms are shown to be better than the reference, and which worse."""
    shown = [d for d in result.of_family("strategies") if d.shown(rate)]
    better = [_in_words(d) for d in shown if d.value > 0]
    worse = [_in_words(d) for d in shown if d.value < 0]
    return [
        f"Shown to be better than `{reference}`: {', '.join(better) or 'no arm'}.",
        f"Shown to be worse: {', '.join(worse) or 'no arm'}.",
    ]


def what_differs(result: Repeats, reference: str, better: str, rate: float) -> str:
    """Write the section of all differences, a table a family."""
    titles: dict[Family, str] = {
        "strategies": f"Arms against `{reference}`, the reference",
        "baseline": f"Strategies against `{better}`, the better baseline",
        "majority": "Strategies against the majority's class",
    }
    tables = [
        f"### {title}\n\n{differences_table(result.of_family(family), rate)}"
        for family, title in titles.items()
        if result.of_family(family)
    ]
    opening = (
        f"## What differs\n\n{adjustment(result.differences, rate)} How many patients would show a "
        "difference is an estimate from this sample's own spread."
    )
    return "\n\n".join([opening, *tables])


def _named(differences: Sequence[Difference]) -> str:
    return ", ".join(f"`{d.first}` ({number(d.value, '+')})" for d in differences)


def _in_words(found: Difference) -> str:
    return f"`{found.first}` ({WORDS[found.metric]} {number(found.value, '+')})"
