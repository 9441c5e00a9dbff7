"""The table of images of a study: labels, patients, and which of them train."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.storage.files import read_table
from mammo.storage.keys import require_same, require_within


@dataclass(frozen=True)
class Fold:
    """Labels of all images of a source, and which of them train and which validate.

    Attributes:
        labels: (n,) int64, positions in `classes`; -1 where an image has no part in this fold.
        patients: (n,) int64, a number a patient; -1 likewise.
        train: Positions of the training images.
        val: Positions of the validation images.
        classes: The class names.
    """

    labels: np.ndarray
    patients: np.ndarray
    train: np.ndarray
    val: np.ndarray
    classes: list[str]


def make_fold(keys: list[str], table: pd.DataFrame, classes: list[str]) -> Fold:
    """Find the images of a table in a store.

    Args:
        keys: The store's image keys, in its order.
        table: Columns key, patient, label, split.
        classes: The class names.
    """
    rows = table.set_index("key").reindex(keys)
    number = {label: k for k, label in enumerate(classes)}
    labels = rows["label"].map(number).fillna(-1).to_numpy(dtype=np.int64)
    patients = pd.factorize(rows["patient"], sort=True)[0].astype(np.int64)
    train, val = (np.flatnonzero(rows["split"] == split) for split in ("train", "val"))
    return Fold(labels, patients, train, val, classes)


def read_cases(images: Path, labels: Path, splits: Path) -> pd.DataFrame:
    """Read the images that take part: key, patient, laterality, view, label, split; by key.

    Raises:
        UserError: A table is missing, or they don't hold the same images.
    """
    seen, read, assigned = read_table(images), read_table(labels), read_table(splits)
    require_same(images, seen["key"], labels, read["key"])
    require_within(splits, assigned["key"], images, seen["key"])
    cases = seen.merge(read, on="key").merge(assigned, on="key")
    return cases.sort_values("key", ignore_index=True)
