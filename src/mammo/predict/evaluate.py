"""Judge a bundle on another data set: external validation, nothing is trained.

The data set's own `dataset` section says where images and labels are; everything else, rules of
ingestion, preprocessing, decision, comes from the bundle.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo.cohort.classes import dense_positions
from mammo.comparison.bootstrap import calibration_draws, interval, metric_draws, resample_patients
from mammo.comparison.calibration import reliability
from mammo.comparison.measuring import FEWEST_PATIENTS, rests_on_few, thin_among
from mammo.datasets.params import DatasetParams
from mammo.errors import UserError
from mammo.evaluation.decision import Rule
from mammo.evaluation.levels import PatientRule, Units, aggregate, settle_patient_rule
from mammo.evaluation.predictions import prediction_table
from mammo.ingest.acceptance import Ingested, ingest
from mammo.network.devices import Devices
from mammo.predict.answers import Answers, answer
from mammo.predict.bundle import Bundle
from mammo.predict.card import shown_estimate, without_interval
from mammo.predict.conformal import coverage_by_class, prediction_sets, thresholds_of
from mammo.predict.intake import grey_scales
from mammo.predict.tables import strangeness
from mammo.preprocess.dataset import decode_files
from mammo.storage.scratch import Store

IMAGE_METRICS = (
    "accuracy", "kappa", "kappa_quadratic", "bal_acc_adj", "macro_f1", "auc_macro",
)  # fmt: skip
GROUP_METRICS = ("accuracy", "kappa_quadratic")


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn: the numbers of section `compare`."""

    draws: int
    seed: int
    confidence: float
    bins: int


@dataclass(frozen=True)
class External:
    """What an evaluation found.

    Attributes:
        predictions: As `evaluate` writes them, with unfamiliar.
        quarantine: What wasn't answered.
        metrics: For metrics.json.
    """

    predictions: pd.DataFrame
    quarantine: pd.DataFrame
    metrics: dict[str, Any]


def evaluate_elsewhere(
    bundle: Bundle,
    dataset: DatasetParams,
    work: Path,
    bootstrap: Bootstrap,
    coverage: float,
    devices: Devices,
) -> External:
    """Answer a labelled data set and measure the answers.

    Args:
        bundle: The model.
        dataset: Where images and labels are.
        work: A folder for prepared images.
        bootstrap: Of the intervals.
        coverage: Of the prediction sets.
        devices: Device and processes.

    Raises:
        UserError: The classes differ, or no image is accepted.
    """
    _check_classes(bundle, dataset)
    taken = ingest(dataset, bundle.ingest, bundle.limits)
    tensors = work / "tensors"
    shutil.rmtree(tensors, ignore_errors=True)
    tensors.mkdir(parents=True)
    try:
        store = Store(work / "images")
        root = Path(dataset.root)
        decoded = decode_files(taken.files, root, bundle.preprocess, bundle.limits, store, tensors)
        cases = _cases(taken, tensors)
        answers = answer(bundle, tensors, list(cases["key"]), devices)
    finally:
        shutil.rmtree(tensors, ignore_errors=True)
    quarantine = pd.concat([taken.quarantine, decoded.quarantine], ignore_index=True)
    table = prediction_table(
        bundle.name, cases.assign(split="external"), answers.probabilities, bundle.classes,
        bundle.rule,
    )  # fmt: skip
    table["unfamiliar"] = strangeness(bundle, cases, answers)
    metrics = measure(bundle, table, cases, answers, bootstrap, coverage)
    metrics["quarantined"] = {
        str(k): int(n) for k, n in quarantine["reason"].value_counts().sort_index().items()
    }
    return External(table, quarantine, metrics)


def _check_classes(bundle: Bundle, dataset: DatasetParams) -> None:
    if dataset.classes != bundle.facts["class_set"]:
        raise UserError(
            f"dataset.classes: must be the bundle's {bundle.facts['class_set']}, got "
            f"{dataset.classes}; a model answers with its own classes"
        )


