"""`report.md`: the comparison as one page for a clinician or reviewer, written from the data.

No number here is typed by hand: each comes from the result of `mammo.comparison.compare`, from
the tables of the split or from the training histories.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mammo.comparison.baselines import GREY_FEATURES, INTENSITY_HISTOGRAM, MAJORITY_CLASS
from mammo.comparison.inputs import Training
from mammo.comparison.results import Comparison, Estimate, Measured, Pair, Sample, Test
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
    value,
)
from mammo.evaluation.levels import LEVELS

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
    "macro_f1": "macro F1",
    "kappa_dense": "kappa",
    "sensitivity_dense": "sensitivity",
    "specificity_dense": "specificity",
    "accuracy_dense": "accuracy",
    "age_band": "age",
    "maker": "maker",
    "view": "view",
    "laterality": "side",
    MAJORITY_CLASS: "the class shares of the training images",
    INTENSITY_HISTOGRAM: "the intensity histogram",
    GREY_FEATURES: "grey and texture features",
}
TESTS = {"bootstrap": "bootstrap", "mcnemar": "McNemar", "delong": "DeLong"}
FAMILIES = {
    "strategies": "the strategies among themselves",
    "baseline": "the strategies against the better baseline",
    "majority": "the strategies against the majority's class",
}
RESULT_COLUMNS = ("kappa_quadratic", "kappa", "bal_acc_adj", "auc_macro", "far_error_share")
DENSE_COLUMNS = ("kappa_dense", "accuracy_dense", "sensitivity_dense", "specificity_dense")
# What torchvision calls the first block of a ResNet is, part by part, two layers.
COMPONENTS = {"resnet50": {"stem": "conv1+bn1", "head": "fc"}}


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
        _groups(result),
        differences(result),
        baselines(result),
        _parameters(evidence),
        _calibration(result),
        _collapse(evidence.training),
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
        f"would be too narrow.{_thin(sample)}\n\n{_made_with(evidence)}"
    )


def _thin(sample: Sample) -> str:
    """Say which classes have too few patients for an interval of what rests on them."""
    if not sample.thin_classes:
        return ""
    named = ", ".join(
        f"{label} ({count(n, 'patient')})" for label, n in sample.thin_classes.items()
    )
    return (
        f" Too few patients are of class {named}: recalls of it, and what averages over the "
        "classes, stand without interval and p value."
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


def summary(result: Comparison) -> list[str]:
    """Write the lines that say which strategy is best, and which beat the better baseline."""
    tested = result.sample.tested_metrics
    values = {name: arm.image[tested[0]].value for name, arm in result.strategies.items()}
    best = max(values, key=lambda name: values[name])
    behind = _shown_behind(best, tested[0], result)
    lines = [
        f"- Highest in {in_words(tested[0])}: `{best}`, "
        f"{interval(result.strategies[best].image[tested[0]])}. "
        + (f"Shown to be above {listed(behind)}." if behind else "Not shown to be above another.")
    ]
    if result.ceiling and tested[0] in result.ceiling.image:
        highest = result.ceiling.image[tested[0]]
        lines.append(
            f"- Ceiling: an observer who knows the true dense share reaches {interval(highest)}; "
            f"`{best}` has {_share_of(values[best], highest)} of that."
        )
    reference = result.sample.reference
    if reference is not None:
        weak = [name for name in values if not _beats(name, reference, tested[0], result)]
        lines.append(
            f"- Not shown to beat {in_words(reference)}, the better baseline, in "
            f"{in_words(tested[0])}: {listed(weak)}."
            if weak
            else f"- Every strategy is shown to beat {in_words(reference)}, the better baseline, "
            f"in {in_words(tested[0])}."
        )
    return lines


def _shown_behind(best: str, metric: str, result: Comparison) -> list[str]:
    """Name the strategies that `best` is shown to exceed in one metric."""
    rate = result.sample.false_discovery_rate
    return [
        pair.second if pair.first == best else pair.first
        for pair in result.pairs
        if pair.family == "strategies" and best in (pair.first, pair.second)
        for test in pair.by_image
        if test.metric == metric and test.is_shown(rate)
    ]


def _data(evidence: Evidence) -> str:
    classes = evidence.result.sample.classes
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


def experiments(result: Comparison, trained: Mapping[str, tuple[int, float]]) -> str:
    """Write the table of experiments: what was trained, how it does on every level, its status.

    Args:
        result: From `mammo.comparison.compare.compare`.
        trained: By strategy, how many parameters, and what per cent of all.
    """
    two = len(result.sample.classes) == 2
    rows = []
    arms = dict(result.arms)
    if result.ceiling:
        arms["ceiling"] = result.ceiling
    for name, arm in arms.items():
        quadratic = [arm.levels[level].get("kappa_quadratic") for level in arm.levels]
        cells = [f"`{name}`" if name != "ceiling" else "ceiling", arm.status or NOTHING]
        cells += [_trainable(trained.get(name)), *map(interval, quadratic)]
        if result.ceiling:
            highest = result.ceiling.image["kappa_quadratic"]
            cells.append(_share_of(arm.image["kappa_quadratic"].value, highest))
        if not two:  # of two classes kappa and quadratic kappa are one
            cells += [value(arm.image.get("kappa")), value(arm.patient.get("kappa"))]
        cells.append(value(arm.image.get("accuracy")))
        certain = name == "ceiling"  # ranks nothing: it says one class outright
        cells.append(
            NOTHING if certain else value(arm.image.get("auc_dense" if two else "auc_macro"))
        )
        cells.append(value(arm.image.get("macro_f1")))
        rows.append(cells)
    kappa = "kappa" if two else "quadratic kappa"
    header = ["", "status", "trained parameters"]
    header += [f"{kappa}, {level}" for level in LEVELS]
    header += ["of the ceiling"] if result.ceiling else []
    header += [] if two else ["kappa, image", "kappa, patient"]
    header += ["accuracy", "AUC", "macro F1"]
    ceiling = (
        " The ceiling is an observer who knows the true dense share of every phantom and answers "
        "its class: the reader's slips are all that keeps it from 1."
        if result.ceiling
        else ""
    )
    return (
        "## Experiments\n\n"
        f"Status is that of the answers on test. {_levels_in_words(result.sample)}{ceiling}\n\n"
        + table(header, rows)
    )


def _levels_in_words(sample: Sample) -> str:
    whose = (
        "a patient's are those of the breast that looks denser (of higher expected class)"
        if sample.patient_rule == "denser"
        else "so are a patient's"
    )
    return (
        f"A breast's probabilities are the mean over its images, {whose}; a patient counts as the "
        "denser breast does."
    )


def results(result: Comparison) -> str:
    """Write the tables of all arms, by image, breast and patient, and as dense or not."""
    two = len(result.sample.classes) == 2
    columns = [
        m for m in RESULT_COLUMNS if not two or m not in ("kappa_quadratic", "far_error_share")
    ]
    by_image = [
        [f"`{name}`", *(interval(arm.image.get(metric)) for metric in columns)]
        for name, arm in result.arms.items()
    ]
    by_level = [
        [f"`{name}`"]
        + [interval(arm.levels[level].get("kappa")) for level in arm.levels]
        + [interval(arm.patient.get("bal_acc_adj")), interval(arm.patient.get("auc_dense"))]
        for name, arm in result.arms.items()
    ]
    of_patients = [f"{WORDS[metric]}, patient" for metric in ("bal_acc_adj", "auc_dense")]
    sections = [
        "## Results, by image\n\n" + table(["", *(WORDS[metric] for metric in columns)], by_image),
        "## Results, by image, breast and patient\n\n"
        f"Kappa on each level; by patient also the {WORDS['bal_acc_adj']} and the AUC for dense ("
        + " or ".join(result.sample.dense_classes)
        + ") versus not.\n\n"
        + table(
            ["", *(f"kappa, {level}" for level in LEVELS), *of_patients],
            by_level,
        ),
        "" if two else _dense(result),
    ]
    return "\n\n".join(section for section in sections if section)


def _dense(result: Comparison) -> str:
    """Write what the answers say about dense or not, read off a network of more classes."""
    rows = [
        [f"`{name}`"]
        + [interval(arm.image.get(metric)) for metric in (*DENSE_COLUMNS, "auc_dense")]
        for name, arm in result.arms.items()
    ]
    dense = " or ".join(result.sample.dense_classes)
    return (
        f"## Dense ({dense}) or not, read off these answers\n\n"
        "By image: every answer counts as dense or not. (A network trained on the two classes "
        "alone is `dataset.classes: ab_cd`.)\n\n"
        + table(["", *(WORDS[metric] for metric in DENSE_COLUMNS), "AUC"], rows)
    )


def _groups(result: Comparison) -> str:
    """Write quadratic kappa by maker, age band, view and side, for the strategies."""
    if not result.groups:
        return ""
    names = list(result.strategies)
    rows = []
    for group in result.groups:
        cells = [
            interval(group.strategies[name].get("kappa_quadratic"))
            if name in group.strategies
            else "too few"
            for name in names
        ]
        label = f"{in_words(group.dimension)} {group.value}"
        rows.append([label, f"{group.images:,} ({group.patients:,})", *cells])
    return (
        "## By group\n\n"
        "Quadratic kappa of the test images of each group. Groups of fewer than five patients "
        "aren't judged. Kappa depends on the shares of the classes in a group: a lower one alone "
        "doesn't say that its images are judged less well.\n\n"
        + table(["", "images (patients)", *(f"`{name}`" for name in names)], rows)
    )


def differences(result: Comparison) -> str:
    """Write which strategies are shown to differ, question by question."""
    pairs = [pair for pair in result.pairs if pair.family == "strategies"]
    title = "## What differs, and what doesn't"
    if not pairs:
        return f"{title}\n\nOne strategy alone: there is nothing to compare it with."
    sample = result.sample
    rows = [
        [
            f"`{pair.first}` − `{pair.second}`",
            f"{in_words(test.metric)} by {test.level} ({TESTS[test.test]})",
            _difference(pair, test),
            p_value(test.p),
            p_value(test.p_adjusted),
            _verdict(pair, test, sample.false_discovery_rate),
            _needed(test, sample),
        ]
        for pair in pairs
        for test in pair.tests
    ]
    shown = sum(1 for row in rows if row[5].startswith("`"))
    sizes = "; ".join(f"{FAMILIES[name]}: {n}" for name, n in sample.tests.items())
    return (
        f"{title}\n\n"
        f"Of {count(len(rows), 'question')} asked about the strategies, {shown} "
        f"{'shows' if shown == 1 else 'show'} a difference. A difference counts as shown where its "
        "p value, adjusted by Benjamini–Hochberg for the tests of its family, is at most "
        f"{sample.false_discovery_rate:g}. The families are corrected apart, so that easy "
        f"questions don't loosen hard ones (tests in each: {sizes}). Where no difference is "
        "shown, the strategies may still differ by as much as the interval spans; the last column "
        "estimates how many test patients would show one of that size four times in five. The "
        "bootstrap draws patients with all their images; McNemar's exact test takes one decision a "
        "patient, DeLong's one score.\n\n"
        + table(
            ["pair", "question", "difference", "p", "adjusted p", "higher", "patients needed"], rows
        )
    )


def baselines(result: Comparison) -> str:
    """Write how each strategy stands against the better baseline and against the majority."""
    sample = result.sample
    against = [
        pair
        for family in ("baseline", "majority")
        for pair in result.pairs
        if pair.family == family
    ]
    if not against:
        return ""
    lines = [
        f"- `{pair.first}` against {in_words(pair.second)}: "
        + "; ".join(
            f"{_beats_in_words(test, sample.false_discovery_rate)} in {in_words(test.metric)} by "
            f"{_difference(pair, test)} (adjusted p {p_value(test.p_adjusted)})"
            for test in pair.by_image
        )
        + "."
        for pair in against
    ]
    without = [f"`{name}` ({in_words(name)})" for name in result.baselines]
    chosen = (
        f" The better of those that look at grey values, by quadratic kappa on val, is "
        f"`{sample.reference}`: every strategy is judged against it."
        if sample.reference
        else ""
    )
    return (
        "## Against baselines without a network\n\n"
        f"There are {_and(without)}.{chosen} A network that doesn't beat it has shown no use of "
        "what is in the picture beyond grey values.\n\n" + "\n".join(lines)
    )


def _parameters(evidence: Evidence) -> str:
    """Write the trainable parameters by component, a column a strategy."""
    training = {name: t for name, t in evidence.training.items() if t.by_block}
    if not training:
        return ""
    names = COMPONENTS.get(evidence.arch, {})
    blocks = max((list(t.by_block) for t in training.values()), key=len)
    rows = [
        [names.get(block, block), *(_count(t.by_block.get(block, 0)) for t in training.values())]
        for block in blocks
    ]
    rows.append(["all", *(_count(t.parameters) for t in training.values())])
    return (
        f"## Trainable parameters by component ({evidence.arch})\n\n"
        "Blocks that no strategy trains are left out; – is frozen.\n\n"
        + table(["", *(f"`{name}`" for name in training)], rows)
    )


def _calibration(result: Comparison) -> str:
    rows = []
    for name, arm in result.arms.items():
        found = arm.calibration
        if found is None or found.temperature is None:
            continue
        mark = " (end of the range searched)" if found.temperature_at_bound else ""
        rows.append(
            [
                f"`{name}`",
                interval(arm.image["ece"]),
                f"{found.temperature:.2f}{mark}",
                interval(arm.image["ece_tempered"]),
            ]
        )
    return (
        "## Calibration\n\n"
        "Expected calibration error: how far stated confidence lies from the share that is right. "
        "The temperature is fitted on val and applied to test; above 1 it says overconfident. The "
        "intervals take it as given, and chance alone keeps this error above 0.\n\n"
        + table(["", "error", "temperature", "error after"], rows)
    )


def _collapse(training: Mapping[str, Training]) -> str:
    lines = [f"- `{name}`: {_collapse_sentence(found)}" for name, found in training.items()]
    return (
        "## Collapse history\n\n"
        "Collapsed: the model answers (almost) one class only, or has lost one, on val. While "
        "only a head has begun to learn (the warm-up), and on a regularisation path, whose first "
        "steps are near the class shares by design, that is no collapse and raises no alarm.\n\n"
        + "\n".join(lines)
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


def _beats_in_words(test: Test, rate: float) -> str:
    if test.p is None:
        return "can't be tested"
    if not test.is_shown(rate):
        return "is **not shown to beat it**"
    return "beats it" if _positive(test) else "**is worse**"


def _positive(test: Test) -> bool:
    return test.difference is not None and test.difference > 0


def _beats(name: str, baseline: str, metric: str, result: Comparison) -> bool:
    """Say whether a strategy is shown to beat a baseline in one metric."""
    rate = result.sample.false_discovery_rate
    return any(
        test.metric == metric and test.is_shown(rate) and _positive(test)
        for pair in result.pairs
        if (pair.first, pair.second) == (name, baseline)
        for test in pair.by_image
    )


def _verdict(pair: Pair, test: Test, rate: float) -> str:
    if test.p is None:
        return "can't be tested"
    if not test.is_shown(rate):
        return "no difference shown"
    return f"`{pair.first if _positive(test) else pair.second}`"


def _needed(test: Test, sample: Sample) -> str:
    if test.patients_needed is None or test.is_shown(sample.false_discovery_rate):
        return NOTHING
    return f"{test.patients_needed:,}" if test.patients_needed < 100_000 else "100,000 or more"


def _difference(pair: Pair, test: Test) -> str:
    if test.test == "bootstrap":
        return interval(pair.differences[test.metric], "+")
    if test.difference is None:
        return NOTHING
    if test.test == "mcnemar":
        return (
            f"{number(test.difference, '+')} (alone right: {test.only_first_right} against "
            f"{test.only_second_right} patients)"
        )
    return number(test.difference, "+")


def _collapse_sentence(training: Training) -> str:
    found = training.history
    parts = []
    if found.path_steps:
        parts.append(
            f"head solved along {count(found.path_steps, 'step')}; kept step {training.best_epoch}"
        )
    if found.epochs:
        collapsed = (
            f"collapsed in {epoch_ranges(found.collapsed)}"
            if found.collapsed
            else "never collapsed"
        )
        warned = f", with warnings in {epoch_ranges(found.warning)}" if found.warning else ""
        parts.append(f"{collapsed}{warned}, of {count(found.epochs, 'epoch')}")
        parts.append(f"kept epoch {training.best_epoch}")
    alarms = count(len(training.alerts), "alarm") if training.alerts else "no alarm"
    status = "has a warning" if found.kept_status == "warning" else f"is {found.kept_status}"
    return (
        f"{'; '.join(parts)}, which {status}, with {percent(found.kept_share)} of val answered by "
        f"one class; {alarms}."
    )


def _by_class(cases: pd.DataFrame, classes: Sequence[str]) -> list[pd.DataFrame]:
    return [cases, *(cases[cases["label"] == label] for label in classes)]


def _images_of_patients(cases: pd.DataFrame) -> str:
    return f"{len(cases):,} ({cases['patient'].nunique():,})"


def _trainable(found: tuple[int, float] | None) -> str:
    return NOTHING if found is None else f"{found[0]:,} ({found[1]:.3g} %)"


def _count(n: int) -> str:
    return f"{n:,}" if n else NOTHING


def _share_of(found: float, ceiling: Estimate) -> str:
    return percent(found / ceiling.value) if ceiling.value > 0 else NOTHING


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def in_words(name: str) -> str:
    """Name a metric, a baseline or a way to group images as a reader would."""
    return WORDS.get(name, name)
