"""Make a bundle from what the pipeline has stored of the reported strategy."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo import paths
from mammo.comparison.calibration import fit_temperature
from mammo.errors import UserError
from mammo.evaluation.decision import Rule
from mammo.evaluation.inference import predict_cases
from mammo.evaluation.levels import PatientRule, settle_patient_rule
from mammo.evaluation.model import Model
from mammo.evaluation.params import EvaluateParams
from mammo.evaluation.predictions import labels_and_probabilities
from mammo.network.devices import Devices
from mammo.network.params import ComputeParams
from mammo.predict.answers import answer_with
from mammo.predict.bundle import (
    CARD,
    FAMILIARITY,
    LICENCE,
    head_inputs,
    save_familiarity,
    save_network,
    write_model,
)
from mammo.predict.card import licence_text, model_card
from mammo.predict.conformal import (
    Scores,
    coverage_by_class,
    prediction_sets,
    scores_of,
    thresholds_of,
)
from mammo.predict.cross_fitting import (
    CrossFitted,
    Stored,
    cross_fit_all,
    features_read,
    is_frozen,
)
from mammo.predict.evaluate import Bootstrap, figures
from mammo.predict.familiarity import Origin, fit_features
from mammo.predict.intake import grey_scales
from mammo.storage.files import write_text
from mammo.training.problem import Solving

SAME_ANSWER = 0.05  # in bfloat16, probabilities of one network differ from batch to batch
MOST_TRAIN_IMAGES = 2000  # that describe the features of train: as good as all of them


def conformal_facts(
    fitted: CrossFitted | None,
    classes: Sequence[str],
    val: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> dict[str, Any]:
    """Collect conformal scores: cross-fitted ones where the head alone was fitted, else val's.

    A network whose blocks were trained answers otherwise than a head on frozen features, so only
    its own answers on held-out patients can calibrate it.

    Args:
        fitted: Of train and val together; None where blocks were trained.
        classes: The class names.
        val: Probabilities (m, K), labels (m,) and patients (m,) of val, as stage `evaluate` or
            `ensemble` wrote them down.
    """
    if fitted is not None:
        scores = scores_of(fitted.probabilities, fitted.labels, fitted.patients, classes)
        source = "cross-fitted by patient over train and val"
    else:
        scores = scores_of(*val, classes)
        source = "val, by the deployed network: blocks were trained, nothing was cross-fitted"
    return {"scores_from": source, "scores": scores}


def origin_of(files: pd.DataFrame, train: Sequence[str], tensors: Path) -> Origin:
    """Tell where the training images come from.

    Args:
        files: data/files.csv.
        train: Keys of the training images.
        tensors: The folder of prepared images; its facts.csv names the grey scale of each.
    """
    rows = files[files["key"].isin(train)]
    sides = rows[["rows", "columns"]].astype(int)
    facts = grey_scales(tensors)
    kinds = facts.loc[facts["key"].isin(train), "voi"]
    return Origin(
        makers=sorted(set(rows["manufacturer"])),
        grey_scales=sorted(set(kinds)),
        rows=(int(sides["rows"].min()), int(sides["rows"].max())),
        columns=(int(sides["columns"].min()), int(sides["columns"].max())),
    )


def origin_facts(origin: Origin) -> dict[str, Any]:
    """Write an origin as plain JSON values."""
    return {name: list(value) for name, value in asdict(origin).items()}


@dataclass(frozen=True)
class Ingredients:
    """What a bundle is made from, beside the networks.

    Attributes:
        name: The reported strategy, or `ensemble`.
        cases: Columns key, patient, laterality, view, label, split; all that take part.
        files: data/files.csv.
        predictions: plots/evaluation/S/predictions.csv: answers on val and test.
        metrics: plots/evaluation/S/metrics.json: decision, prior, status.
        provenance: data/weights/provenance.json.
        settings: Sections preprocess, dicom, ingest, evaluate, compute, compare and dataset, as
            plain values.
        digests: SHA-256 of data and code, by name.
    """

    name: str
    cases: pd.DataFrame
    files: pd.DataFrame
    predictions: pd.DataFrame
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    settings: Mapping[str, Any]
    digests: Mapping[str, Any]


def make_bundle(
    models: Sequence[Model],
    solving: Solving,
    given: Ingredients,
    stored: Stored,
    bootstrap: Bootstrap,
    coverage: float,
    devices: Devices,
    folder: Path,
) -> None:
    """Write the bundle of one strategy, or of an ensemble, into a folder.

    Args:
        models: The trained networks, whose probabilities are averaged.
        solving: How their heads are solved, to cross-fit them.
        given: All else.
        stored: Embeddings and tensors.
        bootstrap: Of the intervals.
        coverage: At which the card states prediction sets; others follow from the scores.
        devices: Device and processes.
        folder: An empty folder.

    Raises:
        UserError: The networks don't answer as stages `evaluate` and `ensemble` wrote down.
    """
    classes, cases = solving.classes, given.cases
    evaluate = EvaluateParams.model_validate(given.settings["evaluate"])
    compute = ComputeParams.model_validate(given.settings["compute"])
    val, test = (
        cases[cases["split"] == split].sort_values("key", ignore_index=True)
        for split in ("val", "test")
    )
    train = cases[cases["split"] == "train"].sort_values("key").head(MOST_TRAIN_IMAGES)
    asked, path = list(test["key"]), stored.tensors  # val may be what they were fitted on
    answers, _ = answer_with(models, path, asked, evaluate, compute, devices)
    _check_answers(test, answers, given.predictions, classes)
    of_train, of_val = (
        features_of(models[0], stored, list(part["key"]), evaluate, compute, devices)
        for part in (train, val)
    )
    familiarity = fit_features(of_train, of_val)
    labels, held_out = labels_and_probabilities(given.predictions, "val", classes)
    patients = given.predictions.loc[given.predictions["split"] == "val", "patient"].to_numpy()
    fitted = None
    if all(is_frozen(model) for model in models):
        both = cases[cases["split"].isin(["train", "val"])]
        fitted = cross_fit_all(models, solving, stored, both, evaluate.prior)
    conformal = conformal_facts(fitted, classes, (held_out, labels, patients))
    fitted_on = {split for model in models for split in model.facts["fitted_on"]}
    trained_on = list(cases.loc[cases["split"].isin(fitted_on), "key"])
    files = [f"{model.facts['strategy']}.safetensors" for model in models]
    sha256 = {
        file: save_network(model.network, folder / file)
        for file, model in zip(files, models, strict=True)
    }
    sha256[FAMILIARITY] = save_familiarity(familiarity, folder / FAMILIARITY)
    rule = given.metrics["decision"]
    patient_rule = settle_patient_rule(given.predictions, evaluate.patient)
    facts = {
        "strategy": given.name,
        "classes": classes,
        "class_set": given.settings["dataset"]["classes"],
        "decision": rule,
        "patient_rule": patient_rule,
        "temperature": _temperature(labels, held_out),
        "members": [
            {**model.facts, "file": file} for file, model in zip(files, models, strict=True)
        ],
        "files": sha256,
        "params": handed_on(given.settings),
        "origin": origin_facts(origin_of(given.files, trained_on, stored.tensors)),
        "familiarity": {"threshold": familiarity.threshold, "rest": familiarity.rest},
        "conformal": conformal
        | set_facts(conformal["scores"], given.predictions, classes, coverage),
        "data": {
            "name": given.settings["dataset"]["name"],
            "synthetic": paths.is_phantom(given.settings["dataset"]["root"]),
            "splits": _split_counts(cases, classes),
            "fitted_on": [split for split in ("train", "val") if split in fitted_on],
        },
        "figures": _figures(given, classes, rule, patient_rule, bootstrap),
        "weights": dict(given.provenance),
        "sha256": dict(given.digests),
    }
    write_model(facts, folder)
    write_text(model_card(facts), folder / CARD)
    write_text(licence_text(given.provenance), folder / LICENCE)


def handed_on(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Take the sections that a bundle holds, without the address of the maker's cluster."""
    names = ("preprocess", "dicom", "ingest", "evaluate", "compute", "compare")
    sections = {name: settings[name] for name in names}
    return {**sections, "preprocess": {**sections["preprocess"], "scheduler": None}}


