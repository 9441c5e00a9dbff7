"""`report.md`: the comparison as one page for a clinician or reviewer, written from the data.

No number here is typed by hand: each comes from the result of `mammo.comparison.compare`, from
the tables of the split or from the training histories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mammo.comparison.baselines import INTENSITY_HISTOGRAM, MAJORITY_CLASS
from mammo.comparison.wording import (
    NOTHING,
    count,
    epoch_ranges,
    interval,
    listed,
    number,
    p_value,
    percent,
    table,
)

SPLITS = ("train", "val", "test")
WORDS = {
    "kappa": "kappa",
    "kappa_quadratic": "quadratic kappa",
    "bal_acc_adj": "balanced accuracy above chance",
    "auc_macro": "macro AUC",
    "auc_dense": "dense-versus-not AUC",
    "far_error_share": "off by more than one class",
    "mae_classes": "mean error in classes",
    "accuracy": "accuracy",
    MAJORITY_CLASS: "the class shares of the training images",
    INTENSITY_HISTOGRAM: "the intensity histogram",
}
TESTS = {"bootstrap": "bootstrap", "mcnemar": "McNemar", "delong": "DeLong"}
RESULT_COLUMNS = ("bal_acc_adj", "kappa", "kappa_quadratic", "auc_macro", "far_error_share")


@dataclass(frozen=True)
class Evidence:
    """All that the report is written from.

    Attributes:
        dataset: Its name, as in params.yaml.
        synthetic: Whether the images are the project's own phantoms.
        cases: `key, patient, label, split` of every image used.
        training: By strategy: `trainable_parameters`, `trainable_percent`, `best_epoch`.
        collapse: By strategy, from `mammo.comparison.inputs.collapse_history`.
        result: From `mammo.comparison.compare.compare`.
    """

    dataset: str
    synthetic: bool
    cases: pd.DataFrame
    training: dict[str, dict[str, Any]]
    collapse: dict[str, dict[str, Any]]
    result: dict[str, Any]


def report(evidence: Evidence) -> str:
    """Write the page: Markdown with LF line ends."""
    sections = [
        _opening(evidence),
        _in_short(evidence),
        _data(evidence),
        results(evidence.result, evidence.training),
        differences(evidence.result),
        baselines(evidence.result),
        _calibration(evidence.result),
        _collapse(evidence.collapse),
        _limits(evidence),
    ]
    return "\n\n".join(sections) + "\n"


def _opening(evidence: Evidence) -> str:
    sample = evidence.result["sample"]
    subject = "synthetic phantoms" if evidence.synthetic else f"dataset `{evidence.dataset}`"
    return (
        f"# Strategies compared: {subject}\n\n"
        f"Breast density in the classes {', '.join(sample['classes'])}, judged on "
        f"{count(sample['images'], 'test image')} ({count(sample['breasts'], 'breast')}, "
        f"{count(sample['patients'], 'patient')}). Values in brackets are "
        f"{percent(sample['confidence'])} intervals from {sample['draws']:,} bootstrap draws of "
        "whole patients. Images of one patient resemble each other: an interval drawn from images "
        "would be too narrow."
    )


def _in_short(evidence: Evidence) -> str:
    collapsed = [name for name, found in evidence.collapse.items() if found["collapsed"]]
    lines = [*summary(evidence.result), f"- Collapsed while training: {listed(collapsed)}."]
    return "## In short\n\n" + "\n".join(lines)


def summary(result: dict[str, Any]) -> list[str]:
    """Write the lines that say which strategy is best, and which beat the baselines."""
    tested = result["sample"]["tested_metrics"]
    values = {name: arm[tested[0]]["value"] for name, arm in result["strategies"].items()}
    best = max(values, key=lambda name: values[name])
    behind = _shown_behind(best, tested[0], result)
    weak = [name for name in values if not _beats_all(name, result)]
    return [
        f"- Highest in {in_words(tested[0])}: `{best}`, "
        f"{interval(result['strategies'][best][tested[0]])}. "
        + (f"Shown to be above {listed(behind)}." if behind else "Not shown to be above another."),
        f"- Not shown to beat both baselines in {_all_words(tested)}: {listed(weak)}."
        if weak
        else f"- Every strategy is shown to beat both baselines in {_all_words(tested)}.",
    ]


def _shown_behind(best: str, metric: str, result: dict[str, Any]) -> list[str]:
    """Name the strategies that `best` is shown to exceed in one metric."""
    rate = result["sample"]["false_discovery_rate"]
    return [
        pair["second"] if pair["first"] == best else pair["first"]
        for pair in result["pairs"]
        if best in (pair["first"], pair["second"]) and pair["second"] in result["strategies"]
        for test in _bootstrap_tests(pair)
        if test["metric"] == metric and _is_shown(test, rate)
    ]


def _data(evidence: Evidence) -> str:
    classes = evidence.result["sample"]["classes"]
    rows = []
    for split in SPLITS:
        cases = evidence.cases[evidence.cases["split"] == split]
        rows.append([split, *(_images_of_patients(part) for part in _by_class(cases, classes))])
    header = ["split", "all", *classes]
    return (
        "## Data and split\n\n"
        "Images (patients). No patient is in two splits. Training fits on train; the epoch and the "
        "calibration temperature are chosen on val; everything below is measured on test.\n\n"
        + table(header, rows)
    )


def results(result: dict[str, Any], training: dict[str, dict[str, Any]]) -> str:
    """Write the tables of all arms, by image, breast and patient.

    Args:
        result: From `mammo.comparison.compare.compare`.
        training: By strategy: `trainable_parameters`, `trainable_percent`.
    """
    arms = result["strategies"] | result["baselines"]
    by_image = [
        [f"`{name}`", _trainable(training.get(name))]
        + [interval(metrics.get(metric)) for metric in RESULT_COLUMNS]
        for name, metrics in arms.items()
    ]
    by_level = [
        [f"`{name}`"]
        + [interval(level[name].get("bal_acc_adj")) for level in _levels(result)]
        + [interval(result["patient_level"][name].get("auc_dense"))]
        for name in arms
    ]
    header = ["", "trained parameters", *(WORDS[metric] for metric in RESULT_COLUMNS)]
    return (
        "## Results, by image\n\n"
        + table(header, by_image)
        + f"\n\n## Results, by image, breast and patient\n\n{WORDS['bal_acc_adj'].capitalize()}, "
        "and the AUC for dense ("
        + " or ".join(result["sample"]["dense_classes"])
        + ") versus not. A breast's and a patient's probabilities are the mean over their "
        "images; a patient counts as the denser breast does.\n\n"
        + table(["", "image", "breast", "patient", "dense-versus-not AUC, patient"], by_level)
    )


def differences(result: dict[str, Any]) -> str:
    """Write which strategies are shown to differ, question by question."""
    pairs = [pair for pair in result["pairs"] if pair["second"] in result["strategies"]]
    title = "## What differs, and what doesn't"
    if not pairs:
        return f"{title}\n\nOne strategy alone: there is nothing to compare it with."
    sample = result["sample"]
    rows = [
        [
            f"`{pair['first']}` − `{pair['second']}`",
            f"{in_words(test['metric'])} by {test['level']} ({TESTS[test['test']]})",
            _difference(pair, test),
            p_value(test["p"]),
            p_value(test["p_adjusted"]),
            _verdict(pair, test, sample["false_discovery_rate"]),
        ]
        for pair in pairs
        for test in pair["tests"]
    ]
    shown = sum(1 for row in rows if row[-1].startswith("`"))
    return (
        f"{title}\n\n"
        f"Of {count(len(rows), 'question')} asked about the strategies, {shown} "
        f"{'shows' if shown == 1 else 'show'} a difference. A difference counts as shown where its "
        "p value, adjusted by Benjamini–Hochberg for the "
        f"{count(sample['tests_in_family'], 'test')} of this page (those against the baselines "
        f"too), is at most {sample['false_discovery_rate']:g}. Where none is shown, the strategies "
        "may still differ by as much as the interval spans. The bootstrap draws patients with all "
        "their images; McNemar's exact test takes one decision a patient, DeLong's one score.\n\n"
        + table(["pair", "question", "difference", "p", "adjusted p", "higher"], rows)
    )


def baselines(result: dict[str, Any]) -> str:
    """Write how each strategy stands against each baseline."""
    lines = [
        f"- `{pair['first']}` {_against_baseline(pair, result['sample']['false_discovery_rate'])}"
        for pair in result["pairs"]
        if pair["second"] in result["baselines"]
    ]
    return (
        "## Against baselines without a network\n\n"
        f"`{MAJORITY_CLASS}` always answers with the commonest class; `{INTENSITY_HISTOGRAM}` "
        "knows only how often each grey value occurs in the breast. A network that doesn't beat "
        "them has shown no use of what is in the picture.\n\n" + "\n".join(lines)
    )


def _calibration(result: dict[str, Any]) -> str:
    arms = result["strategies"] | result["baselines"]
    rows = []
    for name, metrics in arms.items():
        found = result["calibration"][name]
        mark = " (end of the range searched)" if found["temperature_at_bound"] else ""
        rows.append(
            [
                f"`{name}`",
                interval(metrics["ece"]),
                f"{found['temperature']:.2f}{mark}",
                interval(metrics["ece_tempered"]),
            ]
        )
    return (
        "## Calibration\n\n"
        "Expected calibration error: how far stated confidence lies from the share that is right. "
        "The temperature is fitted on val and applied to test; above 1 it says overconfident. The "
        "intervals take it as given, and chance alone keeps this error above 0.\n\n"
        + table(["", "error", "temperature", "error after"], rows)
    )


def _collapse(collapse: dict[str, dict[str, Any]]) -> str:
    lines = [f"- `{name}`: {_collapse_sentence(found)}" for name, found in collapse.items()]
    return (
        "## Collapse history\n\n"
        "Collapsed: the model answers (almost) one class only, or has lost one, on val.\n\n"
        + "\n".join(lines)
    )


def _limits(evidence: Evidence) -> str:
    result = evidence.result
    sample = result["sample"]
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
    counts = {
        label: test[test["label"] == label]["patient"].nunique() for label in sample["classes"]
    }
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
        entry["undefined_draws"] for arm in result["strategies"].values() for entry in arm.values()
    )
    if undefined:
        lines.append(
            f"- Up to {undefined:,} of {sample['draws']:,} draws lack a class and leave some "
            "metric undefined. They are left out of its interval and p value, which claim too much "
            "to that extent; with more than half left out neither is given."
        )
    if absent:
        lines.append(
            f"- No test image is of class {', '.join(absent)}: nothing here is known about it, and "
            "means over classes leave it out."
        )
    return "## Limits\n\n" + "\n".join(lines)


def _against_baseline(pair: dict[str, Any], rate: float) -> str:
    """Say in one line whether a network beats a baseline, metric by metric."""
    parts = [
        f"{_beats(test, rate)} in {in_words(test['metric'])} by {_difference(pair, test)} "
        f"(adjusted p {p_value(test['p_adjusted'])})"
        for test in _bootstrap_tests(pair)
    ]
    return f"against {in_words(pair['second'])}: " + "; ".join(parts) + "."


def _beats(test: dict[str, Any], rate: float) -> str:
    if _is_shown(test, rate):
        return "beats it" if test["difference"] > 0 else "**does not beat it, it is worse**"
    return "is **not shown to beat it**" if test["difference"] > 0 else "**does not beat it**"


def _beats_all(name: str, result: dict[str, Any]) -> bool:
    """Say whether a strategy is shown to beat every baseline in every tested metric."""
    rate = result["sample"]["false_discovery_rate"]
    return all(
        _is_shown(test, rate) and test["difference"] > 0
        for pair in result["pairs"]
        if pair["first"] == name and pair["second"] in result["baselines"]
        for test in _bootstrap_tests(pair)
    )


def _bootstrap_tests(pair: dict[str, Any]) -> list[dict[str, Any]]:
    return [test for test in pair["tests"] if test["test"] == "bootstrap"]


def _verdict(pair: dict[str, Any], test: dict[str, Any], rate: float) -> str:
    if test["p"] is None:
        return "can't be tested"
    if not _is_shown(test, rate):
        return "no difference shown"
    return f"`{pair['first'] if test['difference'] > 0 else pair['second']}`"


def _is_shown(test: dict[str, Any], rate: float) -> bool:
    return test["p_adjusted"] is not None and test["p_adjusted"] <= rate


def _difference(pair: dict[str, Any], test: dict[str, Any]) -> str:
    if test["test"] == "bootstrap":
        return interval(pair["differences"][test["metric"]], "+")
    if test["test"] == "mcnemar":
        return (
            f"{number(test['difference'], '+')} (alone right: {test['only_first_right']} against "
            f"{test['only_second_right']} patients)"
        )
    return NOTHING if test["difference"] is None else number(test["difference"], "+")


def _collapse_sentence(found: dict[str, Any]) -> str:
    if found["collapsed"]:
        what = f"collapsed in {epoch_ranges(found['collapsed'])}"
    else:
        what = "never collapsed"
    warned = f", with warnings in {epoch_ranges(found['warning'])}" if found["warning"] else ""
    return (
        f"{what}{warned}, of {count(found['epochs'], 'epoch')}; it ended {_ended(found['status'])}"
        f", with {percent(found['max_predicted_share'])} of val answered by one class."
    )


def _ended(status: str) -> str:
    return "with a warning" if status == "warning" else status


def _by_class(cases: pd.DataFrame, classes: Sequence[str]) -> list[pd.DataFrame]:
    return [cases, *(cases[cases["label"] == label] for label in classes)]


def _images_of_patients(cases: pd.DataFrame) -> str:
    return f"{len(cases):,} ({cases['patient'].nunique():,})"


def _levels(result: dict[str, Any]) -> list[dict[str, Any]]:
    by_image = result["strategies"] | result["baselines"]
    return [by_image, result["breast_level"], result["patient_level"]]


def _trainable(training: dict[str, Any] | None) -> str:
    if training is None:
        return NOTHING
    return f"{training['trainable_parameters']:,} ({training['trainable_percent']:.3g} %)"


def in_words(name: str) -> str:
    """Name a metric or a baseline as a reader would."""
    return WORDS.get(name, name)


def _all_words(metrics: Sequence[str]) -> str:
    return " and ".join(in_words(metric) for metric in metrics)