def _cases(taken: Ingested, tensors: Path) -> pd.DataFrame:
    """Join what was prepared with labels and header facts, by key."""
    facts = grey_scales(tensors)
    cases = taken.images.merge(taken.labels, on="key", validate="one_to_one")
    about = taken.files[["key", "manufacturer", "rows", "columns"]]
    cases = cases.merge(about, on="key").merge(taken.groups, on="key", validate="one_to_one")
    return cases.merge(facts, on="key").sort_values("key", ignore_index=True)


def measure(
    bundle: Bundle,
    table: pd.DataFrame,
    cases: pd.DataFrame,
    answers: Answers,
    bootstrap: Bootstrap,
    coverage: float,
) -> dict[str, Any]:
    """Measure a prediction table: by level, with calibration, by group, beside the bundle's."""
    classes = bundle.classes
    position = {label: k for k, label in enumerate(classes)}
    labels = table["label"].map(position).to_numpy(dtype=np.int64)
    inside = prediction_sets(answers.probabilities, thresholds_of(bundle.scores, coverage), classes)
    own = bundle.facts["figures"]
    groups = {
        "maker": cases["maker"],
        "view": table["view"],
        "laterality": table["laterality"],
        "age_band": cases["age_band"],
        "unfamiliar": table["unfamiliar"].ne("").map({True: "yes", False: "no"}),
    }
    return {
        "bundle": bundle.id,
        "images": len(table),
        "patients": int(table["patient"].nunique()),
        "images_by_class": {name: int((table["label"] == name).sum()) for name in classes},
        **figures(table, classes, bundle.rule, bundle.facts["patient_rule"], bootstrap),
        "calibration": reliability(labels, answers.probabilities, bootstrap.bins).to_dict(
            orient="records"
        ),
        "sets": {
            "coverage": coverage,
            "covered": coverage_by_class(inside, labels, classes),
            "mean_size": float(inside.sum(axis=1).mean()),
        },
        "groups": _by_group(table, groups, classes, bundle, bootstrap),
        "in_the_bundle": {"image": own["image"], "patient": own["patient"]},
    }


