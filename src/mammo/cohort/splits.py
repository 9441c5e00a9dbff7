"""Assign patients to train, val and test: never one patient to two, and every class to each."""

import logging
import warnings
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from mammo.cohort.params import SplitParams
from mammo.cohort.recommendation import Advice, recommend
from mammo.errors import UserError

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")


def assign_patients(images: pd.DataFrame, params: SplitParams) -> pd.DataFrame:
    """Assign each image to a split, by patient.

    Args:
        images: Columns key, patient, label and, for `source: published`, published_split.
        params: The folds and the seed.

    Returns:
        Columns key, split; sorted by key.

    Raises:
        UserError: There are fewer patients than folds, or the published split can't be used.

    Source: scikit-learn's `StratifiedGroupKFold`.
    """
    images = images.sort_values("key").reset_index(drop=True)
    if params.source == "published":
        splits = _published(images, params)
    else:
        folds = _folds(images, params.folds, params.seed)
        splits = np.full(len(images), "train", dtype=object)
        splits[folds == params.test_fold] = "test"
        splits[folds == params.validation_fold] = "val"
    check_patients(images["patient"].to_numpy(), splits)
    return pd.DataFrame({"key": images["key"], "split": splits})


def _folds(images: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    """Number each image's fold: (n,)."""
    patients = images["patient"].nunique()
    if patients < folds:
        raise UserError(
            f"params.yaml: split.folds: needs at least {folds} patients, got {patients}; "
            "lower split.folds or add patients"
        )
    commonest = int(images["label"].value_counts().max())
    if commonest < folds:
        raise UserError(
            f"params.yaml: split.folds: needs at least {folds} images of one class, got "
            f"{commonest} of the commonest; lower split.folds or add images"
        )
    number = np.empty(len(images), dtype=np.int64)
    cv = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # describe_splits says more exactly which class is short of patients
        warnings.filterwarnings("ignore", message="The least populated class")
        parts = cv.split(images, images["label"], images["patient"])
        for fold, (_, held_out) in enumerate(parts):
            number[held_out] = fold
    return number


def _published(images: pd.DataFrame, params: SplitParams) -> np.ndarray:
    """Take the data set's own split; where it has no val, draw one fold of its train patients."""
    splits = images["published_split"].to_numpy(dtype=object).copy()
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise UserError(
            "params.yaml: split.source: published needs a split published for every image, "
            f"got {unknown}; set split.source: grouped"
        )
    absent = [name for name in ("train", "test") if name not in splits]
    if absent:
        raise UserError(
            f"params.yaml: split.source: published needs images in train and test, got none in "
            f"{' and '.join(absent)}; name a column that holds both under dataset.columns.split, "
            "or set split.source: grouped"
        )
    if "val" not in splits:
        train = images[splits == "train"].reset_index(drop=True)
        held_out = _folds(train, params.folds, params.seed) == params.validation_fold
        splits[np.flatnonzero(splits == "train")[held_out]] = "val"
    return splits


def check_patients(patients: np.ndarray, splits: np.ndarray) -> None:
    """Check that no patient is in two splits.

    Raises:
        UserError: Names the patients by their keys.
    """
    pairs = pd.DataFrame({"patient": patients, "split": splits}).drop_duplicates()
    twice = sorted(pairs["patient"][pairs["patient"].duplicated()].unique())
    if twice:
        raise UserError(
            f"data/splits.csv: a patient must be in one split, {len(twice)} are in several: "
            f"{', '.join(twice[:3])}; set split.source: grouped"
        )


def describe_splits(
    images: pd.DataFrame, splits: pd.DataFrame, classes: list[str], params: SplitParams
) -> dict[str, Any]:
    """Count images and patients by split and class, and say which classes are missing where.

    Raises:
        UserError: There is one class alone, in all or to train on, or a class is missing from a
            split and `missing_class` is `error`.
    """
    table = images.merge(splits, on="key", validate="one_to_one")
    for named, rows in (("the images", table), ("train", table[table["split"] == "train"])):
        found = sorted(set(rows["label"]))
        if len(found) < 2:
            raise UserError(
                f"data/labels.csv: {named} must hold two classes at least, or there is nothing to "
                f"tell apart; got {found}; check dataset.labels and dataset.classes"
            )
    shortages = []
    counts: dict[str, Any] = {}
    for split in SPLITS:
        part = table[table["split"] == split]
        counts[split] = {
            "images": len(part),
            "patients": int(part["patient"].nunique()),
            "images_by_class": {c: int((part["label"] == c).sum()) for c in classes},
            "patients_by_class": {
                c: int(part.loc[part["label"] == c, "patient"].nunique()) for c in classes
            },
        }
    for label in classes:
        missing = [s for s in SPLITS if counts[s]["images_by_class"][label] == 0]
        if missing:
            have = int(table.loc[table["label"] == label, "patient"].nunique())
            shortage = f"class {label} is missing from {' and '.join(missing)}: {have} "
            shortage += "patient has it" if have == 1 else "patients have it"
            if have < params.folds and params.source == "grouped":
                more = params.folds - have
                shortage += f", at least {more} more are needed for {params.folds} folds"
            shortages.append(shortage)
    if shortages and params.missing_class == "error":
        other = {"grouped": "try another split.seed", "published": "set split.source: grouped"}
        raise UserError(
            f"params.yaml: split.missing_class: {'; '.join(shortages)}; add patients, "
            f"{other[params.source]}, merge classes (dataset.classes), or accept it with "
            "split.missing_class: warn"
        )
    for shortage in shortages:
        logger.warning("WARNING: %s", shortage)
    advice = _advice(counts["train"]["images_by_class"])
    logger.info(advice.sentence())
    return {"splits": counts, "missing_classes": shortages, "recommended": asdict(advice)}


def _advice(images_by_class: dict[str, int]) -> Advice:
    """Recommend a strategy for the training split."""
    present = [count for count in images_by_class.values() if count]
    return recommend(sum(present), max(present) / min(present))
