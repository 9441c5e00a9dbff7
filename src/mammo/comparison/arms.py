"""Arms of a comparison: tables of predictions that must be of the same images.

An arm is a strategy or a baseline; its predictions are a table as in
`plots/evaluation/S/predictions.csv`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mammo.cohort.classes import DENSE
from mammo.errors import UserError
from mammo.evaluation.decision import Rule
from mammo.evaluation.levels import class_names

CASE = ["key", "patient", "laterality", "view", "split", "label"]


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        predictions: `CASE` and probability_<class>… for the splits val and test.
        rule: How its answers follow from its probabilities.
        parameters: The digest of the parameters that it was made with; '' for a baseline.
        status: healthy, warning or collapsed, on test; '' for a baseline.
    """

    predictions: pd.DataFrame
    rule: Rule = "argmax"
    parameters: str = ""
    status: str = ""

    def of_split(self, split: str) -> pd.DataFrame:
        """Select the rows of one split."""
        return of_split(self.predictions, split)


def check_arms(
    arms: Mapping[str, pd.DataFrame], splits: Sequence[str] = ("val", "test")
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


def of_split(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """Select the rows of one split."""
    return table[table["split"] == split]


def _cases(table: pd.DataFrame) -> pd.DataFrame:
    return table[CASE].sort_values("key").reset_index(drop=True)