def figures(
    table: pd.DataFrame,
    classes: Sequence[str],
    rule: Rule,
    patient_rule: PatientRule,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Measure images, breasts and patients, with intervals where enough patients are behind."""
    patients = sorted(table["patient"].unique())
    found: dict[str, Any] = {"confidence": bootstrap.confidence}
    few: dict[str, int] = {}  # a class may be thin by patient alone, whose label is one for all
    for level in ("image", "breast", "patient"):
        settled = settle_patient_rule(table, patient_rule)
        units = aggregate(table, level, classes, patients, settled, rule)
        metrics = [*IMAGE_METRICS, "calibration_error"] if level == "image" else IMAGE_METRICS
        thin = thin_among(units)
        few |= {c: min(n, few.get(c, n)) for c, n in thin.items()}
        found[level] = estimates(units, len(patients), bootstrap, metrics, thin)
    return {**found, "thin_classes": {c: few[c] for c in classes if c in few}}


def estimates(
    units: Units,
    patients: int,
    bootstrap: Bootstrap,
    metrics: Sequence[str],
    thin: Mapping[str, int],
) -> dict[str, dict[str, float | None]]:
    """Estimate metrics of some units, with intervals by resampled patients.

    Args:
        units: Images, or what they were put together to.
        patients: How many there are.
        bootstrap: How intervals are drawn.
        metrics: Their names.
        thin: Classes of too few patients: what rests on one gets no interval.
    """
    alone = patients < 2  # nothing varies between draws
    weights = (
        np.ones((1, patients)) if alone
        else resample_patients(patients, bootstrap.draws, bootstrap.seed)
    )  # fmt: skip
    draws = dict(metric_draws(units, weights, dense_positions(units.classes)))
    if "calibration_error" in metrics:
        draws["calibration_error"] = calibration_draws(units, weights, bootstrap.bins)
    found: dict[str, dict[str, float | None]] = {}
    for name in metrics:
        value = float(draws[name][0])
        if alone or np.isnan(value) or rests_on_few(name, units.classes, thin):
            found[name] = {"value": None if np.isnan(value) else value, "low": None, "high": None}
            continue
        measured = interval(draws[name], bootstrap.confidence)
        found[name] = {"value": measured.value, "low": measured.low, "high": measured.high}
    return found


def _by_group(
    table: pd.DataFrame,
    groups: Mapping[str, "pd.Series[Any]"],
    classes: Sequence[str],
    bundle: Bundle,
    bootstrap: Bootstrap,
) -> list[dict[str, Any]]:
    """Measure each group of images; one of few patients is named, not judged."""
    rows = []
    for dimension, values in groups.items():
        for value in sorted(set(values)):
            part = table[(values == value).to_numpy()]
            patients = sorted(part["patient"].unique())
            row: dict[str, Any] = {
                "group": dimension, "value": str(value), "images": len(part),
                "patients": len(patients),
            }  # fmt: skip
            if len(patients) >= FEWEST_PATIENTS:
                units = aggregate(part, "image", classes, patients, rule=bundle.rule)
                row |= estimates(units, len(patients), bootstrap, GROUP_METRICS, {})
            rows.append(row)
    return rows


def external_page(bundle: Bundle, dataset: str, metrics: Mapping[str, Any]) -> str:
    """Write the evaluation down for people, beside the figures that the bundle brings."""
    classes = ", ".join(f"{name} {n}" for name, n in metrics["images_by_class"].items())
    quarantined = ", ".join(f"{reason} {n}" for reason, n in metrics["quarantined"].items())
    lines = [
        f"# Strategy `{bundle.name}` on {dataset}",
        "",
        f"{metrics['images']} images ({classes}) of {metrics['patients']} patients; not judged "
        f"(quarantine.csv): {quarantined or 'none'}. Nothing was trained here; that the bundle "
        "hasn't learned from these patients is for you to know, it names none. Intervals of "
        f"{metrics['confidence']:.0%} by resampling patients{without_interval(metrics)}. Not for "
        "clinical use.",
        "",
    ]
    for level in ("image", "patient"):
        lines += [
            f"## By {level}", "",
            "| metric | here | on the bundle's own test patients |", "|---|---|---|",
        ]  # fmt: skip
        own = metrics["in_the_bundle"][level]
        for name, found in metrics[level].items():
            lines.append(f"| {name} | {shown_estimate(found)} | {shown_estimate(own.get(name))} |")
        lines.append("")
    sets = metrics["sets"]
    covered = ", ".join(
        f"{name} {'-' if share is None else f'{share:.0%}'}"
        for name, share in sets["covered"].items()
    )
    lines += [
        "## Prediction sets", "",
        f"Asked for {sets['coverage']:.0%}, with the class in the set: {covered}; "
        f"{sets['mean_size']:.2f} classes in a set on average.", "",
        "## Calibration", "", "| confidence | images | mean confidence | right |",
        "|---|---|---|---|",
        *(
            f"| {b['low']:.1f} to {b['high']:.1f} | {b['n']} | {b['confidence']:.2f} | "
            f"{b['accuracy']:.2f} |"
            for b in metrics["calibration"]
        ),
        "", "## By group", "",
        f"Groups of fewer than {FEWEST_PATIENTS} patients are not judged.", "",
        "| group | images | patients | accuracy | quadratic kappa |", "|---|---|---|---|---|",
        *(
            f"| {row['group']}: {row['value']} | {row['images']} | {row['patients']} | "
            f"{shown_estimate(row.get('accuracy'))} | "
            f"{shown_estimate(row.get('kappa_quadratic'))} |"
            for row in metrics["groups"]
        ),
        "",
    ]  # fmt: skip
    return "\n".join(lines)
