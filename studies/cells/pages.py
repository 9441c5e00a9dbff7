"""`results.md` of the studies: a page each, written from the data, no number typed by hand."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from mammo import paths
from mammo.comparison.page import (
    RESULT_COLUMNS,
    baselines,
    differences,
    in_words,
    results,
    summary,
)
from mammo.comparison.wording import NOTHING, count, interval, number, p_value, percent, table

Cells = dict[str, dict[int, dict[str, Any]]]  # by strategy and by fold or seed: the cell's facts


def cross_validation_page(
    subject: str, result: dict[str, Any], cells: Cells, cases: pd.DataFrame
) -> str:
    """Write the page of the pooled folds.

    Args:
        subject: What the images are, in words.
        result: From `mammo.comparison.compare.compare`, of the pooled predictions.
        cells: From `studies.cells.pooling.cell_facts`, by strategy and fold.
        cases: Columns patient, label of every image.
    """
    sample = result["sample"]
    folds = len(next(iter(cells.values())))
    patients = cases.groupby("label")["patient"].nunique()
    rarest = min((c for c in sample["classes"] if c in patients), key=lambda c: patients[c])
    training = {name: next(iter(by_fold.values())) for name, by_fold in cells.items()}
    opening = (
        f"# Cross-validation: {subject}\n\n"
        f"{count(sample['images'], 'image')} ({count(sample['breasts'], 'breast')}, "
        f"{count(sample['patients'], 'patient')}), classes {', '.join(sample['classes'])}, "
        f"{folds} folds of whole patients. Every image is judged once, by a network that neither "
        "trained on its patient nor had its epoch chosen on it. A metric is computed once, on all "
        f"these answers together, not averaged over folds: class {rarest} comes from "
        f"{count(int(patients[rarest]), 'patient')}, so that many a fold would hold next to none, "
        f"and {folds} values from overlapping training sets are no sample to draw an interval "
        "from. The baselines are fitted anew in every fold, too. Brackets are "
        f"{percent(sample['confidence'])} intervals from "
        f"{sample['draws']:,} bootstrap draws of whole patients."
    )
    collapsed = [f"`{name}` {_how_many(by_fold, 'collapsed')}" for name, by_fold in cells.items()]
    short = [
        *summary(result),
        f"- Folds of {folds} in which it collapsed on the patients held out: "
        f"{', '.join(collapsed)}.",
    ]
    limits = [
        "The intervals say what other patients would change for these trained networks, not what "
        "another seed would: for that there is `studies/seeds`.",
        "AUCs rank the answers of different networks against each other, and differences in "
        "calibration between folds lower them; kappa and accuracy don't suffer from that.",
        "The networks of two folds share most of their training images, so errors of different "
        "patients aren't quite independent; the intervals take no account of it.",
        "No temperature is fitted: what is val in one fold is test in another.",
        *_undefined(result["strategies"], sample["draws"]),
    ]
    sections = [
        opening,
        "## In short\n\n" + "\n".join(short),
        results(result, training),
        "## Fold by fold\n\nKappa on the fold's test patients, with the epoch that was kept.\n\n"
        + _by_run(cells, "fold"),
        differences(result),
        baselines(result),
        "## Limits\n\n" + _list(limits),
    ]
    return "\n\n".join(sections) + "\n"


def seeds_page(subject: str, result: dict[str, Any], cells: Cells) -> str:
    """Write the page of the seeds.

    Args:
        subject: What the images are, in words.
        result: From `studies.cells.seed_spread.compare_over_seeds`.
        cells: From `studies.cells.pooling.cell_facts`, by strategy and seed.
    """
    sample = result["sample"]
    seeds = len(sample["seeds"])
    tested = sample["tested_metrics"]
    columns = [metric for metric in RESULT_COLUMNS if _everywhere(metric, result["strategies"])]
    means = [
        [f"`{name}`", f"{_how_many(cells[name], 'collapsed')} of {seeds}"]
        + [interval(metrics[metric]) for metric in columns]
        for name, metrics in result["strategies"].items()
    ]
    spread = [
        [f"`{name}`"] + [_spread(metrics[metric]) for metric in columns]
        for name, metrics in result["strategies"].items()
    ]
    pairs = [
        f"- `{pair['first']}` − `{pair['second']}`: "
        + "; ".join(_difference(test, sample["false_discovery_rate"]) for test in pair["tests"])
        + "."
        for pair in result["pairs"]
    ]
    header = [in_words(metric) for metric in columns]
    sections = [
        f"# Training seeds: {subject}\n\n"
        f"{seeds} trainings a strategy that differ in `train.seed` alone (the head's first "
        "parameters, the order of the images, the stored views drawn), on the committed split; "
        f"{count(sample['images'], 'test image')} of {count(sample['patients'], 'patient')}.",
        "## Mean over seeds\n\nBrackets are "
        f"{percent(sample['confidence'])} intervals from {sample['draws']:,} bootstrap draws of "
        "whole patients and of seeds: what other patients and other seeds would change.\n\n"
        + table(["", "collapsed on test", *header], means),
        "## Spread over seeds\n\nStandard deviation (smallest to largest), patients unchanged: "
        "what the seed alone changes.\n\n" + table(["", *header], spread),
        "## Seed by seed\n\nKappa on test, with the epoch that was kept.\n\n"
        + _by_run(cells, "seed"),
        f"## What differs\n\nIn {' and '.join(in_words(m) for m in tested)}, adjusted by "
        f"Benjamini–Hochberg for {count(sample['tests_in_family'], 'test')}.\n\n"
        + ("\n".join(pairs) or "One strategy alone: there is nothing to compare it with."),
        "## Limits\n\n"
        + _list(
            [
                f"{seeds} seeds describe their own spread only roughly, and so does that part of "
                "the interval (resampled with the patients: Owen 2007, the pigeonhole bootstrap).",
                "One split: the same few test patients carry every value here.",
                *_undefined(result["strategies"], sample["draws"]),
            ]
        ),
    ]
    return "\n\n".join(sections) + "\n"


def architectures_page(subject: str, result: dict[str, Any], facts: dict[str, Any]) -> str:
    """Write the page of the architectures.

    Args:
        subject: What the images are, in words.
        result: From `mammo.comparison.compare.compare`; an arm is `architecture strategy`.
        facts: From `studies.cells.pooling.cell_facts`, by arm.
    """
    sample = result["sample"]
    arms = result["strategies"] | result["baselines"]
    rows = [
        [f"`{name}`", *_size(facts.get(name)), *(interval(metrics.get(m)) for m in RESULT_COLUMNS)]
        for name, metrics in arms.items()
    ]
    header = ["", "trained parameters", "epochs (kept)", "collapsed on test"]
    shown = [
        f"- `{pair['first']}` − `{pair['second']}`: {in_words(test['metric'])} "
        f"{number(test['difference'], '+')} (adjusted p {p_value(test['p_adjusted'])})"
        for pair in result["pairs"]
        for test in pair["tests"]
        if test["test"] == "bootstrap"
        and test["p_adjusted"] is not None
        and test["p_adjusted"] <= sample["false_discovery_rate"]
    ]
    asked = sum(test["test"] == "bootstrap" for pair in result["pairs"] for test in pair["tests"])
    sections = [
        f"# Architectures: {subject}\n\n"
        "Each architecture with backbone parameters of its own from the same source, each strategy "
        "with the same learning rate and epochs, on the committed split; "
        f"{count(sample['images'], 'test image')} of {count(sample['patients'], 'patient')}. "
        f"Brackets are {percent(sample['confidence'])} intervals from {sample['draws']:,} "
        "bootstrap draws of whole patients. Seconds, which depend on the machine, are in "
        "[timing.csv](timing.csv).",
        "## Results, by image\n\n"
        + table([*header, *(in_words(metric) for metric in RESULT_COLUMNS)], rows),
        f"## What differs\n\nOf {count(asked, 'difference')} tested in "
        f"{' and '.join(in_words(m) for m in sample['tested_metrics'])}, those shown (adjusted by "
        f"Benjamini–Hochberg for the {count(sample['tests_in_family'], 'test')} in results.json); "
        "all others are not shown.\n\n" + ("\n".join(shown) or "None is shown."),
        "## Limits\n\n"
        + _list(
            [
                "Learning rates were chosen for none of the architectures: this says how they "
                "compare as configured, not at their best.",
                "One split and one seed; the highest of many values is flattered by being picked.",
                *_undefined(result["strategies"], sample["draws"]),
            ]
        ),
    ]
    return "\n\n".join(sections) + "\n"


def subject_of(dataset: str, root: str) -> str:
    """Say in words what the images are, by `dataset.name` and `dataset.root`."""
    return "synthetic phantoms" if root == str(paths.PHANTOM) else f"dataset `{dataset}`"


def _by_run(cells: Cells, kind: str) -> str:
    runs = list(next(iter(cells.values())))
    rows = [[f"`{name}`"] + [_run(by_run[run]) for run in runs] for name, by_run in cells.items()]
    return table(["", *(f"{kind} {run}" for run in runs)], rows)


def _run(facts: dict[str, Any]) -> str:
    mark = ", **collapsed**" if facts["collapsed"] else ""
    return f"{number(facts['kappa'])} (epoch {facts['best_epoch']} of {facts['epochs']}{mark})"


def _how_many(cells: dict[int, dict[str, Any]], fact: str) -> int:
    return sum(bool(facts[fact]) for facts in cells.values())


def _everywhere(metric: str, arms: dict[str, Any]) -> bool:
    return all(metric in metrics for metrics in arms.values())


def _spread(entry: dict[str, Any]) -> str:
    return (
        f"{number(entry['standard_deviation'])} "
        f"({number(entry['smallest'])} to {number(entry['largest'])})"
    )


def _difference(test: dict[str, Any], rate: float) -> str:
    shown = test["p_adjusted"] is not None and test["p_adjusted"] <= rate
    verdict = "shown" if shown else "no difference shown"
    return (
        f"{in_words(test['metric'])} {interval(test, '+')}, {verdict} "
        f"(adjusted p {p_value(test['p_adjusted'])})"
    )


def _size(facts: dict[str, Any] | None) -> list[str]:
    if facts is None:
        return [NOTHING] * 3
    return [
        f"{facts['trainable_parameters']:,} ({facts['trainable_percent']:.3g} %)",
        f"{facts['epochs']} ({facts['best_epoch']})",
        "yes" if facts["collapsed"] else "no",
    ]


def _undefined(arms: dict[str, Any], draws: int) -> list[str]:
    most = max(entry["undefined_draws"] for arm in arms.values() for entry in arm.values())
    if not most:
        return []
    return [
        f"Up to {most:,} of {draws:,} draws lack a class and leave some metric undefined; they are "
        "left out of its interval, which claims too much to that extent."
    ]


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
