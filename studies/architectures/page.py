"""The page of the architectures, written from the data: no number is typed by hand."""

from typing import Any

from mammo.comparison.params import CompareParams
from mammo.comparison.wording import NOTHING, count, percent, thin_classes
from studies.pages.results import Repeats
from studies.pages.wording import Facts, adjustment, arms_table, bullets, differences_table

SAID = ["trained parameters", "epochs or steps (kept)", "collapsed on test"]


def architectures_page(subject: str, result: Repeats, facts: Facts, params: CompareParams) -> str:
    """Write the page.

    Args:
        subject: What the images are, in words.
        result: The comparison; an arm is `NETWORK STRATEGY`, or `all STRATEGY` for their mean.
        facts: Of each training, by arm.
        params: Section `compare` of params.yaml.
    """
    rate = params.false_discovery_rate
    said = {name: _size(next(iter(facts.get(name, {"": {}}).values()))) for name in result.arms}
    sections = [
        f"# Architectures: {subject}\n\n"
        "Each network with ImageNet's parameters of its own, each strategy with the same settings, "
        f"on the committed split; {count(result.images, 'test image')} of "
        f"{count(result.patients, 'patient')}. `all` is the mean of the networks' probabilities. "
        f"Brackets are {percent(params.confidence)} intervals from {params.draws:,} bootstrap "
        f"draws of whole patients.{thin_classes(result.thin_classes)}",
        "![Every arm's interval](forest.png)",
        "## Results\n\n" + arms_table(result, list(result.arms), {"": SAID, **said}),
        "## What differs\n\nAgainst the first network. "
        f"{adjustment(result.differences, rate)}\n\n" + differences_table(result.differences, rate),
        "## Limits\n\n"
        + bullets(
            [
                "Nothing was tuned for any of the networks: this says how they compare as "
                "configured, not at their best.",
                "One split and one seed; the highest of many values is flattered by being picked.",
                "All images have the size of params.yaml; the larger networks were trained on "
                "larger ones.",
            ]
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _size(facts: dict[str, Any]) -> list[str]:
    if not facts:
        return [NOTHING] * len(SAID)
    return [
        f"{facts['trainable_parameters']:,} ({facts['trainable_percent']:.3g} %)",
        f"{facts['epochs']} ({facts['best_epoch']})",
        "yes" if facts["collapsed"] else "no",
    ]