def features_of(
    model: Model,
    stored: Stored,
    keys: Sequence[str],
    evaluate: EvaluateParams,
    compute: ComputeParams,
    devices: Devices,
) -> np.ndarray:
    """Get what a network's head reads: stored where no block was trained, else computed.

    What is stored is that of the first network.
    """
    if is_frozen(model):
        features = features_read(model, stored.embeddings[0])
        return features.clean(features.pooled.positions(keys))
    with head_inputs(model) as read:
        predict_cases(model, stored.tensors, keys, evaluate, compute, devices)
    return read.array(len(keys))


def _check_answers(
    test: pd.DataFrame, answers: np.ndarray, predictions: pd.DataFrame, classes: Sequence[str]
) -> None:
    """Check that the networks answer test as stage `evaluate` or `ensemble` wrote down.

    Raises:
        UserError: It doesn't: other weights, or another precision.
    """
    columns = [f"probability_{c}" for c in classes]
    written = predictions.set_index("key").loc[list(test["key"]), columns].to_numpy()
    largest = float(np.abs(written - answers).max())
    if largest > SAME_ANSWER:
        raise UserError(
            f"{paths.EVALUATION_PLOTS}: must hold the answers of this model, got probabilities "
            f"that differ by up to {largest:.3g}; run `dvc repro`"
        )


def _temperature(labels: np.ndarray, answers: np.ndarray) -> float:
    """Fit the temperature on val, for calibrated probabilities; no answer uses it."""
    return round(float(fit_temperature(labels, answers)), 4)


def set_facts(
    scores: Scores, predictions: pd.DataFrame, classes: Sequence[str], coverage: float
) -> dict[str, Any]:
    """Measure prediction sets on test."""
    labels, probabilities = labels_and_probabilities(predictions, "test", classes)
    thresholds = thresholds_of(scores, coverage)
    inside = prediction_sets(probabilities, thresholds, classes)
    return {
        "coverage": coverage,
        "pooled": thresholds.pooled,
        "test_coverage": coverage_by_class(inside, labels, classes),
        "mean_size": float(inside.sum(axis=1).mean()),
    }


def _split_counts(cases: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    counts = {}
    for split in ("train", "val", "test"):
        part = cases[cases["split"] == split]
        by_class = {c: part[part["label"] == c] for c in classes}
        counts[split] = {
            "images": len(part),
            "patients": int(part["patient"].nunique()),
            "images_by_class": {c: len(rows) for c, rows in by_class.items()},
            "patients_by_class": {c: int(r["patient"].nunique()) for c, r in by_class.items()},
        }
    return counts


def _figures(
    given: Ingredients,
    classes: Sequence[str],
    rule: Rule,
    patient_rule: PatientRule,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    test = given.predictions[given.predictions["split"] == "test"]
    return {
        "split": "test",
        "images": len(test),
        "patients": int(test["patient"].nunique()),
        "status": given.metrics["status"],
        **figures(test, classes, rule, patient_rule, bootstrap),
    }
