"""The page of the architectures, written from the data: no number is typed by hand."""

from typing import Any

from mammo.comparison.page import RESULT_COLUMNS, in_words
from mammo.comparison.results import Comparison
from mammo.comparison.wording import NOTHING, count, interval, p_value, percent, table
from studies.cells.wording import bullets, undefined


def architectures_page(subject: str, result: Comparison, facts: dict[str, Any]) -> str:
    """Write the page of the architectures.

    Args:
        subject: What the images are, in words.
        result: From `mammo.comparison.compare.compare`; an arm is `architecture strategy`.
        facts: From `studies.cells.pooling.read_cell`, by arm.
    """
    sample = result.sample
    rows = [
        [
            f"`{name}`",
            *_size(facts.get(name)),
            *(interval(arm.image.get(m)) for m in RESULT_COLUMNS),
        ]
        for name, arm in result.arms.items()
    ]
    header = ["", "trained parameters", "epochs (kept)", "collapsed on test"]
    shown = [
        f"- `{pair.first}` − `{pair.second}`: {in_words(test.metric)} "
        f"{interval(pair.differences[test.metric], '+')} (adjusted p {p_value(test.p_adjusted)})"
        for pair in result.pairs
        for test in pair.by_image
        if test.is_shown(sample.false_discovery_rate)
    ]
    asked = sum(len(pair.by_image) for pair in result.pairs)
    families = ", ".join(f"{n} {name}" for name, n in sample.tests.items())
    sections = [
        f"# Architectures: {subject}\n\n"
        "Each architecture with backbone parameters of its own from the same source, each strategy "
        "with the same learning rate and epochs, on the committed split; "
        f"{count(sample.images, 'test image')} of {count(sample.patients, 'patient')}. "
        f"Brackets are {percent(sample.confidence)} intervals from {sample.draws:,} "
        "bootstrap draws of whole patients. Seconds, which depend on the machine, are in "
        "[timing.csv](timing.csv).",
        "## Results, by image\n\n"
        + table([*header, *(in_words(metric) for metric in RESULT_COLUMNS)], rows),
        f"## What differs\n\nOf {count(asked, 'difference')} tested in "
        f"{' and '.join(in_words(m) for m in sample.tested_metrics)}, those shown (adjusted by "
        f"Benjamini–Hochberg within each family of tests in results.json: {families}); "
        "all others are not shown.\n\n" + ("\n".join(shown) or "None is shown."),
        "## Limits\n\n"
        + bullets(
            [
                "Learning rates were chosen for none of the architectures: this says how they "
                "compare as configured, not at their best.",
                "One split and one seed; the highest of many values is flattered by being picked.",
                *undefined(result.strategies, sample.draws),
            ]
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _size(facts: dict[str, Any] | None) -> list[str]:
    if facts is None:
        return [NOTHING] * 3
    return [
        f"{facts['trainable_parameters']:,} ({facts['trainable_percent']:.3g} %)",
        f"{facts['epochs']} ({facts['best_epoch']})",
        "yes" if facts["collapsed"] else "no",
    ]
