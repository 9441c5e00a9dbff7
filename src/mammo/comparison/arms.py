"""Arms of a comparison: tables of predictions that must be of the same images, and their units.

An arm is a strategy or a baseline; its predictions are a table as in
`plots/evaluation/S/predictions.csv`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mammo.comparison.bootstrap import Units
from mammo.errors import UserError

# What one unit of a level is told apart by; views are averaged within it.
LEVELS = {"image": ["patient", "key"], "breast": ["patient", "laterality"], "patient": ["patient"]}
CASE = ["key", "patient", "laterality", "view", "split", "label"]

# "Dense" is C and D of BI-RADS (ACR BI-RADS Atlas, 5th ed.); mini-MIAS names its own class D.
DENSE = {
    ("A", "B", "C", "D"): ("C", "D"),
    ("AB", "CD"): ("CD",),
    ("F", "G", "D"): ("D",),
}


def check_arms(
    arms: dict[str, pd.DataFrame], splits: Sequence[str] = ("val", "test")
) -> tuple[str, ...]:
    """Check that all arms judged the same images, and name the classes.

    Raises:
        UserError: They didn't, a label isn't a class, or one of the splits holds no image.
    """
    reference_name, reference = next(iter(arms.items()))
    classes = class_names(reference)
    if classes not in DENSE:
        raise UserError(
            f"{reference_name}: the probability columns must be of a known class set, got "
            f"{', '.join(classes) or 'none'}"
        )
    for split in splits:
        if not (reference["split"] == split).any():
            raise UserError(f"{reference_name}: predictions must hold the split {split}, got none")
    strangers = sorted(set(reference["label"]) - set(classes))
    if strangers:
        raise UserError(f"{reference_name}: labels must be among {classes}, got {strangers[0]!r}")
    cases = _cases(reference)
    for name, table in arms.items():
        if class_names(table) != classes or not _cases(table).equals(cases):
            raise UserError(
                f"{name}: predictions must be of the same images, labels and classes as those of "
                f"{reference_name}, got others; run `dvc repro` so that all are of one run"
            )
    return classes


def class_names(table: pd.DataFrame) -> tuple[str, ...]:
    """Name the classes of a predictions table, in order."""
    return tuple(
        column.removeprefix("probability_")
        for column in table.columns
        if column.startswith("probability_")
    )


def aggregate(
    table: pd.DataFrame, level: str, classes: Sequence[str], patients: Sequence[str]
) -> Units:
    """Average probabilities over the images of each unit of a level.

    Where images of one unit disagree on the label (a patient whose breasts differ), the denser
    one counts, as in a mammography report (ACR BI-RADS Atlas, 5th ed., breast composition).

    Args:
        table: Predictions of one split.
        level: `image`, `breast` or `patient`.
        classes: The K class names in order.
        patients: All patients, sorted.
    """
    columns = [f"probability_{label}" for label in classes]
    position = {label: number for number, label in enumerate(classes)}
    rows = table.assign(position=table["label"].map(position))
    groups = rows.groupby(LEVELS[level])
    probabilities = groups[columns].mean()  # sorted by the unit
    number = {patient: n for n, patient in enumerate(patients)}
    of_unit = probabilities.index.get_level_values("patient")
    return Units(
        patients=np.array([number[patient] for patient in of_unit]),
        labels=groups["position"].max().to_numpy(),
        probabilities=probabilities.to_numpy(),
        classes=tuple(classes),
    )


def _cases(table: pd.DataFrame) -> pd.DataFrame:
    return table[CASE].sort_values("key").reset_index(drop=True)


def of_split(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """Select the rows of one split."""
    return table[table["split"] == split]
