"""The page of the training seeds, written from the data: no number is typed by hand."""

from mammo.comparison.page import RESULT_COLUMNS, in_words
from mammo.comparison.wording import count, interval, number, p_value, percent, table
from studies.cells.seed_spread import SeedComparison, SeedTest, Spread
from studies.cells.wording import Facts, bullets, by_run, how_many, undefined_draws


def seeds_page(subject: str, result: SeedComparison, cells: Facts) -> str:
    """Write the page of the seeds.

    Args:
        subject: What the images are, in words.
        result: From `studies.cells.seed_spread.compare_over_seeds`.
        cells: Of each training, from `studies.cells.pooling.read_cell`, by strategy and seed.
    """
    seeds, tested = len(result.seeds), result.tested_metrics
    columns = [metric for metric in RESULT_COLUMNS if _everywhere(metric, result.strategies)]
    means = [
        [f"`{name}`", f"{how_many(cells[name], 'collapsed')} of {seeds}"]
        + [interval(metrics[metric]) for metric in columns]
        for name, metrics in result.strategies.items()
    ]
    spread = [
        [f"`{name}`"] + [_spread(metrics[metric]) for metric in columns]
        for name, metrics in result.strategies.items()
    ]
    pairs = [
        f"- `{pair.first}` − `{pair.second}`: "
        + "; ".join(_difference(test, result.false_discovery_rate) for test in pair.tests)
        + "."
        for pair in result.pairs
    ]
    header = [in_words(metric) for metric in columns]
    sections = [
        f"# Training seeds: {subject}\n\n"
        f"{seeds} trainings a strategy that differ in `train.seed` alone (the head's first "
        "parameters, the order of the images, the stored views drawn), on the committed split; "
        f"{count(result.images, 'test image')} of {count(result.patients, 'patient')}.",
        "## Mean over seeds\n\nBrackets are "
        f"{percent(result.confidence)} intervals from {result.draws:,} bootstrap draws of "
        "whole patients and of seeds: what other patients and other seeds would change.\n\n"
        + table(["", "collapsed on test", *header], means),
        "## Spread over seeds\n\nStandard deviation (smallest to largest), patients unchanged: "
        "what the seed alone changes.\n\n" + table(["", *header], spread),
        "## Seed by seed\n\nKappa on test, with the epoch that was kept.\n\n"
        + by_run(cells, "seed"),
        f"## What differs\n\nIn {' and '.join(in_words(m) for m in tested)}, adjusted by "
        f"Benjamini–Hochberg for {count(result.family, 'test')}.\n\n"
        + ("\n".join(pairs) or "One strategy alone: there is nothing to compare it with."),
        "## Limits\n\n"
        + bullets(
            [
                f"{seeds} seeds describe their own spread only roughly, and so does that part of "
                "the interval (resampled with the patients: Owen 2007, the pigeonhole bootstrap).",
                "One split: the same few test patients carry every value here.",
                *undefined_draws(_most_undefined(result), result.draws),
            ]
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _everywhere(metric: str, arms: dict[str, dict[str, Spread]]) -> bool:
    return all(metric in metrics for metrics in arms.values())


def _most_undefined(result: SeedComparison) -> int:
    found = (spread for arm in result.strategies.values() for spread in arm.values())
    return max((spread.undefined_draws for spread in found if spread.low is not None), default=0)


def _spread(found: Spread) -> str:
    return (
        f"{number(found.standard_deviation)} ({number(found.smallest)} to {number(found.largest)})"
    )


def _difference(test: SeedTest, rate: float) -> str:
    shown = test.p_adjusted is not None and test.p_adjusted <= rate
    verdict = "shown" if shown else "no difference shown"
    return (
        f"{in_words(test.metric)} {interval(test, '+')}, {verdict} "
        f"(adjusted p {p_value(test.p_adjusted)})"
    )
