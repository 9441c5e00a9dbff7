"""The page of the training seeds, written from the data: no number is typed by hand."""

from mammo.comparison.params import CompareParams
from mammo.comparison.wording import count, percent, table, thin_classes
from studies.pages.results import Repeats
from studies.pages.wording import (
    COLUMNS,
    WORDS,
    Facts,
    adjustment,
    arms_table,
    bullets,
    by_run,
    differences_table,
    how_many,
    spread,
)


def seeds_page(subject: str, result: Repeats, facts: Facts, params: CompareParams) -> str:
    """Write the page.

    Args:
        subject: What the images are, in words.
        result: The comparison of the strategies over seeds.
        facts: Of each training, by strategy and by seed.
        params: Section `compare` of params.yaml.
    """
    rate = params.false_discovery_rate
    seeds = max(len(repeats) for repeats in result.repeats.values())
    fallen = {name: how_many(runs, "collapsed") for name, runs in facts.items()}
    collapsed = {name: [f"{number} of {seeds}"] for name, number in fallen.items()}
    rows = [
        [f"`{name}`", *(spread(arm[metric]) for metric in COLUMNS)]
        for name, arm in result.arms.items()
    ]
    sections = [
        f"# Training seeds: {subject}\n\n"
        f"{seeds} trainings a strategy that differ in `train.seed` alone, on the committed split; "
        f"{count(result.images, 'test image')} of {count(result.patients, 'patient')}. In a "
        "training by gradient the seed draws the first parameters of a head that isn't solved, the "
        "order of the images, dropout, and which of an image's stored views is seen at each draw; "
        "the stored views themselves are drawn by `augment.seed` and are the same for all. A "
        "solved head has no such seed: it is the solution, whoever looks for it.",
        "## Mean over seeds\n\nBrackets are "
        f"{percent(params.confidence)} intervals from {params.draws:,} bootstrap draws of "
        "whole patients and of seeds: what other patients and other seeds would change."
        f"{thin_classes(result.thin_classes)}\n\n"
        + arms_table(result, list(facts), {"": ["collapsed on test"], **collapsed}),
        "## Spread over seeds\n\nStandard deviation (smallest to largest), patients unchanged: "
        "what the seed alone changes.\n\n" + table(["", *(WORDS[m] for m in COLUMNS)], rows),
        "## Seed by seed\n\nQuadratic kappa on test, with the epoch (of a solved head: the step) "
        "that was kept, of how many.\n\n" + by_run(facts, "seed"),
        "## What differs\n\n"
        + (
            f"{adjustment(result.differences, rate)}\n\n"
            + differences_table(result.differences, rate)
            if result.differences
            else "One strategy alone: there is nothing to compare it with."
        ),
        "## Limits\n\n"
        + bullets(
            [
                f"{seeds} seeds describe their own spread only roughly, and so does that part of "
                "the interval (resampled with the patients: Owen 2007, the pigeonhole bootstrap).",
                "One split: the same few test patients carry every value here.",
            ]
        ),
    ]
    return "\n\n".join(sections) + "\n"
