"""The table of images of a study: labels, patients, and which of them train."""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Fold:
    """Labels of all images of a source, and which of them train and which validate.

    Attributes:
        labels: (n,) int64, positions in `classes`; -1 where an image has no part in this fold.
        train: Positions of the training images.
        val: Positions of the validation images.
        classes: The class names.
    """

    labels: np.ndarray
    train: np.ndarray
    val: np.ndarray
    classes: list[str]


def make_fold(keys: list[str], table: pd.DataFrame, classes: list[str]) -> Fold:
    """Find the images of a table in a store.

    Args:
        keys: The store's image keys, in its order.
        table: Columns key, label, split.
        classes: The class names.
    """
    rows = table.set_index("key").reindex(keys)
    number = {label: k for k, label in enumerate(classes)}
    labels = rows["label"].map(number).fillna(-1).to_numpy(dtype=np.int64)
    train, val = (np.flatnonzero(rows["split"] == split) for split in ("train", "val"))
    return Fold(labels, train, val, classes)
