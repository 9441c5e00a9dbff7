"""`report.md`: the comparison as one page for a clinician or reviewer, written from the data.

No number here is typed by hand: each comes from the result of `mammo.comparison.compare`, from
the tables of the split or from the training histories.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mammo.comparison.inputs import Training
from mammo.comparison.measuring import FEWEST_PATIENTS, thin_by_patient
from mammo.comparison.results import Comparison, Estimate, Measured, Sample
from mammo.comparison.standings import calibration, experiments, groups, results
from mammo.comparison.trainings import collapse_history, parameters
from mammo.comparison.verdicts import baselines, differences, summary
from mammo.comparison.wording import count, listed, percent, table, thin_classes

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Evidence:
    """All that the report is written from.

    Attributes:
        dataset: Its name, as in params.yaml.
        synthetic: Whether the images are the project's own phantoms.
        arch: The backbone's architecture.
        cases: `key, patient, label, split` of every image used.
        training: By strategy; an ensemble has none.
        result: From `mammo.comparison.compare.compare`.
    """

    dataset: str
    synthetic: bool
    arch: str
    cases: pd.DataFrame
    training: Mapping[str, Training]
    result: Comparison


def report(evidence: Evidence) -> str:
    """Write the page: Markdown with LF line ends."""
    result = evidence.result
    sections = [
        _opening(evidence),
        _in_short(evidence),
        _data(evidence),
        experiments(result, {n: (t.parameters, t.percent) for n, t in evidence.training.items()}),
        results(result),
        groups(result),
        differences(result),
        baselines(result),
        parameters(evidence.training, evidence.arch),
        calibration(result),
        collapse_history(evidence.training),
        _limits(evidence),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _opening(evidence: Evidence) -> str:
    sample = evidence.result.sample
    subject = "synthetic phantoms" if evidence.synthetic else f"dataset `{evidence.dataset}`"
    return (
        f"# Strategies compared: {subject}\n\n"
        f"Breast density in the classes {', '.join(sample.classes)}, judged on "
        f"{count(sample.images, 'test image')} ({count(sample.breasts, 'breast')}, "
        f"{count(sample.patients, 'patient')}). Values in brackets are "
        f"{percent(sample.confidence)} intervals from {sample.draws:,} bootstrap draws of "
        "whole patients. Images of one patient resemble each other: an interval drawn from images "
        f"would be too narrow.{_all_thin(sample)}{thin_classes(sample.thin_classes)}"
        f"{_thin_by_patient(evidence)}\n\n"
        f"{_made_with(evidence)}"
    )


def _all_thin(sample: Sample) -> str:
    if sample.patients >= FEWEST_PATIENTS:
        return ""
    return (
        f" {count(sample.patients, 'patient')} are too few for either: nothing has an interval or "
        "a p value of the bootstrap."
    )


def _thin_by_patient(evidence: Evidence) -> str:
    """Name the classes that few patients have once each counts as the denser breast does."""
    sample = evidence.result.sample
    test = evidence.cases[evidence.cases["split"] == "test"]
    thin = thin_by_patient(test, sample.classes)
    more = [
        f"{n} ({count(few, 'patient')})" for n, few in thin.items() if n not in sample.thin_classes
    ]
    if not more:
        return ""
    return (
        f" By patient, who counts as the denser breast does, of class {', '.join(more)} too: there "
        "the same figures stand without them."
    )


def _made_with(evidence: Evidence) -> str:
    """Name the digests of the parameters, and the arithmetic that the figures come from."""
    digests = {name: arm.parameters for name, arm in evidence.result.strategies.items()}
    parts = []
    if any(digests.values()):
        named = ", ".join(f"`{name}` `{digest}`" for name, digest in digests.items() if digest)
        parts.append(f"Parameters (digest of those that each was made with): {named}.")
    paths = {training.cpu for training in evidence.training.values() if training.cpu}
    if paths:
        parts.append(
            f"The figures come from the CPU path {'; '.join(sorted(paths))}: on another one they "
            "differ a little (docs/reproducibility.md)."
        )
    return "\n".join(parts) or "Parameters: those of params.yaml."


def _in_short(evidence: Evidence) -> str:
    alarmed = [name for name, training in evidence.training.items() if training.alerts]
    lines = [
        *summary(evidence.result),
        f"- Collapse alarm while training (after the warm-up): {listed(alarmed)}.",
    ]
    return "## In short\n\n" + "\n".join(lines)


def _data(evidence: Evidence) -> str:
    classes = evidence.result.sample.classes
    rows = []
    for split in SPLITS:
        cases = evidence.cases[evidence.cases["split"] == split]
        rows.append([split, *(_images_of_patients(part) for part in _by_class(cases, classes))])
    header = ["split", "all", *classes]
    again = [name for name, training in evidence.training.items() if training.refitted]
    refit = (
        f" For test, a head that was solved alone ({listed(again)}; the baselines' too) is solved "
        "once more on train and val: blocks that train can't be, since val watches over them."
        if again
        else ""
    )
    return (
        "## Data and split\n\n"
        "Images (patients). No patient is in two splits. Training fits on train; the "
        "calibration temperature, and the epoch where `train.keep` is `best`, are chosen on val; "
        f"everything below is measured on test.{refit}\n\n" + table(header, rows)
    )


def _limits(evidence: Evidence) -> str:
    result = evidence.result
    sample = result.sample
    lines = [
        "- One split and one training run a strategy: the intervals say what other patients would "
        "change, not what another seed or fold would.",
        "- The highest of several values on test is flattered by being picked there; val is for "
        "choosing.",
        "- Patients are of one dataset: other devices and other readers aren't covered.",
    ]
    if evidence.synthetic:
        lines.insert(0, "- The images are synthetic. Nothing here transfers to real mammograms.")
    test = evidence.cases[evidence.cases["split"] == "test"]
    counts = {label: test[test["label"] == label]["patient"].nunique() for label in sample.classes}
    absent = [label for label, n in counts.items() if n == 0]
    rarest, n_rarest = min(
        ((label, n) for label, n in counts.items() if n), key=lambda item: item[1]
    )
    lines.append(
        f"- The rarest class in test, {rarest}, comes from {count(n_rarest, 'patient')}: its "
        "recall, and every mean over classes, leans on "
        f"{'that one' if n_rarest == 1 else 'those'}."
    )
    undefined = max(
        (found.undefined_draws for arm in result.strategies.values() for found in _given(arm)),
        default=0,
    )
    if undefined:
        lines.append(
            f"- Up to {undefined:,} of {sample.draws:,} draws lack a class and leave some "
            "metric undefined. They are left out of its interval and p value, which claim too much "
            "to that extent; with more than half left out neither is given."
        )
    if absent:
        lines.append(
            f"- No test image is of class {', '.join(absent)}: nothing here is known about it, and "
            "means over classes leave it out."
        )
    return "## Limits\n\n" + "\n".join(lines)


def _given(arm: Measured) -> list[Estimate]:
    """List the estimates by image that have an interval."""
    return [found for found in arm.image.values() if found.low is not None]


def _by_class(cases: pd.DataFrame, classes: Sequence[str]) -> list[pd.DataFrame]:
    return [cases, *(cases[cases["label"] == label] for label in classes)]


def _images_of_patients(cases: pd.DataFrame) -> str:
    return f"{len(cases):,} ({cases['patient'].nunique():,})"
